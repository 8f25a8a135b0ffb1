"""Sections with a ``type``: the options of one kind are read by its factory, a plug-in that is handed in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perimeter.config.language.datatypes import closest
from perimeter.config.language.section import Named, Section
from perimeter.errors import ConfigError
from perimeter.plugin.augmenter import IAugmenterFactory
from perimeter.plugin.authenticator import IAuthenticatorFactory
from perimeter.plugin.redirect import IProviderFactory

Factory = IAuthenticatorFactory | IAugmenterFactory | IProviderFactory


def read_kind(section: Section, option: Named, kind: str, factories: Mapping[str, Factory]) -> Any:
    """What the factory of ``kind`` parses from the rest of the section; None if there is no such kind, or if it fails.

    ``option`` is the one that names the kind. Options that neither the caller nor the factory has read are reported.
    """
    factory = factories.get(kind)
    if factory is not None:
        settings = _parsed(section, option, factory)
        _refuse_others(section, factories)
        section.finish()
        return settings
    if kind:
        known = sorted(factories)
        message = f"expected {' or '.join(known)}, not {section.quote(option, kind)}"
        section.problem(option, message, closest(kind, known))
    return None


def _parsed(section: Section, option: Named, factory: Factory) -> Any:
    try:
        return factory.parse(section)
    except ConfigError as error:
        for problem in error.problems:
            section.problem(problem.option, problem.message, problem.suggestion, line=problem.line)
    except Exception as error:
        # The text of a third party's exception may contain a secret, so only its class is shown.
        section.problem(option, f"the kind {factory.kind} failed to read this section ({type(error).__name__})")
    return None


def _refuse_others(section: Section, factories: Mapping[str, Factory]) -> None:
    """Report the options of other kinds, and name these kinds. They are imported only if an option is left over."""
    if not section.unread:
        return
    elsewhere: dict[str, list[str]] = {}
    for kind in sorted(factories):
        for option in factories[kind].options:
            elsewhere.setdefault(option.name, []).append(kind)
    for name, kinds in elsewhere.items():
        if not section.was_read(name):
            section.refuse([name], f"is only allowed with type = {' or '.join(kinds)}")

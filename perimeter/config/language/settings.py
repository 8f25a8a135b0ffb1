"""The base of the classes that hold what a section says, and the one function that reads a section into any of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import attrs

from perimeter.config.language.option import declared
from perimeter.config.language.section import Section


@attrs.frozen
class Settings:
    """What a section says, as a frozen value. A subclass declares each option by `perimeter.config.language.option.option`.

    A subclass may have fields that are no options: ``name``, ``file`` and ``line`` take the name and place of the section; any
    other needs a default, or is given to `read`.
    """

    def check(self, section: Section) -> None:
        """Report on ``section`` what options contradict each other. `read` calls this at the end."""


S = TypeVar("S", bound=Settings)

_DECLARED: Mapping[str, str] = MappingProxyType({})


def read(section: Section, settings: type[S], defaults: Mapping[str, str] = _DECLARED, /, **given: Any) -> S:
    """What ``section`` says, as an instance of ``settings``; ``given`` are values of fields that are no options.

    ``defaults`` replace the declared defaults of options, by the options' names, written as in a file.

    This is how every section is read, and how a plug-in reads its own part of one::

        def parse(self, section: Section) -> LdapSettings:
            return read(section, LdapSettings)

    Nothing is raised for what a file says: each fault is reported on the section with its line (all of them, not the first
    alone), the value is then the default or an empty one, and the start is off. An option that no `read` of the section
    declares is reported as unknown by `Section.finish`, which the caller of a plug-in's ``parse`` calls.
    """
    values: dict[str, Any] = {}
    for field in attrs.fields(settings):
        option = declared(field)
        if option is not None:
            default = defaults.get(option.name)
            values[field.name] = section.value(
                option if default is None else attrs.evolve(option, default=default, required=False)
            )
        elif field.name in given:
            values[field.name] = given[field.name]
        elif field.name in ("name", "file", "line"):
            values[field.name] = getattr(section, field.name)
    made = settings(**values)
    made.check(section)
    return made

"""Reads a site.ini: returns a `SiteConfig`, or reports every fault at once. It reads files and does nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import attrs

from perimeter.config.language.document import Document
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings, read
from perimeter.config.site import crosscheck
from perimeter.config.site.acme import AcmeSettings
from perimeter.config.site.audit import AuditSettings
from perimeter.config.site.augmenter import read_augmenter
from perimeter.config.site.authentication import AuthenticationSettings
from perimeter.config.site.authenticator import read_authenticator
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.errors import ErrorSettings
from perimeter.config.site.kinds import KINDS
from perimeter.config.site.limits import LimitSettings
from perimeter.config.site.listener import read_listener
from perimeter.config.site.logging import LoggingSettings
from perimeter.config.site.login import LoginSettings
from perimeter.config.site.metrics import MetricsSettings
from perimeter.config.site.operator import OperatorSettings
from perimeter.config.site.perimeter import PerimeterSettings
from perimeter.config.site.provider import read_provider
from perimeter.config.site.route import RouteSettings
from perimeter.config.site.second_factor import SecondFactorSettings
from perimeter.config.site.token import TokenSettings
from perimeter.config.site.traces import TraceSettings
from perimeter.config.site.upstream import UpstreamSettings
from perimeter.plugin.kinds import PluginKinds

S = TypeVar("S", bound=Settings)


Inspect = Callable[[SiteConfig, Document], None]
"""Reports problems of the files that a configuration names on its sections. It may read files, and raises nothing."""


def load_site(
    path: Path,
    *,
    environ: Mapping[str, str] | None = None,
    kinds: PluginKinds,
    here: bool = True,
    inspect: Inspect | None = None,
    data: bytes | None = None,
) -> SiteConfig:
    """The configuration in the file ``path``, whose content is ``data`` if it has been read already.

    ``environ`` is where ``env:NAME`` and ``credential:NAME`` are looked up (default: the environment of the process); ``kinds``
    are the kinds of authenticators and augmenters that it may use. Without ``here``, what does not exist on this machine is no
    problem: files, variables and credentials. ``inspect`` is called if there is no problem, and may report some. Raises
    `perimeter.errors.ConfigError` with every problem, in the order of the file.
    """
    document = Document(path, KINDS, os.environ if environ is None else environ, here=here, data=data)
    config = _config(document, kinds)
    if inspect is not None and not document.problems:
        inspect(config, document)
    document.raise_problems()
    return attrs.evolve(config, warnings=crosscheck.warnings(config), sections=document.in_force())


def _config(document: Document, kinds: PluginKinds) -> SiteConfig:
    """Everything that the file says. The result must not be used if there are problems."""
    sections = crosscheck.Sections(
        listeners=document.many("listener"),
        routes=document.many("route"),
        authentication=document.one("authentication"),
        errors=document.one("errors"),
        login=document.one("login"),
        authenticators=document.many("authenticator"),
        augmenters=document.many("augmenter"),
        providers=document.many("provider"),
        second_factor=document.one("second_factor"),
    )
    authenticators = tuple(read_authenticator(section, kinds.authenticators) for section in sections.authenticators)
    authentication = _whole(sections.authentication, AuthenticationSettings)
    if not sections.authentication.given(attrs.fields(AuthenticationSettings).order):
        authentication = attrs.evolve(authentication, order=tuple(one.name for one in authenticators))
    providers = tuple(read_provider(section, kinds.providers) for section in sections.providers)
    realms = frozenset([*(one.realm for one in authenticators), *(one.realm for one in providers)])
    listeners = tuple(read_listener(section) for section in sections.listeners)
    for section in sections.listeners:
        section.finish()
    if not listeners:
        document.problem("there is no [listener NAME] section, so no client could connect")
    config = SiteConfig(
        file=document.path,
        perimeter=_whole(document.one("perimeter"), PerimeterSettings),
        limits=_whole(document.one("limits"), LimitSettings),
        listeners=listeners,
        authenticators=authenticators,
        authentication=authentication,
        augmenters=tuple(read_augmenter(section, kinds.augmenters) for section in sections.augmenters),
        providers=providers,
        token=_whole(document.one("token"), TokenSettings),
        upstreams=tuple(_whole(section, UpstreamSettings) for section in document.many("upstream")),
        routes=tuple(_whole(section, RouteSettings).with_realms(realms) for section in sections.routes),
        audit=_whole(document.one("audit"), AuditSettings),
        logging=_whole(document.one("logging"), LoggingSettings),
        metrics=_whole(document.one("metrics"), MetricsSettings),
        traces=_whole(document.one("traces"), TraceSettings),
        login=_whole(sections.login, LoginSettings),
        operator=_whole(document.one("operator"), OperatorSettings),
        acme=_whole(document.one("acme"), AcmeSettings),
        second_factor=_whole(sections.second_factor, SecondFactorSettings),
        error_pages=_whole(sections.errors, ErrorSettings).pages,
    )
    crosscheck.check(config, sections)
    return config


def _whole(section: Section, settings: type[S]) -> S:
    """``section`` read; what is left of it is unknown."""
    made = read(section, settings)
    section.finish()
    return made

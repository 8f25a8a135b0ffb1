"""Reads the files that a configuration names, as a start does, and reports what is wrong with them at the options that name them.

For ``perimeter check`` and ``perimeter doctor``. Makes and changes nothing: no state directory, no key, no certificate, no
socket. What a start would log as a warning is logged here too. What reads a kind of file is imported only for a configuration
that names such a file, so that the command starts quickly.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

from perimeter.auth.building import build_augmenter, build_authenticator, build_provider
from perimeter.auth.passwords.users import RealmFileError
from perimeter.config.language.document import Document
from perimeter.config.language.option import name_of
from perimeter.config.language.section import Named, Section
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.errors import ErrorSettings
from perimeter.config.site.listener import ListenerSettings
from perimeter.config.site.load import load_site
from perimeter.config.site.login import LoginSettings
from perimeter.config.site.route import RouteSettings
from perimeter.config.site.server import ServerScheme
from perimeter.config.site.upstream import UpstreamSettings
from perimeter.errors import StartupError
from perimeter.file_systems import is_network, type_of
from perimeter.offload import Offload
from perimeter.plugin.kinds import PluginKinds
from perimeter.plugin.services import AuthServices

_log = Logger()

SHARED: Final = (
    "this audit log is on a network file system ({kind}), where lines of several workers may overwrite each other: use a local "
    "file system, or workers = 1"
)


@attrs.frozen
class Inspected:
    """A configuration whose files can be used, the document that it was read from, and the warnings."""

    config: SiteConfig
    document: Document
    warnings: tuple[str, ...]


def inspected(path: Path, kinds: PluginKinds, reactor: Any = None, environ: Mapping[str, str] | None = None) -> Inspected:
    """Read the configuration in the file ``path``. Raises `StartupError` with all faults.

    With a ``reactor``, which the authenticators are built with and which need not run, the files that the configuration names are
    read as well; without one, they need not exist. ``environ`` replaces the environment of this process.
    """
    documents: list[Document] = []

    def inspect(config: SiteConfig, document: Document) -> None:
        documents.append(document)
        if reactor is not None:
            inspect_files(kinds, reactor, config, document)

    with _logged_warnings() as logged:
        config = load_site(path, kinds=kinds, here=reactor is not None, inspect=inspect, environ=environ)
    return Inspected(config, documents[0], tuple(dict.fromkeys((*config.warnings, *logged))))


@contextlib.contextmanager
def _logged_warnings() -> Iterator[list[str]]:
    """The warnings that are logged meanwhile: a start with the same files logs them too."""
    found: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("log_level") is LogLevel.warn:
            found.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    try:
        yield found
    finally:
        globalLogPublisher.removeObserver(observe)


def inspect_files(kinds: PluginKinds, reactor: Any, config: SiteConfig, document: Document) -> None:
    """Report every file that a start with ``config`` would refuse. ``kinds`` build the authenticators and augmenters."""
    for listener, section in zip(config.listeners, document.many("listener"), strict=True):
        _listener(config, listener, section)
    for upstream, section in zip(config.upstreams, document.many("upstream"), strict=True):
        _upstream(upstream, section)
    for route, section in zip(config.routes, document.many("route"), strict=True):
        _route(route, section)
    _error_pages(config, document.one("errors"))
    _login(config, document.one("login"))
    _audit(config)
    _authenticators(kinds, reactor, config, document)


def _report(section: Section, option: Named, read: Callable[[], object]) -> None:
    """Call ``read``, and report the `StartupError` that it raises."""
    try:
        read()
    except RealmFileError as error:
        section.elsewhere(error.problem)
    except StartupError as error:
        # some errors name the section already
        section.problem(option, str(error).rpartition(f": [{section.header}] ")[2].removeprefix(f"{name_of(option)}: "))


def _listener(config: SiteConfig, settings: ListenerSettings, section: Section) -> None:
    """The certificate, its key and its dates, and the CAs of client certificates."""
    its = attrs.fields(ListenerSettings)
    if settings.acme_names:
        from perimeter.acme.renewal import require_library

        _report(section, its.acme_names, partial(require_library, config))
    if not settings.certificate and settings.keystore is None:
        return  # the gateway makes a certificate, or gets one
    from perimeter.net.certificates import date_findings, load_identities
    from perimeter.net.contexts import ClientAuthentication, ServerContexts

    option = its.certificate if settings.keystore is None else its.keystore
    try:
        identities = load_identities(settings, config.perimeter.state_dir)
        ServerContexts(identities)
    except StartupError as error:
        keys = set(settings.private_key) - set(settings.certificate)
        at_key = any(str(error).startswith(f"{path}: ") for path in keys)
        section.problem(its.private_key if at_key else option, str(error))
        return
    for identity in identities:
        for finding in date_findings(identity.chain, datetime.now(UTC)):
            if finding.unusable:
                section.problem(option, f"{identity.source}: {finding.text}")
    if settings.client_ca is not None:
        _report(section, its.client_ca, partial(ServerContexts, identities, ClientAuthentication(settings.client_ca)))


def _upstream(settings: UpstreamSettings, section: Section) -> None:
    """The CAs of https servers, and the certificate that the gateway shows to them."""
    if any(server.scheme is ServerScheme.HTTPS for server in settings.servers):
        from perimeter.net.certificates import date_findings
        from perimeter.run.build.upstream_tls import client_contexts, client_identity

        its = attrs.fields(UpstreamSettings)
        _report(section, its.ca_certificate, partial(client_contexts, attrs.evolve(settings, client_certificate=None)))
        try:
            identity = client_identity(settings)
        except StartupError as error:
            at_key = settings.client_key not in (None, settings.client_certificate) and str(error).startswith(
                f"{settings.client_key}: "
            )
            section.problem(its.client_key if at_key else its.client_certificate, str(error))
            return
        for finding in date_findings(() if identity is None else identity.chain, datetime.now(UTC)):
            if finding.unusable and identity is not None:
                section.problem(its.client_certificate, f"{identity.source}: {finding.text}")


def _route(settings: RouteSettings, section: Section) -> None:
    """The page for the time of maintenance, and the libraries of codings."""
    its = attrs.fields(RouteSettings)
    if settings.maintenance_page is not None:
        from perimeter.run.build.error_pages import read_page

        _report(section, its.maintenance_page, partial(read_page, settings.maintenance_page, "maintenance_page"))
    for coding in settings.compression:
        from perimeter.proxy.codings import encoder_of

        _report(section, its.compression, partial(encoder_of, coding))


def _error_pages(config: SiteConfig, section: Section) -> None:
    """The operator's error pages."""
    if config.error_pages:
        from perimeter.run.build.error_pages import error_pages

        _report(section, attrs.fields(ErrorSettings).pages, partial(error_pages, config))


def _login(config: SiteConfig, section: Section) -> None:
    """The logo, the message and the templates of the gateway's own pages."""
    its, login = attrs.fields(LoginSettings), config.login
    if login.logo is not None:
        from perimeter.web.html.assets import read_logo

        _report(section, its.logo, partial(read_logo, login.logo))
    if login.message_file is not None:
        from perimeter.web.html.message import read_message

        _report(section, its.message_file, partial(read_message, login))
    if login.templates is not None:
        from perimeter.web.html.look import read_look

        look = attrs.evolve(login, logo=None, message_file=None)
        _report(section, its.templates, partial(read_look, look, config.perimeter.realm))


def _audit(config: SiteConfig) -> None:
    """Warn about audit logs in directories that do not exist. systemd may make them, and a start makes ``state_dir``.

    Also about logs on a network file system (`shared_logs`).
    """
    made = config.perimeter.state_dir
    for path, kind in shared_logs(config).items():
        _log.warn("{path}: {fault}", path=path, fault=SHARED.format(kind=kind))
    for path in _logs(config):
        if not path.parent.is_dir() and not made.is_relative_to(path.parent):
            _log.warn("{path}: there is no directory for this audit log, and a start does not make it", path=path)


def shared_logs(config: SiteConfig) -> dict[Path, str]:
    """The audit logs that several workers write to a network file system, with its type. Blocks.

    An append of one process may overwrite that of another there.
    """
    if config.perimeter.workers == 1:
        return {}
    return {path: kind for path in _logs(config) if is_network(kind := type_of(path))}


def _logs(config: SiteConfig) -> list[Path]:
    paths = dict.fromkeys((config.audit.path, *(route.audit for route in config.routes)))
    return [path for path in paths if path is not None]


def _authenticators(kinds: PluginKinds, reactor: Any, config: SiteConfig, document: Document) -> None:
    """Build each one, which reads realm files and CA certificates, and looks for programs and libraries."""
    services = AuthServices(reactor, Offload(reactor), workers=config.perimeter.workers)
    for one, section in zip(config.authenticators, document.many("authenticator"), strict=True):
        _report(section, "", partial(build_authenticator, one, kinds.authenticators, services))
    for augmenter, section in zip(config.augmenters, document.many("augmenter"), strict=True):
        _report(section, "", partial(build_augmenter, augmenter, kinds.augmenters[augmenter.kind], services))
    for provider, section in zip(config.providers, document.many("provider"), strict=True):
        _report(section, "", partial(build_provider, provider, kinds.providers[provider.kind], services))

"""Reads everything on disk that a configuration names. Blocks, so a running gateway does it in a thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from perimeter.acme.renewal import require_library
from perimeter.audit.logs import AuditLogs
from perimeter.audit.sink import IAuditSink
from perimeter.config.site.acme import ChallengeKind
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.listener import ClientCertificate, ListenerSettings, Serve, UnknownName
from perimeter.config.site.renewed import Versions, renewed_files, versions
from perimeter.errors import Page
from perimeter.net.certificates import load_identities
from perimeter.net.contexts import ClientAuthentication, ClientTLS, ServerContexts, ServerIdentity
from perimeter.proxy.codings import encoder_of
from perimeter.run.build.authentication import PreparedAuthenticators, auth_services, prepared_authenticators
from perimeter.run.build.error_pages import error_pages, maintenance_pages
from perimeter.run.build.pages import site_look
from perimeter.run.build.runtime import Runtime
from perimeter.run.build.state_dir import prepare_state_dir
from perimeter.run.build.traces import collector_client
from perimeter.run.build.upstream_tls import client_contexts
from perimeter.secrets_key import SecretsKey
from perimeter.state.stores import OpenedState
from perimeter.tokens.keyring import Keyring
from perimeter.web.html.look import Look
from perimeter.workers.place import Place

if TYPE_CHECKING:
    from perimeter.web_client.client import RemoteClient

TORN: Final = "audit-torn"
"""The message to the other workers that an audit log ends in an incomplete line (`perimeter.audit.shared`)."""

Contexts = Mapping[str, ServerContexts]
"""What each TLS listener serves with, by its name."""


@attrs.frozen(eq=False)
class Prepared:
    """A configuration, and what was read from disk for it. The owner puts it to use, or calls `discard`.

    ``versions`` are those of the files that may be renewed, from before they were read. ``sinks`` are by the path of a route's
    own audit log, None for that of ``[audit]``. ``maintenance_pages`` are by their file. ``upstream_tls`` is by the name of the
    upstream, then by the host name to verify. ``secrets`` is the key of the site.
    """

    config: SiteConfig
    versions: Versions
    contexts: Contexts
    upstream_tls: Mapping[str, Mapping[str, ClientTLS]]
    keyring: Keyring
    authenticators: PreparedAuthenticators
    state: OpenedState
    audit: AuditLogs
    sinks: Mapping[Path | None, IAuditSink]
    pages: Mapping[int, Page]
    maintenance_pages: Mapping[Path, Page]
    look: Look
    collector: RemoteClient | None
    secrets: SecretsKey

    def discard(self) -> None:
        """Close what was opened. Blocks as opening did; never raises anything but a bug."""
        self.audit.close()
        self.state.discard()


def prepare(read: Callable[[], SiteConfig], runtime: Runtime) -> Prepared:
    """Read the configuration with ``read``, then the files that it names; open the state and the audit logs.

    Touches nothing that is in use, and starts nothing. Of plug-ins it calls the ``parse`` of factories, in ``read``, and the
    ``build`` of those that provide `perimeter.plugin.services.IBuildsInThread`. Raises `StartupError`, and has closed
    everything then.
    """
    config = read()
    found = versions(renewed_files(config))
    require_library(config)
    state_dir = config.perimeter.state_dir
    prepare_state_dir(state_dir, runtime.user)
    shared = config.perimeter.shares_state
    with runtime.acting():
        keyring = Keyring.open(state_dir, config.token, runtime.reactor, shared=shared)  # judges the directory before it is used
        secrets = SecretsKey.open(state_dir, config.perimeter.cluster_secret)
    contexts = _server_contexts(config, runtime)
    upstream_tls = {settings.name: client_contexts(settings) for settings in config.upstreams}
    pages, closed, look = error_pages(config), maintenance_pages(config), site_look(config)
    for coding in {coding for route in config.routes for coding in route.compression}:
        encoder_of(coding)  # imports its library
    authenticators = prepared_authenticators(config, auth_services(runtime))
    collector = collector_client(config, runtime)
    if _serves_metrics(config):
        # Importing reads files, too: done here once, so that it is not done on the reactor thread.
        import perimeter.targets.metrics  # noqa: F401
    with runtime.acting(), ExitStack() as undo:
        state = runtime.states.open(config.perimeter)
        undo.callback(state.discard)
        count = runtime.metrics.requests.record if counts(config) else None
        audit = AuditLogs(config.audit, runtime.reactor, count, _tells_torn(runtime.place))
        sinks = {path: audit.sink(path) for path in (None, *(route.audit for route in config.routes))}
        audit.open()
        undo.pop_all()
    return Prepared(
        config,
        found,
        contexts,
        upstream_tls,
        keyring,
        authenticators,
        state,
        audit,
        sinks,
        pages,
        closed,
        look,
        collector,
        secrets,
    )


def _tells_torn(place: Place | None) -> Callable[[str], None] | None:
    """Informs the other workers that the audit log at a path ends in an incomplete line; None if there are no others."""
    return None if place is None else lambda path: place.tell_others(TORN, path=path)


def counts(config: SiteConfig) -> bool:
    """Whether the gateway counts requests: for a listener that serves metrics, or for the operator page."""
    return bool(config.operator.role) or _serves_metrics(config)


def _serves_metrics(config: SiteConfig) -> bool:
    return any(listener.serve is Serve.METRICS for listener in config.listeners)


def _server_contexts(config: SiteConfig, runtime: Runtime) -> Contexts:
    by_tls = config.orders_certificates and config.acme.challenge is ChallengeKind.TLS_ALPN_01
    challenges = runtime.challenges.identities if by_tls else None
    return {
        settings.name: ServerContexts(
            _identities(settings, config, runtime),
            _clients(settings),
            challenges,
            refuse_unknown=settings.unknown_name is UnknownName.REFUSE,
        )
        for settings in config.listeners
        if settings.tls
    }


def _identities(settings: ListenerSettings, config: SiteConfig, runtime: Runtime) -> tuple[ServerIdentity, ...]:
    made_here = settings.keystore is None and not settings.certificate
    with runtime.acting() if made_here else nullcontext():
        return load_identities(settings, config.perimeter.state_dir)


def _clients(settings: ListenerSettings) -> ClientAuthentication | None:
    if settings.client_ca is None:
        return None
    return ClientAuthentication(settings.client_ca, settings.client_certificate is ClientCertificate.REQUIRED)

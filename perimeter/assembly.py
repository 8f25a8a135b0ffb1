"""From a configuration to everything that serves requests, connected and not yet started.

Together with `perimeter.service`, which runs what is built here, this is the composition root: the only place that knows
every package. A reload builds a second `Assembly` and puts it in the place of the first.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.web.server import Site as WebSite
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from perimeter.audit.log import AuditLogs
from perimeter.audit.sinks import LenientSink
from perimeter.auth.augment import augment, augmenters_of
from perimeter.auth.chain import AuthenticatorChain
from perimeter.auth.registry import authenticator_factories
from perimeter.auth.services import AuthServices
from perimeter.auth.throttle import IAttemptStore, MemoryAttempts, Throttle
from perimeter.auth.watch import Watch
from perimeter.config.build import HEALTH_PATHS
from perimeter.config.values import (
    ErrorPage,
    ListenerSettings,
    RouteSettings,
    ServerSettings,
    SiteConfig,
    UpstreamSettings,
)
from perimeter.errors import MissingCredentials, StartupError
from perimeter.gate.forwardauth import ENDPOINT, ForwardAuthTarget
from perimeter.gate.gate import Gate
from perimeter.gate.identify import Identifier
from perimeter.gate.identity import IdentityLines, IdentityProfile
from perimeter.gate.policy import Policy
from perimeter.gate.routes import Route, RouteTable
from perimeter.http.answers import Answers, Page
from perimeter.http.exchange import Exchange
from perimeter.interfaces import IAuditSink, IAuthenticator, IReadsFields, ITarget
from perimeter.metrics.counts import Metrics
from perimeter.model import Principal
from perimeter.net.connect import connect
from perimeter.net.contexts import ClientTLS
from perimeter.net.deadlines import Deadlines
from perimeter.offload import Offload
from perimeter.proxy.connection import UpstreamConnection
from perimeter.proxy.headers import HeaderRules
from perimeter.proxy.inmemory import connect_in_memory
from perimeter.proxy.pool import UpstreamPool
from perimeter.proxy.target import ProxyTarget
from perimeter.state.book import TokenBook
from perimeter.state.state import State
from perimeter.state.stores import States
from perimeter.tokens.apitoken import ApiTokenVerifier
from perimeter.tokens.issuer import TokenIssuer
from perimeter.tokens.keyring import Keyring
from perimeter.tokens.verifier import TokenVerifier
from perimeter.web.about import Source
from perimeter.web.bridge import SiteTarget
from perimeter.web.pages import error_page, security_lines
from perimeter.web.redirect import RedirectTarget
from perimeter.web.sample import sample_site
from perimeter.web.static import StaticTarget, content_type
from perimeter.web.tree import PATHS, PREFIXES, Endpoints, token_resources

_MAX_PAGE = 1024 * 1024

BLOCKING_THREADS = 64
"""Logins that may wait for a blocking login module at a time. A thread that waits costs next to nothing."""

BLOCKING_QUEUE = 256
"""And those that may wait for one of these threads."""


@attrs.frozen(eq=False)
class Surroundings:
    """What outlives a configuration: the reactor, the pools for slow work, the sweep of deadlines, the wrong passwords so far,
    the state, and what was counted.

    ``blocking`` is for what waits more than it works (`perimeter.auth.services.AuthServices`).
    """

    reactor: Any
    offload: Offload
    deadlines: Deadlines
    attempts: IAttemptStore = attrs.field(factory=MemoryAttempts)
    states: States = attrs.field(default=attrs.Factory(lambda self: States(self.reactor), takes_self=True))
    metrics: Metrics = attrs.field(factory=Metrics)
    blocking: Offload = attrs.field(
        default=attrs.Factory(lambda self: Offload(self.reactor, BLOCKING_THREADS, BLOCKING_QUEUE), takes_self=True)
    )


@attrs.frozen(eq=False)
class Assembly:
    """What one configuration has become. ``gates`` are by the name of their listener."""

    config: SiteConfig
    gates: dict[str, Gate]
    answers: Answers
    audit: AuditLogs
    default_sink: IAuditSink
    chain: AuthenticatorChain
    keyring: Keyring
    state: State
    book: TokenBook | None
    identifier: Identifier
    identity: IdentityLines
    pools: tuple[UpstreamPool, ...]

    def start(self) -> None:
        """Open the audit files and start the authenticators. Raises `StartupError`."""
        self.audit.open()
        self.chain.start()

    def stop(self) -> None:
        """Give up what is not needed to finish requests in flight; the audit files take their records still."""
        self.chain.stop()
        for pool in self.pools:
            pool.close()
        self.audit.close()

    def keys_changed(self) -> None:
        """Forget what was verified or signed with the keys so far."""
        self.identifier.forget()
        self.identity.clear()


def assemble(config: SiteConfig, around: Surroundings) -> Assembly:
    """Build what ``config`` describes. Raises `StartupError` where the files it names are not fit. Binds nothing."""
    reactor = around.reactor
    clock: Callable[[], float] = reactor.seconds
    keyring = Keyring.open(config.perimeter.state_dir, config.token, reactor)
    issuer = TokenIssuer(keyring, config.token, reactor)
    metrics = _metrics(config, around)
    chain = _chain(config, around, metrics)
    state = around.states.open(config.perimeter)
    verifier = TokenVerifier(keyring, config.token, reactor, state.revoked)
    book = TokenBook(state, verifier, reactor, config.token.api_lifetime) if config.token.api_tokens else None
    identifier = Identifier(
        chain, verifier, ApiTokenVerifier(state if book else None, reactor), state, clock, config.limits.remembered_tokens
    )
    identity = IdentityLines(issuer.issue_assertion, clock, config.limits.remembered_tokens)
    audit = AuditLogs(config.audit, reactor, None if metrics is None else metrics.requests.record)
    default_sink = audit.sink()
    pools = {settings.name: _pool(settings, around) for settings in config.upstreams}

    async def authenticate(exchange: Exchange) -> Principal:
        decision = exchange.decision
        assert decision is not None
        decision.principal = await identifier.authenticate(exchange.head.headers, decision.address, exchange.connection)
        return decision.principal

    async def identify(exchange: Exchange) -> Principal:
        decision = exchange.decision
        assert decision is not None
        found = identifier.identify(exchange.head.headers, decision.address, exchange.connection)
        principal = found if found is None or isinstance(found, Principal) else await found
        if principal is None:
            raise MissingCredentials
        decision.principal = principal
        return principal

    endpoints = Endpoints(
        authenticate=authenticate,
        identify=identify,
        issuer=issuer,
        jwks=keyring.jwks,
        lifetime=config.token.lifetime,
        extended_lifetime=config.token.extended_lifetime,
        book=book,
        routes=frozenset(route.name for route in config.routes),
        providers=tuple(Source(one.name, one.kind, one.realm) for one in config.authenticators),
        augmenters=tuple(Source(one.name, one.kind, one.realm) for one in config.augmenters),
    )
    routes = _routes(config, around, pools, audit, _believed(chain))
    builtin = SiteTarget("perimeter", token_resources(endpoints, standalone=False), reactor)

    def gate(own: Iterable[Route]) -> Gate:
        return Gate(
            routes=RouteTable(own),
            identifier=identifier,
            identity=identity,
            enabled=config.perimeter.enabled,
            maintenance=config.perimeter.maintenance,
            trusted_proxies=config.perimeter.trusted_proxies,
        )

    authenticate_for_proxies = _forward_auth(
        config, ForwardAuthTarget(gate(routes), default_sink, rules=bool(routes)), default_sink
    )

    def gate_for(listener: ListenerSettings) -> Gate:
        if listener.serve == "redirect":
            return gate([_builtin("redirect", RedirectTarget(listener.redirect_to or 443), default_sink)])
        if listener.serve == "metrics":
            return gate(_metrics_routes(config, around, default_sink))
        if listener.serve == "tokens":
            tokens = SiteTarget("perimeter", token_resources(endpoints, standalone=True), reactor)
            return gate([authenticate_for_proxies, _builtin("tokens", tokens, default_sink)])
        builtins = [_builtin(path[1:], builtin, default_sink, path) for path in PATHS]
        beneath = [_builtin(path[1:], builtin, default_sink, path, exact=False) for path in PREFIXES]
        return gate([*routes, authenticate_for_proxies, *builtins, *beneath])

    return Assembly(
        config=config,
        gates={listener.name: gate_for(listener) for listener in config.listeners},
        answers=_answers(config, clock, chain.challenges()),
        audit=audit,
        default_sink=default_sink,
        chain=chain,
        keyring=keyring,
        state=state,
        book=book,
        identifier=identifier,
        identity=identity,
        pools=tuple(pools.values()),
    )


def _builtin(name: str, target: ITarget, sink: IAuditSink, path: str = "/", *, exact: bool = True) -> Route:
    return Route(
        name=name,
        prefix=path.rstrip("/").encode("ascii"),
        target=target,
        audit=sink,
        exact=exact and path != "/",
        authenticate=False,
        builtin=True,
    )


def _forward_auth(config: SiteConfig, target: ITarget, sink: IAuditSink) -> Route:
    """The route of ``/authenticate``: for every host, since most proxies ask with the client's own.

    Paths beneath it are Envoy's questions, which count from trusted proxies only: without any, those paths stay the routes'.
    """
    return Route(
        name=ENDPOINT[1:].decode("ascii"),
        prefix=ENDPOINT,
        target=target,
        audit=sink,
        hosts=(*sorted({host for route in config.routes for host in route.hosts if host != "*"}), "*"),
        exact=not config.perimeter.trusted_proxies,
        authenticate=False,
        allow_encoded_slash=True,
        builtin=True,
    )


def authenticators_of(config: SiteConfig, services: AuthServices, watch: Watch | None = None) -> list[IAuthenticator]:
    """The authenticators of ``config``, in the order in which they are asked. Raises `StartupError`."""
    factories = authenticator_factories()
    settings = {authenticator.name: authenticator for authenticator in config.authenticators}
    augmenters = augmenters_of(config.augmenters, services, watch)
    made = []
    for name in config.authentication.order:
        one = settings[name]
        authenticator = factories[one.kind].build(one.name, one.realm, one.settings, services)
        try:
            verifyObject(IAuthenticator, authenticator)
        except Invalid as error:
            fault = " ".join(str(error).split())
            raise StartupError(f"{one.file}: [authenticator {name}] type = {one.kind} cannot be used: {fault}") from None
        made.append(augment(authenticator, augmenters))
    return made


def _chain(config: SiteConfig, around: Surroundings, metrics: Metrics | None) -> AuthenticatorChain:
    services = AuthServices(around.reactor, around.offload, around.blocking)
    watch = None if metrics is None else metrics.auth
    authentication = config.authentication
    allowed = authentication.lockout_after
    return AuthenticatorChain(
        authenticators_of(config, services, watch),
        authentication.timeout,
        authentication.remember_password,
        around.reactor,
        timeouts={one.name: one.timeout for one in config.authenticators if one.timeout is not None},
        throttle=Throttle(allowed, around.attempts, around.reactor) if allowed else None,
        at_once=authentication.ask == "all_at_once",
        watch=watch,
    )


def _believed(chain: AuthenticatorChain) -> set[bytes]:
    """The header fields by which authenticators know users: no client may send them on to a service."""
    return {name for one in chain.authenticators if IReadsFields.providedBy(one) for name in one.fields}


# -- metrics


def _metrics(config: SiteConfig, around: Surroundings) -> Metrics | None:
    """Where to count; None where nobody would ever ask."""
    if not any(listener.serve == "metrics" for listener in config.listeners):
        return None
    around.metrics.configured(config)
    return around.metrics


def _metrics_routes(config: SiteConfig, around: Surroundings, sink: IAuditSink) -> list[Route]:
    # The library is imported only by who uses it.
    from perimeter.metrics.target import HealthTarget, MetricsTarget

    figures, health, lenient = MetricsTarget(around.metrics, around.offload), HealthTarget(), LenientSink(sink)
    routes = [_builtin("metrics", figures, lenient, config.metrics.path)]
    routes += [_builtin(path[1:], health, lenient, path) for path in HEALTH_PATHS]
    return [attrs.evolve(route, networks=config.metrics.networks) for route in routes]


# -- upstreams


def _pool(settings: UpstreamSettings, around: Surroundings) -> UpstreamPool:
    reactor = around.reactor
    samples: list[WebSite] = []
    contexts: dict[str, ClientTLS] = {}
    for server in settings.servers:
        if server.scheme == "https":
            name = settings.server_name or server.host
            contexts.setdefault(name, ClientTLS(name, settings.ca_certificate))
        elif server.scheme == "sample" and not samples:
            samples.append(sample_site(reactor))

    def dial(server: ServerSettings, factory: Callable[[], UpstreamConnection], timeout: float) -> Deferred[UpstreamConnection]:
        if server.scheme == "sample":
            connection = factory()
            protocol = samples[0].buildProtocol(None)
            connect_in_memory(reactor, connection, protocol)
            return succeed(connection)
        tls = contexts[settings.server_name or server.host] if server.scheme == "https" else None
        return connect(reactor, server.host, server.port, tls, factory, timeout)  # type: ignore[return-value]

    return UpstreamPool(settings, dial, around.deadlines, reactor.seconds)


# -- routes


def _routes(
    config: SiteConfig, around: Surroundings, pools: dict[str, UpstreamPool], audit: AuditLogs, believed: set[bytes]
) -> list[Route]:
    hidden = believed | {
        name.encode("ascii")
        for route in config.routes
        for name in (route.identity_username_header, route.identity_realm_header, route.identity_roles_header)
    }
    rules = HeaderRules(hidden)
    strict_rules = HeaderRules(hidden, drop_method_overrides=True)
    targets: dict[tuple[str, bool], ProxyTarget] = {}
    routes = []
    for settings in config.routes:
        target: ITarget
        if settings.static is not None:
            target = StaticTarget(settings.name, settings.static, settings.index, around.offload)
        else:
            assert settings.upstream is not None
            by_method = any(rule.kind == "method" for rule in (*(settings.allow or ()), *settings.deny))
            key = (settings.upstream, by_method)
            if key not in targets:
                targets[key] = ProxyTarget(pools[settings.upstream], strict_rules if by_method else rules)
            target = targets[key]
        routes.append(_route(settings, target, audit.sink(settings.audit)))
    return routes


def _route(settings: RouteSettings, target: ITarget, sink: IAuditSink) -> Route:
    rewrite = settings.rewrite
    return Route(
        name=settings.name,
        prefix=settings.path.rstrip("/").encode("ascii"),
        target=target,
        audit=sink,
        hosts=settings.hosts,
        rewrite=None if rewrite is None else rewrite.rstrip("/").encode("ascii"),
        authenticate=settings.auth != "none",
        required=settings.auth == "required",
        policy=Policy(settings.allow, settings.deny),
        networks=settings.networks,
        identity=IdentityProfile(
            headers="headers" in settings.identity,
            audience=settings.upstream or "" if "jwt" in settings.identity else "",
            username=settings.identity_username_header.encode("ascii"),
            realm=settings.identity_realm_header.encode("ascii"),
            roles=settings.identity_roles_header.encode("ascii"),
        ),
        allow_encoded_slash=settings.allow_encoded_slash,
        websocket=settings.websocket,
        max_body=settings.max_body,
    )


# -- answers


def _answers(config: SiteConfig, clock: Callable[[], float], challenges: tuple[tuple[str, str], ...]) -> Answers:
    lines = b"".join(b"%b: %b\r\n" % line for line in security_lines())
    html_lines = b"Content-Type: text/html; charset=utf-8\r\nCache-Control: no-store\r\n" + lines

    def built_in_page(status: int, phrase: str) -> Page:
        return Page(html_lines, error_page(status, phrase))

    pages = {status: _page(page, config) for page in config.error_pages for status in page.statuses}
    auth_uri = config.perimeter.announce or _live_endpoints(config.listeners)
    return Answers(config.perimeter.realm, auth_uri, built_in_page, pages, clock, challenges)


def _live_endpoints(listeners: Iterable[ListenerSettings]) -> tuple[str, ...]:
    """Where tokens are to be had: over TLS if that is possible anywhere, since clients pick one of the list at random."""
    serving = [listener for listener in listeners if listener.serve in ("gateway", "tokens")]
    chosen = [listener for listener in serving if listener.tls] or serving
    return tuple(f"{'https' if listener.tls else 'http'}://{_public_name(listener)}:{listener.port}/token" for listener in chosen)


def _public_name(listener: ListenerSettings) -> str:
    interface = listener.interface
    if interface in ("", "0.0.0.0", "::"):  # noqa: S104  # compared with, not bound to
        return socket.gethostname()
    return f"[{interface}]" if ":" in interface else interface


def _page(page: ErrorPage, config: SiteConfig) -> Page:
    """The operator's page at a path of this gateway, read now. Raises `StartupError` where that cannot be."""
    path = page.path
    found: tuple[str, Path] | None = None
    for route in config.routes:
        prefix = route.path.rstrip("/")
        covers = path == prefix or path.startswith(prefix + "/")
        if covers and route.static is not None and (found is None or len(prefix) > len(found[0])):
            found = (prefix, route.static)
    if found is None:
        raise StartupError(f"{config.file}: [errors] page: no static route serves {path}")
    prefix, root = found
    file = root / path[len(prefix) :].lstrip("/")
    try:
        if not file.resolve().is_relative_to(root.resolve()):
            raise StartupError(f"{config.file}: [errors] page: {path} is outside of {root}")
        with file.open("rb") as opened:
            body = opened.read(_MAX_PAGE + 1)
    except OSError as problem:
        raise StartupError(f"{config.file}: [errors] page: {file}: {problem.strerror or problem}") from problem
    if len(body) > _MAX_PAGE:
        raise StartupError(f"{config.file}: [errors] page: {file} is larger than {_MAX_PAGE} octets")
    return Page(b"Content-Type: %b\r\nCache-Control: no-store\r\n" % content_type(file.name).encode("ascii"), body)

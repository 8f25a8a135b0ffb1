"""Puts every part of one configuration together, from what `perimeter.run.build.prepared` has read.

Runs on the reactor thread and does not block. Augmenters are built here, and the authenticators that cannot be built in a thread:
their ``build`` may create what belongs to the reactor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs

from perimeter.audit.logs import AuditLogs
from perimeter.audit.sink import IAuditSink
from perimeter.auth.chain.chain import AuthenticatorChain
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.listener import Serve
from perimeter.gate.gate import Gate
from perimeter.gate.identify import Identifier
from perimeter.gate.identity_lines import IdentityLines
from perimeter.gate.routes import Route, RouteTable
from perimeter.http.answers import Answers
from perimeter.http.exchange import Exchange
from perimeter.http.request_ids import next_line, no_line
from perimeter.model import Principal
from perimeter.proxy.pool import UpstreamPool
from perimeter.proxy.upkeep import UpstreamUpkeep
from perimeter.run.build.answers import gateway_answers
from perimeter.run.build.authentication import authenticator_chain, believed_fields, providers_of
from perimeter.run.build.challenges import ChallengeGate, challenge_gate
from perimeter.run.build.endpoints import EndpointParts
from perimeter.run.build.factors import factor_parts, second_factor_parts
from perimeter.run.build.gates import GateOf, listener_gates
from perimeter.run.build.grants import grants_of, identifier_of
from perimeter.run.build.hand_over import hand_overs_of
from perimeter.run.build.pages import PageParts
from perimeter.run.build.prepared import Prepared, counts
from perimeter.run.build.providers import provider_parts, provider_users
from perimeter.run.build.renewals import renewals_of
from perimeter.run.build.route import RouteParts
from perimeter.run.build.routes import configured_routes
from perimeter.run.build.runtime import Runtime
from perimeter.run.build.shared_work import shared_work
from perimeter.run.build.traces import traced, tracer_of
from perimeter.run.build.upstreams import upstream_pools, upstream_upkeep
from perimeter.sessions.book import SessionBook
from perimeter.sessions.stored import StoredSessions
from perimeter.state.state import State
from perimeter.tokens.book import TokenBook
from perimeter.tokens.followed_keys import FollowedKeys
from perimeter.tokens.keyring import Keyring
from perimeter.tokens.revoking import Revoker
from perimeter.tokens.stored import StoredTokens
from perimeter.traces.tracer import Tracer
from perimeter.web.endpoints.operator.page import Desk


@attrs.frozen(eq=False)
class Assembly:
    """The parts of one configuration. ``gates`` are by the name of their listener. ``book`` is None without API tokens."""

    config: SiteConfig
    gates: dict[str, Gate]
    answers: Answers
    next_id_line: Callable[[], bytes]
    audit: AuditLogs
    default_sink: IAuditSink
    chain: AuthenticatorChain
    keyring: Keyring
    keys: FollowedKeys
    state: State
    tokens: StoredTokens
    revoker: Revoker
    book: TokenBook | None
    sessions: StoredSessions
    identifier: Identifier
    identity: IdentityLines
    pools: tuple[UpstreamPool, ...]
    upkeep: tuple[UpstreamUpkeep, ...]
    tracer: Tracer | None
    challenges: ChallengeGate | None

    def dispatch(self, listener: str) -> Callable[[Exchange], None]:
        """The function that takes the requests of a listener. Requests of Prometheus are not traced."""
        serves_users = any(one.name == listener and one.serve in (Serve.GATEWAY, Serve.TOKENS) for one in self.config.listeners)
        dispatch = traced(self.gates[listener], self.tracer if serves_users else None)
        return dispatch if self.challenges is None else self.challenges.before(listener, dispatch)

    @property
    def gate_of_routes(self) -> Gate | None:
        """The gate of a listener that serves the configured routes, if there is one."""
        return next((self.gates[one.name] for one in self.config.listeners if one.serve is Serve.GATEWAY), None)

    def still_good(self, principal: Principal, since: float) -> bool:
        """Whether the token or session of ``principal``, of a request admitted at ``since``, has not ended."""
        return self.sessions.good(principal) and self.tokens.good_since(principal, since)

    def keys_changed(self) -> None:
        """Forget what was verified or signed with the earlier keys."""
        self.identifier.forget()
        self.identity.clear()


def assemble(prepared: Prepared, runtime: Runtime, desk: Desk | None = None) -> Assembly:
    """Build the parts; ``desk`` is for the operator's page, and without it there is none.

    Does not bind or start anything. Raises `StartupError`, and the exceptions of a plug-in's ``build``.
    """
    config, reactor = prepared.config, runtime.reactor
    metrics = runtime.metrics if counts(config) else None
    providers = providers_of(config, prepared.authenticators)
    users = provider_users(prepared, providers)
    work = shared_work(config, prepared.state.state, prepared.secrets, runtime)
    chain = authenticator_chain(config, prepared.authenticators, runtime, metrics, users, work)
    grants = grants_of(prepared, runtime, work)
    signing_in = provider_parts(prepared, runtime, chain, providers)
    identifier = identifier_of(config, chain, grants, reactor, renewals_of(config, signing_in, grants.sessions, metrics))
    identity = IdentityLines(grants.issuer.issue_assertion, reactor.seconds, config.limits.remembered_tokens)
    challenges = identifier.challenges()
    default_sink = prepared.sinks[None]
    pools = upstream_pools(config, prepared.upstream_tls, runtime)
    directory_realms = prepared.authenticators.services.directory_realms
    passwords = any(scheme in ("basic", "negotiate") for scheme, _ in challenges)
    login = f"{config.login.path}/login".encode("ascii")
    hsts = {one.name: int(one.hsts) for one in config.listeners if one.hsts is not None}
    shared = RouteParts(
        directory_realms,
        passwords,
        login,
        reactor.seconds,
        prepared.maintenance_pages,
        hsts,
        config.second_factor.roles,
        f"{config.login.path}/factor".encode("ascii") if config.second_factor.methods else b"",
    )
    routes = configured_routes(config, runtime, pools, prepared.sinks, believed_fields(chain), shared)
    endpoints = EndpointParts(config, grants.issuer, prepared.keyring, grants.book, lambda: prepared.state.state.stale)
    book = SessionBook(grants.sessions, reactor, config.login, grants.cookie_check)
    pages = PageParts(
        config,
        prepared.look,
        book,
        chain,
        metrics,
        desk,
        directory_realms,
        grants.book,
        routes,
        signing_in,
        factor_parts(prepared, runtime, shared.demand()),
        second_factor_parts(prepared, runtime, chain),
    )
    hand_overs = hand_overs_of(config, prepared.secrets, prepared.state.state, reactor)
    gate = _gate_of(config, identifier, identity)
    return Assembly(
        config=config,
        gates=listener_gates(config, runtime, gate, routes, endpoints, pages, hand_overs, default_sink, shared.demand()),
        answers=gateway_answers(config, prepared.pages, reactor.seconds, challenges),
        next_id_line=next_line if config.perimeter.request_ids else no_line,
        audit=prepared.audit,
        default_sink=default_sink,
        chain=chain,
        keyring=prepared.keyring,
        keys=grants.keys,
        state=prepared.state.state,
        tokens=grants.tokens,
        revoker=grants.revoker,
        book=grants.book,
        sessions=grants.sessions,
        identifier=identifier,
        identity=identity,
        pools=tuple(pools.values()),
        upkeep=tuple(upstream_upkeep(pool, runtime) for pool in pools.values()),
        tracer=tracer_of(config, prepared.collector, runtime),
        challenges=challenge_gate(config, runtime, gate, default_sink),
    )


def _gate_of(config: SiteConfig, identifier: Identifier, identity: IdentityLines) -> GateOf:
    def gate(routes: Iterable[Route]) -> Gate:
        return Gate(
            routes=RouteTable(routes),
            identifier=identifier,
            identity=identity,
            enabled=config.perimeter.enabled,
            maintenance=config.perimeter.maintenance,
            trusted_proxies=config.perimeter.trusted_proxies,
        )

    return gate

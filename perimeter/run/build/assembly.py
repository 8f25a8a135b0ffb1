"""The assembly: every part of one configuration, put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs

from perimeter.audit.log import AuditLogs
from perimeter.audit.sink import IAuditSink
from perimeter.auth.chain.chain import AuthenticatorChain
from perimeter.config.site.config import SiteConfig
from perimeter.gate.gate import Gate
from perimeter.gate.identify import Identifier
from perimeter.gate.identity_lines import IdentityLines
from perimeter.gate.routes import Route, RouteTable
from perimeter.http.answers import Answers
from perimeter.metrics.counts import Metrics
from perimeter.proxy.pool import UpstreamPool
from perimeter.run.build.answers import gateway_answers
from perimeter.run.build.authentication import authenticator_chain, believed_fields
from perimeter.run.build.endpoints import gateway_endpoints
from perimeter.run.build.gates import listener_gates
from perimeter.run.build.routes import configured_routes
from perimeter.run.build.surroundings import Surroundings
from perimeter.run.build.upstreams import upstream_pool
from perimeter.state.book import TokenBook
from perimeter.state.state import State
from perimeter.tokens.api_token import ApiTokenVerifier
from perimeter.tokens.issuer import TokenIssuer
from perimeter.tokens.keyring import Keyring
from perimeter.tokens.verifier import TokenVerifier


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
    chain = authenticator_chain(config, around, metrics)
    state = around.states.open(config.perimeter)
    verifier = TokenVerifier(keyring, config.token, reactor, state.revoked)
    book = TokenBook(state, verifier, reactor, config.token.api_lifetime) if config.token.api_tokens else None
    remembered = config.limits.remembered_tokens
    api_tokens = ApiTokenVerifier(state if book else None, reactor)
    identifier = Identifier(chain, verifier, api_tokens, state, clock, remembered)
    identity = IdentityLines(issuer.issue_assertion, clock, remembered)
    audit = AuditLogs(config.audit, reactor, None if metrics is None else metrics.requests.record)
    default_sink = audit.sink()
    pools = {settings.name: upstream_pool(settings, around) for settings in config.upstreams}
    routes = configured_routes(config, around, pools, audit, believed_fields(chain))
    endpoints = gateway_endpoints(config, identifier, issuer, keyring, book)

    def gate(own: Iterable[Route]) -> Gate:
        return Gate(
            routes=RouteTable(own),
            identifier=identifier,
            identity=identity,
            enabled=config.perimeter.enabled,
            maintenance=config.perimeter.maintenance,
            trusted_proxies=config.perimeter.trusted_proxies,
        )

    return Assembly(
        config=config,
        gates=listener_gates(config, around, gate, routes, endpoints, default_sink),
        answers=gateway_answers(config, clock, chain.challenges()),
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


def _metrics(config: SiteConfig, around: Surroundings) -> Metrics | None:
    """Where to count; None where nobody would ever ask."""
    if not any(listener.serve == "metrics" for listener in config.listeners):
        return None
    around.metrics.configured(config)
    return around.metrics

"""What the gateway's own resources (`perimeter.web.endpoints.tree`) work with: who asks, tokens, keys, and what there is to be
told."""

from __future__ import annotations

from collections.abc import Iterable

from perimeter.config.site.augmenter import AugmenterSettings
from perimeter.config.site.authenticator import AuthenticatorSettings
from perimeter.config.site.config import SiteConfig
from perimeter.errors import InsufficientScope, MissingCredentials
from perimeter.gate.decision import Decision
from perimeter.gate.identify import Identifier
from perimeter.gate.policy import within_networks
from perimeter.http.exchange import Exchange
from perimeter.model import Principal
from perimeter.state.book import TokenBook
from perimeter.tokens.issuer import TokenIssuer
from perimeter.tokens.keyring import Keyring
from perimeter.web.endpoints.about import Source
from perimeter.web.endpoints.tree import Endpoints


def gateway_endpoints(
    config: SiteConfig, identifier: Identifier, issuer: TokenIssuer, keyring: Keyring, book: TokenBook | None
) -> Endpoints:
    """The parts of ``config`` that the resources need; without ``book`` there are no API tokens."""

    async def authenticate(exchange: Exchange) -> Principal:
        decision = exchange.decision
        assert isinstance(decision, Decision)
        decision.principal = await identifier.authenticate(exchange.head.headers, decision.address, exchange.connection)
        return decision.principal

    async def identify(exchange: Exchange) -> Principal:
        decision = exchange.decision
        assert isinstance(decision, Decision)
        found = identifier.identify(exchange.head.headers, decision.address, exchange.connection)
        principal = found if found is None or isinstance(found, Principal) else await found
        if principal is None:
            raise MissingCredentials
        decision.principal = principal
        restriction = None if principal.grant is None else principal.grant.restriction
        if restriction is not None and not within_networks(restriction, decision.address):
            raise InsufficientScope("the API token is for other networks")
        return principal

    return Endpoints(
        authenticate=authenticate,
        identify=identify,
        issuer=issuer,
        jwks=keyring.jwks,
        lifetime=config.token.lifetime,
        extended_lifetime=config.token.extended_lifetime,
        book=book,
        routes=frozenset(route.name for route in config.routes),
        providers=_sources(config.authenticators),
        augmenters=_sources(config.augmenters),
    )


def _sources(settings: Iterable[AuthenticatorSettings | AugmenterSettings]) -> tuple[Source, ...]:
    return tuple(Source(one.name, one.kind, one.realm) for one in settings)

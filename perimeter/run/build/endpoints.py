"""The built-in endpoints of a listener, and the route to each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import attrs

from perimeter.audit.sink import IAuditSink
from perimeter.config.site.augmenter import AugmenterSettings
from perimeter.config.site.authenticator import AuthenticatorSettings
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.provider import ProviderSettings
from perimeter.config.site.route_matching import prefix_of
from perimeter.gate.access import ANY_USER, ANYBODY, FIRST_HAND
from perimeter.gate.factors import FactorDemand
from perimeter.gate.routes import Route
from perimeter.gate.target import ITarget
from perimeter.web.endpoints.access_token import AccessToken
from perimeter.web.endpoints.api_tokens import ApiTokens
from perimeter.web.endpoints.endpoint import Endpoint, Nothing
from perimeter.web.endpoints.health import Health
from perimeter.web.endpoints.key_set import KeySet
from perimeter.web.endpoints.own_token import OwnToken
from perimeter.web.endpoints.revoke import Revoke
from perimeter.web.endpoints.sources import Source, Sources
from perimeter.web.endpoints.who_am_i import WhoAmI

if TYPE_CHECKING:  # perimeter explain asks for the routes alone
    from perimeter.tokens.book import TokenBook
    from perimeter.tokens.issuer import TokenIssuer
    from perimeter.tokens.keyring import Keyring

_NO_API_TOKENS = "there are no API tokens: [token] api_tokens = no"


@attrs.frozen
class EndpointParts:
    """What the endpoints are made of. Without ``book`` there are no API tokens. ``stale``: see `State.stale`."""

    config: SiteConfig
    issuer: TokenIssuer
    keyring: Keyring
    book: TokenBook | None
    stale: Callable[[], bool] = lambda: False

    def gateway(self) -> list[Endpoint]:
        """The endpoints of a ``gateway`` listener. A route with the very same path takes a request away from them."""
        return self._endpoints(standalone=False)

    def standalone(self) -> list[Endpoint]:
        """The endpoints of a ``tokens`` listener, the authentication server.

        ``/`` answers like ``/token``, ``/providers`` and ``/augmenters`` are open, and an unknown path answers 401 without good
        credentials, so that strangers do not learn which paths there are.
        """
        return [*self._endpoints(standalone=True), Nothing("/", "tokens", beneath=True, otherwise=FIRST_HAND)]

    def _endpoints(self, *, standalone: bool) -> list[Endpoint]:
        unknown = FIRST_HAND if standalone else ANYBODY
        config, token, book = self.config, self.config.token, self.book
        access_token = partial(AccessToken, issuer=self.issuer, lifetime=token.lifetime, book=book)
        sources_access = ANYBODY if standalone else ANY_USER
        return [
            access_token("/token"),
            *([access_token("/")] if standalone else []),
            AccessToken("/extendedtoken", self.issuer, token.extended_lifetime),
            *(self._api_tokens(book) if book is not None else _no_api_tokens()),
            OwnToken(book, unknown)
            if book is not None
            else Nothing("/token", beneath=True, otherwise=unknown, why=_NO_API_TOKENS),
            KeySet(self.keyring.jwks),
            Health("/status", self.stale),
            Health("/health", self.stale),
            WhoAmI(),
            Sources("/providers", _sources(config.user_sources), sources_access),
            Sources("/augmenters", _sources(config.augmenters), sources_access),
        ]

    def _api_tokens(self, book: TokenBook) -> list[Endpoint]:
        return [ApiTokens(book, frozenset(route.name for route in self.config.routes)), Revoke(book)]


def _no_api_tokens() -> list[Endpoint]:
    """Without API tokens these paths stay the gateway's: what clients send there never reaches a service."""
    return [Nothing("/tokens", why=_NO_API_TOKENS), Nothing("/revoke", why=_NO_API_TOKENS)]


def endpoint_routes(
    endpoints: Iterable[Endpoint],
    sink: IAuditSink,
    target_of: Callable[[Endpoint], ITarget],
    hosts: tuple[str, ...] = (),
    demand: FactorDemand | None = None,
) -> list[Route]:
    """The routes to ``endpoints``, on ``hosts``. Without these, routes of a host hide them. ``target_of`` makes their targets.

    ``demand`` says whose second factor they need; open endpoints know no user, so they need none.
    """
    return [
        Route(
            name=endpoint.name,
            prefix=prefix_of(endpoint.path).encode("ascii"),
            target=target_of(endpoint),
            audit=sink,
            hosts=hosts,
            access=endpoint.otherwise,
            by_method=endpoint.access,
            policy=attrs.evolve(endpoint.policy, factors=demand) if endpoint.demands_factors else endpoint.policy,
            builtin=True,
            exact=not endpoint.beneath,
            lasting=endpoint.lasting,
        )
        for endpoint in endpoints
    ]


def _sources(settings: Sequence[AuthenticatorSettings | AugmenterSettings | ProviderSettings]) -> tuple[Source, ...]:
    return tuple(Source(one.name, one.kind, one.realm) for one in settings)

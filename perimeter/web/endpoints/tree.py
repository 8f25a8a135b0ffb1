"""The gateway's own resources, and where they stand. What each of them needs comes in `Endpoints`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import attrs
from twisted.web.resource import IResource, Resource

from perimeter.model import Principal
from perimeter.web.endpoints.about import Source, Sources, Up, WhoAmI
from perimeter.web.endpoints.api_tokens import OwnToken, Revoke, Tokens
from perimeter.web.endpoints.nodes import Node, Unknown, WhoAsks
from perimeter.web.endpoints.tokens import KeySet, Token

if TYPE_CHECKING:
    from perimeter.state.book import TokenBook


class IssuedToken(Protocol):
    """An access token and the whole seconds that it has left."""

    @property
    def access_token(self) -> str:  # noqa: D102
        ...

    @property
    def expires_in(self) -> int:  # noqa: D102
        ...


class TokenIssuer(Protocol):
    """Signs access tokens (`perimeter.tokens.issuer.TokenIssuer`)."""

    def issue(self, principal: Principal, lifetime: float) -> IssuedToken:
        """A token for ``principal`` that is valid for ``lifetime`` seconds."""


@attrs.frozen
class Endpoints:
    """What the resources work with. Lifetimes are in seconds.

    ``authenticate`` takes first-hand credentials only, ``identify`` the gateway's own tokens too. Without ``book`` there are no
    API tokens. ``routes`` are the names that a token can be restricted to.
    """

    authenticate: WhoAsks
    identify: WhoAsks
    issuer: TokenIssuer
    jwks: Callable[[], Mapping[str, Any]]
    lifetime: float
    extended_lifetime: float
    book: TokenBook | None = None
    routes: frozenset[str] = frozenset()
    providers: Sequence[Source] = ()
    augmenters: Sequence[Source] = ()


#: What the gateway itself answers on a gateway listener, unless a route has the very same path.
PATHS = (
    *("/extendedtoken", "/tokens", "/revoke", "/.well-known/jwks.json"),
    *("/status", "/health", "/whoami", "/providers", "/augmenters"),
)
#: And these with everything beneath them.
PREFIXES = ("/token",)


def token_resources(endpoints: Endpoints, *, standalone: bool) -> IResource:
    """The tree of resources.

    ``standalone`` is for a ``tokens`` listener, the authentication server: ``/`` answers like ``/token``, anybody may see who the
    users are vouched for by, and an unknown path tells those without good credentials 401 rather than what there is.
    """
    unknown = Unknown(endpoints.authenticate if standalone else None)
    root = Node(unknown)

    def put(name: str, resource: Resource) -> None:
        root.putChild(name.encode("ascii"), resource)

    token = _OwnTokens(unknown, endpoints, endpoints.lifetime, opaque=True)
    put("token", token)
    put("extendedtoken", Token(unknown, endpoints, endpoints.extended_lifetime))
    if standalone:
        put("", token)
    if endpoints.book is not None:
        put("tokens", Tokens(unknown, endpoints, endpoints.book))
        put("revoke", Revoke(endpoints.book))
    put("status", Up(unknown))
    put("health", Up(unknown))
    put("whoami", WhoAmI(unknown, endpoints.identify))
    who = None if standalone else endpoints.identify
    put("providers", Sources(unknown, "providers", endpoints.providers, who))
    put("augmenters", Sources(unknown, "augmenters", endpoints.augmenters, who))
    well_known = Node(unknown)
    well_known.putChild(b"jwks.json", KeySet(unknown, endpoints))
    put(".well-known", well_known)
    return root


class _OwnTokens(Token):
    """``/token``, and beneath it the tokens of whoever asks."""

    def getChild(self, path: bytes, request: Any) -> Resource:
        """One of them, to be ended."""
        book = self._endpoints.book
        if book is None or request.postpath or request.method != b"DELETE":
            return self._unknown
        return OwnToken(self._unknown, self._endpoints, book, path)

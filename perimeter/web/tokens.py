"""The authentication server's resources: ``/token``, ``/extendedtoken``, ``/status`` and ``/.well-known/jwks.json``.

Who is asking is found out by what is passed in (`Endpoints.authenticate`: the chain of authenticators, never one of our own
access tokens, so that no token can renew itself); signing and keys belong to `perimeter.tokens`; the shape of an error answer to
`perimeter.http.answers`, which is told here that a 401 asks for Basic.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import attrs
from twisted.web.resource import IResource, Resource

from perimeter.errors import NoRoute
from perimeter.model import Principal
from perimeter.web.request import exchange_of, respond

if TYPE_CHECKING:
    from perimeter.http.exchange import Exchange

#: seconds for which a verifier may keep the key set; a new key is published longer than that before it signs
_JWKS_MAX_AGE = 300


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

    ``authenticate`` raises a `perimeter.errors.Refusal` where an exchange's credentials are missing, wrong or cannot be checked.
    """

    authenticate: Callable[[Exchange], Awaitable[Principal]]
    issuer: TokenIssuer
    jwks: Callable[[], Mapping[str, Any]]
    lifetime: float
    extended_lifetime: float


def token_resources(endpoints: Endpoints, *, standalone: bool) -> IResource:
    """The tree of resources.

    ``standalone`` is for a ``tokens`` listener: ``/`` answers like ``/token``, and an unknown path tells those without good
    credentials 401 rather than what there is.
    """
    unknown = _Unknown(endpoints if standalone else None)
    root = _Node(unknown)
    token = _Token(unknown, endpoints, endpoints.lifetime)
    root.putChild(b"token", token)
    root.putChild(b"extendedtoken", _Token(unknown, endpoints, endpoints.extended_lifetime))
    root.putChild(b"status", _Status(unknown))
    if standalone:
        root.putChild(b"", token)
    well_known = _Node(unknown)
    well_known.putChild(b"jwks.json", _KeySet(unknown, endpoints))
    root.putChild(b".well-known", well_known)
    return root


def _compact(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def _never_store(request: Any) -> None:
    request.setHeader(b"Cache-Control", b"no-store")
    request.setHeader(b"Pragma", b"no-cache")


async def _authenticated(endpoints: Endpoints, request: Any) -> Principal:
    exchange = exchange_of(request)
    exchange.challenges = "basic"
    return await endpoints.authenticate(exchange)


class _Node(Resource):
    """A segment of a path: what is not below it is the unknown, to whatever depth."""

    def __init__(self, unknown: _Unknown) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._unknown = unknown

    def getChild(self, path: bytes, request: Any) -> Resource:
        """What `putChild` was not told of."""
        return self._unknown

    def render(self, request: Any) -> Any:
        """A segment alone is nothing (it has no ``render_GET``)."""
        if hasattr(self, "render_GET"):
            return super().render(request)  # type: ignore[no-untyped-call]
        return self._unknown.render(request)


class _Unknown(Resource):
    """Any path that leads nowhere: 404, on a ``tokens`` listener only for those with good credentials."""

    isLeaf = True

    def __init__(self, endpoints: Endpoints | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._endpoints = endpoints

    def render(self, request: Any) -> int:
        """Any method."""
        endpoints = self._endpoints
        if endpoints is None:
            raise NoRoute
        return respond(request, self._refuse(endpoints, request))

    async def _refuse(self, endpoints: Endpoints, request: Any) -> bytes:
        await _authenticated(endpoints, request)
        raise NoRoute


class _Token(_Node):
    """Issues an access token to whoever shows good credentials."""

    def __init__(self, unknown: _Unknown, endpoints: Endpoints, lifetime: float) -> None:
        super().__init__(unknown)
        self._endpoints = endpoints
        self._lifetime = lifetime

    def render_GET(self, request: Any) -> int:
        """The token, as the fields of RFC 6749, section 5.1."""
        return respond(request, self._issue(request))

    async def _issue(self, request: Any) -> bytes:
        principal = await _authenticated(self._endpoints, request)
        token = self._endpoints.issuer.issue(principal, self._lifetime)
        request.setHeader(b"Content-Type", b"application/json;charset=UTF-8")
        _never_store(request)
        return _compact({"access_token": token.access_token, "token_type": "Bearer", "expires_in": token.expires_in})


class _Status(_Node):
    """Says that the server is up, to anybody."""

    def render_GET(self, request: Any) -> bytes:
        """``OK``, for load balancers."""
        request.setHeader(b"Content-Type", b"text/plain")
        _never_store(request)
        return b"OK"


class _KeySet(_Node):
    """The public keys with which anybody can verify the tokens (RFC 7517, section 5)."""

    def __init__(self, unknown: _Unknown, endpoints: Endpoints) -> None:
        super().__init__(unknown)
        self._endpoints = endpoints

    def render_GET(self, request: Any) -> bytes:
        """The key set; verifiers may keep it for a while."""
        request.setHeader(b"Content-Type", b"application/json")
        request.setHeader(b"Cache-Control", b"public, max-age=%d" % _JWKS_MAX_AGE)
        return _compact(self._endpoints.jwks())

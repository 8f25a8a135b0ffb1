"""API tokens over HTTP: ``/tokens`` makes and lists, ``DELETE /token/…`` ends one, ``/revoke`` ends any that its holder has.

Whoever makes a token shows first-hand credentials, as for an access token. To see and to end his own a user may come with a token
too, but not with one that is restricted to something else.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from ipaddress import ip_network
from math import isinf
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from twisted.web.resource import Resource

from perimeter.auth.text import unfit_for_name
from perimeter.errors import InsufficientScope, InvalidCredentialsRequest, MethodNotAllowed
from perimeter.gate.decision import Decision
from perimeter.http.answers import Challenges
from perimeter.model import Principal, Restriction
from perimeter.tokens.api_token import ApiToken
from perimeter.web.endpoints.nodes import Node, Unknown, asker, json_answer, never_store
from perimeter.web.form import form
from perimeter.web.request import exchange_of, respond

if TYPE_CHECKING:
    from perimeter.state.book import TokenBook
    from perimeter.web.endpoints.tree import Endpoints

_LONGEST_NAME = 100
_MOST_TERMS = 100
_METHOD = re.compile(r"[A-Z]{1,20}(?:-[A-Z]{1,20}){0,3}")
_MEMBERS = {"name", "expires_in", "routes", "methods", "networks"}


def _time(seconds: float) -> str | None:
    """RFC 3339, rounded down; None for "never"."""
    return None if isinf(seconds) else datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")


def described(token: ApiToken) -> dict[str, Any]:
    """What may be told of a token."""
    restriction = token.restriction or Restriction()
    return {
        "version": 1,
        "id": token.id,
        "name": token.name,
        "created": _time(token.created),
        "expires": _time(token.expires),
        "routes": sorted(restriction.routes),
        "methods": sorted(restriction.methods),
        "networks": [str(network) for network in restriction.networks],
    }


class Tokens(Node):
    """``/tokens``."""

    def __init__(self, unknown: Unknown, endpoints: Endpoints, book: TokenBook) -> None:
        super().__init__(unknown)
        self._endpoints = endpoints
        self._book = book

    def render_GET(self, request: Any) -> int:
        """The tokens of whoever asks, without the tokens themselves."""
        return respond(request, self._list(request))

    async def _list(self, request: Any) -> bytes:
        owner = _unrestricted(await asker(self._endpoints.identify, request, Challenges.BOTH))
        return json_answer(request, {"tokens": [described(token) for token in self._book.owned(owner)]})

    def render_POST(self, request: Any) -> int:
        """A new one."""
        return respond(request, self._make(request))

    async def _make(self, request: Any) -> bytes:
        owner = await asker(self._endpoints.authenticate, request)
        try:
            name, lifetime, restriction = self._wanted(request)
            text, kept = await self._book.make(owner, name, lifetime, restriction)
        except ValueError as error:
            fields = {"error": "invalid_request", "error_description": str(error)}
            exchange_of(request).reason = InvalidCredentialsRequest.reason
            return json_answer(request, fields, 400)
        return json_answer(request, {"token": text, **described(kept)}, 201)

    def _wanted(self, request: Any) -> tuple[str, float | None, Restriction | None]:
        """What the body asks for. Raises ValueError with what is wrong: never what the client wrote, and never let go.

        A form of another site cannot send this media type without asking first (attack 27).
        """
        if (request.getHeader("content-type") or "").partition(";")[0].strip().lower() != "application/json":
            raise ValueError("Content-Type: application/json is needed")
        try:
            body = json.loads(request.content.read(), object_pairs_hook=_unique)
        except (ValueError, RecursionError):
            raise ValueError("the body is not JSON, or names a member twice") from None
        if not isinstance(body, dict) or not body.keys() <= _MEMBERS:
            # What is misspelt here would be a restriction that the token does not have (attack 41).
            raise ValueError(f"an object with these members is needed: {', '.join(sorted(_MEMBERS))}")
        name = body.get("name")
        if not isinstance(name, str) or not 0 < len(name.strip()) <= _LONGEST_NAME or unfit_for_name(name):
            raise ValueError(f"name: up to {_LONGEST_NAME} characters are needed, no control characters")
        lifetime = body.get("expires_in")
        if lifetime is not None and (isinstance(lifetime, bool) or not isinstance(lifetime, int) or not 0 <= lifetime < 2**32):
            raise ValueError("expires_in: a number of seconds is needed, or 0 for a token that does not expire")
        restriction = Restriction(
            frozenset(_terms(body, "routes")),
            frozenset(term.upper() for term in _terms(body, "methods")),
            tuple(_network(term) for term in _terms(body, "networks")),
        )
        if not restriction.routes <= self._endpoints.routes:
            raise ValueError("routes: there is no route of this name")
        if not all(map(_METHOD.fullmatch, restriction.methods)):
            raise ValueError("methods: names of HTTP methods are needed")
        return name.strip(), lifetime, None if restriction == Restriction() else restriction


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError  # of two restrictions one would not count
    return members


def _terms(body: dict[str, Any], member: str) -> list[str]:
    """A list that restricts. An empty one would restrict to nothing, or to all: it is refused."""
    if member not in body:
        return []
    terms = body[member]
    if not isinstance(terms, list) or not 0 < len(terms) <= _MOST_TERMS or not all(isinstance(term, str) for term in terms):
        raise ValueError(f"{member}: a list of 1 to {_MOST_TERMS} strings is needed; leave it out for any")
    return terms


def _network(term: str) -> Any:
    try:
        if "%" in term:  # whatever follows would be an interface of this machine, and is any text at all
            raise ValueError
        return ip_network(term)
    except ValueError:
        raise ValueError("networks: addresses or networks such as 192.0.2.0/24 are needed") from None


def _unrestricted(principal: Principal) -> Principal:
    if principal.grant is not None and principal.grant.restriction is not None:
        raise InsufficientScope("a restricted API token")
    return principal


class OwnToken(Node):
    """What is beneath ``/token``: ``DELETE /token/{id}``."""

    def __init__(self, unknown: Unknown, endpoints: Endpoints, book: TokenBook, which: bytes) -> None:
        super().__init__(unknown)
        self._endpoints = endpoints
        self._book = book
        self._which = unquote_to_bytes(which).decode("utf-8", "replace")

    def render_DELETE(self, request: Any) -> int:
        """End it."""
        return respond(request, self._end(request))

    async def _end(self, request: Any) -> bytes:
        owner = await asker(self._endpoints.identify, request, Challenges.BOTH)
        if owner.grant is None or not self._book.names(self._which, owner.grant):  # a token may end itself, whatever it is for
            _unrestricted(owner)
        await self._book.remove(owner, self._which)
        request.setResponseCode(204)
        never_store(request)
        return b""


class Revoke(Resource):
    """``/revoke`` (RFC 7009): a token ends itself, whoever holds it."""

    isLeaf = True

    def __init__(self, book: TokenBook) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._book = book

    def render(self, request: Any) -> int:
        """POST alone: HEAD would be taken for a GET that there is not."""
        if request.method != b"POST":
            raise MethodNotAllowed(allow=("POST",))
        return self.render_POST(request)

    def render_POST(self, request: Any) -> int:
        """200, whether there was such a token or not (section 2.2)."""
        return respond(request, self._revoke(request))

    async def _revoke(self, request: Any) -> bytes:
        # Of the body alone: what stands in a URL is in every log on the way, and revoking it would not make it a secret again.
        tokens = form(request).get(b"token", [])
        if len(tokens) != 1:
            fields = {"error": "invalid_request", "error_description": "one token is needed, as a form"}
            exchange_of(request).reason = InvalidCredentialsRequest.reason
            return json_answer(request, fields, 400)
        owner = await self._book.revoke(tokens[0].decode("iso-8859-1"))
        decision = exchange_of(request).decision
        if isinstance(decision, Decision):
            decision.principal = owner
        return json_answer(request, {})

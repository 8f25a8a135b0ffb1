"""``/tokens``: a user's API tokens, made and listed.

To create a token, users send credentials other than a token, as for an access token.
To list their tokens, users may also send a token, but
not one that is restricted.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from ipaddress import ip_network
from math import isinf
from typing import Any

from perimeter.auth.text import unfit_for_name
from perimeter.gate.access import FIRST_HAND, UNRESTRICTED
from perimeter.model import Restriction
from perimeter.strict_json import decode
from perimeter.tokens.api_token import ApiToken
from perimeter.tokens.book import TokenBook
from perimeter.web.endpoints.endpoint import Endpoint, invalid_request, json_answer, reading, user_of
from perimeter.web.request import respond

_LONGEST_NAME = 100
_MOST_TERMS = 100
_METHOD = re.compile(r"[A-Z]{1,20}(?:-[A-Z]{1,20}){0,3}")
_MEMBERS = {"name", "expires_in", "routes", "methods", "networks"}


def utc_time(seconds: float) -> str | None:
    """RFC 3339, rounded down; None for "never"."""
    return None if isinf(seconds) else datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")


def described(token: ApiToken) -> dict[str, Any]:
    """The members of a token that may be shown."""
    restriction = token.restriction or Restriction()
    return {
        "version": 1,
        "id": token.id,
        "name": token.name,
        "created": utc_time(token.created),
        "expires": utc_time(token.expires),
        "routes": sorted(restriction.routes),
        "methods": sorted(restriction.methods),
        "networks": [str(network) for network in restriction.networks],
    }


class ApiTokens(Endpoint):
    """Makes and lists API tokens. ``routes`` are the names that a token can be restricted to."""

    def __init__(self, book: TokenBook, routes: frozenset[str]) -> None:
        super().__init__("/tokens", {**reading(UNRESTRICTED), b"POST": FIRST_HAND})
        self._book = book
        self._routes = routes

    def render_GET(self, request: Any) -> bytes:
        """The user's tokens, without the tokens themselves."""
        return json_answer(request, {"tokens": [described(token) for token in self._book.owned(user_of(request))]})

    def render_POST(self, request: Any) -> int:
        """A new one."""
        return respond(request, self._make(request))

    async def _make(self, request: Any) -> bytes:
        try:
            name, lifetime, restriction = self._wanted(request)
            text, kept = await self._book.make(user_of(request), name, lifetime, restriction)
        except ValueError as error:
            return invalid_request(request, str(error))
        return json_answer(request, {"token": text, **described(kept)}, 201)

    def _wanted(self, request: Any) -> tuple[str, float | None, Restriction | None]:
        """What the body asks for. Raises ValueError with what is wrong: never what the client wrote, and never let go.

        A form of another site cannot send this media type without asking first (attack 27).
        """
        if (request.getHeader("content-type") or "").partition(";")[0].strip().lower() != "application/json":
            raise ValueError("Content-Type: application/json is needed")
        try:
            body = decode(request.content.read())
        except ValueError:
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
        if not restriction.routes <= self._routes:
            raise ValueError("routes: there is no route of this name")
        if not all(map(_METHOD.fullmatch, restriction.methods)):
            raise ValueError("methods: names of HTTP methods are needed")
        return name.strip(), lifetime, None if restriction == Restriction() else restriction


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

"""What the gateway's own resources are made of: segments of a path, what is beneath none of them, and JSON answers."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from twisted.web.resource import Resource

from perimeter.errors import NoRoute
from perimeter.http.answers import Challenges
from perimeter.model import Principal
from perimeter.web.request import exchange_of, respond

if TYPE_CHECKING:
    from perimeter.http.exchange import Exchange

WhoAsks = Callable[["Exchange"], Awaitable[Principal]]
"""Finds out who is asking. Raises a `perimeter.errors.Refusal` where credentials are missing, wrong or cannot be checked."""


def compact(value: Mapping[str, Any]) -> bytes:
    """A JSON object without a blank in it."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def json_answer(request: Any, value: Mapping[str, Any], status: int = 200) -> bytes:
    """``value`` as the body of a response that nobody keeps."""
    request.setResponseCode(status)
    request.setHeader(b"Content-Type", b"application/json")
    never_store(request)
    return compact(value)


def never_store(request: Any) -> None:
    """Let no cache keep the response, HTTP/1.0's neither."""
    request.setHeader(b"Cache-Control", b"no-store")
    request.setHeader(b"Pragma", b"no-cache")


async def asker(who: WhoAsks, request: Any, challenges: Challenges = Challenges.BASIC) -> Principal:
    """Who sent ``request``; a 401 carries ``challenges`` (`perimeter.http.exchange.Exchange.challenges`)."""
    exchange = exchange_of(request)
    exchange.challenges = challenges
    return await who(exchange)


class Node(Resource):
    """A segment of a path: what is not below it is the unknown, to whatever depth."""

    def __init__(self, unknown: Unknown) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._unknown = unknown

    def getChild(self, path: bytes, request: Any) -> Resource:
        """What `putChild` was not told of."""
        return self._unknown

    def render(self, request: Any) -> Any:
        """A segment alone is nothing (it has no ``render_GET`` or the like)."""
        if any(hasattr(self, name) for name in ("render_GET", "render_POST", "render_DELETE")):
            return super().render(request)  # type: ignore[no-untyped-call]
        return self._unknown.render(request)


class Unknown(Resource):
    """Any path that leads nowhere: 404, with ``who`` only for those with good credentials."""

    isLeaf = True

    def __init__(self, who: WhoAsks | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._who = who

    def render(self, request: Any) -> int:
        """Any method."""
        if self._who is None:
            raise NoRoute
        return respond(request, self._refuse(self._who, request))

    async def _refuse(self, who: WhoAsks, request: Any) -> bytes:
        await asker(who, request)
        raise NoRoute

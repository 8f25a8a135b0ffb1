"""Reads an API token or a key that another process may have just written, once before a client is refused."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from perimeter.errors import InvalidToken, UnknownKey, UnknownToken
from perimeter.tokens.look_ups import LookUps

News = Callable[[InvalidToken, str], "Deferred[None] | None"]
"""Reads the missing token or key of a refusal. None if no read is needed, so the refusal stands.

The second argument is the address of the client, "" for the operator. Raises `perimeter.errors.Overloaded` if the client has made
the gateway look for too many tokens.
"""


def no_news(error: InvalidToken, address: str) -> None:
    """For a gateway without other processes."""


def news_of(state: Callable[[], Deferred[None] | None], keys: Callable[[], Deferred[None] | None], look_ups: LookUps) -> News:
    """Reads API tokens with ``state``, as ``look_ups`` admits it, and keys with ``keys``."""

    def news(error: InvalidToken, address: str) -> Deferred[None] | None:
        if isinstance(error, UnknownToken):
            look_ups.admit(error, address)
            return state()
        return keys() if isinstance(error, UnknownKey) else None

    return news

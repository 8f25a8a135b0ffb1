"""Reads an API token or a key that another process may have just written, once before a client is refused."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from perimeter.errors import InvalidToken, UnknownKey, UnknownToken

News = Callable[[InvalidToken], "Deferred[None] | None"]
"""Reads the missing token or key of a refusal. None if no read is needed, so the refusal stands."""


def no_news(error: InvalidToken) -> None:
    """For a gateway without other processes."""


def news_of(state: Callable[[], Deferred[None] | None], keys: Callable[[], Deferred[None] | None]) -> News:
    """Reads API tokens with ``state``, and keys with ``keys``."""

    def news(error: InvalidToken) -> Deferred[None] | None:
        if isinstance(error, UnknownToken):
            return state()
        return keys() if isinstance(error, UnknownKey) else None

    return news

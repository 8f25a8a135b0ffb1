"""What another process may have written a moment ago: an API token, or a key. One look, then a client is refused."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from perimeter.errors import InvalidToken, UnknownKey, UnknownToken

News = Callable[[InvalidToken], "Deferred[None] | None"]
"""Looks for what is missing according to a refusal. None if there is nothing to look for, and the refusal stands."""


def no_news(error: InvalidToken) -> None:
    """There is no other process."""


def news_of(state: Callable[[], Deferred[None] | None], keys: Callable[[], Deferred[None] | None]) -> News:
    """Looks for API tokens with ``state``, and for keys with ``keys``."""

    def news(error: InvalidToken) -> Deferred[None] | None:
        if isinstance(error, UnknownToken):
            return state()
        return keys() if isinstance(error, UnknownKey) else None

    return news

"""Looks up an API token or a key that is not in memory, once before a client is refused: another process may have written it."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from perimeter.errors import InvalidToken, UnknownKey, UnknownToken
from perimeter.state.writer import LookupKey

News = Callable[[InvalidToken], "Deferred[None] | None"]
"""Reads the missing token or key of a refusal. None if no read is needed, so the refusal stands."""


def no_news(error: InvalidToken) -> None:
    """For a gateway without other processes."""


def news_of(learn: Callable[[LookupKey], Deferred[None] | None], keys: Callable[[], Deferred[None] | None]) -> News:
    """Looks API tokens up with ``learn`` (`perimeter.state.partial.PartialView.learn`), and reads keys with ``keys``."""

    def news(error: InvalidToken) -> Deferred[None] | None:
        if isinstance(error, UnknownToken):
            return learn(("digest", error.digest.hex())) if error.digest else None
        return keys() if isinstance(error, UnknownKey) else None

    return news

"""Looks up an API token or a key that is not in memory, once before a client is refused: another process may have written it."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from perimeter.errors import InvalidToken, UncheckedToken, UnknownKey, UnknownToken
from perimeter.state.writer import LookupKey
from perimeter.tokens.look_ups import LookUps

News = Callable[[InvalidToken, str], "Deferred[None] | None"]
"""Reads the missing token or key of a refusal. None if no read is needed, so the refusal stands.

The second argument is the address of the client, "" for the operator. Raises `perimeter.errors.Overloaded` if the client has made
the gateway look for too many tokens.
"""


def no_news(error: InvalidToken, address: str) -> None:
    """For a gateway without other processes."""


Learn = Callable[[LookupKey], "Deferred[None] | None"]
"""`perimeter.state.partial.PartialView.learn` of the API tokens."""


def news_of_tokens(learn: Learn) -> News:
    """Looks API tokens up, and no keys: for the operator, who has no limit."""

    def news(error: InvalidToken, address: str) -> Deferred[None] | None:
        return learn(("digest", error.digest.hex())) if isinstance(error, UnknownToken) else None

    return news


def news_of(learn: Learn, keys: Callable[[], Deferred[None] | None], look_ups: LookUps) -> News:
    """Looks API tokens up with ``learn``, those without a check as ``look_ups`` admits it, and reads keys with ``keys``."""
    tokens = news_of_tokens(learn)

    def news(error: InvalidToken, address: str) -> Deferred[None] | None:
        if isinstance(error, UnknownToken):
            if isinstance(error, UncheckedToken):
                look_ups.admit(address)
            return tokens(error, address)
        return keys() if isinstance(error, UnknownKey) else None

    return news

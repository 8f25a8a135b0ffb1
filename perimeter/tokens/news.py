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


def news_of(
    learn: Callable[[LookupKey], Deferred[None] | None],
    keys: Callable[[], Deferred[None] | None],
    look_ups: LookUps | None = None,
) -> News:
    """Looks API tokens up with ``learn`` (`perimeter.state.partial.PartialView.learn`), and reads keys with ``keys``.

    Tokens without a check are looked up as ``look_ups`` admits it; None: always.
    """

    def news(error: InvalidToken, address: str) -> Deferred[None] | None:
        if isinstance(error, UnknownToken):
            if look_ups is not None and isinstance(error, UncheckedToken):
                look_ups.admit(address)
            return learn(("digest", error.digest.hex()))
        return keys() if isinstance(error, UnknownKey) else None

    return news

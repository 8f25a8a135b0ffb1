"""A Redis that answers scripts as a test says; what they do on a real one is in the integration tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed

from perimeter.redis.script import Script


class ScriptedRedis:
    """`perimeter.cluster.scripts.RunsScripts`: gives ``replies`` in their order; then each call waits in ``waiting``."""

    def __init__(self, *replies: Any) -> None:
        self.replies = list(replies)
        self.ran: list[tuple[Script, tuple[str, ...], tuple[Any, ...]]] = []
        self.waiting: list[Deferred[Any]] = []

    def run(self, script: Script, keys: Sequence[str], arguments: Sequence[bytes | str | int]) -> Deferred[Any]:
        """The next reply; an exception fails."""
        self.ran.append((script, tuple(keys), tuple(arguments)))
        if not self.replies:
            self.waiting.append(Deferred())
            return self.waiting[-1]
        reply = self.replies.pop(0)
        return fail(reply) if isinstance(reply, Exception) else succeed(reply)

"""The part of a Redis client that carries out scripts: for leases, counts and the signing keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from perimeter.redis.script import Script


class RunsScripts(Protocol):
    """The part of `perimeter.redis.client.RedisClient` that carries out scripts."""

    def run(self, script: Script, keys: Sequence[str], arguments: Sequence[bytes | str | int]) -> Deferred[Any]:
        """The reply to a script on the primary. Fails with `perimeter.errors.Unavailable`."""

"""The first calls of a connection to a server: who the gateway is, and whether the server is the primary."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, DeferredList, inlineCallbacks

from perimeter.config.site.redis_url import RedisUrl
from perimeter.errors import StateUnavailable
from perimeter.redis.connection import Argument, RedisConnection

CLIENT_NAME: Final = "perimeter"
"""The name of the gateway's connections, in ``CLIENT LIST``."""

_MODES: Final = {
    "standalone": "it is a server and no Sentinel: write redis:// or rediss:// in redis_url, or the port of a Sentinel",
    "sentinel": "it is a Sentinel: write redis+sentinel:// or rediss+sentinel:// in redis_url",
    "cluster": "it is part of a Redis Cluster, which is not supported: use a primary with replicas and Sentinels",
}
"""What it means that a server is in a mode that redis_url does not expect."""


@attrs.frozen
class Greeting:
    """What a primary has said of itself. ``run_id`` is another one after each start of a server.

    ``offset`` (seconds) is how far its clock is ahead of that of this machine.
    """

    run_id: str
    version: str
    offset: float


def hello(url: RedisUrl) -> tuple[Argument, ...]:
    """The command that begins a connection in RESP3, with the user and the password of ``url`` if it has any."""
    credentials = ("AUTH", url.username or "default", url.password) if url.username or url.password else ()
    return ("HELLO", 3, *credentials, "SETNAME", CLIENT_NAME)


@inlineCallbacks
def greet(connection: RedisConnection, url: RedisUrl) -> Generator[Deferred[Any], Any, Greeting]:
    """Begin a connection, and fire with the `Greeting`. Fails with `StateUnavailable`, also if the server is no primary."""
    calls = [connection.call(*hello(url))]
    if url.database:
        calls.append(connection.call("SELECT", url.database))
    calls.append(connection.call("INFO", "server"))
    calls.append(look(connection))
    results = yield DeferredList(calls, fireOnOneErrback=False, consumeErrors=True)
    for number, (succeeded, result) in enumerate(results):
        if not succeeded:
            result.raiseException()
        if not number:
            check_mode(result, "standalone")
    facts = _facts(results[-2][1])
    run_id = facts.get("run_id", "")
    if not run_id:
        raise StateUnavailable("Redis: it does not say its run_id")
    return Greeting(run_id, facts.get("valkey_version") or facts.get("redis_version", ""), results[-1][1])


def check_mode(reply: object, wanted: str) -> None:
    """Raise `StateUnavailable` if the reply to HELLO is that of a server in another mode: ``standalone`` or ``sentinel``."""
    mode = reply.get(b"mode", b"") if isinstance(reply, dict) else b""
    found = mode.decode("ascii", "replace") if isinstance(mode, bytes) else ""
    if found != wanted:
        raise StateUnavailable(f"Redis: {_MODES.get(found, 'it does not say what it is')}")


@inlineCallbacks
def look(connection: RedisConnection) -> Generator[Deferred[Any], Any, float]:
    """Fire with how far the server's clock is ahead (seconds). Fails with `StateUnavailable` if it is no primary.

    The time that the answer has taken may explain a part of the difference: that part is not counted.
    """
    began = time.time()
    role, clock = connection.call("ROLE"), connection.call("TIME")
    clock.addErrback(lambda failure: failure.trap(StateUnavailable) and None)
    role = yield role
    if not isinstance(role, list) or not role or role[0] != b"master":
        raise StateUnavailable("Redis: the server is not the primary")
    now = yield clock
    try:
        seconds, micros = now
        theirs = int(seconds) + int(micros) / 1e6
    except (TypeError, ValueError):
        raise StateUnavailable("Redis: it does not say its time") from None
    return _beyond(theirs, began, time.time())


def _beyond(theirs: float, began: float, ended: float) -> float:
    """How far ``theirs`` is before or after the time from ``began`` to ``ended``."""
    return min(0.0, theirs - began) + max(0.0, theirs - ended)


def _facts(text: object) -> dict[str, str]:
    lines = text.decode("utf-8", "replace").splitlines() if isinstance(text, bytes) else ()
    return {name: value for name, found, value in (line.partition(":") for line in lines) if found}

"""A model of Redis: what the follower asks of it, with the time that it takes. One thread does one thing after the other.

The costs were measured at a Redis 7 on one core (see ``docs/explanation/scale.md``).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, fail

from bench.cluster.clock import VirtualClock
from perimeter.cluster import base, log
from perimeter.cluster.log import BEGINNING, place
from perimeter.cluster.names import LOG
from perimeter.errors import StateUnavailable
from perimeter.redis.script import Script

COMMAND: Final = 8e-6
"""Seconds of the server's CPU for a command on a connection that sends one at a time."""
DELIVERY: Final = 7e-6
"""Seconds for the answer to a reader that waited; its next command is counted as `COMMAND`."""
ENTRY: Final = 0.2e-6
"""Seconds for each entry of the log in an answer."""
BYTE: Final = 0.16e-9
"""Seconds for each byte of an answer."""

CONNECT: Final = 1.0
"""Seconds within which a client notices a new primary: it asks the Sentinels each second."""


@attrs.define(eq=False)
class _Waiting:
    cursor: tuple[int, int]
    count: int
    answer: Callable[[Any, int], None]
    over: bool = False


@attrs.define
class Stream:
    """The log of one primary: places and values, in order. ``added`` counts all entries that there ever were."""

    places: list[tuple[int, int]] = attrs.field(factory=list)
    values: list[bytes] = attrs.field(factory=list)
    times: list[float] = attrs.field(factory=list)
    last: tuple[int, int] = (0, 0)

    def after(self, cursor: tuple[int, int], count: int) -> range:
        """The numbers of up to ``count`` entries after ``cursor``."""
        low, high = 0, len(self.places)
        if high and self.places[-1] <= cursor:
            return range(0)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.places[middle] > cursor else (middle + 1, high)
        return range(low, min(low + count, len(self.places)))


class Engine:
    """The present primary. `fail_over` ends it, and another one comes after a while, without the last writes."""

    def __init__(self, clock: VirtualClock, chance: random.Random, latency: float) -> None:
        self.clock = clock
        self.chance = chance
        self.latency = latency
        self.stream = Stream()
        self.values: dict[str, Any] = {}
        self.run_id = "run-1"
        self.alive = True
        #: when this primary is known to clients
        self.up = clock.seconds()
        self._busy = 0.0
        #: seconds of CPU, commands, answers to waiting readers, entries and bytes in them
        self.cpu = 0.0
        self.counts: Counter[str] = Counter()
        self._waiting: list[_Waiting] = []
        # A dictionary for its order, which makes a run deterministic.
        self._under_way: dict[Deferred[Any], None] = {}

    # -- the server

    def work(self, seconds: float) -> float:
        """Do something that takes so long. Returns when it is done."""
        self._busy = max(self._busy, self.clock.seconds()) + seconds
        self.cpu += seconds
        return self._busy

    def fail_over(self, away: float, lag: float) -> None:
        """Die, and come back as another one after ``away`` seconds, without the entries of the last ``lag`` seconds."""
        self.alive = False
        self._waiting.clear()
        for asked in list(self._under_way):
            self._answer(asked, StateUnavailable("the connection was closed"))
        lost, now = self.stream, self.clock.seconds()
        kept = sum(at <= now - lag for at in lost.times)
        self.stream = Stream(lost.places[:kept], lost.values[:kept], lost.times[:kept], lost.places[kept - 1] if kept else (0, 0))
        self.clock.callLater(away, self._come_back)

    def _come_back(self) -> None:
        self.run_id = f"run-{int(self.run_id[4:]) + 1}"
        self.alive = True
        self.up = self.clock.seconds()

    # -- commands

    def ask(self, name: str, arguments: Sequence[Any], *, blocks: bool = False) -> Deferred[Any]:
        """Fire with the reply to a command, after the time that it takes."""
        if not self.alive:
            return fail(StateUnavailable("no primary"))
        asked: Deferred[Any] = Deferred(self._cancelled)
        self._under_way[asked] = None

        def arrived() -> None:
            if asked not in self._under_way:
                return
            self.counts["commands"] += 1
            at = self.work(COMMAND)
            self.clock.callLater(at - self.clock.seconds(), carry_out)

        def carry_out() -> None:
            if asked not in self._under_way:
                return
            if blocks:
                self._read(asked, arguments)
            else:
                self._reply(asked, self.carry_out(name, arguments))

        self.clock.callLater(self._way(), arrived)
        return asked

    def _cancelled(self, asked: Deferred[Any]) -> None:
        self._under_way.pop(asked, None)

    def _way(self) -> float:
        return self.latency * self.chance.uniform(0.4, 0.6)

    def _reply(self, asked: Deferred[Any], value: Any, at: float | None = None) -> None:
        delay = self._way() + (0.0 if at is None else max(0.0, at - self.clock.seconds()))
        self.clock.callLater(delay, self._answer, asked, value)

    def _answer(self, asked: Deferred[Any], value: Any) -> None:
        if asked in self._under_way:
            del self._under_way[asked]
            if isinstance(value, Exception):
                asked.errback(value)
            else:
                asked.callback(value)

    def _read(self, asked: Deferred[Any], arguments: Sequence[Any]) -> None:
        _, count, _, block, _, _, cursor = arguments
        reader = _Waiting(place(cursor), count, lambda value, size: None)

        def answer(value: Any, entries: int) -> None:
            reader.over = True
            self.counts["deliveries"] += entries
            at = self.work(DELIVERY + entries * ENTRY)
            self._reply(asked, value, at)

        reader.answer = answer
        if not self._serve(reader):
            self._waiting.append(reader)
            self.clock.callLater(block / 1000, lambda: None if reader.over else self._give_up(reader, asked))

    def _give_up(self, reader: _Waiting, asked: Deferred[Any]) -> None:
        reader.over = True
        if reader in self._waiting:
            self._waiting.remove(reader)
        self._reply(asked, None)

    def _serve(self, reader: _Waiting) -> bool:
        found = self.stream.after(reader.cursor, reader.count)
        if not found:
            return False
        entries = [(b"%d-%d" % self.stream.places[at], [b"e", self.stream.values[at]]) for at in found]
        reader.answer({LOG.encode(): entries}, len(entries))
        return True

    def carry_out(self, name: str, arguments: Sequence[Any]) -> Any:
        """The reply to a command at this moment."""
        return self.script(*arguments) if name == "script" else getattr(self, f"_{name.lower()}")(*arguments)

    def _xadd(self, *arguments: Any) -> bytes:
        stream, now = self.stream, self.clock.seconds()
        milliseconds = max(int(now * 1000), stream.last[0])
        number = stream.last[1] + 1 if milliseconds == stream.last[0] else 0
        stream.last = milliseconds, number
        stream.places.append(stream.last)
        stream.values.append(arguments[-1])
        stream.times.append(now)
        waiting, self._waiting = self._waiting, []
        for reader in waiting:
            if not reader.over:
                self._serve(reader)
        return b"%d-%d" % stream.last

    def _xtrim(self, *_: Any) -> int:
        return 0

    def _get(self, key: str) -> Any:
        return self.values.get(key)

    def _set(self, key: str, value: Any, *options: Any) -> Any:
        if "NX" in options and key in self.values:
            return None
        self.values[key] = value if isinstance(value, bytes) else str(value).encode()
        return b"OK"

    def _rpush(self, key: str, value: bytes) -> int:
        self.values.setdefault(key, []).append(value)
        return len(self.values[key])

    def _lrange(self, key: str, first: int, last: int) -> list[bytes]:
        found: list[bytes] = self.values.get(key, [])[first : last + 1]
        self.counts["bytes"] += sum(map(len, found))
        self.work(sum(map(len, found)) * BYTE)
        return found

    def _expire(self, *_: Any) -> int:
        return 1

    def script(self, script: Script, keys: Sequence[Any], arguments: Sequence[Any]) -> Any:
        """What one of the scripts returns."""
        stream = self.stream
        if script is log._LAST:
            return b"%d-%d" % stream.last
        if script is log._SURVEY:
            known = arguments[0] != BEGINNING and place(arguments[0]) in stream.places[-20_000:]
            return [self.values.get(keys[1]), b"%d-%d" % stream.last, b"0-0", len(stream.places), int(known)]
        if script is base._PUT:
            self.values[keys[0]] = arguments[0]
            return 1
        assert script is base._RELEASE
        return int(self.values.pop(keys[0], None) is not None)


class EngineClient:
    """`perimeter.redis.client.RedisClient` of one machine, as far as the follower uses it."""

    offset = 0.0

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._after = engine.chance.uniform(0.0, CONNECT)
        self.cut_off = False
        self._seen = engine.run_id

    @property
    def problem(self) -> str:
        """Why there is no connection."""
        return "" if self._connected() else "no primary"

    @property
    def run_id(self) -> str:
        """The present primary, as far as this client has noticed it."""
        self._connected()
        return self._seen

    def _connected(self) -> bool:
        engine = self._engine
        if self.cut_off or not engine.alive:
            return False
        if engine.run_id != self._seen and engine.clock.seconds() < engine.up + self._after:
            return False
        self._seen = engine.run_id
        return True

    def call(self, name: str, *arguments: Any, patience: float = 0.0) -> Deferred[Any]:
        """See `RedisClient.call`."""
        if not self._connected():
            return fail(StateUnavailable("no primary"))
        return self._engine.ask(name, arguments, blocks=name == "XREAD")

    def run(self, script: Script, keys: Sequence[Any], arguments: Sequence[Any]) -> Deferred[Any]:
        """See `RedisClient.run`."""
        if not self._connected():
            return fail(StateUnavailable("no primary"))
        return self._engine.ask("script", (script, keys, arguments))

    def reader(self) -> EngineClient:
        """See `RedisClient.reader`."""
        return self

    def stop(self) -> None:
        """See `RedisClient.stop`."""

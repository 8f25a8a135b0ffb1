"""Writes the record of this node to Redis, from time to time, as long as this process leads those of the node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from perimeter.cluster.nodes import EVERY, Node
from perimeter.cluster.registry import Registry
from perimeter.errors import StateUnavailable

_log = Logger()


class Announcer:
    """Writes what ``describe`` returns every `EVERY` seconds, while ``leads`` returns True. For the reactor thread."""

    def __init__(self, registry: Registry, describe: Callable[[], Node], leads: Callable[[], bool], reactor: Any) -> None:
        self._registry = registry
        self._describe = describe
        self._leads = leads
        self._written: Node | None = None
        #: another gateway that writes under the same name
        self._twin: Node | None = None
        self._fault = ""
        self._calls = LoopingCall(self._write)
        self._calls.clock = reactor

    def start(self) -> None:
        """Write the record now, and then every `EVERY` seconds."""
        self._calls.start(EVERY)

    def stop(self) -> Deferred[None]:
        """Remove the record. Fires when that is done, or Redis has not answered in time; never fails."""
        if self._calls.running:
            self._calls.stop()
        written, self._written = self._written, None
        if written is None or self._twin is not None:
            return succeed(None)
        return ensureDeferred(self._registry.remove(written.name)).addErrback(
            lambda failure: failure.trap(StateUnavailable) and None
        )

    def problem(self) -> str:
        """What is wrong with the record of this node, for the operator; "" if nothing is."""
        if self._twin is None:
            return f"its record cannot be written: {self._fault}" if self._fault else ""
        return f"another gateway, at {self._twin.address or 'an unknown address'}, has the same name"

    def _write(self) -> Deferred[None] | None:
        if not self._leads():
            self._written = self._twin = None
            self._fault = ""
            return None
        return ensureDeferred(self._announce()).addErrback(
            lambda failure: _log.failure("the record of this node could not be written", failure)
        )

    async def _announce(self) -> None:
        try:
            await self._registry.ready()  # only then the clock of Redis is known
            if not self._calls.running:
                return
            node, known = self._describe(), self._written
            self._written = node
            before = await self._registry.write(node)
            if known is not None and known.name != node.name and self._twin is None:
                await self._registry.remove(known.name)  # a reload has given the node another name
        except StateUnavailable as error:
            self._fault = error.detail
            return
        # The first record replaces that of an earlier start, and one under another name says nothing.
        same = known is not None and known.name == node.name
        self._twin = before if same and before is not None and before.instance != node.instance else None
        self._fault = ""

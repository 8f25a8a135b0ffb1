"""The connection between the manager and a worker, over a real socket pair."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.trial.unittest import TestCase

from perimeter.workers.channel import Channel, ChannelClosed, Handler, Refused


class ChannelTests(TestCase):
    def pair(self, left: Mapping[str, Handler], right: Mapping[str, Handler]) -> tuple[Channel, Channel]:
        """Two connected ends with these handlers."""
        self.gone: Deferred[None] = Deferred()
        clock: Any = reactor
        ends = [Channel(left, clock), Channel(right, clock, lambda: self.gone.callback(None))]
        for channel, one in zip(ends, socket.socketpair(socket.AF_UNIX), strict=True):
            with one:
                one.setblocking(False)
                clock.adoptStreamConnection(one.fileno(), socket.AF_UNIX, Factory.forProtocol(lambda channel=channel: channel))
        self.addCleanup(self.close, *ends)
        return ends[0], ends[1]

    def close(self, *ends: Channel) -> Deferred[None] | None:
        for end in ends:
            if end._open:
                end.transport.loseConnection()
        return self.gone if not self.gone.called else None

    async def test_question_and_answer_each_way(self) -> None:
        async def later(arguments: Mapping[str, Any]) -> Any:
            return {"twice": arguments["n"] * 2}

        left, right = self.pair({"size": lambda arguments: len(arguments["text"])}, {"double": later})
        self.assertEqual(await left.ask("double", 5, n=4), {"twice": 8})
        self.assertEqual(await right.ask("size", 5, text="é" * 100_000), 100_000)

    async def test_refusal_carries_its_text(self) -> None:
        def refuse(_: Mapping[str, Any]) -> Any:
            raise ValueError("not now")

        left, _ = self.pair({}, {"do": refuse})
        with self.assertRaises(Refused) as raised:
            await left.ask("do", 5)
        self.assertEqual(str(raised.exception), "not now")
        with self.assertRaises(Refused):
            await left.ask("unknown", 5)

    async def test_bug_is_logged_and_not_shown(self) -> None:
        def broken(_: Mapping[str, Any]) -> Any:
            raise RuntimeError("secret")

        left, _ = self.pair({}, {"do": broken})
        with self.assertRaises(Refused) as raised:
            await left.ask("do", 5)
        self.assertNotIn("secret", str(raised.exception))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    async def test_silence_is_a_timeout(self) -> None:
        never: Deferred[None] = Deferred()
        left, _ = self.pair({}, {"do": lambda _: never})
        with self.assertRaises(TimeoutError):
            await left.ask("do", 0.01)
        never.callback(None)  # the late answer is ignored

    async def test_end_of_the_other_process_fails_open_questions(self) -> None:
        never: Deferred[None] = Deferred()
        left, right = self.pair({}, {"do": lambda _: never})
        asked = left.ask("do", 5)
        right.transport.loseConnection()
        with self.assertRaises(ChannelClosed):
            await asked
        with self.assertRaises(ChannelClosed):
            await left.ask("do", 5)
        left.tell("ignored")

    async def test_descriptors_arrive_before_the_message_sent_after_them(self) -> None:
        reading, writing = os.pipe()
        taken: list[int] = []
        left, right = self.pair({}, {"take": lambda _: taken.append(right.descriptors.popleft())})
        left.send_descriptor(writing)
        await left.ask("take", 5)
        os.close(writing)
        os.write(taken[0], b"x")
        self.assertEqual(os.read(reading, 1), b"x")
        for descriptor in (reading, taken[0]):
            os.close(descriptor)

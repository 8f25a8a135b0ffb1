"""The control socket: which users may connect, the answers, and an existing file at its path."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs
from twisted.trial import unittest

from perimeter.errors import StartupError, StateUnavailable, Unavailable
from perimeter.run import asking, control
from perimeter.run.asking import ask
from perimeter.run.control import ControlPort
from perimeter.run.operations import ListenerStatus, answer


class ControlCase(unittest.TestCase):
    timeout = 30

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve() / ("long" * 30)
        self.directory.mkdir(parents=True)
        self.questions: list[Mapping[str, Any]] = []
        self.reply: Any = {"fine": True}
        self.port = self.open()

    def open(self) -> ControlPort:
        port = ControlPort(self.directory, self.answer, reactor)
        port.open()
        self.addCleanup(port.close)
        return port

    def answer(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        self.questions.append(question)
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply  # type: ignore[no-any-return]

    def ask(self, question: Mapping[str, Any]) -> Deferred[Any]:
        return deferToThread(ask, self.directory, question)


class ConversationTests(ControlCase):
    async def test_a_question_and_its_answer(self) -> None:
        self.reply = {"names": ["é" * 100_000]}
        self.assertEqual(await self.ask({"command": "x"}), self.reply)
        self.assertEqual(self.questions, [{"command": "x"}])

    async def test_what_cannot_be_answered_is_reported(self) -> None:
        self.reply = ValueError("no such command")
        await self.assertFailure(self.ask({}), StartupError)
        self.reply = KeyError("secret")
        error = await self.assertFailure(self.ask({}), StartupError)
        self.assertNotIn("secret", str(error))
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    async def test_a_fault_for_the_operator_is_reported_as_it_is(self) -> None:
        self.reply = StartupError("site.ini:3: unknown option\nsite.ini:4: unknown option")
        error = await self.assertFailure(self.ask({}), StartupError)
        self.assertEqual(str(error), "site.ini:3: unknown option\nsite.ini:4: unknown option")

    async def test_what_cannot_be_known_now_is_reported(self) -> None:
        for error, text in ((Unavailable("Redis: away"), "Redis: away"), (StateUnavailable(), StateUnavailable.phrase)):
            self.reply = error
            found = await self.assertFailure(self.ask({}), StartupError)
            self.assertEqual(str(found), f"the gateway cannot answer now: {text}")

    async def test_half_a_character_is_refused(self) -> None:
        for text in ("\ud800", "\udcff"):
            for question in ({"user": text}, {text: 1}, {"ids": [text]}):
                error = await self.assertFailure(self.ask(question), StartupError)
                self.assertIn("lone surrogate", str(error))
        self.assertEqual(self.questions, [])
        await self.ask({"user": "\U0001f600"})
        self.assertEqual(self.questions, [{"user": "\U0001f600"}])

    async def test_the_socket_stays_when_no_descriptor_is_free(self) -> None:
        real = reactor.adoptStreamConnection  # type: ignore[attr-defined]

        def full(*arguments: Any) -> None:
            self.patch(reactor, "adoptStreamConnection", real)
            raise OSError(errno.EMFILE, "Too many open files")

        self.patch(reactor, "adoptStreamConnection", full)
        await self.assertFailure(self.ask({}), StartupError)
        self.assertEqual(await self.ask({}), {"fine": True})

    async def test_it_is_not_tried_at_each_turn_when_no_descriptor_is_free(self) -> None:
        tries: list[float] = []

        class Full:
            def accept(self) -> None:
                tries.append(reactor.seconds())  # type: ignore[attr-defined]
                raise OSError(errno.EMFILE, "Too many open files")

        listening = self.port._listening
        assert listening is not None
        full: Any = Full()
        full.fileno, full.close = listening.fileno, listening.close
        self.patch(control, "PAUSE", 0.1)
        self.port._listening = full
        asked = self.ask({})
        await deferLater(reactor, 0.15)
        self.assertIn(len(tries), (1, 2))
        self.port._listening = listening
        self.assertEqual(await asked, {"fine": True})

    async def test_nonsense_is_reported_or_cut(self) -> None:
        def say(octets: bytes) -> bytes:
            with socket.socket(socket.AF_UNIX) as raw, asking.short_path(self.directory) as path:
                raw.settimeout(20)
                raw.connect(path)
                raw.sendall(octets)
                try:
                    return raw.recv(1000)
                except ConnectionResetError:
                    return b""

        self.assertIn(b"error", await deferToThread(say, b"nonsense\n"))
        self.assertIn(b"error", await deferToThread(say, b"[]\n"))
        self.patch(control, "TIMEOUT", 0.2)  # test_a_question_has_seconds_and_an_answer_a_minute has the real one
        self.assertEqual(await deferToThread(say, b"x" * 5000), b"")
        self.assertEqual(self.questions, [])

    async def test_what_follows_the_question_is_no_other_one(self) -> None:
        conversation = control._Conversation(self.answer, Clock())
        conversation.makeConnection(StringTransport())
        for line in (b'{"command": "look"}\n', b"x", b"\n", b"x\n"):
            conversation.dataReceived(line)
        self.assertEqual(self.questions, [{"command": "look"}])

    def test_a_question_has_seconds_and_an_answer_a_minute(self) -> None:
        """A question that does not come is cut soon. An answer may take as long as a reload may."""
        clock = Clock()
        silent = control._Conversation(self.answer, clock)
        silent.makeConnection(cut := StringTransport())
        asking_ = control._Conversation(lambda question: Deferred(), clock)
        asking_.makeConnection(waiting := StringTransport())
        asking_.dataReceived(b'{"command": "reload"}\n')
        clock.advance(asking.TIMEOUT - 0.1)
        self.assertEqual((cut.disconnected, waiting.disconnected), (False, False))
        clock.advance(0.1)
        self.assertEqual((cut.disconnected, waiting.disconnected), (True, False))
        clock.advance(asking.LONG_TIMEOUT - asking.TIMEOUT - 0.1)
        self.assertFalse(waiting.disconnected)
        clock.advance(0.1)
        self.assertTrue(waiting.disconnected)

    async def test_attack_43_only_its_own_user_and_root_are_heard(self) -> None:
        mode = os.stat(self.directory / asking.NAME).st_mode
        self.assertTrue(stat.S_ISSOCK(mode))
        self.assertEqual(stat.S_IMODE(mode), 0o600)
        self.patch(control, "_peer", lambda connection: os.geteuid() + 1)
        await self.assertFailure(self.ask({"command": "x"}), StartupError)
        self.assertEqual(self.questions, [])

    async def test_no_gateway_runs(self) -> None:
        self.port.close()
        self.assertFalse((self.directory / asking.NAME).exists())
        error = await self.assertFailure(self.ask({}), StartupError)
        self.assertIn("no gateway is running", str(error))


class PlaceTests(ControlCase):
    async def test_a_socket_that_was_left_behind_is_replaced(self) -> None:
        self.port.close()
        with socket.socket(socket.AF_UNIX) as left, asking.short_path(self.directory) as path:
            left.bind(path)
        self.open()
        self.assertEqual(await self.ask({}), {"fine": True})

    def test_another_gateway_keeps_its_socket(self) -> None:
        with capturedLogs() as events:
            second = self.open()
        self.assertEqual(second.fileno(), -1)
        self.assertIn("another gateway", str(events))
        self.assertTrue((self.directory / asking.NAME).exists())

    def test_what_is_no_socket_is_left_alone(self) -> None:
        self.port.close()
        (self.directory / asking.NAME).write_text("mine")
        with capturedLogs():
            self.open().close()
        self.assertEqual((self.directory / asking.NAME).read_text(), "mine")


class OperationsTests(unittest.TestCase):
    def test_unknown_commands(self) -> None:
        class Gateway:
            def listeners(self) -> list[ListenerStatus]:
                return []

            @property
            def assembly(self) -> Any:
                raise ValueError("the gateway is not running")

            def uptime(self) -> float:
                return 0.0

            def examination(self) -> Any:
                return self.assembly

        for question in (
            {},
            {"command": "stop"},
            {"command": "unban"},
            {"command": "unban", "what": ""},
            {"command": ["status"]},
            {"command": "look"},
            {"command": "status"},
            {"command": "status", "brief": True},
            {"command": "tokens"},
            {"command": "revoke"},
        ):
            with self.assertRaises(ValueError, msg=question):
                answer(Gateway(), question)

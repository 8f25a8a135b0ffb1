"""An upgrade: what is checked before, and what happens if the new program cannot be executed."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from perimeter.errors import StartupError
from perimeter.manager.child import Generation
from perimeter.manager.fleet import Fleet
from perimeter.manager.handover import Handover, InheritedWorker, Present
from perimeter.manager.upgrade import SIGNALS, Upgrade, check_program
from perimeter.run.log_target import LogTarget
from perimeter.workers.page import SharedPage
from perimeter.workers.plan import Address, Plan, sealed

PLAN = Plan(2, False, (Address("http", "127.0.0.1", 0),), "/nowhere", 1.0, "info", "console", (), ())
WORKER = InheritedWorker(3, 4711, 1.5, "serves", False, 9, "00ff", 12, {"a": [[["x"], [1]]]})


class UpgradeCase(TestCase):
    def setUp(self) -> None:
        self.page = SharedPage.create()
        self.addCleanup(self.page.close)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.socket.close)
        self.text = sealed(b"")
        self.addCleanup(os.close, self.text)
        sockets = {PLAN.listeners[0]: self.socket}
        self.handed = Handover(Path("/site.ini"), PLAN, self.text, sockets, LogTarget(), None, "")
        self.clock = Clock()
        self.generation = Generation(4, self.text, PLAN, sockets)
        self.fleet = Fleet(self.clock, self.page, self.handed.file, LogTarget(), self.generation)
        self.events: list[str] = []
        self.upgrade = Upgrade(
            self.handed, self.fleet, self.page, self.clock, lambda: self.events.append("leave"), self.events.append
        )

    def present(self, **changes: Any) -> Handover:
        present = Present(5, 10, (11, 12), (WORKER,), 2.5, {}, (4712,))
        return attrs.evolve(self.handed, present=attrs.evolve(present, **changes))


class HandoverTests(UpgradeCase):
    def test_the_next_program_understands_everything(self) -> None:
        handed = self.present()
        again = Handover.understood(handed.described(), lambda _: self.socket)
        for field in attrs.fields(Handover):
            self.assertEqual(getattr(again, field.name), getattr(handed, field.name), field.name)


class CheckTests(UpgradeCase):
    async def test_the_program_that_is_installed_can_take_over(self) -> None:
        await check_program(self.present(), sys.executable, reactor)

    async def test_a_program_of_another_version_that_does_not_understand_the_handover(self) -> None:
        described = self.present().described()
        self.patch(Handover, "described", lambda _: described.replace(b'"asked"', b'"questions"'))
        with self.assertRaises(StartupError) as raised:
            await check_program(self.present(), sys.executable, reactor)
        self.assertIn("the new program cannot take over", str(raised.exception))

    async def test_a_program_that_cannot_be_loaded(self) -> None:
        program = Path(self.mktemp()).absolute()
        program.write_text("#!/bin/sh\nexit 3\n")
        program.chmod(0o755)
        with self.assertRaises(StartupError):
            await check_program(self.present(), str(program), reactor)

    async def test_what_is_no_program_changes_nothing(self) -> None:
        for executable in ("python3", "/nowhere/python3", str(Path(__file__).parent), "/etc/passwd"):
            with self.assertRaises(StartupError) as raised:
                await self.upgrade.prepare(executable)
            self.assertIn(executable, str(raised.exception))
            self.assertFalse(self.upgrade.under_way)


class ExecuteTests(UpgradeCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock.stopping = False  # type: ignore[attr-defined]
        self.new = Generation(5, os.dup(self.text), PLAN, dict(self.generation.sockets))
        self.upgrade.under_way = True
        self.addCleanup(signal.pthread_sigmask, signal.SIG_UNBLOCK, SIGNALS)

    def give_way(self) -> None:
        Deferred.fromCoroutine(self.upgrade._give_way(self.new, sys.executable)).addErrback(self.events.append)
        self.clock.advance(0)

    def assert_as_before(self) -> None:
        self.assertFalse(self.upgrade.under_way)
        self.assertFalse(SIGNALS & signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        self.assertRaises(OSError, os.fstat, self.new.text)
        self.assertGreaterEqual(self.socket.fileno(), 0)

    def test_a_program_that_cannot_be_executed_leaves_this_one_as_it_was(self) -> None:
        def fail(_: Handover, executable: str) -> None:
            self.assertTrue(signal.pthread_sigmask(signal.SIG_BLOCK, ()) >= SIGNALS)
            raise OSError(8, "Exec format error")

        self.patch(Handover, "execute", fail)
        self.give_way()
        fault = f"{sys.executable} cannot be executed: Exec format error"
        self.assertEqual(self.events, ["leave", fault])
        self.assertEqual(self.upgrade.state(), {"upgrading": False, "upgrade_fault": fault})
        self.assert_as_before()

    def test_a_gateway_that_stops_executes_nothing(self) -> None:
        self.patch(Handover, "execute", lambda *_: self.events.append("executed"))
        self.upgrade.stop()
        self.give_way()
        self.assertEqual(self.events, ["the gateway is stopping"])
        self.assert_as_before()

    def test_it_waits_until_messages_have_left(self) -> None:
        class Busy:
            flushed = False

        busy = Busy()
        child: Any = type("Child", (), {"channel": busy, "status": "", "pid": 0, "number": 1})()
        self.patch(Fleet, "all_children", lambda _: [child])
        self.patch(Handover, "execute", lambda *_: self.events.append("executed"))
        self.addCleanup(os.close, self.new.text)
        self.give_way()
        self.assertEqual(self.events, [])
        busy.flushed = True
        self.clock.advance(0.01)
        self.clock.advance(0)
        self.assertEqual(self.events, ["leave", "executed"])

    def test_a_worker_that_does_not_read_its_messages_stops_the_upgrade(self) -> None:
        class Full:
            flushed = False

        child: Any = type("Child", (), {"channel": Full(), "status": "", "pid": 0, "number": 1})()
        self.patch(Fleet, "all_children", lambda _: [child])
        self.give_way()
        self.clock.pump([0.01] * 250)
        self.assertEqual(self.events, ["worker 1 does not read its messages; try again"])
        self.assert_as_before()

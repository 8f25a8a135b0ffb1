"""Configurations that are prepared in a thread, and the fate of those that are no longer wanted."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.defer import CancelledError
from twisted.trial import unittest

from perimeter.auth.registry import installed_kinds
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.load import load_site
from perimeter.errors import StartupError
from perimeter.net.deadlines import Deadlines
from perimeter.run.build.prepared import Prepared, prepare
from perimeter.run.build.runtime import Runtime
from perimeter.run.preparation import TIMEOUT, Preparation
from perimeter.run.steps import run_all
from tests.unit.doubles.auth import ManualThreads, ThreadClock, offload_with

SITE = """\
[perimeter]
state_dir = var
[listener plain]
port = 8080
[upstream sample]
servers = sample:
[route all]
path = /
upstream = sample
auth = none
audit = route.log
[audit]
path = access.log
"""


class PreparationCase(unittest.TestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        (self.directory / "site.ini").write_text(SITE)
        self.clock, self.threads = ThreadClock(), ManualThreads()
        offload = offload_with(ManualThreads(), self.clock)
        self.runtime = Runtime(self.clock, offload, Deadlines(self.clock))
        self.preparation = Preparation(self.runtime, offload_with(self.threads, self.clock, count=1, queue=1))
        self.made: list[Prepared] = []

    def read(self) -> SiteConfig:
        return load_site(self.directory / "site.ini", kinds=installed_kinds())

    def open_files(self) -> set[str]:
        """The names of the files in the directory that this process has open."""
        names = set()
        for link in Path("/proc/self/fd").iterdir():
            try:
                target = link.readlink()
            except FileNotFoundError:
                continue
            if self.directory in target.parents:
                names.add(target.name)
        return names


class PreparationTests(PreparationCase):
    def test_nothing_in_use_is_touched(self) -> None:
        prepared = self.preparation.prepare(self.read)
        self.assertNoResult(prepared)
        self.assertEqual(self.open_files(), set())
        self.threads.step()
        ready = self.successResultOf(prepared)
        self.assertLessEqual({"access.log", "route.log", "state.db"}, self.open_files())
        self.assertEqual(self.runtime.states._in_use, {})
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.preparation.discard(ready)
        self.threads.step()
        self.assertEqual(self.open_files(), set())

    def test_what_is_ready_too_late_is_closed(self) -> None:
        prepared = self.preparation.prepare(self.read)
        self.clock.advance(TIMEOUT)
        self.assertIn("took more than 60 seconds", str(self.failureResultOf(prepared, StartupError).value))
        self.threads.step()
        self.threads.step()
        self.assertEqual((self.open_files(), len(self.threads.jobs)), (set(), 0))

    def test_what_is_not_wanted_any_more_is_closed(self) -> None:
        prepared = self.preparation.prepare(self.read)
        prepared.cancel()
        self.failureResultOf(prepared, CancelledError)
        self.threads.step()
        self.threads.step()
        self.assertEqual((self.open_files(), self.clock.getDelayedCalls()), (set(), []))

    def test_what_is_ready_after_the_end_is_closed(self) -> None:
        prepared = self.preparation.prepare(self.read)
        prepared.cancel()
        self.failureResultOf(prepared, CancelledError)
        self.preparation.stop()
        self.threads.step()
        self.assertEqual(self.open_files(), set())

    def test_a_thread_that_hangs_refuses_further_reloads(self) -> None:
        first = [self.preparation.prepare(self.read) for _ in range(2)]
        self.assertIn("still being read", str(self.failureResultOf(self.preparation.prepare(self.read), StartupError).value))
        for one in first:
            one.cancel()
            self.failureResultOf(one, CancelledError)

    def test_a_fault_leaves_nothing_open(self) -> None:
        for old, new in (
            ("state_dir = var", "state_dir = /proc/none"),
            ("audit = route.log", "audit = /proc/none.log"),
            ("path = access.log", "path = /proc/none.log"),
        ):
            (self.directory / "site.ini").write_text(SITE.replace(old, new))
            with self.assertRaises(StartupError, msg=new):
                prepare(self.read, self.runtime)
            self.assertEqual(self.open_files(), set(), new)


class StepTests(unittest.TestCase):
    def test_every_step_is_taken(self) -> None:
        taken: list[int] = []

        def faulty() -> None:
            taken.append(1)
            raise ZeroDivisionError

        run_all("not done", lambda: taken.append(0), faulty, lambda: taken.append(2))
        self.assertEqual(taken, [0, 1, 2])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

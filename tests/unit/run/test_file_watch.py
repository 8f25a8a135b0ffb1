"""When a renewed file is noticed, and when it is not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from perimeter.config.site.renewed import versions
from perimeter.run.file_watch import INTERVAL, FileWatch
from tests.unit.doubles.exchange_rig import FakeOffload


class Thread(FakeOffload):
    def start(self) -> None:
        """It has begun."""

    def stop(self) -> None:
        """It has ended."""


class FileWatchTests(TestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir(parents=True)
        self.certificate, self.key = (self.write(name, "1") for name in ("gw.crt", "gw.key"))
        self.renewed: list[list[Path]] = []
        self.clock = Clock()
        self.thread = Thread()
        self.watch = FileWatch(self.clock, self.renewed.append, cast(Any, self.thread))
        self.watch.watch(versions([self.certificate, self.key]))
        self.watch.start()
        self.addCleanup(self.watch.stop)

    def write(self, name: str, text: str) -> Path:
        path = self.directory / name
        new = path.with_suffix(".new")
        new.write_text(text)
        os.replace(new, path)
        return path

    def look(self, times: int = 1) -> None:
        for _ in range(times):
            self.clock.advance(INTERVAL)

    def test_files_that_stay_the_same(self) -> None:
        self.look(3)
        self.assertEqual((self.renewed, self.thread.jobs), ([], 3))

    def test_a_change_counts_when_two_looks_find_the_same(self) -> None:
        self.write("gw.crt", "2")
        self.look()
        self.assertEqual(self.renewed, [])
        self.write("gw.key", "2")
        self.look()
        self.assertEqual(self.renewed, [], "the renewal is not complete")
        self.look()
        self.assertEqual(self.renewed, [[self.certificate, self.key]])
        self.look(3)
        self.assertEqual(len(self.renewed), 1)

    def test_a_renewal_that_is_refused_is_tried_again_when_the_file_changes(self) -> None:
        for text in ("2", "3"):
            self.write("gw.crt", text)
            self.look(4)
        self.assertEqual(self.renewed, [[self.certificate], [self.certificate]])

    def test_a_symbolic_link_that_is_replaced(self) -> None:
        link = self.directory / "live.crt"
        link.symlink_to(self.certificate)
        self.watch.watch(versions([link]))
        other = self.write("other.crt", "2")
        link.unlink()
        link.symlink_to(other)
        self.look(2)
        self.assertEqual(self.renewed, [[link]])

    def test_a_file_that_vanishes_and_comes_back(self) -> None:
        self.certificate.unlink()
        self.look()
        self.write("gw.crt", "2")
        self.look(2)
        self.assertEqual(self.renewed, [[self.certificate]])

    def test_a_change_between_reading_and_watching_is_noticed(self) -> None:
        before = versions([self.certificate])
        self.write("gw.crt", "2")
        self.watch.watch(before)
        self.look(2)
        self.assertEqual(self.renewed, [[self.certificate]])

    def test_a_look_at_the_files_of_an_older_configuration_does_not_count(self) -> None:
        self.thread.by_hand = True
        self.write("gw.crt", "2")
        self.look()
        self.watch.watch(versions([self.key]))
        self.thread.step()
        self.thread.by_hand = False
        self.look(3)
        self.assertEqual(self.renewed, [])

    def test_a_look_that_fails_is_logged_and_made_again(self) -> None:
        self.thread.by_hand = True
        self.look()
        done, _ = self.thread.waiting.pop()
        with capturedLogs() as events:
            done.errback(ValueError("the file system hangs"))
        self.assertIn("the file system hangs", str(events[-1]["error"]))
        self.thread.by_hand = False
        self.write("gw.crt", "2")
        self.look(2)
        self.assertEqual(self.renewed, [[self.certificate]])

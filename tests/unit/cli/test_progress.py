"""The line of progress: on a terminal only, not for short work, and gone at the end."""

from __future__ import annotations

import io
import os
import pty
import re
import threading
import time

from twisted.trial.unittest import TestCase

from perimeter.cli import progress as module
from perimeter.cli.progress import INTERVAL, PATIENCE, Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class ProgressTests(TestCase):
    def setUp(self) -> None:
        self.now = 100.0
        self.terminal = Terminal()
        term = os.environ.get("TERM")
        os.environ["TERM"] = "xterm"
        self.addCleanup(os.environ.update if term else os.environ.pop, *([{"TERM": term}] if term else ["TERM"]))

    def progress(self, total: int = 1000, stream: io.TextIOBase | None = None) -> Progress:
        return Progress("searching", total, stream or self.terminal, lambda: self.now)

    def written(self) -> str:
        text = self.terminal.getvalue()
        self.terminal.seek(0)
        self.terminal.truncate()
        return text

    def test_short_work_shows_nothing(self) -> None:
        with self.progress() as progress:
            self.now += PATIENCE - 0.01
            progress.at(999)
        self.assertEqual(self.written(), "")

    def test_the_line_and_its_end(self) -> None:
        with self.progress() as progress:
            self.now += 1
            progress.at(250)
            self.assertEqual(self.written(), "\r\x1b[Ksearching [######..................]  25%, 3 s left")
            self.now += INTERVAL - 0.01
            progress.at(500)
            self.assertEqual(self.written(), "")
            self.now += 0.02
            progress.at(1000)
            self.assertIn("] 100%, 0 s left", self.written())
        self.assertEqual(self.written(), "\r\x1b[K")

    def test_it_makes_room_for_other_text(self) -> None:
        progress = self.progress()
        progress.clear()
        self.assertEqual(self.written(), "")
        self.now += 1
        progress.at(1)
        self.written()
        progress.clear()
        progress.clear()
        self.assertEqual(self.written(), "\r\x1b[K")

    def test_the_end_of_work_that_fails(self) -> None:
        with self.assertRaises(KeyError), self.progress() as progress:
            self.now += 1
            progress.at(1)
            self.written()
            raise KeyError
        self.assertEqual(self.written(), "\r\x1b[K")

    def test_long_times_and_a_total_that_is_not_known_or_wrong(self) -> None:
        progress = self.progress()
        self.now += 10
        progress.at(20)
        self.assertTrue(self.written().endswith("   2%, 8 min 10 s left"))
        self.now += 1
        progress.at(9999)
        self.assertIn("100%, 0 s left", self.written())
        unknown = self.progress(0)
        self.now += 7
        unknown.at(5)
        self.assertTrue(self.written().endswith("searching: 7 s"))

    def test_nothing_where_there_is_no_terminal(self) -> None:
        stream = io.StringIO()
        for one, term in ((stream, "xterm"), (self.terminal, "dumb")):
            os.environ["TERM"] = term
            with self.progress(stream=one) as progress:
                self.now += 1
                progress.at(1)
        self.assertEqual((stream.getvalue(), self.written()), ("", ""))

    def test_work_that_cannot_say_how_much_is_done(self) -> None:
        self.patch(module, "INTERVAL", 0.001)
        with Progress("reading", 0, self.terminal) as progress, progress.ticking():
            progress._next = 0.0  # patience is over
            deadline = time.monotonic() + 20
            while not self.terminal.getvalue() and time.monotonic() < deadline:
                time.sleep(0.001)
        shown = self.written()
        self.assertTrue(shown.startswith("\r\x1b[Kreading: 0 s"), shown)
        self.assertTrue(shown.endswith("\r\x1b[K"), shown)
        stream = io.StringIO()
        threads = threading.active_count()
        with Progress("reading", 0, stream).ticking():
            self.assertEqual(threading.active_count(), threads)
        self.assertEqual(stream.getvalue(), "")

    def test_a_real_terminal(self) -> None:
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        with os.fdopen(theirs, "w") as stream:
            with self.progress(stream=stream) as progress:
                self.now += 1
                progress.at(500)
            shown = ""
            while shown.count("\x1b[K") < 2:  # a terminal may return what was written in parts
                shown += os.read(ours, 4096).decode()
        self.assertTrue(re.fullmatch(r"\r\x1b\[Ksearching \[#{12}\.{12}\]  50%, 1 s left\r\x1b\[K", shown), shown)

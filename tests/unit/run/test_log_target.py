"""The log file that several processes write."""

from __future__ import annotations

import os
import subprocess
import sys
import syslog
from pathlib import Path

from twisted.trial.unittest import TestCase

from perimeter.run.log_target import LogTarget, SharedLogFile

WRITER = """
import sys
import syslog
from pathlib import Path
from perimeter.run.log_target import SharedLogFile
log = SharedLogFile(Path(sys.argv[1]), full=20000)
for number in range(2000):
    log.write(f"{sys.argv[2]} {number} {'x' * 50}\\n")
"""


class SharedLogFileTests(TestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()

    def test_no_line_is_lost_or_torn_while_several_processes_rename_the_file(self) -> None:
        names = ["a", "b", "c"]
        writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(self.path), name]) for name in names]
        self.assertEqual([writer.wait(60) for writer in writers], [0, 0, 0])
        files = [self.path, *self.path.parent.glob(f"{self.path.name}.*")]
        self.assertGreater(len(files), 5)
        lines = [line for file in files for line in file.read_text().splitlines()]
        wanted = [f"{name} {number} {'x' * 50}" for name in names for number in range(2000)]
        self.assertEqual(sorted(lines), sorted(wanted))

    def test_it_is_renamed_when_it_is_full(self) -> None:
        log = SharedLogFile(self.path, full=10)
        self.addCleanup(log.close)
        log.write("123456789")
        log.write(b"0")
        self.assertEqual(self.path.read_text(), "1234567890")
        log.write("next")
        self.assertEqual(self.path.read_text(), "next")
        self.assertEqual(Path(f"{self.path}.1").read_text(), "1234567890")

    def test_it_follows_a_file_that_was_renamed_or_removed(self) -> None:
        log = SharedLogFile(self.path)
        self.addCleanup(log.close)
        log.write("one\n")
        self.path.rename(f"{self.path}.old")
        log.write("two\n")
        self.assertEqual(self.path.read_text(), "two\n")
        self.path.unlink()
        log.write("three\n")
        self.assertEqual(self.path.read_text(), "three\n")

    def test_it_goes_on_with_the_old_file_if_there_can_be_no_other_one(self) -> None:
        self.path.mkdir()
        file = self.path / "log"
        log = SharedLogFile(file)
        self.addCleanup(log.close)
        self.path.rename(f"{self.path}.away")
        log.write("still\n")
        self.assertEqual(Path(f"{self.path}.away/log").read_text(), "still\n")

    def test_another_process_renames_it(self) -> None:
        """The one that holds the lock; this one goes on writing meanwhile."""
        log, other = SharedLogFile(self.path, full=4), SharedLogFile(self.path, full=4)
        self.addCleanup(log.close)
        self.addCleanup(other.close)
        import fcntl

        fcntl.flock(other._file, fcntl.LOCK_EX)
        log.write("one\n")
        log.write("two\n")
        self.assertEqual(self.path.read_text(), "one\ntwo\n")

    def test_standard_error_of_a_worker_follows(self) -> None:
        code = (
            "import os, sys; from pathlib import Path; from perimeter.run.log_target import SharedLogFile;"
            "log = SharedLogFile(Path(sys.argv[1]), stderr=True, full=4); os.write(2, b'one\\n'); log.write('two\\n');"
            "os.write(2, b'three\\n')"
        )
        subprocess.run([sys.executable, "-c", code, str(self.path)], check=True, timeout=60)
        self.assertEqual(Path(f"{self.path}.1").read_text(), "one\n")
        self.assertEqual(self.path.read_text(), "two\nthree\n")


class SyslogTests(TestCase):
    def test_each_line_is_a_message(self) -> None:
        said: list[tuple[str, object]] = []
        self.patch(syslog, "openlog", lambda prefix, option: said.append((prefix, option)))
        self.patch(syslog, "syslog", lambda line: said.append((line, None)))
        log = LogTarget(prefix="gateway").open(1)
        log({"log_format": "hello\nagain", "log_namespace": "here", "log_time": 0.0})
        (opened, (line, _)) = said
        self.assertEqual(opened, ("gateway", syslog.LOG_PID))
        self.assertRegex(line, r" info here slot=1: hello.+again$")


class LogTargetTests(TestCase):
    def test_the_slot_is_in_each_line(self) -> None:
        path = Path(self.mktemp()).absolute()
        stderr = os.dup(2)
        self.addCleanup(os.close, stderr)
        self.addCleanup(os.dup2, stderr, 2)
        for slot in (3, None):
            log = LogTarget(path=str(path)).open(slot)
            log({"log_format": "hello", "log_namespace": "here", "log_time": 0.0})
            log._outfile.close()
        first, second = path.read_text().splitlines()
        self.assertTrue(first.endswith(" info here slot=3: hello"), first)
        self.assertTrue(second.endswith(" info here: hello"), second)

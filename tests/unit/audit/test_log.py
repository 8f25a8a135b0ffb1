"""The audit log as the gateway uses it: the meaning of True and False, also on a disk that fails."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from unittest import mock

from twisted.internet import defer, protocol, reactor
from twisted.internet.task import Clock
from twisted.logger import Logger, LogPublisher, globalLogPublisher
from twisted.trial import unittest
from zope.interface.verify import verifyObject

from perimeter.audit.log import BACKLOG
from perimeter.audit.logs import AuditLogs
from perimeter.audit.sink import IAuditSink
from perimeter.audit.sinks import NoAudit
from perimeter.config.site.audit import AuditSettings
from perimeter.errors import StartupError
from perimeter.model import AccessRecord
from tests.unit.doubles.audit_records import make_record

ROOT = Path(__file__).parents[3]

WRITER = """
import sys
from pathlib import Path
from twisted.internet import reactor
from perimeter.audit.logs import AuditLogs
from perimeter.config.site.audit import AuditSettings
from tests.unit.doubles.audit_records import make_record
logs = AuditLogs(AuditSettings(path=Path(sys.argv[1]), roll=4000, keep=0), reactor)
sink = logs.sink()
logs.open()
number = 0
while sink.record(make_record(target=b"/%d" % number)):
    sys.stdout.write("%d\\n" % number)
    sys.stdout.flush()
    number += 1
"""


def numbered(number: int) -> AccessRecord:
    return make_record(target=b"/%d" % number)


def recorded(sink: IAuditSink, record: AccessRecord) -> bool:
    """What an exchange does at its end: a record that is not written is kept."""
    if sink.record(record):
        return True
    sink.keep(record)
    return False


class LogCase(unittest.TestCase):
    strict = True

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.path = self.directory / "access.log"
        self.clock = Clock()
        # the files that the tests make are from today
        self.clock.advance(time.time())
        self.events: list[dict[str, object]] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def logs(self, path: Path | None = None) -> AuditLogs:
        logs = AuditLogs(AuditSettings(path=path, strict=self.strict), self.clock)
        self.addCleanup(logs.close)
        return logs

    def sink(self) -> IAuditSink:
        self.all = self.logs(self.path)
        sink = self.all.sink()
        self.all.open()
        return sink

    def numbers(self, path: Path | None = None) -> list[int]:
        return [int(line.split(b" ")[5][1:]) for line in (path or self.path).read_bytes().splitlines()]

    def said(self, *levels: str) -> list[str]:
        return [
            str(event["log_level"].name)  # type: ignore[attr-defined]
            for event in self.events
            if event.get("log_namespace") == "perimeter.audit" and event["log_level"].name in levels  # type: ignore[attr-defined]
        ]


class StrictTests(LogCase):
    def test_true_means_on_the_file(self) -> None:
        sink = self.sink()
        for number in range(3):
            self.assertIs(recorded(sink, numbered(number)), True)
            self.assertEqual(self.numbers(), list(range(number + 1)))
        self.assertTrue(sink.healthy())

    def test_attack_41_full_disk(self) -> None:
        sink = self.sink()
        self.assertTrue(recorded(sink, numbered(0)))
        with mock.patch("os.write", side_effect=OSError(errno.ENOSPC, "full")) as write:
            for number in (1, 2, 3):
                self.assertIs(recorded(sink, numbered(number)), False)
                self.assertIs(sink.healthy(), False)
            # it tries once a second, not for every request
            self.assertEqual(write.call_count, 1)
            self.clock.advance(1)
            self.assertFalse(sink.healthy())
            self.assertFalse(recorded(sink, numbered(4)))
            self.assertEqual(write.call_count, 2)
        self.assertEqual(self.said("critical"), ["critical"])
        self.clock.advance(0.5)
        self.assertFalse(sink.healthy())
        self.clock.advance(0.5)
        self.assertTrue(sink.healthy())
        self.assertTrue(recorded(sink, numbered(5)))
        # the failed lines are in the file in the end, once
        self.assertEqual(self.numbers(), [0, 1, 2, 3, 4, 5])

    def test_attack_41_real_full_device(self) -> None:
        logs = self.logs(Path("/dev/full"))
        sink = logs.sink()
        logs.open()
        self.assertTrue(sink.healthy())
        self.assertFalse(recorded(sink, numbered(0)))
        self.assertFalse(sink.healthy())
        self.clock.advance(1)
        self.assertFalse(sink.healthy())
        self.assertEqual(self.said("critical"), ["critical"])

    def test_a_record_that_failed_is_kept_as_its_caller_changed_it(self) -> None:
        sink = self.sink()
        self.assertEqual(sink.problem(), "")
        record = numbered(0)
        with mock.patch("os.write", side_effect=OSError(errno.ENOSPC, "full")):
            self.assertFalse(sink.record(record))
            self.assertEqual(sink.problem(), f"{self.path}: full")
            self.assertEqual(self.all.problems(), [f"{self.path}: full"])
            record.target = b"/7"
            sink.keep(record)
        # by itself: no request comes
        self.clock.advance(1)
        self.assertEqual((self.numbers(), sink.problem(), self.all.problems()), ([7], "", []))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_recovers_in_a_record(self) -> None:
        sink = self.sink()
        with mock.patch("os.write", side_effect=OSError(errno.EIO, "broken")):
            recorded(sink, numbered(0))
        self.clock.advance(1)
        self.assertTrue(recorded(sink, numbered(1)))
        self.assertEqual(self.numbers(), [0, 1])

    def test_attack_41_directory_removed(self) -> None:
        sink = self.sink()
        self.assertTrue(recorded(sink, numbered(0)))
        shutil.rmtree(self.directory)
        self.clock.advance(1)
        self.assertFalse(recorded(sink, numbered(1)))
        self.clock.advance(1)
        self.assertFalse(sink.healthy())
        self.directory.mkdir()
        self.clock.advance(1)
        self.assertTrue(sink.healthy())
        self.assertEqual(self.numbers(), [1])

    def test_descriptor_lost(self) -> None:
        sink = self.sink()
        os.close(sink._file._fd)  # type: ignore[attr-defined]
        self.assertFalse(recorded(sink, numbered(0)))
        self.clock.advance(1)
        self.assertTrue(sink.healthy())
        self.assertEqual(self.numbers(), [0])

    def test_backlog_is_bounded_and_counted(self) -> None:
        sink = self.sink()
        large = make_record(target=b"/" + b"x" * (BACKLOG // 4))
        with mock.patch("os.write", side_effect=OSError(errno.ENOSPC, "full")):
            for _ in range(6):
                self.assertFalse(recorded(sink, large))
        self.clock.advance(1)
        self.assertTrue(sink.healthy())
        self.assertEqual(len(self.path.read_bytes().splitlines()), 3)
        self.assertEqual([event["dropped"] for event in self.events if "dropped" in event], [3])

    def test_attack_41_record_that_cannot_be_formatted(self) -> None:
        sink = self.sink()
        self.assertIs(sink.record(make_record(status="x" * 3, time="now")), False)
        self.assertEqual(self.said("critical"), ["critical"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertTrue(recorded(sink, numbered(1)))

    def test_clock_put_back_does_not_stop_the_retries(self) -> None:
        sink = self.sink()
        with mock.patch("os.write", side_effect=OSError(errno.ENOSPC, "full")):
            recorded(sink, numbered(0))
        self.clock.rightNow -= 3600
        self.assertTrue(sink.healthy())

    def test_a_record_that_is_kept_after_close(self) -> None:
        sink = self.sink()
        self.all.close()
        with mock.patch("os.write", side_effect=OSError(errno.ENOSPC, "full")):
            self.assertFalse(recorded(sink, numbered(0)))
        self.assertTrue(sink.record(numbered(1)))
        self.assertEqual(self.numbers(), [0, 1])

    def test_records_that_come_after_close(self) -> None:
        sink = self.sink()
        self.all.close()
        self.assertTrue(sink.record(numbered(0)))
        self.assertTrue(sink.record(numbered(1)))
        self.assertEqual(self.numbers(), [0, 1])
        self.assertEqual(sink._file._fd, -1)  # type: ignore[attr-defined]

    @defer.inlineCallbacks
    def test_killed_process_loses_no_acknowledged_record(self) -> object:
        done: defer.Deferred[None] = defer.Deferred()
        output = bytearray()

        class Watcher(protocol.ProcessProtocol):
            def outReceived(self, data: bytes) -> None:
                output.extend(data)
                if output.count(b"\n") > 300 and self.transport is not None and self.transport.pid:
                    os.kill(self.transport.pid, signal.SIGKILL)

            def processEnded(self, reason: object) -> None:
                done.callback(None)

        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        reactor.spawnProcess(  # type: ignore[attr-defined]
            Watcher(), sys.executable, [sys.executable, "-c", WRITER, str(self.path)], env=environment, path=str(ROOT)
        )
        yield done
        acknowledged = [int(line) for line in bytes(output).split(b"\n")[:-1]]
        self.assertGreater(len(acknowledged), 300)
        # after a crash between link and unlink, a file has two names
        files = {path.stat().st_ino: path for path in self.directory.iterdir()}
        written = sorted(number for path in files.values() for number in self.numbers(path))
        self.assertGreater(len(files), 3)
        self.assertEqual(written, list(range(len(written))))
        self.assertGreaterEqual(len(written), len(acknowledged))


class LaxTests(LogCase):
    strict = False

    def test_one_write_a_turn(self) -> None:
        sink = self.sink()
        with mock.patch("os.write", side_effect=os.write) as write:
            for number in range(3):
                self.assertTrue(sink.record(numbered(number)))
            self.assertEqual(write.call_count, 0)
            self.clock.advance(0)
            self.assertEqual(write.call_count, 1)
        self.assertEqual(self.numbers(), [0, 1, 2])

    def test_failing_serves_on_and_warns_once(self) -> None:
        sink = self.sink()
        with mock.patch("os.write", side_effect=OSError(errno.ENOSPC, "full")) as write:
            for number in range(3):
                self.assertTrue(sink.record(numbered(number)))
                self.assertTrue(sink.healthy())
                self.clock.advance(0)
            self.assertEqual(write.call_count, 1)
        self.assertEqual(self.said("warn", "critical"), ["warn"])
        # by itself, without a call
        self.clock.advance(1)
        self.assertEqual(self.numbers(), [0, 1, 2])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_close_writes_what_is_pending(self) -> None:
        sink = self.sink()
        sink.record(numbered(0))
        self.all.close()
        self.assertEqual(self.numbers(), [0])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_close_reports_lost_lines(self) -> None:
        sink = self.sink()
        sink.record(numbered(0))
        with mock.patch("os.write", side_effect=OSError(errno.ENOSPC, "full")):
            self.all.close()
        self.assertEqual([event["lost"] for event in self.events if "lost" in event], [1])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ObserverTests(LogCase):
    def test_events_with_a_record_are_written(self) -> None:
        sink = self.sink()
        logger = Logger(namespace="http-access", observer=LogPublisher(sink))
        logger.info("{method}", access_record=numbered(7), method="GET")
        logger.info("something else", access_record="not one")
        logger.info("something else")
        self.assertEqual(self.numbers(), [7])


class AuditLogsTests(LogCase):
    def test_interfaces(self) -> None:
        verifyObject(IAuditSink, self.sink())
        verifyObject(IAuditSink, NoAudit())

    def test_same_file_same_sink(self) -> None:
        logs = self.logs(self.path)
        (self.directory / "link").symlink_to(self.directory)
        self.assertIs(logs.sink(), logs.sink(self.path))
        self.assertIs(logs.sink(), logs.sink(self.directory / "link" / "access.log"))
        self.assertIsNot(logs.sink(), logs.sink(self.directory / "other.log"))

    def test_several_processes_tell_each_other_of_a_torn_line(self) -> None:
        told: list[str] = []
        one, other = (AuditLogs(AuditSettings(path=self.path), self.clock, None, told.append) for _ in range(2))
        for logs in (one, other):
            self.addCleanup(logs.close)
            logs.sink()
            logs.open()
        real, full = os.write, OSError(errno.ENOSPC, "full")

        def write(fd: int, data: bytes, left: list[int] = [5]) -> int:  # noqa: B006
            if not left:
                raise full
            return real(fd, data[: left.pop()])

        with mock.patch("os.write", write):
            self.assertIs(one.sink().record(numbered(1)), False)
        self.assertEqual(told, [str(self.path)])
        other.torn("/another")
        other.torn(told[0])
        self.assertIs(other.sink().record(numbered(2)), True)
        first, second = self.path.read_bytes().splitlines()
        self.assertEqual((len(first), second.split(b" ")[5]), (5, b"/2"))

    def test_single_process_tells_nothing(self) -> None:
        self.sink()
        self.all.torn(str(self.path))
        self.assertTrue(self.all.sink().record(numbered(1)))
        self.assertEqual(self.numbers(), [1])

    def test_no_audit_log(self) -> None:
        logs = self.logs(None)
        own = logs.sink(self.path)
        logs.open()
        self.assertTrue(logs.sink().record(numbered(0)))
        self.assertTrue(logs.sink().healthy())
        own.record(numbered(1))
        self.assertEqual([path.name for path in self.directory.iterdir()], ["access.log"])
        self.assertEqual(self.numbers(), [1])

    def test_sink_made_later_is_open(self) -> None:
        self.sink()
        self.assertTrue(self.all.sink(self.directory / "late.log").record(numbered(1)))
        self.assertRaises(StartupError, self.all.sink, self.directory / "none" / "late.log")

    def test_start_error_is_one_line_and_leaves_nothing_open(self) -> None:
        logs = self.logs(self.path)
        good = logs.sink()
        missing = self.directory / "none" / "access.log"
        logs.sink(missing)
        error = self.assertRaises(StartupError, logs.open)
        self.assertEqual(str(error), f"{missing}: the audit log cannot be opened: No such file or directory")
        self.assertEqual(good._file._fd, -1)  # type: ignore[attr-defined]

    def test_permission_denied_stops_the_start(self) -> None:
        logs = self.logs(self.path)
        logs.sink()
        if os.geteuid() == 0:
            # root may write anywhere, but not over a directory
            self.path.mkdir()
        else:
            self.directory.chmod(0o500)
            self.addCleanup(self.directory.chmod, 0o700)
        self.assertRaises(StartupError, logs.open)

    def test_reopen(self) -> None:
        sink = self.sink()
        sink.record(numbered(0))
        self.path.rename(self.directory / "moved")
        self.all.reopen()
        sink.record(numbered(1))
        self.assertEqual((self.numbers(self.directory / "moved"), self.numbers()), ([0], [1]))

    def test_reopen_that_fails_goes_on_with_the_old_file(self) -> None:
        sink = self.sink()
        self.path.rename(self.directory / "moved")
        self.path.mkdir()
        self.all.reopen()
        self.assertTrue(sink.record(numbered(0)))
        self.assertEqual(self.numbers(self.directory / "moved"), [0])
        self.assertEqual(self.said("error"), ["error"])

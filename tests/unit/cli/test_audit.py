"""``perimeter audit``: it finds what each format has written, in rolled and compressed files too."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import time
from collections.abc import Callable
from pathlib import Path

from click.testing import CliRunner, Result
from twisted.trial import unittest

from perimeter.audit.formats import FORMATS, line_format
from perimeter.cli.audit import command
from perimeter.config.site.audit import AuditFormat
from perimeter.model import Principal
from tests.unit.doubles.audit_records import make_record

ALICE = Principal("alice b", "local")


class ShowTests(unittest.TestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        records = {
            b"/early": make_record(time=1407700000.0, target=b"/early", principal=ALICE),
            b"/nobody": make_record(target=b"/nobody", status=401),
            b"/dash": make_record(target=b"/dash", status=403, principal=Principal("-", "local")),
            b"/late": make_record(time=1407900000.0, target=b"/late", status=404, principal=ALICE),
        }
        self.lines = {
            (name, target): make_line(record) for name, make_line in FORMATS.items() for target, record in records.items()
        }
        self.path.write_bytes(b"".join(self.lines.values()))

    def show(self, *arguments: str) -> Result:
        return CliRunner().invoke(command, ["show", str(self.path), *arguments])

    def check(self, targets: list[bytes], *arguments: str) -> None:
        result = self.show(*arguments)
        self.assertEqual(result.exit_code, 0, result.output)
        expected = b"".join(line for (_, target), line in self.lines.items() if target in targets)
        self.assertEqual(result.stdout_bytes, expected)

    def test_everything(self) -> None:
        self.check([b"/early", b"/nobody", b"/dash", b"/late"])

    def test_filters(self) -> None:
        self.check([b"/early", b"/late"], "--user", "alice b")
        self.check([b"/nobody"], "--user", "-")
        self.check([b"/nobody", b"/dash", b"/late"], "--status", "4xx")
        self.check([b"/nobody"], "--status", "401")
        self.check([b"/late"], "--since", "2014-08-12T12:00+00:00")
        self.check([b"/late"], "--user", "alice b", "--status", "404", "--since", "2014-08-11")

    def test_unreadable_lines_are_counted(self) -> None:
        self.path.write_bytes(b"GET /\n{}\n" + self.lines["json", b"/late"])
        result = self.show()
        self.assertEqual(result.stdout_bytes, self.lines["json", b"/late"])
        self.assertEqual(result.stderr, "2 lines have an unknown format and were left out\n")

    def test_compressed(self) -> None:
        packed = self.path.with_suffix(".gz")
        packed.write_bytes(gzip.compress(self.path.read_bytes()))
        self.path = packed
        self.check([b"/nobody"], "--status", "401")

    def test_wrong_options(self) -> None:
        self.assertIn("4xx", self.show("--status", "4").output)
        self.assertIn("2026-11-22T13:30", self.show("--since", "yesterday").output)


class SearchTests(unittest.TestCase):
    """A log with old files, of which each has lines of another format."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.log = self.directory / "access.log"
        self.config = self.directory / "site.ini"
        self.config.write_text(
            "[listener a]\nport = 8080\ninterface = 127.0.0.1\n[upstream s]\nservers = sample:\n"
            "[route r]\npath = /\nupstream = s\nauth = none\n[audit]\npath = access.log\n"
        )
        self.write("access.log", AuditFormat.JSON, b"/d", b"/e")
        self.write("access.log.1", AuditFormat.COMBINED, b"/c", age=10)
        self.write("access.log.2.gz", AuditFormat.REACTOR, b"/b", age=20, pack=gzip.compress)
        self.write("access.log.3.xz", AuditFormat.JSON, b"/a", age=30, pack=lzma.compress)

    def write(
        self, name: str, kind: AuditFormat, *targets: bytes, age: float = 0.0, pack: Callable[[bytes], bytes] = bytes
    ) -> None:
        moment = time.time() - age * 3600
        lines = [line_format(kind)(make_record(time=moment, target=target, principal=ALICE)) for target in targets]
        path = self.directory / name
        path.write_bytes(pack(b"".join(lines)))
        os.utime(path, (moment, moment))

    def run_audit(self, *arguments: str) -> Result:
        return CliRunner().invoke(command, [*arguments], env={"PERIMETER_CONFIG": str(self.config)})

    def targets(self, *arguments: str) -> list[str]:
        result = self.run_audit(*arguments, "--json")
        self.assertEqual(result.stderr, "")
        return [json.loads(line)["target"] for line in result.stdout.splitlines()]

    def test_all_files_of_the_configuration_the_oldest_first(self) -> None:
        self.assertEqual(self.targets("search"), ["/a", "/b", "/c", "/d", "/e"])
        self.assertEqual(self.targets("search", "--path", "/b"), ["/b"])
        self.assertEqual(self.targets("search", "--since", "15h"), ["/c", "/d", "/e"])
        self.assertEqual(self.targets("search", "--since", "25h", "--until", "1970-01-02"), [])
        self.assertEqual(self.targets("search", str(self.directory / "access.log.2.gz")), ["/b"])

    def test_the_members_of_a_line(self) -> None:
        (line,) = self.run_audit("search", "--path", "/c", "--json").stdout.splitlines()
        found = json.loads(line)
        self.assertEqual((found["user"], found["status"], found["method"], found["duration"]), (r"alice\x20b", 200, "GET", None))

    def test_by_the_id_of_the_request(self) -> None:
        for kind in AuditFormat:
            make_line = line_format(kind, request_id=True)
            records = [make_record(target=b"/%d" % number, request_id=b"id-%d" % number) for number in range(20)]
            self.log.write_bytes(b"".join(map(make_line, records)))
            self.assertEqual(self.targets("search", "--id", "id-1"), ["/1"], kind)

    def test_exit_statuses(self) -> None:
        self.assertEqual(self.run_audit("search").exit_code, 0)
        self.assertEqual(self.run_audit("search", "--user", "eve").exit_code, 1)
        self.assertEqual(self.run_audit("show", "--user", "eve").exit_code, 0)
        (self.directory / "access.log.4.zst").write_bytes(b"x")
        for name in ("search", "report", "show"):
            result = self.run_audit(name)
            self.assertEqual((result.exit_code, result.stderr.count("zstd")), (3, 1), name)

    def test_the_last_lines_over_old_files(self) -> None:
        for count in range(7):
            expected = ["/a", "/b", "/c", "/d", "/e"][-count:] if count else []
            self.assertEqual(self.targets("tail", "-n", str(count)), expected, count)
        self.write(
            "access.log.4.bz2", AuditFormat.JSON, *(b"/old/%d" % number for number in range(500)), age=40, pack=bz2.compress
        )
        self.assertEqual(self.targets("tail", "-n", "7"), ["/old/498", "/old/499", "/a", "/b", "/c", "/d", "/e"])
        self.assertEqual(self.targets("tail", "-n", "2", "--path", "/old"), ["/old/498", "/old/499"])

    def test_the_last_of_many_lines(self) -> None:
        self.write("access.log", AuditFormat.JSON, *(b"/%d" % number for number in range(1000)))
        self.assertEqual(self.targets("tail", "-n", "450"), [f"/{number}" for number in range(550, 1000)])

    def test_a_log_that_does_not_exist_yet(self) -> None:
        for path in self.directory.glob("access.log*"):
            path.unlink()
        self.assertEqual(self.targets("tail"), [])
        self.assertEqual(self.run_audit("search").exit_code, 1)
        self.assertIn("no requests", self.run_audit("report").output)

    def test_report(self) -> None:
        text = self.run_audit("report").output
        self.assertIn("5 requests from ", text)
        self.assertIn("status: 2xx 5\n", text)
        self.assertIn(r"          5  alice\x20b" + "\n", text)
        found = json.loads(self.run_audit("report", "--json", "--path", "/d").output)
        self.assertEqual((found["requests"], found["paths"], found["exact"]), (1, {"/d": 1}, True))

    def test_verify(self) -> None:
        result = self.run_audit("verify")
        self.assertEqual((result.exit_code, result.output.count("lines are good")), (0, 4))
        with self.log.open("ab") as file:
            file.write(b'nonsense\n{"time')
        (self.directory / "access.log.1").write_bytes(b"torn at a roll")
        result = self.run_audit("verify")
        self.assertEqual(result.exit_code, 1)
        self.assertIn(f"{self.log}: 2 of 3 lines are good; 1 unknown\n{self.log}:3: unknown\n", result.output)
        self.assertIn(f"{self.log}.1: 0 of 1 lines are good; 1 torn\n", result.output)
        found = {Path(one["file"]).name: one for one in json.loads(self.run_audit("verify", "--json").output)}
        self.assertEqual(found["access.log"]["open_end"], True)
        self.assertEqual(found["access.log"]["places"], [{"line": 3, "what": "unknown"}])
        self.assertEqual(found["access.log.2.gz"]["clean"], True)

    def test_no_audit_log(self) -> None:
        self.config.write_text(self.config.read_text().replace("path = access.log", ""))
        self.assertIn("has no audit log", self.run_audit("search").output)

    def test_attack_95_files_that_are_no_logs(self) -> None:
        (self.directory / "access.log.4.gz").write_bytes(gzip.compress(bytes(300 << 20)))
        for name in ("search", "report", "verify"):
            result = self.run_audit(name)
            self.assertIn("access.log.4.gz: is not an audit log", result.output + result.stderr, name)

"""``perimeter audit show``: it finds what each format has written."""

from __future__ import annotations

import gzip
from pathlib import Path

from click.testing import CliRunner, Result
from twisted.trial import unittest

from perimeter.audit.formats import FORMATS
from perimeter.cli.audit import command
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

"""Which lines are torn, or from something else."""

from __future__ import annotations

import gzip
from pathlib import Path

from twisted.trial.unittest import TestCase

from perimeter.audit import forward
from perimeter.audit import verify as module
from perimeter.audit.formats import line_format
from perimeter.audit.verify import Oddity, judged, verify
from perimeter.config.site.audit import AuditFormat
from tests.unit.doubles.audit_records import make_record

LINES = {kind: line_format(kind)(make_record()) for kind in AuditFormat}


class VerifyTests(TestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def test_lines_of_the_gateway(self) -> None:
        self.path.write_bytes(b"".join(LINES.values()))
        verdict = verify(self.path)
        self.assertEqual((verdict.lines, verdict.good, verdict.odd, verdict.clean), (3, 3, {}, True))

    def test_each_torn_line_is_found(self) -> None:
        for kind, line in LINES.items():
            whole = line[:-1]
            for at in range(1, len(whole)):
                torn = judged(whole[:at])
                if torn is None:  # text formats: the length, or the last column, may have lost its end
                    self.assertNotEqual(kind, AuditFormat.JSON)
                    self.assertGreater(at, len(whole) * 2 // 3)
            self.assertEqual(judged(whole[: len(whole) // 2]), Oddity.TORN, kind)
            self.assertIsNone(judged(whole), kind)

    def test_what_is_odd_and_where(self) -> None:
        good = LINES[AuditFormat.JSON]
        odd = b"nonsense\n" + b"\n\n" + good[:40] + b"\n" + good[:-2] + b"\x1b[2J}\n"
        self.path.write_bytes(good + odd + good)
        verdict = verify(self.path)
        self.assertEqual((verdict.lines, verdict.good, verdict.clean), (7, 2, False))
        expected = {Oddity.UNKNOWN: 1, Oddity.EMPTY: 2, Oddity.TORN: 1, Oddity.CONTROL: 1}
        self.assertEqual(verdict.odd, expected)
        places = [(2, Oddity.UNKNOWN), (3, Oddity.EMPTY), (4, Oddity.EMPTY), (5, Oddity.TORN), (6, Oddity.CONTROL)]
        self.assertEqual(verdict.places, places)

    def test_empty_lines_are_counted_and_are_no_fault(self) -> None:
        self.path.write_bytes(LINES[AuditFormat.JSON] + b"\n" + LINES[AuditFormat.JSON])
        verdict = verify(self.path)
        self.assertEqual((verdict.lines, verdict.good, verdict.odd, verdict.clean), (3, 2, {Oddity.EMPTY: 1}, True))

    def test_a_line_that_is_being_written(self) -> None:
        self.path.write_bytes(LINES[AuditFormat.JSON] + b'{"time"')
        verdict = verify(self.path)
        self.assertEqual((verdict.lines, verdict.open_end, verdict.clean), (1, True, True))
        verdict = verify(self.path, last=False)
        self.assertEqual((verdict.lines, verdict.open_end, verdict.odd), (2, True, {Oddity.TORN: 1}))

    def test_a_file_that_cannot_be_read(self) -> None:
        self.path = self.path.with_suffix(".gz")
        self.path.write_bytes(gzip.compress(LINES[AuditFormat.JSON] * 9)[:-9])
        verdict = verify(self.path)
        self.assertEqual((verdict.fault, verdict.clean), ("is damaged", False))

    def test_lines_that_are_too_long(self) -> None:
        self.patch(forward, "LONGEST_LINE", 2000)
        self.patch(forward, "BLOCK", 1000)
        for after in (b"", LINES[AuditFormat.JSON]):
            self.path.write_bytes(LINES[AuditFormat.JSON] + b"x" * 9000 + b"\n" + after)
            verdict = verify(self.path)
            self.assertEqual(verdict.odd, {Oddity.TOO_LONG: 1})
            self.assertEqual((verdict.lines, verdict.good), (3 if after else 2, 2 if after else 1))

    def test_attack_95_many_odd_lines_take_little_memory(self) -> None:
        self.patch(module, "MOST_PLACES", 3)
        self.path.write_bytes(b"\n" * 3_000_000 + b"x\n" * 9)
        verdict = verify(self.path)
        self.assertEqual((verdict.lines, len(verdict.places)), (3_000_009, 3))
        self.assertEqual(verdict.odd, {Oddity.EMPTY: 3_000_000, Oddity.UNKNOWN: 9})

    def test_progress(self) -> None:
        self.path.write_bytes(LINES[AuditFormat.JSON] * 2000)
        seen: list[int] = []
        verify(self.path, seen.append)
        self.assertEqual(seen[-1], self.path.stat().st_size)
        self.assertEqual(seen, sorted(seen))

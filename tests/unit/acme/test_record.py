from __future__ import annotations

import json
import stat
from pathlib import Path

import attrs
from twisted.trial import unittest

from perimeter.acme.record import MOST, Record, read_record, record_file, write_record

RECORD = Record("https://ca.example/dir", 1.5, 2.5, 3.5, 4, "the fault", 5.5, "digest")


class RecordTests(unittest.TestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def test_what_is_written_is_read(self) -> None:
        write_record(self.path, RECORD)
        self.assertEqual(read_record(self.path), RECORD)
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)

    def test_what_cannot_be_read_is_empty(self) -> None:
        self.assertEqual(read_record(self.path), Record())
        members = ('"directory": 1', '"failures": 1.5', '"failures": true', '"unknown": 1', '"try_at": "x"', '"try_at": 1e999')
        for text in ("", "[]", "{", *(f"{{{one}}}" for one in members), '{"fault": "' + "x" * MOST + '"}'):
            self.path.write_text(text)
            self.assertEqual(read_record(self.path), Record(), text[:40])

    def test_whole_seconds_are_times_too(self) -> None:
        self.path.write_text(json.dumps({**attrs.asdict(RECORD), "renew_at": 7}))
        self.assertEqual(read_record(self.path), attrs.evolve(RECORD, renew_at=7.0))

    def test_it_is_beside_the_certificate(self) -> None:
        self.assertEqual(record_file(Path("/s/acme/gw.example.com.pem")), Path("/s/acme/gw.example.com.json"))

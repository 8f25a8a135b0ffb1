"""Durations, sizes, booleans, numbers, choices and paths."""

from __future__ import annotations

import os
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from perimeter.config.language import datatypes
from perimeter.config.language.datatypes import BOOLEAN, DURATION_UNITS, SIZE, SIZE_UNITS, BadValue, Datatype
from perimeter.config.site.audit import ROLL
from perimeter.config.site.perimeter import WORKERS
from tests.unit.doubles.properties import reached, reaches

HERE = Path("/site")


class Word(StrEnum):
    GATEWAY = "gateway"
    TOKENS = "tokens"


class DatatypeCase(TestCase):
    def good(self, kind: Datatype[Any], table: dict[str, Any]) -> None:
        for text, value in table.items():
            self.assertEqual(kind.convert(text, HERE), value, text)

    def bad(self, kind: Datatype[Any], texts: Iterable[str]) -> None:
        for text in texts:
            with self.assertRaises(BadValue, msg=text):
                kind.convert(text, HERE)

    def suggests(self, kind: Datatype[Any], table: dict[str, str]) -> None:
        for text, suggestion in table.items():
            with self.assertRaises(BadValue, msg=text) as caught:
                kind.convert(text, HERE)
            self.assertEqual(caught.exception.suggestion, suggestion, text)


class ScalarTests(DatatypeCase):
    def test_durations(self) -> None:
        self.good(
            datatypes.duration(),
            {"500ms": 0.5, "30s": 30.0, "10m": 600.0, "24h": 86400.0, "7d": 604800.0, "15": 15.0, "1.5h": 5400.0, "10 m": 600.0},
        )
        self.bad(
            datatypes.duration(), ["", "s", "-1s", "1 week", "1M", "1h30m", "inf", "nan", "1e3", "0", "0ms", "9" * 400, "\u0661s"]
        )
        self.good(datatypes.duration(zero=True), {"0": 0.0, "0s": 0.0})

    @reaches(12)
    @given(st.integers(1, 10**5), st.sampled_from(sorted(DURATION_UNITS)))
    def test_every_duration_is_its_number_times_its_unit(self, number: int, unit: str) -> None:
        if number * DURATION_UNITS[unit] <= 36525 * 86400:
            reached(self)
            self.assertAlmostEqual(datatypes.duration().convert(f"{number}{unit}", HERE), number * DURATION_UNITS[unit])

    def test_sizes(self) -> None:
        self.good(
            SIZE, {"8KiB": 8192, "10MiB": 10 << 20, "8KB": 8000, "2 MB": 2_000_000, "512": 512, "7bytes": 7, "1.5KiB": 1536}
        )
        self.bad(SIZE, ["", "0", "-1", "8K", "1e3", "x", "9" * 30, "9999999999TiB"])

    @reaches(12)
    @given(st.integers(1, 2**40), st.sampled_from(sorted(SIZE_UNITS)))
    def test_every_size_is_its_number_times_its_unit(self, number: int, unit: str) -> None:
        if number * SIZE_UNITS[unit] < 2**63:
            reached(self)
            self.assertEqual(SIZE.convert(f"{number}{unit}", HERE), number * SIZE_UNITS[unit])

    def test_booleans(self) -> None:
        self.good(BOOLEAN, {"yes": True, "True": True, "ON": True, "no": False, "false": False, "off": False})
        self.bad(BOOLEAN, ["", "1", "0", "y", "enabled"])
        self.suggests(BOOLEAN, {"yse": "yes", "flase": "false"})

    def test_integers(self) -> None:
        self.good(datatypes.integer(1, 65535), {"1": 1, "65535": 65535, "080": 80})
        self.bad(datatypes.integer(1, 65535), ["", "0", "65536", "1.0", "1_0", "+1", "0x10", "\u0661", "9" * 5000])

    def test_choices(self) -> None:
        kind = datatypes.one_of(Word)
        self.good(kind, {"gateway": Word.GATEWAY, "tokens": Word.TOKENS})
        self.suggests(kind, {"gatway": "gateway", "token": "tokens", "elephant": "", "metrics": ""})

    def test_roll_and_workers(self) -> None:
        self.good(ROLL, {"daily": "daily", "100MiB": 100 << 20})
        self.suggests(ROLL, {"dayly": "daily", "weekly": ""})
        self.good(WORKERS, {"1": 1, "2": 2, "64": 64, "auto": min(64, len(os.sched_getaffinity(0)))})
        self.suggests(WORKERS, {"0": "", "65": "", "-1": "", "1.5": "", "²": "", "1" * 5000: "", "atuo": "auto"})


class PathTests(DatatypeCase):
    def setUp(self) -> None:
        self.base = Path(self.mktemp()).absolute()
        (self.base / "sub").mkdir(parents=True)
        (self.base / "key").write_text("x")

    def test_paths_are_relative_to_the_file(self) -> None:
        kind = datatypes.file_path()
        self.assertEqual(kind.convert("a/b", HERE), Path("/site/a/b"))
        self.assertEqual(kind.convert("../var", HERE), Path("/var"))
        self.assertEqual(kind.convert("/x", HERE), Path("/x"))

    def test_what_must_exist(self) -> None:
        self.assertEqual(datatypes.file_path("file").convert("key", self.base), self.base / "key")
        self.assertEqual(datatypes.file_path("directory").convert("sub", self.base), self.base / "sub")
        for what, text in (("file", "sub"), ("file", "none"), ("directory", "key"), ("directory", "none"), ("file", "key/x")):
            with self.assertRaises(BadValue) as caught:
                datatypes.file_path(what).convert(text, self.base)
            self.assertEqual(caught.exception.message, f"there is no {what} {self.base / text}")

    def test_a_link_stays_a_link(self) -> None:
        os.symlink("key", self.base / "current")
        self.assertEqual(datatypes.file_path("file").convert("current", self.base), self.base / "current")

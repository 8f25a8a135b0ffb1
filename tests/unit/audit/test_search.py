"""The search in audit logs: what is found, in all formats, and what it may cost."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from perimeter.audit import search as module
from perimeter.audit.files import log_files
from perimeter.audit.formats import line_format
from perimeter.audit.reading import parse_line
from perimeter.audit.search import MOST_LINES, Answer, StaleCursor, search
from perimeter.audit.wanted import Wanted, at
from perimeter.config.site.audit import AuditFormat
from perimeter.model import Principal
from tests.unit.doubles.audit_records import make_record

T0 = 1_700_000_000.0


def line(kind: AuditFormat = AuditFormat.JSON, user: str | None = None, **record: Any) -> bytes:
    principal = None if user is None else Principal(user, "local")
    return line_format(kind)(make_record(principal=principal, **{"time": T0, **record}))


class ReadingTests(TestCase):
    def test_the_parts_in_every_format(self) -> None:
        for kind in AuditFormat:
            found = parse_line(line(kind, "al ice", target=b"/a?b", status=404, address="::1"))
            assert found is not None
            self.assertEqual(
                (found.time.timestamp(), found.address, found.user, found.method, found.target, found.status),
                (T0, "::1", rb"al\x20ice", "GET", "/a?b", "404"),
            )
        found = parse_line(line(reason="wrong_credentials", attempted_user="eve"))
        assert found is not None
        self.assertEqual((found.user, found.attempted, found.reason, found.event), (b"-", b"eve", "wrong_credentials", ""))

    def test_a_request_that_could_not_be_read(self) -> None:
        for kind in AuditFormat:
            found = parse_line(line(kind, method=b"", target=b"", version="", status=400))
            assert found is not None
            self.assertEqual((found.method, found.target, found.status), ("", "", "400"))

    def test_what_is_no_line(self) -> None:
        for text in (b"", b"{", b"{}", b"[]", b'{"user":null,"time":3,"status":1}', b"nonsense", b"\xff" * 9):
            self.assertIsNone(parse_line(text), text)


class SearchCase(TestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.mkdir()
        self.path /= "access.log"
        self.now = 0.0

    def search(self, cursor: str = "", **wanted: Any) -> Answer:
        return search(self.path, Wanted(**wanted), cursor, lambda: self.now)

    def targets(self, answer: Answer) -> list[str]:
        return [hit.line.target for hit in answer.hits]

    def everything(self, **wanted: Any) -> list[str]:
        """What all questions find, one after the other."""
        found: list[str] = []
        cursor = ""
        for _ in range(10_000):
            answer = self.search(cursor, **wanted)
            found += self.targets(answer)
            cursor = answer.cursor
            if not cursor:
                return found
        raise AssertionError("the search has no end")


class WantedTests(SearchCase):
    def test_the_id_of_the_request_in_every_format(self) -> None:
        for kind in AuditFormat:
            make = line_format(kind, request_id=True)
            records = [
                make_record(target=b"/%d?x=proxy-1" % at, request_id=one)
                for at, one in enumerate((b"proxy-1", b"proxy-12", b"", b"2"))
            ]
            self.path.write_bytes(b"".join(map(make, records)))
            for request_id, found in (("proxy-1", ["/0"]), ("proxy-12", ["/1"]), ("2", ["/3"]), ("73", []), ("-", [])):
                self.assertEqual(
                    [one.partition("?")[0] for one in self.everything(request_id=request_id)], found, (kind, request_id)
                )

    def test_each_criterion_in_every_format(self) -> None:
        for kind in AuditFormat:
            self.path.write_bytes(
                b"".join(
                    (
                        line(kind, "alice", target=b"/one", status=200),
                        line(kind, "bob", target=b"/two", status=404, time=T0 + 10),
                        line(kind, None, target=b"/two/x", status=401, time=T0 + 20),
                        line(kind, "-", target=b"/t\xc3\xa4", status=503, time=T0 + 30),
                        line(kind, "alice2", target=b"/1", status=200, time=T0 + 40),
                    )
                )
            )
            for wanted, found in (
                ({}, ["/1", "/t", "/two/x", "/two", "/one"]),
                ({"user": "alice"}, ["/one"]),
                ({"user": "-"}, ["/two/x"]),
                ({"user": "nobody"}, []),
                ({"path": "/two"}, ["/two/x", "/two"]),
                ({"path": "/tä"}, ["/t"]),
                ({"path": "two"}, []),
                ({"status": "404"}, ["/two"]),
                ({"status": "4xx"}, ["/two/x", "/two"]),
                ({"status": "40"}, []),
                ({"since": T0 + 10, "until": T0 + 30}, ["/two/x", "/two"]),
                ({"since": T0 + 10.5}, ["/1", "/t", "/two/x"]),
                ({"user": "bob", "status": "200"}, []),
                ({"user": "bob", "status": "404", "path": "/t"}, ["/two"]),
            ):
                answer = self.search(**wanted)
                shown = ["/t" if one.startswith("/t") and "w" not in one else one for one in self.targets(answer)]
                self.assertEqual((shown, answer.cursor, answer.remarks), (found, "", ()), (kind, wanted))

    def test_a_failed_login_is_found_by_its_name(self) -> None:
        self.path.write_bytes(
            line(target=b"/a", status=401, reason="wrong_credentials", attempted_user="eve") + line(target=b"/b")
        )
        self.assertEqual(self.targets(self.search(user="eve")), ["/a"])
        self.assertEqual(self.targets(self.search(reason="wrong_credentials")), ["/a"])
        self.assertEqual(self.targets(self.search(reason="wrong")), [])

    def test_text_formats_have_no_reason(self) -> None:
        self.path.write_bytes(line(AuditFormat.COMBINED, reason="no_route"))
        self.assertEqual(self.search(reason="no_route").hits, ())

    def test_the_line_as_it_is_in_the_file(self) -> None:
        text = line(target=b"/<script>\x1b\xff")
        self.path.write_bytes(text)
        (hit,) = self.search().hits
        self.assertEqual(hit.text, text.decode().rstrip("\n"))

    def test_a_line_that_is_being_written_is_left_out(self) -> None:
        self.path.write_bytes(line(target=b"/a") + line(target=b"/b")[:-1])
        self.assertEqual(self.targets(self.search()), ["/a"])
        self.assertEqual(self.targets(self.search(path="/b")), [])

    def test_lines_of_other_programs_are_left_out(self) -> None:
        self.path.write_bytes(b"nonsense\n{\n\n" + line(target=b"/a") + b"\xff\n")
        self.assertEqual(self.targets(self.search()), ["/a"])

    def test_times(self) -> None:
        self.assertIsNone(at(""))
        self.assertEqual(at("2023-11-14T22:13:20+00:00"), T0)
        self.assertRaises(ValueError, at, "yesterday")


class BlockTests(SearchCase):
    """Files that are longer than a block, cut at every place."""

    def test_every_line_is_found_once_for_each_block_size(self) -> None:
        names = [f"/{number}" for number in range(40)]
        self.path.write_bytes(b"".join(line(AuditFormat.REACTOR, target=name.encode()) for name in names))
        for size in (1, 2, 7, 61, 62, 63, 64, 100, 1000, 4096):
            self.patch(module, "BLOCK", size)
            for wanted in ({}, {"path": "/"}):
                self.assertEqual(self.targets(self.search(**wanted)), names[::-1], size)

    def test_a_cursor_goes_on_where_the_answer_ended(self) -> None:
        names = [f"/{number}" for number in range(50)]
        self.path.write_bytes(b"".join(line(target=name.encode()) for name in names))
        self.patch(module, "MOST_LINES", 7)
        for size in (100, 1000, 4096, 1 << 20):
            self.patch(module, "BLOCK", size)
            self.assertEqual(self.everything(), names[::-1])
            self.assertEqual(self.everything(path="/"), names[::-1])

    def test_a_line_without_end_is_left_out(self) -> None:
        self.patch(module, "_LONGEST_LINE", 5000)
        self.patch(module, "BLOCK", 1024)
        self.path.write_bytes(line(target=b"/a") + b"x" * 20_000 + b"\n" + line(target=b"/b"))
        self.assertEqual(self.targets(self.search()), ["/b", "/a"])
        self.path.with_name("access.log.1.gz").write_bytes(gzip.compress(self.path.read_bytes()))
        self.path.unlink()
        self.assertEqual(self.targets(self.search()), ["/b", "/a"])


class BoundsTests(SearchCase):
    def test_at_most_so_many_lines(self) -> None:
        self.path.write_bytes(line(target=b"/a") * (MOST_LINES + 5))
        answer = self.search()
        self.assertEqual((len(answer.hits), bool(answer.cursor)), (MOST_LINES, True))
        answer = self.search(answer.cursor)
        self.assertEqual((len(answer.hits), answer.cursor), (5, ""))

    def test_at_most_so_many_bytes(self) -> None:
        self.patch(module, "MOST_READ", 4096)
        self.patch(module, "BLOCK", 1024)
        text = line(target=b"/a")
        count = 20_000 // len(text)
        self.path.write_bytes(text * count)
        answer = self.search(user="nobody")
        self.assertEqual((answer.hits, answer.read, bool(answer.cursor)), ((), 4096, True))
        self.assertEqual(len(self.everything()), count)

    def test_at_most_so_many_seconds(self) -> None:
        self.patch(module, "BLOCK", 64)
        self.path.write_bytes(line(target=b"/a") * 10)
        ticks = iter([0.0, 0.5, 1.99, 2.0])
        answer = search(self.path, Wanted(), "", lambda: next(ticks))
        self.assertEqual((answer.read, bool(answer.cursor)), (128, True))

    def test_lines_before_the_time_end_the_search(self) -> None:
        self.patch(module, "_OLD_ENOUGH", 100)
        self.patch(module, "BLOCK", 4096)
        self.path.write_bytes(line(time=T0 - 9) * 500 + line(time=T0))
        answer = self.search(since=T0)
        self.assertEqual((len(answer.hits), answer.cursor), (1, ""))
        self.assertLess(answer.read, 100 * 1024)

    def test_hostile_cursors(self) -> None:
        self.path.write_bytes(line())
        inode = self.path.stat().st_ino
        for cursor in ("x", ":", "1", "0:0", f"{inode}:-1", f"{inode}:x", f"{inode}:٣", "9" * 100 + ":1", f"{inode}:1:1", "\0"):
            self.assertRaises(StaleCursor, self.search, cursor)
        self.assertEqual(len(self.search(f"{inode}:{10**30}").hits), 1)
        self.assertEqual(len(self.search(f"{inode}:0").hits), 0)


class FilesTests(SearchCase):
    def old(self, suffix: str, content: bytes, age: float) -> Path:
        path = Path(f"{self.path}{suffix}")
        path.write_bytes(content)
        os.utime(path, (T0 - age, T0 - age))
        return path

    def test_rolled_files_the_newest_first(self) -> None:
        self.path.write_bytes(line(target=b"/now"))
        self.old(".2026-11-21", line(target=b"/1"), 100)
        self.old(".2026-11-21.1", line(target=b"/2"), 90)
        self.old(".2026-11-20.gz", gzip.compress(line(target=b"/4") + line(target=b"/3")), 200)
        self.old("-20261119.bz2", bz2.compress(line(target=b"/5")), 300)
        self.old(".7.xz", lzma.compress(line(target=b"/6")), 400)
        self.old(".old", line(target=b"/other"), 1)
        self.old(".2026-11-21.tmp", line(target=b"/other"), 1)
        (self.path.parent / "other.log").write_bytes(line(target=b"/other"))
        (self.path.parent / "access.log.9").mkdir()
        found = ["/now", "/2", "/1", "/3", "/4", "/5", "/6"]
        self.assertEqual(self.everything(), found)
        self.assertEqual([path.name for path in log_files(self.path)][:2], ["access.log", "access.log.2026-11-21.1"])
        self.patch(module, "MOST_LINES", 1)
        self.assertEqual(sorted(self.everything()), sorted(found))

    def test_a_roll_between_two_questions(self) -> None:
        self.patch(module, "MOST_LINES", 2)
        self.path.write_bytes(b"".join(line(target=b"/%d" % number) for number in range(4)))
        answer = self.search()
        self.assertEqual(self.targets(answer), ["/3", "/2"])
        self.path.rename(f"{self.path}.1")
        self.path.write_bytes(line(target=b"/new"))
        self.assertEqual(self.targets(self.search(answer.cursor)), ["/1", "/0"])
        Path(f"{self.path}.1").unlink()
        self.assertRaises(StaleCursor, self.search, answer.cursor)

    def test_files_older_than_the_time_are_not_read(self) -> None:
        self.path.write_bytes(line())
        self.old(".1", line(time=T0 - 2000), 1000)
        self.assertEqual(self.search(since=T0 - 500).read, len(line()))
        self.assertEqual(self.search(since=T0 - 1000).read, 2 * len(line()))

    def test_what_cannot_be_read_is_said(self) -> None:
        self.path.write_bytes(line(target=b"/a"))
        self.old(".1.gz", b"no gzip", 1)
        self.old(".2.xz", b"no xz", 2)
        self.old(".3.gz", gzip.compress(line())[:20], 3)
        self.old(".4.zst", b"", 4)
        self.old(".5", line(target=b"/b"), 5)
        answer = self.search()
        self.assertEqual(self.targets(answer), ["/a", "/b"])
        self.assertEqual([remark.partition(": ")[0].rpartition("/")[2] for remark in answer.remarks],
                         ["access.log.1.gz", "access.log.2.xz", "access.log.3.gz", "access.log.4.zst"])  # fmt: skip

    def test_a_compressed_file_that_is_too_large(self) -> None:
        self.patch(module, "_MOST_SKIPPED", 1000)
        path = self.old(".1.gz", gzip.compress(line() * 20), 1)
        answer = self.search(f"{path.stat().st_ino}:1001")
        self.assertEqual((answer.hits, len(answer.remarks)), ((), 1))

    def test_no_directory(self) -> None:
        self.path = self.path / "missing" / "access.log"
        self.assertRaises(OSError, self.search)


class PausesTests(SearchCase):
    """A thread that computes without pause would let the reactor thread wait for each of its system calls."""

    def setUp(self) -> None:
        super().setUp()
        self.pauses: list[float] = []
        sleep: Callable[[float], None] = self.pauses.append
        self.patch(module.time, "sleep", sleep)

    def test_attack_79_a_pause_for_each_block(self) -> None:
        self.assertEqual(module.BLOCK, 32 * 1024)
        self.path.write_bytes(line(target=b"/a") * 10_000)
        answer = self.search(user="nobody")
        self.assertEqual(self.pauses, [0.0002] * -(-answer.read // module.BLOCK))
        self.assertGreater(answer.read, 30 * module.BLOCK)

    def test_attack_79_a_pause_for_each_few_lines(self) -> None:
        for lines, pauses in ((19, 0), (20, 1), (39, 1), (40, 2)):
            self.pauses.clear()
            self.path.write_bytes(line(target=b"/a") * lines)
            self.assertEqual(len(self.search(path="/a").hits), lines)
            self.assertEqual(self.pauses, [0.0002] * (1 + pauses), "one for the block")

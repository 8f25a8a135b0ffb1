from __future__ import annotations

import os
import re
import socket
from email.message import Message
from email.parser import BytesParser
from email.utils import formatdate
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest
from zope.interface.verify import verifyObject

from perimeter.errors import NoRoute, Overloaded
from perimeter.gate.target import ITarget
from perimeter.http.roles import IResponder
from perimeter.targets.beneath import path_segments
from perimeter.targets.conditional import parse_date, parse_ranges
from perimeter.targets.media_types import content_type
from perimeter.targets.static import CHUNK, StaticTarget
from tests.unit.doubles.exchange_rig import FakeOffload, Rig
from tests.unit.doubles.properties import reached, reaches

NOW = 1_800_000_000


class StaticTestCase(unittest.TestCase):
    def setUp(self) -> None:
        base = Path(self.mktemp())
        self.root = base / "root"
        self.outside = base / "outside"
        self.root.mkdir(parents=True)
        self.outside.mkdir()
        (self.outside / "secret.txt").write_text("the secret")
        self.root, self.outside = self.root.resolve(), self.outside.resolve()
        self.offload = FakeOffload()
        self.put("hello.txt", b"0123456789")
        self.target = StaticTarget("site", self.root, ("index.html", "index.htm"), self.offload)  # type: ignore[arg-type]

    def put(self, name: str, content: bytes, age: int = 1000) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (NOW - age, NOW - age))
        return path

    def get(self, path: str, *headers: str, method: str = "GET", target: bytes | None = None, prefix: bytes = b"") -> Rig:
        rig = Rig(f"{method} {path} HTTP/1.1", headers, target=target, prefix=prefix)
        self.target.handle(rig.exchange)
        return rig

    def descriptors(self) -> int:
        return len(os.listdir("/proc/self/fd"))


class FileTests(StaticTestCase):
    def test_is_a_target(self) -> None:
        self.assertTrue(verifyObject(ITarget, self.target))

    def test_a_small_file_is_one_job_and_one_write(self) -> None:
        before = self.descriptors()
        rig = self.get("/hello.txt?v=1")
        reply = rig.reply
        self.assertEqual((reply.status, reply.body, reply.whole), (200, b"0123456789", True))
        self.assertEqual(reply.get("content-type"), "text/plain; charset=utf-8")
        self.assertEqual(reply.get("x-content-type-options"), "nosniff")
        self.assertEqual(reply.get("last-modified"), formatdate(NOW - 1000, usegmt=True))
        self.assertEqual(reply.get("date"), formatdate(NOW, usegmt=True))
        self.assertRegex(reply.get("etag") or "", r'^"[0-9a-f-]+"$')
        self.assertEqual((self.offload.jobs, len(rig.writes), len(rig.records)), (1, 1, 1))
        self.assertEqual(self.descriptors(), before)

    def test_head(self) -> None:
        reply = self.get("/hello.txt", method="HEAD").reply
        self.assertEqual((reply.status, reply.get("content-length"), reply.body), (200, "10", b""))

    def test_an_empty_file(self) -> None:
        self.put("empty", b"")
        rig = self.get("/empty")
        self.assertEqual((rig.reply.status, rig.reply.get("content-length"), rig.done), (200, "0", True))

    def test_other_methods(self) -> None:
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"):
            reply = self.get("/hello.txt", method=method).reply
            self.assertEqual((reply.status, reply.get("allow")), (405, "GET, HEAD"))

    def test_the_routes_prefix_is_not_part_of_the_path(self) -> None:
        self.assertEqual(self.get("/docs/hello.txt", prefix=b"/docs").reply.body, b"0123456789")
        self.assertEqual(self.get("/docs", prefix=b"/docs").reply.get("location"), "/docs/")

    def test_the_judged_path_counts(self) -> None:
        self.assertEqual(self.get("/other", target=b"/hello.txt").reply.status, 200)

    def test_escapes_are_decoded_once(self) -> None:
        self.put("a b%41.txt", b"x")
        self.assertEqual(self.get("/a%20b%2541.txt").reply.status, 200)
        self.assertEqual(self.get("/a%20b%41.txt").reply.status, 404)

    def test_not_found(self) -> None:
        for path in ("/nothing", "/hello.txt/", "/hello.txt/x", "/" + "x" * 300):
            self.assertEqual(self.get(path).reply.status, 404, path)

    def test_index_and_redirect(self) -> None:
        self.put("d/index.htm", b"<p>hi")
        self.put("empty-directory/x", b"")
        reply = self.get("/d/").reply
        self.assertEqual((reply.body, reply.get("content-type")), (b"<p>hi", "text/html; charset=utf-8"))
        reply = self.get("/d?a=b").reply
        self.assertEqual((reply.status, reply.get("location")), (301, "/d/?a=b"))
        self.assertEqual(self.get("/empty-directory/").reply.status, 404)

    def test_redirect_behind_a_proxy_that_removes_a_prefix(self) -> None:
        self.put("d/index.htm", b"<p>hi")
        for relayed, told, expected in (
            (("192.0.2.7",), "/outer", "/outer/d/?a"),
            ((), "/outer", "/d/?a"),
            (("192.0.2.7",), "//evil.test", "/d/?a"),
        ):
            rig = Rig("GET /d?a HTTP/1.1", (f"X-Forwarded-Prefix: {told}",), relayed=relayed)
            self.target.handle(rig.exchange)
            self.assertEqual(rig.reply.get("location"), expected)

    def test_attack_24_a_redirect_stays_on_this_host(self) -> None:
        (self.root / "evil.example").mkdir()
        location = self.get("/", target=b"//evil.example", prefix=b"/").reply.get("location")
        self.assertEqual(location, "/evil.example/")

    def test_permission_denied_is_403(self) -> None:
        def denied(*_: Any, **__: Any) -> int:
            raise PermissionError(13, "Permission denied")

        self.patch(os, "open", denied)
        self.assertEqual(self.get("/hello.txt").reply.status, 403)

    def test_a_full_pool_is_reported(self) -> None:
        def full(*_: Any) -> Any:
            from twisted.internet.defer import fail

            return fail(Overloaded("full", retry_after=1))

        self.patch(self.offload, "run", full)
        self.assertEqual(self.get("/hello.txt").reply.status, 503)

    def test_a_failing_disk_is_500_and_logged(self) -> None:
        def broken(*_: Any) -> bytes:
            raise OSError(5, "Input/output error")

        self.patch(os, "pread", broken)
        before = self.descriptors()
        self.assertEqual(self.get("/hello.txt").reply.status, 500)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertEqual(self.descriptors(), before)


class EscapeTests(StaticTestCase):
    def test_attack_07_paths_out_of_the_root(self) -> None:
        for target in (
            b"/../outside/secret.txt",
            b"/%2e%2e/outside/secret.txt",
            b"/%2E./outside/secret.txt",
            b"/..%2foutside/secret.txt",
            b"/..%5coutside%5csecret.txt",
            b"/..%252foutside/secret.txt",
            b"/%252e%252e/outside/secret.txt",
            b"/hello.txt%00.html",
            b"/hello.txt%0a",
            b"/./hello.txt",
            b"/x//etc/passwd",
            b"//etc/passwd",
        ):
            rig = self.get("/", target=target)
            self.assertIn(rig.reply.status, (400, 404), target)
            self.assertNotIn(b"secret", rig.written)

    def test_attack_07_symlinks_out_of_the_root(self) -> None:
        (self.root / "sub").mkdir()
        links = {
            "absolute": str(self.outside / "secret.txt"),
            "relative": "../outside/secret.txt",
            "directory": "../outside",
            "sub/deep": "../../outside/secret.txt",
            "chain": "relative",
            "passwd": "/etc/passwd",
            "loop": "loop",
            "proc": "/proc/self/environ",
            "near": str(self.root) + "-not/x",
            "back": str(self.root) + "/../outside/secret.txt",
        }
        Path(str(self.root) + "-not").mkdir()
        Path(str(self.root) + "-not/x").write_text("the secret")
        for name, to in links.items():
            (self.root / name).symlink_to(to)
        before = self.descriptors()
        for name in [*links, "directory/secret.txt"]:
            rig = self.get("/" + name)
            self.assertEqual(rig.reply.status, 404, name)
            self.assertNotIn(b"secret", rig.written)
        self.assertEqual(self.descriptors(), before)

    def test_symlinks_inside_the_root(self) -> None:
        self.put("sub/file.txt", b"in here")
        self.put(".data-1/page.txt", b"in here")
        links = {
            "a": "sub/file.txt",
            "sub/b": "../sub/./file.txt",
            "c": str(self.root / "sub" / "file.txt"),
            "d": "a",
            "..data": ".data-1",
            "page.txt": "..data/page.txt",
            "e": "sub",
        }
        for name, to in links.items():
            (self.root / name).symlink_to(to)
        for path in ("/a", "/sub/b", "/c", "/d", "/page.txt", "/e/file.txt"):
            self.assertEqual(self.get(path).reply.body, b"in here", path)

    def test_the_root_itself_may_be_a_symlink(self) -> None:
        current = self.root.parent / "current"
        current.symlink_to(self.root)
        (self.root / "abs").symlink_to(self.root / "hello.txt")
        self.target = StaticTarget("site", current, (), self.offload)  # type: ignore[arg-type]
        self.assertEqual(self.get("/hello.txt").reply.status, 200)
        self.assertEqual(self.get("/abs").reply.status, 200)

    def test_attack_07_a_link_that_appears_between_look_and_open(self) -> None:
        real, swapped = os.open, []

        def race(path: Any, flags: int, *args: Any, **kw: Any) -> int:
            if path == b"hello.txt" and not flags & os.O_PATH:
                (self.root / "hello.txt").unlink()
                (self.root / "hello.txt").symlink_to(self.outside / "secret.txt")
                swapped.append(path)
            return real(path, flags, *args, **kw)

        self.patch(os, "open", race)
        rig = self.get("/hello.txt")
        self.assertEqual(swapped, [b"hello.txt"])
        self.assertEqual(rig.reply.status, 404)

    def test_hidden_files(self) -> None:
        for name in (".git/config", ".htpasswd", "sub/.htaccess", ".env", ".well-known/.secret", "sub/.well-known/x"):
            self.put(name, b"secret")
            self.assertEqual(self.get("/" + name).reply.status, 404, name)
        self.put(".well-known/security.txt", b"Contact: x")
        self.assertEqual(self.get("/.well-known/security.txt").reply.status, 200)

    def test_special_files_are_not_there(self) -> None:
        os.mkfifo(self.root / "fifo")
        with socket.socket(socket.AF_UNIX) as listening:
            here = os.getcwd()
            os.chdir(self.root)
            try:
                listening.bind("socket")
            finally:
                os.chdir(here)
            for name in ("/fifo", "/socket"):
                self.assertEqual(self.get(name).reply.status, 404, name)

    @reaches(2)
    @given(
        st.lists(st.sampled_from([b".", b"..", b"%2e", b"%2f", b"%5c", b"%00", b"/", b"%25", b"a", b"outside", b"secret.txt"]))
    )
    @settings(max_examples=300, deadline=None)
    def test_no_spelling_leads_out(self, parts: list[bytes]) -> None:
        try:
            segments = path_segments(b"/" + b"".join(parts))
        except NoRoute:
            return
        reached(self)
        for segment in segments:
            self.assertNotIn(segment, (b"", b".", b".."))
            self.assertIsNone(re.search(rb"[/\\\x00]", segment))


class ConditionTests(StaticTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.etag = self.get("/hello.txt").reply.get("etag")
        self.same = formatdate(NOW - 1000, usegmt=True)
        self.older = formatdate(NOW - 2000, usegmt=True)
        self.newer = formatdate(NOW - 10, usegmt=True)

    def status(self, *headers: str, method: str = "GET") -> int:
        return self.get("/hello.txt", *headers, method=method).reply.status

    def test_single_conditions(self) -> None:
        for expected, header in (
            (304, f"If-None-Match: {self.etag}"),
            (304, f"If-None-Match: W/{self.etag}"),
            (304, f'If-None-Match: "x,y", {self.etag}'),
            (304, "If-None-Match: *"),
            (200, 'If-None-Match: "other"'),
            (304, f"If-Modified-Since: {self.same}"),
            (304, f"If-Modified-Since: {self.newer}"),
            (200, f"If-Modified-Since: {self.older}"),
            (200, "If-Modified-Since: yesterday"),
            (200, f"If-Match: {self.etag}"),
            (200, "If-Match: *"),
            (412, f"If-Match: W/{self.etag}"),
            (412, 'If-Match: "other"'),
            (200, f"If-Unmodified-Since: {self.same}"),
            (412, f"If-Unmodified-Since: {self.older}"),
            (200, "If-Unmodified-Since: x"),
        ):
            self.assertEqual(self.status(header), expected, header)

    def test_the_order_of_rfc_9110_section_13(self) -> None:
        self.assertEqual(self.status(f"If-Match: {self.etag}", f"If-Unmodified-Since: {self.older}"), 200)
        self.assertEqual(self.status('If-Match: "x"', f"If-None-Match: {self.etag}"), 412)
        self.assertEqual(self.status('If-None-Match: "x"', f"If-Modified-Since: {self.newer}"), 200)
        self.assertEqual(self.status(f"If-None-Match: {self.etag}", "Range: bytes=0-1"), 304)

    def test_not_modified_has_validators_and_no_length(self) -> None:
        rig = self.get("/hello.txt", f"If-None-Match: {self.etag}")
        self.assertEqual((rig.reply.get("etag"), rig.reply.get("content-length"), rig.reply.body), (self.etag, None, b""))
        self.assertTrue(rig.done)

    def test_a_changed_file_has_another_tag(self) -> None:
        self.put("hello.txt", b"9876543210", age=999)
        self.assertEqual(self.status(f"If-None-Match: {self.etag}"), 200)

    def test_a_date_in_the_future_is_not_passed_on(self) -> None:
        self.put("hello.txt", b"x", age=-500)
        self.assertEqual(self.get("/hello.txt").reply.get("last-modified"), formatdate(NOW, usegmt=True))

    def test_dates_in_three_forms(self) -> None:
        for text in (b"Sun, 06 Nov 1994 08:49:37 GMT", b"Sunday, 06-Nov-94 08:49:37 GMT", b"Sun Nov  6 08:49:37 1994"):
            self.assertEqual(parse_date(text), 784111777, text)

    @given(st.binary(max_size=40))
    @settings(max_examples=200, deadline=None)
    def test_no_date_crashes(self, value: bytes) -> None:
        found = parse_date(value)
        self.assertTrue(found is None or isinstance(found, int))


class RangeTests(StaticTestCase):
    def test_single(self) -> None:
        for spec, body, told in (
            ("0-3", b"0123", "bytes 0-3/10"),
            ("4-", b"456789", "bytes 4-9/10"),
            ("-2", b"89", "bytes 8-9/10"),
            ("-99", b"0123456789", "bytes 0-9/10"),
            ("8-99", b"89", "bytes 8-9/10"),
            ("20-30, 1-1", b"1", "bytes 1-1/10"),
        ):
            reply = self.get("/hello.txt", f"Range: bytes={spec}").reply
            self.assertEqual((reply.status, reply.body, reply.get("content-range"), reply.whole), (206, body, told, True), spec)

    def test_not_satisfiable(self) -> None:
        for spec in ("10-", "99-100", "-0"):
            reply = self.get("/hello.txt", f"Range: bytes={spec}").reply
            self.assertEqual((reply.status, reply.get("content-range")), (416, "bytes */10"), spec)

    def test_ignored(self) -> None:
        for value in ("bytes=", "bytes=-", "bytes=5-2", "lines=1-2", "bytes=a-b", "bytes=0x1-2", "bytes=1-2;3", "bytes=+1-2"):
            self.assertEqual(self.get("/hello.txt", f"Range: {value}").reply.status, 200, value)
        self.assertEqual(self.get("/hello.txt", "Range: bytes=0-1", method="HEAD").reply.status, 200)
        self.assertEqual(self.get("/hello.txt", "Range: bytes=0-1", "Range: bytes=2-3").reply.status, 200)

    def test_attack_23_many_or_overlapping_ranges_get_the_whole_file(self) -> None:
        for spec in ("0-,0-", "0-5,3-7", ",".join(f"{n}-{n}" for n in range(10)) + ",0-0" * 10):
            reply = self.get("/hello.txt", f"Range: bytes={spec}").reply
            self.assertEqual((reply.status, reply.get("content-length")), (200, "10"), spec)

    def test_multipart(self) -> None:
        rig = self.get("/hello.txt", "Range: bytes=7-8, 0-1, -1")
        reply = rig.reply
        self.assertEqual((reply.status, reply.whole), (206, True))
        message = BytesParser().parsebytes(
            b"Content-Type: " + (reply.get("content-type") or "").encode() + b"\r\n\r\n" + reply.body
        )
        parts: Any = message.get_payload()
        self.assertEqual(
            [self.part(part) for part in parts], [("bytes 7-8/10", "78"), ("bytes 0-1/10", "01"), ("bytes 9-9/10", "9")]
        )
        self.assertEqual(self.offload.jobs, 1)

    def part(self, part: Message) -> tuple[Any, Any]:
        self.assertEqual(part["content-type"], "text/plain; charset=utf-8")
        return part["content-range"], part.get_payload()

    def test_if_range(self) -> None:
        etag = self.get("/hello.txt").reply.get("etag")
        same = formatdate(NOW - 1000, usegmt=True)
        for expected, value in (
            (206, etag),
            (206, same),
            (200, '"x"'),
            (200, f"W/{etag}"),
            (200, formatdate(NOW, usegmt=True)),
            (200, "x"),
        ):
            reply = self.get("/hello.txt", "Range: bytes=0-1", f"If-Range: {value}").reply
            self.assertEqual(reply.status, expected, value)

    def test_if_range_by_date_is_weak_for_a_file_of_this_second(self) -> None:
        self.put("new.txt", b"0123", age=0)
        date = formatdate(NOW, usegmt=True)
        self.assertEqual(self.get("/new.txt", "Range: bytes=0-1", f"If-Range: {date}").reply.status, 200)

    @given(st.text("0123456789-, bytes=", max_size=60), st.integers(0, 50))
    @settings(max_examples=300, deadline=None)
    def test_ranges_lie_in_the_file_and_do_not_overlap(self, text: str, size: int) -> None:
        ranges = parse_ranges(b"bytes=" + text.encode(), size)
        seen: set[int] = set()
        for start, stop in ranges or ():
            self.assertTrue(0 <= start < stop <= size)
            self.assertFalse(seen & set(range(start, stop)))
            seen |= set(range(start, stop))


class FlowTests(StaticTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.content = os.urandom(CHUNK * 3 + 5)
        self.big = self.put("big", self.content)
        self.before = self.descriptors()

    def test_a_large_file_comes_in_chunks(self) -> None:
        rig = self.get("/big")
        self.assertEqual((rig.reply.body, rig.reply.whole, rig.done), (self.content, True, True))
        self.assertEqual(self.offload.jobs, 4)
        self.assertEqual(self.descriptors(), self.before)

    def test_attack_22_a_slow_reader_is_waited_for(self) -> None:
        self.offload.by_hand = True
        rig = self.get("/big")
        responder = rig.exchange.responder
        assert responder is not None
        self.assertTrue(verifyObject(IResponder, responder))
        self.offload.step()
        responder.pause()
        self.offload.step()
        self.assertEqual(self.offload.waiting, [])
        self.assertEqual(len(rig.reply.body), 2 * CHUNK)
        responder.resume()
        responder.resume()
        self.assertEqual(len(self.offload.waiting), 1)
        self.offload.step()
        self.offload.step()
        self.assertEqual((rig.reply.body, rig.done), (self.content, True))

    def test_the_file_is_closed_when_the_client_leaves(self) -> None:
        self.offload.by_hand = True
        rig = self.get("/big")
        self.offload.step()
        rig.leave()
        self.assertGreater(self.descriptors(), self.before)
        self.offload.step()
        self.assertEqual((self.descriptors(), self.offload.waiting), (self.before, []))

    def test_the_file_is_closed_when_the_client_leaves_while_paused(self) -> None:
        self.offload.by_hand = True
        rig = self.get("/big")
        self.offload.step()
        assert rig.exchange.responder is not None
        rig.exchange.responder.pause()
        self.offload.step()
        rig.leave()
        self.assertEqual((self.descriptors(), self.offload.waiting), (self.before, []))

    def test_the_file_is_closed_when_the_client_left_before_it_was_open(self) -> None:
        self.offload.by_hand = True
        rig = self.get("/big")
        rig.leave()
        self.offload.step()
        self.assertEqual((self.descriptors(), rig.written), (self.before, b""))

    def test_a_file_that_shrinks_cuts_the_connection(self) -> None:
        self.offload.by_hand = True
        rig = self.get("/big")
        self.offload.step()
        os.truncate(self.big, CHUNK)
        self.offload.step()
        self.assertTrue(rig.aborted)
        self.assertEqual((rig.records[0].reason, self.descriptors()), ("file_truncated", self.before))


class MediaTypeTests(unittest.TestCase):
    def test_types(self) -> None:
        for name, expected in (
            ("a.html", "text/html; charset=utf-8"),
            ("A.JS", "text/javascript; charset=utf-8"),
            ("a.json", "application/json"),
            ("a.tar.gz", "application/gzip"),
            ("a.svgz", "application/octet-stream"),
            ("README", "application/octet-stream"),
            ("html", "application/octet-stream"),
            ("a.py", "text/x-python; charset=utf-8"),
            ("a.html\r\nX: y", "application/octet-stream"),
        ):
            self.assertEqual(content_type(name), expected, name)

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from requests.adapters import BaseAdapter
from twisted.trial import unittest
from urllib3 import HTTPResponse

from perimeter.acme.session import LONGEST, MOST, STEP, BoundedSession, trusted


class Body(io.RawIOBase):
    """A body in pieces; ``clock`` moves on by ``seconds`` before each one."""

    def __init__(self, pieces: Iterator[bytes], clock: Clock, seconds: float) -> None:
        self.pieces, self.clock, self.seconds, self.left = pieces, clock, seconds, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self.left:
            self.clock.now += self.seconds
            self.left = next(self.pieces, b"")
        piece, self.left = self.left[: len(buffer)], self.left[len(buffer) :]
        buffer[: len(piece)] = piece
        return len(piece)

    def read1(self, size: int) -> bytes:
        return self.read(size)  # one piece: a raw stream reads once


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Answers(BaseAdapter):
    """Answers each request with ``pieces``, one every ``seconds``."""

    def __init__(self, clock: Clock, *pieces: bytes, status: int = 200, seconds: float = 0.0, **headers: str) -> None:
        super().__init__()
        self.clock, self.pieces, self.status, self.seconds = clock, pieces, status, seconds
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.seen: list[tuple[str, Any]] = []

    def send(self, request: Any, timeout: Any = None, **options: Any) -> requests.Response:  # type: ignore[override]
        self.seen.append((request.url, timeout))
        response = requests.Response()
        response.status_code = self.status
        response.headers.update(self.headers)
        body = Body(iter(self.pieces), self.clock, self.seconds)
        response.raw = HTTPResponse(body=body, headers=self.headers, status=self.status, preload_content=False)
        response.url = request.url
        response.request = request
        return response

    def close(self) -> None:
        pass


class SessionTests(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def session(self, *pieces: bytes, deadline: float = 1000.0, **options: Any) -> BoundedSession:
        session = BoundedSession(deadline, self.clock)
        self.answers = Answers(self.clock, *pieces, **options)
        session.mount("https://", self.answers)
        session.mount("http://", self.answers)
        self.addCleanup(session.close)
        return session

    def test_answer(self) -> None:
        response = self.session(b'{"a"', b": 1}").get("https://ca.example/dir")
        self.assertEqual(response.json(), {"a": 1})
        self.assertEqual(response.content, b'{"a": 1}')
        self.assertEqual(self.answers.seen, [("https://ca.example/dir", STEP)])

    def test_attack_147_only_https(self) -> None:
        session = self.session(b"x")
        for url in ("http://ca.example/dir", "ftp://ca.example/", "file:///etc/passwd", b"http://ca.example/"):
            with self.assertRaises(requests.RequestException):
                session.request("GET", url)
        self.assertEqual(self.answers.seen, [])

    def test_attack_147_no_redirect_is_followed(self) -> None:
        session = self.session(b"", status=302, Location="https://127.0.0.1/secret")
        self.assertEqual(session.get("https://ca.example/dir").status_code, 302)
        self.assertEqual(len(self.answers.seen), 1)

    def test_attack_147_size_of_an_answer(self) -> None:
        self.assertEqual(len(self.session(bytes(MOST)).get("https://ca.example/").content), MOST)
        with self.assertRaises(requests.exceptions.ContentDecodingError):
            self.session(bytes(MOST), b"x").get("https://ca.example/")

    def test_attack_147_time_of_an_answer(self) -> None:
        self.session(b"x", b"y", seconds=LONGEST / 4).get("https://ca.example/")
        self.clock.now = 100.0
        with self.assertRaises(requests.ReadTimeout):
            self.session(*[b"x"] * 100, seconds=1.0).get("https://ca.example/")
        self.assertLess(self.clock.now, 100.0 + LONGEST + 2)

    def test_attack_147_time_of_all_answers(self) -> None:
        session = self.session(b"x", deadline=102.0, seconds=1.0)
        session.get("https://ca.example/")
        with self.assertRaises(requests.ReadTimeout):
            session.get("https://ca.example/")

    def test_environment_is_not_used(self) -> None:
        self.assertFalse(BoundedSession(0.0).trust_env)

    def test_pause_that_the_ca_asks_for(self) -> None:
        for status, text, expected in (
            (429, "120", 120.0), (503, "7", 7.0), (200, "120", 0.0), (400, "120", 0.0), (429, "", 0.0),
            (429, "Fri, 01 Jan 2027 00:00:00 GMT", 0.0), (429, "-1", 0.0), (429, "9" * 50, 999999999.0),
        ):  # fmt: skip
            session = self.session(b"", status=status, Retry_After=text)
            session.get("https://ca.example/")
            self.assertEqual(session.pause, expected, (status, text))

    def test_trusted_authorities(self) -> None:
        self.assertEqual(trusted(Path("/etc/ca.pem")), "/etc/ca.pem")
        self.assertTrue(trusted(None))

"""The daemon's own log: one event is one line that a client cannot forge, and no credential gets into it."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, Logger, LogPublisher
from twisted.python import log as legacy
from twisted.python.failure import Failure
from twisted.trial import unittest
from zope.interface.verify import verifyObject

from perimeter.config.site.logging import LogFormat, LoggingSettings
from perimeter.run.logs import LIKE, DaemonLog, redacted
from tests.unit.doubles.audit_records import make_record


class LogsCase(unittest.TestCase):
    def logger(self, level: str = "info", format: str = "console") -> Logger:
        self.out = io.StringIO()
        self.observer = DaemonLog(LoggingSettings(level=level, format=format), self.out)
        return Logger(namespace="perimeter.gate", observer=self.observer)

    def lines(self) -> list[str]:
        content = self.out.getvalue()
        assert not content or content.endswith("\n")
        return content.split("\n")[:-1]


def failing(message: str) -> Failure:
    try:
        raise ValueError(message)
    except ValueError:
        return Failure()


class ConsoleTests(LogsCase):
    def test_line(self) -> None:
        self.logger().warn("{who} is José's", who="alice")
        self.assertRegex(
            self.out.getvalue(), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} warn perimeter\.gate: alice is José's\n$"
        )

    def test_attack_42_log_injection(self) -> None:
        self.logger().info(
            "no route {path}", path="/\n2026-11-22T12:00:00+0000 info perimeter: all is well\x1b[2J\x85\u2028\r\x7f"
        )
        (line,) = self.lines()
        self.assertIn(r"no route /\x0a2026", line)
        self.assertTrue(line.endswith(r"\x1b[2J\xc2\x85\xe2\x80\xa8\x0d\x7f"))

    def test_attack_42_traceback_starts_no_line(self) -> None:
        self.logger().failure("it broke", failing("no\n2026-11-22T12:00:00+0000 info perimeter: all is well\x1b[2J"))
        first, *rest = self.lines()
        self.assertTrue(first.endswith("critical perimeter.gate: it broke"))
        self.assertTrue(all(line.startswith("    ") for line in rest))
        self.assertIn("    2026-11-22T12:00:00+0000 info perimeter: all is well\\x1b[2J", rest)
        self.assertIn("Traceback", rest[0])

    def test_legacy_error_is_not_logged_twice(self) -> None:
        self.logger()
        publisher = legacy.LogPublisher(publishPublisher=LogPublisher(self.observer))
        publisher.msg("starting")
        publisher.msg(failure=failing("no"), why="it broke", isError=1)
        self.assertEqual(self.out.getvalue().count("Traceback"), 1)
        self.assertIn(": it broke\n    Traceback", self.out.getvalue())

    def test_stream_that_knows_ascii_only(self) -> None:
        raw = io.BytesIO()
        out = io.TextIOWrapper(raw, encoding="ascii")
        Logger(namespace="x", observer=DaemonLog(LoggingSettings(), out)).info("José")
        self.assertTrue(raw.getvalue().endswith(b"info x: Jos\\xe9\n"))

    def test_the_id_of_the_request_ends_the_line(self) -> None:
        logger = self.logger()
        for request_id in ("0af7", "", "a\nb"):
            logger.info("refused", request_id=request_id)
        self.assertEqual(
            [line.partition(": ")[2] for line in self.lines()],
            ["refused (request_id 0af7)", "refused", "refused (request_id a\\x0ab)"],
        )


class JsonTests(LogsCase):
    def test_object(self) -> None:
        self.logger(format="json").error("{who}\n\x7f", who="José \ud800")
        (line,) = self.lines()
        parsed = json.loads(line)
        self.assertRegex(parsed.pop("time"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        text = "José \\ud800"
        message = {"level": "error", "namespace": "perimeter.gate", "message": f"{text}\n\x7f", "values": {"who": text}}
        self.assertEqual(parsed, message)
        self.assertTrue(line.isascii())
        self.assertTrue(line.isprintable())

    def test_the_values_of_the_message(self) -> None:
        logger = self.logger(format="json")
        logger.info(
            "{address} {target} {status} {twice} {twice} {path} {object} {a.b}",
            address="192.0.2.7",
            target="/x?y",
            status=401,
            twice="\ud800",
            path=Path("/etc/x"),
            object=object(),
            a=None,
            other="not in the message",
        )
        self.assertEqual(
            json.loads(self.lines()[0])["values"],
            {"address": "192.0.2.7", "target": "/x?y", "status": 401, "twice": "\\ud800", "path": "/etc/x"},
        )
        logger.info("password={it} of {who}", it="xyzzy", who="alice")
        self.assertNotIn("xyzzy", self.lines()[-1])
        self.assertNotIn("values", json.loads(self.lines()[-1]))
        for words in ("none", "{address}", "{", "{0}"):
            logger.info(words, address="192.0.2.7")
            self.assertNotIn("values", json.loads(self.lines()[-1]), words)

    def test_the_id_of_the_request(self) -> None:
        for request_id, expected in (("0af7", "0af7"), ("", None)):
            self.logger(format="json").info("refused", request_id=request_id)
            self.assertEqual(json.loads(self.lines()[-1]).get("request_id"), expected)

    def test_trace(self) -> None:
        self.logger(format="json").failure("it broke", failing("password=xyzzy"))
        (line,) = self.lines()
        trace = json.loads(line)["trace"]
        self.assertTrue(trace.startswith("Traceback"))
        self.assertTrue(trace.endswith("ValueError: password=REDACTED"))


class EveryFormatTests(LogsCase):
    def test_levels(self) -> None:
        for least, expected in (("debug", 5), ("info", 4), ("warn", 3), ("error", 2)):
            for format in ("console", "json"):
                logger = self.logger(least, format)
                for level in ("debug", "info", "warn", "error", "critical"):
                    getattr(logger, level)("x")
                self.assertEqual(len(self.lines()), expected)

    def test_audit_records_are_not_for_this_log(self) -> None:
        self.logger().info("x", access_record=make_record())
        self.assertEqual(self.lines(), [])

    def test_sockets_of_lookups_are_not_reported(self) -> None:
        for format in ("console", "json"):
            self.logger(format=format)
            publisher = legacy.LogPublisher(publishPublisher=LogPublisher(self.observer))
            for text in (
                "(UDP Port 53 Closed)",
                "DNSDatagramProtocol starting on 53",
                "Starting protocol <twisted.names.dns.DNSDatagramProtocol object at 0x7f>",
                "Stopping protocol <twisted.names.dns.DNSDatagramProtocol object at 0x7f>",
            ):
                publisher.msg(text)
            self.assertEqual(self.lines(), [])
            publisher.msg("(TCP Port 53 Closed)")
            self.assertEqual(len(self.lines()), 1)

    def test_interface(self) -> None:
        self.logger()
        verifyObject(ILogObserver, self.observer)

    def test_never_raises(self) -> None:
        class Hostile:
            def __str__(self) -> str:
                raise RuntimeError("no")

            __repr__ = __str__

        for format in ("console", "json"):
            logger = self.logger(format=format)
            logger.info("{it}", it=Hostile())
            self.observer({"log_namespace": Hostile(), "log_format": "x"})
            self.observer({})
            self.assertEqual(len(self.lines()), 3)
            self.out.close()
            logger.info("x")
        raw = io.FileIO("/dev/full", "w")
        self.addCleanup(raw.close)
        full = io.TextIOWrapper(raw, write_through=True)
        self.assertRaises(OSError, full.write, "x")
        DaemonLog(LoggingSettings(), full)({"log_format": "x"})

    @given(st.text(), st.text(), st.sampled_from(["console", "json"]))
    def test_attack_42_any_text_is_one_line(self, text: str, namespace: str, format: str) -> None:
        self.logger(format=format)
        self.observer({"log_format": "{text}", "text": text, "log_namespace": namespace})
        (line,) = self.out.getvalue().splitlines()
        self.assertTrue(line.isprintable())


class RepeatTests(LogsCase):
    """A message that repeats is written once, with its cause, and then counted."""

    def begin(self, format: str = "console", level: str = "info") -> Logger:
        self.clock = Clock()
        self.out = io.StringIO()
        self.observer = DaemonLog(LoggingSettings(level=level, format=format), self.out, self.clock.seconds)
        return Logger(namespace="perimeter.gate", observer=self.observer)

    def said(self) -> list[str]:
        return [line.partition(" ")[2] for line in self.lines()]

    def test_once_and_then_a_count(self) -> None:
        log = self.begin()
        for _ in range(45):
            log.warn("no room on {disk}", disk="/var")
        self.assertEqual(self.said(), ["warn perimeter.gate: no room on /var"])
        self.clock.advance(9)
        self.observer.report()
        self.assertEqual(len(self.said()), 1)
        self.clock.advance(1)
        self.observer.report()
        self.assertEqual(self.said()[1:], ["warn perimeter.gate: no room on /var: 44 more in 10 s"])

    def test_another_text_is_another_message(self) -> None:
        log = self.begin()
        for disk in ("/var", "/srv", "/var"):
            log.error("no room on {disk}", disk=disk)
        self.assertEqual(len(self.said()), 2)
        self.observer.finish()
        self.assertEqual(self.said()[2:], ["error perimeter.gate: no room on /var: 1 more in 0 s"])

    def test_many_texts_of_one_format_are_counted_too(self) -> None:
        log = self.begin()
        for number in range(60):
            log.warn("upstream {name} is down", name=number)
        self.assertEqual(len(self.said()), LIKE)
        self.observer.finish()
        self.assertEqual(self.said()[-1], "warn perimeter.gate: 10 more like 'upstream {name} is down' in 0 s")
        self.assertEqual(len(self.said()), LIKE + 1)

    def test_a_traceback_that_repeats(self) -> None:
        log = self.begin()
        for _ in range(3):
            log.failure("it broke", failing("no"))
        self.assertEqual(self.out.getvalue().count("Traceback"), 1)
        self.observer.finish()
        self.assertTrue(self.said()[-1].endswith("critical perimeter.gate: it broke (ValueError): 2 more in 0 s"))

    def test_what_was_counted_by_its_sender_and_what_is_no_warning_is_always_written(self) -> None:
        log = self.begin()
        for _ in range(3):
            log.info("reloaded")
            log.error("not reloaded: {error}", error="x", counted=True)
        self.assertEqual(len(self.said()), 6)

    def test_a_count_is_a_json_object_too(self) -> None:
        log = self.begin("json")
        log.warn("x")
        log.warn("x")
        self.observer.finish()
        self.assertEqual([json.loads(line)["message"] for line in self.lines()], ["x", "x: 1 more in 0 s"])

    def test_a_count_below_the_level_is_not_written(self) -> None:
        log = self.begin()
        log.warn("x")
        log.warn("x")
        self.observer.configure(LoggingSettings(level="error"))
        self.observer.finish()
        self.assertEqual(len(self.said()), 1)

    def test_attack_42_a_count_is_one_line(self) -> None:
        log = self.begin()
        for _ in range(2):
            log.warn("no {x}", x="a\nb {more}")
        self.observer.finish()
        self.assertEqual(self.said()[1], r"warn perimeter.gate: no a\x0ab {more}: 1 more in 0 s")


class RedactionTests(LogsCase):
    def test_attack_42_no_credential_in_the_log(self) -> None:
        for text in (
            "Authorization: Basic YWxpY2U6eHl6enk=",
            'authorization: Digest username="a", response="xyzzy"',
            "[(b'authorization', b'Bearer xyzzy'), (b'host', b'gw')]",
            "{'Proxy-Authorization': 'xyzzy'}",
            "Cookie: a=b; session=xyzzy",
            "set-cookie: session=xyzzy; Path=/",
            "refused bearer xyzzy of alice",
            "bad credentials: BASIC xyzzy",
            "GET /a?access_token=xyzzy&b=1",
            "GET /a?%61ccess_token=xyzzy",
            "<GET /a?b=1&Token=xyzzy>",
            "https://alice:xyzzy@ldap.example.com/",
            "bind with password=xyzzy failed",
            "bind with password='x yzzy xyzzy' failed",
            'answered {"access_token": "xyzzy", "token_type": "Bearer"}',
            "token eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4eXp6eSJ9.xyzzy",
            "DELETE /token/perimeter_xyzzyxyzzyxyzzyxyzzyxyzzy",
        ):
            for format in ("console", "json"):
                self.logger(format=format).info("{text}", text=text)
                content = self.out.getvalue()
                self.assertNotIn("xyzzy", content)
                self.assertNotIn("YWxpY2U6eHl6enk", content)
                self.assertIn("REDACTED", content)

    def test_attack_103_a_long_word(self) -> None:
        for unit in ("a", "-", "eyJ", "eyJaaaaaa-", "a.", "%", "token", "bearer ", "a=b "):
            text = (unit * 32_000)[:32_000]
            spent = []
            for _ in range(3):
                began = time.thread_time()
                redacted(text)
                spent.append(time.thread_time() - began)
            self.assertLess(min(spent), 0.05, unit)

    def test_messages_of_the_operator_stay(self) -> None:
        for text in (
            "site.ini:12: [token] secret: expected at least 32 bytes, did you mean env:SECRET?",
            "Basic authentication is on for /a",
            'WWW-Authenticate: Bearer realm="R", error="invalid_token"',
            "the access token expired",
            "listening on port=9443 interface=127.0.0.1 path=/a?b=1",
        ):
            self.assertEqual(redacted(text), text)

    def test_attack_59_parameters_that_a_site_adds(self) -> None:
        outfile = io.StringIO()
        log = DaemonLog(LoggingSettings(), outfile)
        event = {"log_format": "refused GET /a?invitation=xyzzy&key=abc"}
        log(event)
        log.configure(LoggingSettings(), ("invitation",))
        log(event)
        log.configure(LoggingSettings(format=LogFormat.JSON), ("invitation",))
        log(event)
        first, second, third = outfile.getvalue().splitlines()
        self.assertIn("/a?invitation=xyzzy&key=REDACTED", first)
        for line in (second, third):
            self.assertIn("/a?invitation=REDACTED&key=REDACTED", line)

"""Failed TLS handshakes of clients: logged a few times, and then counted."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from perimeter.net.handshakes import FIRST, FailedHandshakes, HandshakeLog


class FailedHandshakesTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.failed = FailedHandshakes(self.clock.seconds)
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def said(self) -> list[str]:
        found = [f"{event['log_level'].name} {formatEvent(event)}" for event in self.events]
        self.events.clear()
        return found

    def test_the_meaning_is_logged(self) -> None:
        HandshakeLog("https", self.failed).note("192.0.2.7", "http request")
        self.assertEqual(
            self.said(),
            [
                "info TLS handshake with 192.0.2.7 at listener https failed: it speaks plain HTTP, and this listener "
                "has tls = yes: clients must use https://"
            ],
        )

    def test_a_client_that_has_just_left_is_not_logged(self) -> None:
        self.failed.note("https", "192.0.2.7", "unexpected eof while reading")
        self.assertEqual(self.said(), [])

    def test_attack_67_the_rest_is_counted(self) -> None:
        for number in range(FIRST + 7):
            self.failed.note("https", f"192.0.2.{number}", "no shared cipher")
        self.assertEqual(len(self.said()), FIRST)
        self.clock.advance(10)
        self.failed.report()
        (line,) = self.said()
        self.assertTrue(line.startswith("info TLS handshakes at listener https failed: it offers nothing"), line)
        self.assertTrue(line.endswith(": 7 more in 10 s"), line)
        self.failed.note("https", "192.0.2.7", "no shared cipher")
        self.failed.finish()
        self.assertEqual(len(self.said()), 1)

    def test_attack_67_reasons_without_end(self) -> None:
        for number in range(2000):
            self.failed.note("https", "192.0.2.7", f"new {number}")
        self.events.clear()
        self.failed.finish()
        self.assertIn("info TLS handshakes at listener - failed: of other kinds: 971 more in 0 s", self.said())

"""What the daemon's log says about refused requests: reason and detail, a few times, and then a count."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from perimeter.errors import (
    AuditUnavailable,
    BadTarget,
    InsufficientScope,
    InternalError,
    InvalidToken,
    LoginNeeded,
    LoginNeededBehindProxy,
    MissingCredentials,
    Refusal,
    Rejected,
    SessionExpired,
    TooManyAttempts,
    Unavailable,
    UpstreamUnreachable,
)
from perimeter.http.refusals import LOGINS, REFUSALS, RefusalLog
from perimeter.model import TOKEN_PREFIX, ClientConnection, HeaderBlock, RequestHead, Version
from tests.unit.doubles.http_rig import Client, Echoing, Holding, Site


def head(target: bytes = b"/x?y") -> RequestHead:
    return RequestHead(b"GET", target, Version.HTTP_1_1, b"gw.example", HeaderBlock([]))


def tried(refusal: Refusal, name: str) -> Refusal:
    refusal.attempted_user = name
    return refusal


class RefusalLogTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.log = RefusalLog(self.clock.seconds)
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def said(self) -> list[str]:
        """The messages since the last call, each after its level."""
        found = [f"{event['log_level'].name} {formatEvent(event)}" for event in self.events]
        self.events.clear()
        return found

    def note(self, refusal: Refusal, address: str = "192.0.2.7", target: bytes = b"/x?y", status: int | None = None) -> None:
        connection = ClientConnection(address, 4711, "http", 80, "")
        exchange = SimpleNamespace(head=head(target), asked=None, connection=connection, request_id="0af7", decision=None)
        self.log.note(refusal, exchange, status)

    def test_a_refusal_of_every_kind_has_its_line(self) -> None:
        start = "info request refused for 192.0.2.7, GET /x?y: "
        for refusal, line in (
            (BadTarget("an encoded slash"), "400 bad_target: an encoded slash"),
            (InvalidToken("for another audience"), "401 invalid_token: for another audience"),
            (MissingCredentials(), "401 missing_credentials: Authentication is required"),
            (InsufficientScope("no rule"), "403 insufficient_scope: no rule"),
        ):
            self.note(refusal)
            self.assertEqual(self.said(), [start + line])

    def test_every_line_about_a_request_has_its_id(self) -> None:
        for refusal in (
            *(BadTarget("x"), InsufficientScope("y"), InternalError("z"), tried(Rejected("no"), "bob")),
            LoginNeeded(b"/login", MissingCredentials()),
        ):
            self.note(refusal)
        self.assertEqual([event.get("request_id") for event in self.events], ["0af7"] * 5)

    def test_a_browser_that_is_sent_to_the_sign_in_page_is_no_refusal(self) -> None:
        start = "debug request of 192.0.2.7 sent to the sign-in page, GET /x?y: "
        for refusal, line in (
            (LoginNeeded(b"/login", MissingCredentials()), "302 missing_credentials: Sign in to see this page"),
            (LoginNeededBehindProxy(b"/login", MissingCredentials("a")), "401 missing_credentials: a"),
        ):
            self.note(refusal)
            self.assertEqual(self.said(), [start + line])

    def test_what_was_sent_to_the_sign_in_page_is_counted_after_some_lines(self) -> None:
        for _ in range(REFUSALS + 3):
            self.note(LoginNeeded(b"/login", MissingCredentials("a")))
        self.assertEqual(len(self.said()), REFUSALS)
        self.clock.advance(10)
        self.log.report()
        self.assertEqual(self.said(), ["debug requests sent to the sign-in page: missing_credentials: a: 3 more in 10 s"])
        for _ in range(2):
            self.note(LoginNeeded(b"/login", MissingCredentials("a")))
        self.log.finish()
        self.assertEqual(self.said(), ["debug requests sent to the sign-in page: missing_credentials: a: 2 more in 0 s"])

    def test_a_session_that_has_ended_stays_a_refusal_where_a_sign_in_helps(self) -> None:
        self.note(LoginNeeded(b"/login", SessionExpired("unused")))
        self.assertEqual(self.said(), ["info request refused for 192.0.2.7, GET /x?y: 302 session_expired: unused"])

    def test_a_failed_login_has_the_name_that_was_tried(self) -> None:
        for refusal, line in (
            (Rejected("no authenticator knows this user"), "401 wrong_credentials: no authenticator knows this user"),
            (TooManyAttempts("5 wrong passwords"), "429 too_many_attempts: 5 wrong passwords"),
        ):
            self.note(tried(refusal, "bob"))
            self.assertEqual(self.said(), [f'info login refused for 192.0.2.7, user "bob": {line}'])

    def test_the_status_is_that_of_the_response(self) -> None:
        """The sign-in page answers a wrong password with 403."""
        self.note(tried(Rejected("no"), "bob"), status=403)
        self.assertEqual(self.said(), ['info login refused for 192.0.2.7, user "bob": 403 wrong_credentials: no'])
        self.note(MissingCredentials("a"), status=403)
        self.assertEqual(self.said(), ["info request refused for 192.0.2.7, GET /x?y: 403 missing_credentials: a"])

    def test_attack_42_a_name_forges_no_part_of_the_line(self) -> None:
        self.note(tried(Rejected("no"), 'x" : 200\nlogin refused for 192.0.2.9, user "y'))
        self.assertEqual(
            self.said(),
            [
                r'info login refused for 192.0.2.7, user "x\x22 : 200\x0alogin refused for 192.0.2.9, user \x22y": '
                "401 wrong_credentials: no"
            ],
        )

    def test_attack_66_a_token_in_the_place_of_a_name_or_in_a_target(self) -> None:
        token = TOKEN_PREFIX + "A" * 40
        self.note(tried(Rejected("no"), token))
        self.note(BadTarget("no"), target=b"/a/" + token.encode() + b"?access_token=secret")
        first, second = self.said()
        self.assertIn('user "REDACTED"', first)
        self.assertIn("GET /a/perimeter_REDACTED?access_token=REDACTED:", second)

    def test_a_long_target_is_cut(self) -> None:
        for size, shown in ((255, "a" * 255), (256, "a" * 199 + "…"), (5000, "a" * 199 + "…")):
            self.note(BadTarget(str(size)), target=b"/" + b"a" * size)
            (line,) = self.said()
            self.assertIn(f"GET /{shown}: 400", line)

    def test_attack_42_a_token_at_the_cut_of_a_long_target(self) -> None:
        token = TOKEN_PREFIX + "SECRET" * 7 + "S"
        for before in range(180, 257):
            self.note(BadTarget(str(before)), target=b"/" + b"a" * before + b"/" + token.encode() + b"x" * 300)
            (line,) = self.said()
            self.assertNotIn("SECRET", line, str(before))

    def test_a_fault_of_ours_is_a_warning_with_its_cause_once(self) -> None:
        for _ in range(45):
            self.note(AuditUnavailable("access.log: No space left on device"))
        self.note(UpstreamUnreachable("upstream a: refused"))
        self.assertEqual(
            self.said(),
            ["warn audit_unavailable: access.log: No space left on device", "warn upstream_unreachable: upstream a: refused"],
        )
        self.clock.advance(10)
        self.log.report()
        self.assertEqual(self.said(), ["warn audit_unavailable: access.log: No space left on device: 44 more in 10 s"])

    def test_a_login_that_could_not_be_decided_is_a_fault(self) -> None:
        self.note(tried(Unavailable("the directory is down"), "bob"))
        self.assertEqual(self.said(), ["warn authentication_unavailable: the directory is down"])

    def test_refusals_are_limited_by_kind(self) -> None:
        for _ in range(REFUSALS + 3):
            self.note(BadTarget("one"))
            self.note(BadTarget("two"))
        self.assertEqual(len(self.said()), 2 * REFUSALS)
        self.log.finish()
        self.assertEqual(
            self.said(), [f"info requests refused: bad_target: {detail}: 3 more in 0 s" for detail in ("one", "two")]
        )

    def test_failed_logins_are_limited_by_address(self) -> None:
        for _ in range(LOGINS + 1):
            for address in ("192.0.2.7", "192.0.2.8"):
                self.note(tried(Rejected("no"), "bob"), address)
        self.assertEqual(len(self.said()), 2 * LOGINS)
        self.clock.advance(10)
        self.log.report()
        self.assertEqual(
            self.said(), [f"info logins refused for 192.0.2.{last}: wrong_credentials: 1 more in 10 s" for last in (7, 8)]
        )

    def test_attack_67_a_flood_of_refusals_of_ever_other_kinds(self) -> None:
        for number in range(5000):
            self.note(BadTarget(str(number)))
            self.note(tried(Rejected("no"), "bob"), f"192.0.{number // 250}.{number % 250}")
            self.note(Unavailable(str(number)))
        self.assertLess(len(self.said()), 4000)
        self.log.finish()
        self.assertIn("info requests refused: of other kinds: -: 3971 more in 0 s", self.said())


class ExchangeTests(TestCase):
    """Each refused exchange is noted, with the client's address as rules see it."""

    def noted(self, site: Site) -> list[tuple[str, str, bytes]]:
        found: list[tuple[str, str, bytes]] = []

        def note(refusal: Refusal, exchange: Any, status: int | None = None) -> None:
            asked = exchange.asked or exchange.head
            found.append((refusal.reason, exchange.connection.address, asked.target))

        site.refusals.note = note  # type: ignore[method-assign]
        return found

    def test_refused_by_the_gate_or_the_target(self) -> None:
        target = Holding()
        site = Site(target)
        noted = self.noted(site)
        Client(site).get("/a")
        exchange = target.exchanges[0]
        exchange.refuse(MissingCredentials())
        exchange.refuse(MissingCredentials())
        self.assertEqual(noted, [("missing_credentials", "192.0.2.7", b"/a")])

    def test_the_request_that_a_proxy_asks_about(self) -> None:
        target = Holding()
        site = Site(target)
        noted = self.noted(site)
        Client(site).get("/authenticate")
        target.exchanges[0].asked = head(b"/asked")
        target.exchanges[0].refuse(MissingCredentials())
        self.assertEqual(noted, [("missing_credentials", "192.0.2.7", b"/asked")])

    def test_a_head_that_is_none(self) -> None:
        site = Site(Echoing())
        noted = self.noted(site)
        Client(site).send(b"GET /a HTTP/1.1\r\nHost: a b\r\n\r\n")
        self.assertEqual(noted, [("bad_request", "192.0.2.7", b"/a")])

    def test_a_tls_handshake_at_a_listener_without_tls_is_refused_at_once(self) -> None:
        for data in (b"\x16", b"\x16\x03\x01\x02\x00\x01"):
            client = Client(Site(Echoing()))
            client.send(data)
            self.assertEqual(client.response().status, 400)
            self.assertTrue(client.closed)
            (record,) = client.records
            self.assertEqual((record.reason, record.method), ("bad_request", b""))
            self.assertIn("set tls = yes", record.detail)

    def test_a_response_that_cannot_be_recorded(self) -> None:
        target = Holding()
        site = Site(target)
        noted = self.noted(site)
        site.audit.failing = True
        Client(site).get("/a")
        target.exchanges[0].answer(200, b"", b"")
        self.assertEqual(noted, [("audit_unavailable", "192.0.2.7", b"/a")])

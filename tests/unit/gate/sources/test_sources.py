"""Several sources of credentials, asked in order by one identifier."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import TestCase

from perimeter.errors import InvalidToken
from perimeter.gate.identify import Identifier
from perimeter.gate.sources.source import Challenge, Found
from perimeter.http.grammar import parse_block
from perimeter.model import ClientConnection, Grant, GrantKind, HeaderBlock, Principal, SessionUse

ALICE = Principal("alice", "local")
BOB = Principal("bob", "local")
CONNECTION = ClientConnection("192.0.2.7", 40000, "https", 443, "TLSv1.3")


class FakeSource:
    """Has ``found`` for every request, or raises it."""

    def __init__(self, found: Principal | Exception | None, *challenges: Challenge, by_connection: bool = False) -> None:
        self.found = found
        self.by_connection = by_connection
        self.by_session = False
        self.by_authorization = False
        self.end = 0.0
        self.asked = 0
        self.forgotten = False
        self._challenges = challenges

    def challenges(self) -> tuple[Challenge, ...]:
        return self._challenges

    def identify(self, headers: HeaderBlock, address: str, connection: ClientConnection) -> Found:
        self.asked += 1
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    identify_first_hand = identify

    def until(self, headers: HeaderBlock) -> float:
        return self.end

    def by_browser(self, headers: HeaderBlock) -> bool | None:
        return False

    def forget(self) -> None:
        self.forgotten = True


class SourcesTests(TestCase):
    def ask(self, *sources: FakeSource, by_connection: bool = True, first_hand: bool = False) -> Found:
        headers = parse_block(b"Host: gw\r\n", 20)
        identifier = Identifier(sources)
        if first_hand:
            return identifier.identify_first_hand(headers, "192.0.2.7", CONNECTION)
        return identifier.identify(headers, "192.0.2.7", CONNECTION, by_connection=by_connection)

    def test_the_first_that_has_credentials_decides(self) -> None:
        for first_hand in (False, True):
            last = FakeSource(BOB)
            self.assertIs(self.ask(FakeSource(None), FakeSource(ALICE), last, first_hand=first_hand), ALICE)
            self.assertEqual(last.asked, 0)
            self.assertIsNone(self.ask(FakeSource(None), FakeSource(None), first_hand=first_hand))

    def test_a_session_alone(self) -> None:
        other, session = FakeSource(BOB), FakeSource(ALICE)
        session.by_session = True
        headers = parse_block(b"Host: gw\r\n", 20)
        identifier = Identifier((other, session))
        self.assertIs(identifier.identify_by_session(headers, "192.0.2.7", CONNECTION), ALICE)
        self.assertEqual((other.asked, session.asked), (0, 1))
        session.found = None
        self.assertIsNone(identifier.identify_by_session(headers, "192.0.2.7", CONNECTION))
        self.assertIsNone(Identifier((other,)).identify_by_session(headers, "192.0.2.7", CONNECTION))

    def test_a_source_that_reads_authorization_is_asked_about_nothing_else(self) -> None:
        token, other = FakeSource(ALICE), FakeSource(BOB)
        token.by_authorization = True
        identifier = Identifier((token, other))
        for lines, found in ((b"Host: gw\r\n", BOB), (b"Host: gw\r\nAuthorization: Bearer x\r\n", ALICE)):
            headers = parse_block(lines, 20)
            for by_connection in (True, False):
                self.assertIs(identifier.identify(headers, "192.0.2.7", CONNECTION, by_connection=by_connection), found)
        self.assertEqual((token.asked, other.asked), (2, 2))

    def test_what_else_a_request_by_a_session_has_says_nothing(self) -> None:
        token, session = FakeSource(BOB), FakeSource(ALICE)
        session.by_session = True
        token.end, session.end = 900.0, 60.0
        headers = parse_block(b"Host: gw\r\n", 20)
        identifier = Identifier((token, session))
        by_session = attrs.evolve(ALICE, grant=Grant("7", 0.0, 9.0, GrantKind.SESSION, use=SessionUse(0.0)))
        by_token = attrs.evolve(ALICE, grant=Grant("8", 0.0, 9.0))
        self.assertEqual(identifier.until(headers, by_session), 60.0)
        self.assertIs(identifier.by_browser(headers, by_session), True)
        for principal in (ALICE, by_token):
            self.assertEqual(identifier.until(headers, principal), 900.0)
            self.assertIs(identifier.by_browser(headers, principal), False)

    def test_attack_41_a_wrong_credential_is_not_made_good_by_another_source(self) -> None:
        for first_hand in (False, True):
            last = FakeSource(ALICE)
            with self.assertRaises(InvalidToken):
                self.ask(FakeSource(InvalidToken()), last, first_hand=first_hand)
            self.assertEqual(last.asked, 0)

    def test_attack_8_the_connection_of_a_proxy_says_nothing_of_its_client(self) -> None:
        connection = FakeSource(ALICE, by_connection=True)
        self.assertIsNone(self.ask(connection, by_connection=False))
        self.assertEqual(connection.asked, 0)
        self.assertIs(self.ask(connection), ALICE)

    def test_challenges_and_forgetting(self) -> None:
        one, other = FakeSource(None, ("basic", "a"), ("bearer", "b")), FakeSource(None, ("bearer", "b"), ("bearer", "c"))
        identifier = Identifier((one, other))
        self.assertEqual(identifier.challenges(), (("basic", "a"), ("bearer", "b"), ("bearer", "c")))
        identifier.forget()
        self.assertTrue(one.forgotten and other.forgotten)

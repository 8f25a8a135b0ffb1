"""Requests by the cookie of a session: which cookie counts, from where, for how long, and what a change of its owner does."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from ipaddress import ip_network
from math import inf
from typing import Any

import attrs
from twisted.internet.defer import Deferred, ensureDeferred

from perimeter.errors import InvalidToken, Overloaded, ProviderUnavailable, SessionExpired, StateUnavailable, Unavailable
from perimeter.gate.sources.session import SessionSource
from perimeter.http.grammar import parse_block
from perimeter.limits.memory import LimitMemory
from perimeter.model import AuthenticationRequest, ClientConnection, Grant, GrantKind, HeaderBlock, Principal
from perimeter.sessions.session import Origin, Renewal, Renewed, Session, Vouched, mint
from perimeter.state.freshness import Freshness
from perimeter.tokens.check import Check
from perimeter.tokens.look_ups import CookieLookUps, LookUps
from tests.unit.doubles.sessions import ALICE, BOB, START, SessionCase, Settings

TLS = ClientConnection("192.0.2.7", 40000, "https", 443, "TLSv1.3")
PLAIN = ClientConnection("192.0.2.7", 40000, "http", 80, "")
PROXY = ClientConnection("198.51.100.1", 40000, "http", 80, "")
PROXY_TLS = ClientConnection("198.51.100.1", 40000, "https", 443, "TLSv1.3")
TRUSTED = (ip_network("198.51.100.0/24"),)


class Chain:
    """Recalls owners as ``answer`` says: a principal, an exception, or a Deferred; None for the owner as kept."""

    def __init__(self) -> None:
        self.answer: Principal | Exception | Deferred[Principal] | None = None
        self.asked: list[tuple[Principal, AuthenticationRequest]] = []

    def recall(self, owner: Principal, request: AuthenticationRequest) -> Principal | Awaitable[Principal]:
        self.asked.append((owner, request))
        if isinstance(self.answer, Exception):
            raise self.answer
        return owner if self.answer is None else self.answer


class SourceCase(SessionCase):
    settings = Settings(idle=3600.0, lifetime=7200.0)

    def setUp(self) -> None:
        super().setUp()
        self.chain = Chain()
        self.source = self.made()
        self.cookie, self.session = self.begin()

    def made(self, *, trusted: Any = (), remembered: int = 30) -> SessionSource:
        return SessionSource(self.chain, self.stored, self.clock.seconds, remembered, trusted)

    def headers(self, *lines: str, cookie: bytes | None = None) -> HeaderBlock:
        block = parse_block("".join(f"{line}\r\n" for line in ("Host: gw", *lines)).encode(), 20)
        block.session = self.cookie if cookie is None else cookie
        return block

    def find(self, *lines: str, connection: ClientConnection = TLS, cookie: bytes | None = None) -> Any:
        return self.source.identify(self.headers(*lines, cookie=cookie), "203.0.113.9", connection)

    def nobody(self, *lines: str, connection: ClientConnection = TLS, cookie: bytes | None = None) -> None:
        """The cookie is of no session, also after a look into the store."""
        found = self.find(*lines, connection=connection, cookie=cookie)
        self.assertIsNone(self.done(found) if isinstance(found, Coroutine) else found)


class IdentifyTests(SourceCase):
    def test_a_session_is_its_owner(self) -> None:
        found = self.find()
        self.assertEqual(found, ALICE)
        self.assertEqual((found.authenticator, found.attributes), ("users", ALICE.attributes))
        self.assertEqual(found.grant, Grant(self.session.id, START, START + 7200, GrantKind.SESSION))
        self.assertEqual(self.chain.asked, [(ALICE, AuthenticationRequest("203.0.113.9", frozenset(), "192.0.2.7"))])
        self.assertIs(self.find(), found)
        self.assertEqual(len(self.chain.asked), 1)

    def test_without_a_cookie(self) -> None:
        headers = parse_block(b"Host: gw\r\n", 20)
        self.assertIsNone(self.source.identify(headers, "203.0.113.9", TLS))
        self.assertIsNone(self.source.by_browser(headers))
        self.assertEqual(self.source.until(headers), 0.0)

    def test_a_cookie_of_no_session_is_no_credential(self) -> None:
        self.nobody(cookie=b"A" * 43)
        self.assertEqual(self.chain.asked, [])

    def test_attack_89_made_up_cookies_cost_one_look_a_second(self) -> None:
        for _ in range(2):
            self.assertIsNone(self.done(self.find(cookie=b"A" * 43)))
            for number in range(100):
                self.assertIsNone(self.find(cookie=b"%043d" % number))
            self.clock.advance(1)

    def test_attack_181_made_up_cookies_are_looked_up_at_a_limited_rate(self) -> None:
        check = Check((b"k" * 32,))
        look_ups = CookieLookUps(check, LookUps(LimitMemory.private(), lambda: False, "sessions"))
        self.source = SessionSource(self.chain, self.stored, self.clock.seconds, 30, look_ups=look_ups)
        overloaded = 0
        for number in range(200):
            try:
                self.nobody(cookie=b"%043d" % number)
            except Overloaded:
                overloaded += 1
        self.assertGreater(overloaded, 100)
        for _ in range(100):
            self.nobody(cookie=check.make().encode())
        self.assertEqual(self.find(), ALICE, "it is in memory, and has no check")

    def test_a_session_that_another_worker_has_begun_a_moment_ago(self) -> None:
        cookie, begun = mint(ALICE, START, START + 7200, 0.0, (("password", START),), "192.0.2.7", "Firefox")
        self.store.others_write(begun)
        found = self.done(self.find(cookie=cookie.encode()))
        self.assertEqual((found, found.grant.id), (ALICE, begun.id))
        cookie, begun = mint(ALICE, START, START + 7200, 0.0, (("password", START),), "192.0.2.7", "Firefox")
        self.store.others_write(begun)
        self.assertIsNone(self.find(cookie=cookie.encode()), "the last look was a moment ago")
        self.clock.advance(1)
        self.chain.answer = Deferred()
        asked = ensureDeferred(self.find(cookie=cookie.encode()))
        self.assertNoResult(asked)
        self.chain.answer.callback(ALICE)
        self.assertEqual(self.successResultOf(asked).grant.id, begun.id)

    def test_a_cookie_is_found_by_all_of_its_bytes(self) -> None:
        self.find()
        for other in (self.cookie[:-1], self.cookie + b"A", self.cookie.swapcase()):
            self.nobody(cookie=other)

    def test_the_present_roles_count(self) -> None:
        self.chain.answer = attrs.evolve(ALICE, roles=("dev",), authenticator="users")
        found = self.find()
        self.assertEqual((found.roles, found.grant.id), (("dev",), self.session.id))

    def test_the_owner_is_looked_up_each_minute(self) -> None:
        first = self.find()
        self.chain.answer = attrs.evolve(ALICE, roles=())
        self.clock.advance(59.75)
        self.assertIs(self.find(), first)
        self.clock.advance(0.25)
        self.assertEqual(self.find().roles, ())
        self.assertEqual(len(self.chain.asked), 2)

    def test_an_owner_may_be_looked_up_later(self) -> None:
        self.chain.answer = Deferred()
        finding = ensureDeferred(self.find())
        self.assertNoResult(finding)
        self.chain.answer.callback(attrs.evolve(ALICE, roles=("dev",)))
        found = self.successResultOf(finding)
        self.assertEqual((found.roles, found.grant.id), (("dev",), self.session.id))
        self.assertIs(self.find(), found)

    def test_a_browser_adds_the_cookie_by_itself(self) -> None:
        self.assertIs(self.source.by_browser(self.headers()), True)

    def test_no_challenge_helps(self) -> None:
        self.assertEqual(self.source.challenges(), ())
        self.assertIs(self.source.by_session, True)
        self.assertIs(self.source.by_connection, False)

    def test_a_session_is_no_proof_at_first_hand(self) -> None:
        self.assertIsNone(self.source.identify_first_hand(self.headers(), "203.0.113.9", TLS))

    def test_attack_34_a_client_narrows_its_realms(self) -> None:
        for _ in range(2):  # looked up, then remembered
            with self.assertRaises(InvalidToken):
                self.find("X-Auth-Realm: corp")
            self.assertEqual(self.find("X-Auth-Realm: local"), ALICE)
        self.assertEqual(self.chain.asked[0][1].realms, {"local"})
        self.assertEqual(len(self.chain.asked), 1)

    def test_no_more_are_remembered_than_allowed(self) -> None:
        self.source = self.made(remembered=3)
        self.find()
        for _ in range(3):
            self.find(cookie=self.begin(BOB)[0])
        self.find()
        self.assertEqual(len(self.chain.asked), 5)

    def test_everything_is_looked_up_again(self) -> None:
        self.find()
        self.source.forget()
        self.find()
        self.assertEqual(len(self.chain.asked), 2)


class EndTests(SourceCase):
    def until(self) -> float:
        return self.source.until(self.headers())

    def test_a_session_ends_by_idleness(self) -> None:
        self.clock.advance(3599.75)
        self.assertEqual(self.find(), ALICE)
        self.clock.advance(0.25)
        self.nobody()

    def test_a_use_counts(self) -> None:
        self.clock.advance(3599)
        self.find().grant.use.at = self.clock.seconds()
        self.clock.advance(3599)
        self.assertEqual(self.find(), ALICE)

    def test_a_look_up_alone_is_no_use(self) -> None:
        self.clock.advance(3000)
        self.find()
        self.clock.advance(600)
        self.nobody()

    def test_a_session_ends_with_its_lifetime(self) -> None:
        self.find().grant.use.at = START + 7000
        self.clock.advance(7199.75)
        self.assertEqual(self.find(), ALICE)
        self.assertEqual(self.until(), START + 7200)
        self.clock.advance(0.25)
        self.nobody()

    def test_how_long_a_session_is_remembered(self) -> None:
        self.assertEqual(self.until(), 0.0)
        self.find()
        self.assertEqual(self.until(), START + 60)
        self.clock.advance(3590)
        self.find()
        self.assertEqual(self.until(), START + 3600)

    def test_attack_25_an_ended_session_counts_no_longer(self) -> None:
        other = self.begin(BOB)[0]
        self.find()
        self.find(cookie=other)
        self.done(self.stored.end(self.session))
        self.nobody()
        self.assertEqual(self.find(cookie=other), BOB)
        self.assertEqual(len(self.chain.asked), 2, "the other one is still remembered")

    def test_attack_25_all_sessions_of_a_user_end(self) -> None:
        self.find()
        self.done(self.stored.end_user("local", "alice"))
        self.nobody()

    def test_attack_25_a_session_that_ends_while_its_owner_is_looked_up(self) -> None:
        self.chain.answer = Deferred()
        finding = ensureDeferred(self.find())
        self.done(self.stored.end(self.session))
        self.chain.answer.callback(ALICE)
        self.failureResultOf(finding, SessionExpired)
        self.nobody()

    def test_a_session_that_is_over_when_its_owner_was_looked_up(self) -> None:
        self.chain.answer = Deferred()
        finding = ensureDeferred(self.find())
        self.clock.advance(3600)
        self.chain.answer.callback(ALICE)
        self.failureResultOf(finding, SessionExpired)


class OwnerTests(SourceCase):
    def test_attack_81_the_session_of_a_deleted_user_ends(self) -> None:
        self.chain.answer = InvalidToken("there is no such user")
        with self.assertRaisesRegex(SessionExpired, "there is no such user"):
            self.find()
        self.chain.answer = None
        self.nobody()  # another user may have got the name
        self.assertIsNone(self.stored.with_id(self.session.id))

    def test_attack_81_the_session_of_a_deleted_user_ends_on_all_hosts(self) -> None:
        """Otherwise the host of the sign-in page would hand the session over again, without end."""
        cookie, child = self.done(self.book.begin_child(self.session.id, address="", agent="", old=None, key=b""))
        self.chain.answer = InvalidToken("there is no such user")
        with self.assertRaises(SessionExpired):
            self.find(cookie=cookie.encode())
        self.assertEqual([self.stored.with_id(one.id) for one in (child, self.session)], [None, None])

    def test_attack_81_also_if_this_is_known_later(self) -> None:
        self.chain.answer = Deferred()
        finding = ensureDeferred(self.find())
        self.chain.answer.errback(InvalidToken("there is no such user"))
        self.assertEqual(self.failureResultOf(finding, SessionExpired).value.detail, "there is no such user")
        self.assertIsNone(self.stored.with_id(self.session.id))

    def test_attack_81_also_if_the_end_cannot_be_written(self) -> None:
        self.chain.answer = InvalidToken("there is no such user")
        self.store.fails = True
        with self.assertRaises(SessionExpired):
            self.find()
        self.flushLoggedErrors()
        self.assertIsNone(self.stored.with_id(self.session.id))

    def test_attack_81_a_role_that_was_taken_away_counts_for_a_minute_at_most(self) -> None:
        self.assertEqual(self.find().roles, ("admin", "dev"))
        self.chain.answer = attrs.evolve(ALICE, roles=("dev",))
        self.clock.advance(60)
        self.assertEqual(self.find().roles, ("dev",))

    def test_a_directory_that_is_down_ends_nothing(self) -> None:
        self.chain.answer = Deferred()
        finding = ensureDeferred(self.find())
        self.chain.answer.errback(Unavailable("down"))
        self.failureResultOf(finding, Unavailable)
        self.chain.answer = None
        self.assertEqual(self.find(), ALICE)


class SchemeTests(SourceCase):
    """A cookie counts only if it came over https (attack 80)."""

    def test_attack_80_a_cookie_over_plain_http(self) -> None:
        self.nobody(connection=PLAIN)
        self.find()
        self.nobody(connection=PLAIN)  # not even if it is remembered

    def test_attack_80_only_a_trusted_proxy_can_declare_https(self) -> None:
        https = "X-Forwarded-Proto: https"
        self.nobody(https, connection=PLAIN)
        self.source = self.made(trusted=TRUSTED)
        self.nobody(https, connection=PLAIN)
        self.assertEqual(self.find(https, connection=PROXY), ALICE)
        self.nobody(connection=PROXY)

    def test_attack_80_what_a_trusted_proxy_says_counts_more_than_its_own_connection(self) -> None:
        self.source = self.made(trusted=TRUSTED)
        self.nobody("X-Forwarded-Proto: http", connection=PROXY_TLS)
        self.assertEqual(self.find(connection=PROXY_TLS), ALICE)
        self.assertEqual(self.find("X-Forwarded-Proto: http"), ALICE, "a client over TLS that is not trusted")

    def test_the_address_of_a_peer_is_read_once(self) -> None:
        self.source = self.made(trusted=TRUSTED)
        self.find(connection=PROXY)
        self.assertEqual(dict(self.source._peers), {"198.51.100.1": True})
        self.source._peers["198.51.100.1"] = False
        self.nobody("X-Forwarded-Proto: https", connection=PROXY)


_VOUCHED = Vouched("corp", "https://sso", "7")


class Owners:
    """`perimeter.sessions.renewal.Renewals` that answers with ``answer``, or with the owner as kept."""

    def __init__(self) -> None:
        self.answer: Principal | Exception | Deferred[Principal] | None = None
        self.asked: list[tuple[Session, bytes]] = []

    def owner_of(self, session: Session, cookie: bytes, request: AuthenticationRequest) -> Principal | Awaitable[Principal]:
        assert request.address == "203.0.113.9"
        self.asked.append((session, cookie))
        if isinstance(self.answer, Exception):
            raise self.answer
        return session.owner if self.answer is None else self.answer


class ProviderTests(SourceCase):
    """Sessions that came from sign-ins at a provider."""

    def setUp(self) -> None:
        super().setUp()
        self.owners = Owners()
        self.source = SessionSource(self.chain, self.stored, self.clock.seconds, 30, renewals=self.owners)
        self.plain = self.cookie
        self.cookie, self.session = self.begin(BOB, origin=Origin(vouched=_VOUCHED, secret=b"first", renewal=Renewal(START + 30)))

    def test_the_provider_is_asked_and_no_authenticator(self) -> None:
        for _ in range(2):
            self.assertEqual(self.find(), BOB)
        self.assertEqual((self.owners.asked, self.chain.asked), ([(self.session, self.cookie)], []))
        self.assertEqual(self.find(cookie=self.plain), ALICE)
        self.assertEqual((len(self.owners.asked), len(self.chain.asked)), (1, 1))

    def test_a_session_on_another_host_belongs_to_that_of_the_sign_in(self) -> None:
        cookie, child = self.begin(BOB, origin=Origin(parent=self.session.id, secret=b"key"))
        self.assertEqual(self.find(cookie=cookie), BOB)
        self.assertEqual(self.owners.asked, [(child, cookie)])

    def test_the_owner_is_looked_up_again_when_the_provider_is_to_be_asked(self) -> None:
        cookie, child = self.begin(BOB, origin=Origin(parent=self.session.id, secret=b"key"))
        for seconds, asked in ((0, 1), (29.75, 1), (0.25, 2), (59.75, 2), (0.25, 3)):
            self.clock.advance(seconds)
            self.find()
            self.find(cookie=cookie)
            self.assertEqual(len(self.owners.asked), 2 * asked, seconds)
        self.assertEqual(self.stored.due_after(child, START + 29.75), START + 30)
        self.assertEqual(self.stored.due_after(self.session, START + 30), inf)
        self.done(self.stored.end(self.session))
        self.assertEqual(self.stored.due_after(child, START), inf)

    def test_new_roles_are_those_of_the_next_request(self) -> None:
        self.assertEqual(self.find().roles, ("dev",))
        self.done(
            self.stored.renew(Renewed(self.session.id, attrs.evolve(BOB, roles=("ops",)), _VOUCHED, b"", Renewal(START + 90)))
        )
        self.assertEqual(self.find().roles, ("ops",))
        self.assertEqual(self.find(cookie=self.plain), ALICE)

    def test_what_has_not_changed_is_not_looked_up_again(self) -> None:
        self.find()
        self.done(self.stored.renew(Renewed(self.session.id, BOB, _VOUCHED, b"", Renewal(START + 90))))
        self.assertEqual(self.find(), BOB)
        self.assertEqual(len(self.owners.asked), 1)

    def test_a_provider_that_is_gone_ends_the_session(self) -> None:
        self.owners.answer = InvalidToken("not configured")
        with self.assertRaises(SessionExpired):
            self.find()
        self.assertIsNone(self.stored.with_id(self.session.id))

    def test_without_any_provider_the_session_ends(self) -> None:
        self.source = self.made()
        with self.assertRaises(SessionExpired):
            self.find()
        self.assertIsNone(self.stored.with_id(self.session.id))

    def test_a_question_that_is_overdue(self) -> None:
        self.owners.answer = later = Deferred()
        found = ensureDeferred(self.find())
        self.assertNoResult(found)
        later.callback(attrs.evolve(BOB, roles=("ops",)))
        self.assertEqual(self.done(found).roles, ("ops",))
        self.owners.answer = failing = Deferred()
        self.clock.advance(60)
        found = ensureDeferred(self.find())
        failing.errback(ProviderUnavailable("down"))
        self.fails(ProviderUnavailable, found)
        self.assertIsNotNone(self.stored.with_id(self.session.id))


class StaleTests(SourceCase):
    """The state is shared with other machines, and nothing is heard of them."""

    def setUp(self) -> None:
        super().setUp()
        self.heard = self.state.freshness = Freshness("redis", 60.0, clock=self.clock.seconds)
        self.hear()

    def hear(self) -> None:
        self.heard.compared(0.0)
        self.heard.heard()
        self.done(self.state.follow())
        self.state.grow_old()

    def silence(self) -> None:
        self.clock.advance(61.0)
        self.state.grow_old()

    def unavailable(self, *lines: str, cookie: bytes | None = None) -> None:
        with self.assertRaises(StateUnavailable):
            self.find(*lines, cookie=cookie)

    def test_attack_186_a_session_is_neither_good_nor_ended_while_the_state_is_stale(self) -> None:
        self.clock.advance(30.0)
        found = self.find()
        self.clock.advance(31.0)
        self.assertIs(self.find(), found, "until it is noticed, within a second")
        self.state.grow_old()
        self.unavailable()
        self.unavailable(cookie=b"A" * 43)
        self.hear()
        self.assertIs(self.find(), found)
        self.assertEqual(self.store.written, [[self.session]], "nothing was ended")

    def test_attack_186_a_session_that_is_not_remembered(self) -> None:
        self.clock.advance(60.0)
        self.assertEqual(self.find(), ALICE)
        self.clock.advance(61.0)
        self.unavailable()
        self.assertEqual(len(self.chain.asked), 1, "its owner is not asked for")

    def test_attack_186_the_state_becomes_stale_while_the_owner_is_looked_up(self) -> None:
        self.chain.answer = Deferred()
        finding = ensureDeferred(self.find())
        self.silence()
        self.chain.answer.callback(ALICE)
        self.failureResultOf(finding, StateUnavailable)
        self.assertEqual(self.store.written, [[self.session]], "nothing was ended")

    def test_attack_187_a_session_is_not_good_on_a_machine_with_another_time(self) -> None:
        self.assertEqual(self.find(), ALICE)
        self.heard.compared(-2.5)
        self.state.grow_old()
        self.unavailable()
        self.heard.compared(-2.0)
        self.state.grow_old()
        self.assertEqual(self.find(), ALICE)

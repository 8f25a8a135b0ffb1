"""What is open for long is judged again when its admission ends, and cut if it would not be admitted any more."""

from __future__ import annotations

from collections.abc import Awaitable
from math import inf
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.trial import unittest

from perimeter.config.site.expression import parse_expression
from perimeter.config.site.rule import Rule
from perimeter.errors import ExpiredToken, InvalidToken, Rejected, TooManyAttempts, TooManyInFlight, Unavailable
from perimeter.gate.access import ANYBODY
from perimeter.gate.gate import Gate
from perimeter.gate.identity_lines import IdentityLines
from perimeter.gate.judged import Judged
from perimeter.gate.policy import Policy
from perimeter.gate.review import INTERVAL, RETRY, YOUNG, Reviewer
from perimeter.gate.routes import Route, RouteTable
from perimeter.http.exchange import Exchange
from perimeter.model import ClientConnection, Grant, HeaderBlock, Principal, RequestHead
from tests.unit.doubles.http_rig import Body, Client, Holding, Site

ALICE = Principal("alice", "local", ("user", "admin"))
START = 1_800_000_000.0


class FakeIdentifier:
    """Finds ``user`` for every Authorization, or raises it; remembered until ``end``. ``later`` answers in its place."""

    def __init__(self) -> None:
        self.user: Principal | Exception = ALICE
        self.later: Deferred[Principal | None] | None = None
        self.end = 0.0
        self.asked = 0

    def identify(
        self, headers: HeaderBlock, address: str, connection: ClientConnection, *, by_connection: bool = True
    ) -> Principal | Awaitable[Principal | None] | None:
        self.asked += 1
        if not headers.authorization:
            return None
        if self.later is not None:
            return self.later
        if isinstance(self.user, Exception):
            raise self.user
        return self.user

    def by_browser(self, headers: HeaderBlock, principal: Principal) -> bool:
        return False

    def until(self, headers: HeaderBlock, principal: Principal) -> float:
        if isinstance(self.user, Rejected):
            raise self.user
        return self.end


class ReviewCase(unittest.TestCase):
    def setUp(self) -> None:
        self.target = Holding()
        self.site = Site(self.target)
        self.clock = self.site.reactor
        self.clock.advance(START)
        self.identifier = FakeIdentifier()
        self.reviewer = Reviewer(self.clock, self.exchanges)
        self.put_in_force()

    def exchanges(self) -> list[Exchange]:
        return list(self.site.connections.exchanges())

    def route(self, path: str = "/", **options: Any) -> Route:
        return Route(name="r", prefix=path.rstrip("/").encode(), target=self.target, audit=self.site.audit, **options)

    def put_in_force(self, *routes: Route, listener: str = "https", remember: float = 60.0, fallback: bool = True) -> None:
        def sign(principal: Principal, audience: str, lifetime: float) -> str:
            raise AssertionError("nothing to sign")

        identifier: Any = self.identifier
        gate = Gate(RouteTable(routes or (self.route(),)), identifier, IdentityLines(sign, self.site.clock, 9))
        self.site.dispatch = gate.dispatch  # type: ignore[method-assign]
        self.reviewer.put_in_force({listener: gate}, gate if fallback else None, identifier, remember)

    def open(self, *lines: str, started: bool = True) -> Client:
        """A client whose response is under way."""
        client = Client(self.site)
        client.get("/x", *(lines or ("Authorization: Bearer x",)))
        if started:
            self.target.exchanges[-1].start(200, b"", None)
        return client

    def wait(self, seconds: float) -> None:
        """Time passes, in steps of a second with a sweep in each."""
        for _ in range(int(seconds)):
            self.clock.advance(1)
            self.reviewer.sweep()

    def reason(self, client: Client) -> str:
        """Why it was cut; "" while it is open."""
        return client.records[-1].reason if client.records and client.transport.aborted else ""


class TimeTests(ReviewCase):
    """START is a Friday, 08:00 UTC."""

    def timed(self, text: str, **options: Any) -> Route:
        return self.route(policy=Policy((parse_expression(text),), clock=self.clock.seconds), **options)

    def test_what_is_open_is_cut_when_the_time_of_a_rule_ends(self) -> None:
        for lines, options in (((), {}), (("X: y",), {"access": ANYBODY})):
            self.clock.advance(-(self.clock.seconds() - START))
            self.put_in_force(self.timed("time:Fri 08:00-08:03", **options))
            client = self.open(*lines)
            self.identifier.end = inf
            self.wait(179)
            self.assertEqual(self.reason(client), "")
            self.wait(2)
            self.assertEqual(self.reason(client), "insufficient_scope", lines)

    def test_without_a_time_a_client_without_credentials_is_not_judged_again(self) -> None:
        judged = []
        policy = Policy((parse_expression("network:0.0.0.0/0"),))
        self.put_in_force(self.route(policy=policy, access=ANYBODY))
        client = self.open("X: y")
        self.wait(2)
        judged.append(self.target.exchanges[-1].review)
        self.assertEqual((judged, self.reason(client)), ([inf], ""))

    def test_a_response_goes_on_while_the_rule_holds(self) -> None:
        self.put_in_force(self.timed("time:Fri 08:00-20:00"))
        client = self.open()
        self.identifier.end = inf
        self.wait(130)
        self.assertEqual(self.reason(client), "")
        self.assertEqual(self.target.exchanges[-1].review, START + 180)


class CountingTests(ReviewCase):
    def test_a_request_that_is_judged_again_is_not_counted_again(self) -> None:
        counted = []

        def once(exchange: Judged, head: RequestHead, address: str) -> None:
            counted.append(address)
            if len(counted) > 1:
                raise TooManyInFlight

        self.put_in_force(self.route(counting=(once,)))
        self.identifier.end = START + 3
        client = self.open()
        self.wait(10)
        self.put_in_force(self.route(counting=(once,)))
        self.wait(10)
        self.assertEqual((self.reason(client), len(counted)), ("", 1))


class EndTests(ReviewCase):
    """When an admission ends."""

    def ends(self, seconds: float) -> None:
        """An exchange is judged again ``seconds`` after its beginning, and not before."""
        client = self.open()
        self.identifier.user = InvalidToken()
        self.wait(seconds - 1)
        self.assertEqual(self.reason(client), "")
        self.wait(1)
        self.assertEqual(self.reason(client), "invalid_token")

    def test_attack_51_with_the_token(self) -> None:
        self.identifier.user = attrs.evolve(ALICE, grant=Grant("id", START, START + 20))
        self.identifier.end = START + 600
        self.ends(20)

    def test_attack_51_with_the_authenticators_word(self) -> None:
        self.identifier.user = attrs.evolve(ALICE, until=START + 15)
        self.ends(15)

    def test_attack_51_when_the_credential_would_be_verified_again(self) -> None:
        self.identifier.end = START + 30
        self.ends(30)

    def test_attack_51_after_an_interval_if_nothing_is_remembered(self) -> None:
        self.ends(INTERVAL)

    def test_attack_51_after_the_time_that_a_password_is_remembered_if_that_is_shorter(self) -> None:
        self.put_in_force(remember=7)
        self.ends(7)

    def test_attack_51_the_interval_bounds_a_longer_one(self) -> None:
        self.put_in_force(remember=3600)
        self.ends(INTERVAL)

    def test_attack_51_a_password_that_is_always_verified(self) -> None:
        self.put_in_force(remember=0)
        self.ends(INTERVAL)

    def test_attack_51_at_once_if_the_credential_cannot_be_read_any_more(self) -> None:
        client = self.open()
        self.identifier.user = Rejected()
        self.wait(1)
        self.assertEqual(self.reason(client), "wrong_credentials")

    def test_what_ends_soon_is_not_looked_at(self) -> None:
        self.identifier.user = attrs.evolve(ALICE, until=START)
        client = self.open()
        self.clock.advance(YOUNG - 0.01)
        self.reviewer.sweep()
        self.assertEqual(self.exchanges()[0].review, 0.0)
        self.clock.advance(0.01)
        self.reviewer.sweep()
        self.assertEqual((self.exchanges()[0].review, self.identifier.asked, self.reason(client)), (START, 2, ""))

    def test_it_goes_on_as_long_as_it_would_be_admitted(self) -> None:
        client = self.open()
        asked = self.identifier.asked
        self.wait(3 * INTERVAL + 1)
        self.assertEqual((self.identifier.asked - asked, self.reason(client)), (3, ""))
        self.assertEqual(self.exchanges()[0].review, START + 4 * INTERVAL)

    def test_an_anonymous_client_has_no_end(self) -> None:
        self.put_in_force(self.route(access=ANYBODY))
        client = self.open("X: y")
        self.wait(3 * INTERVAL)
        self.assertEqual((self.exchanges()[0].review, self.reason(client)), (inf, ""))

    def test_the_gateways_own_answers_are_left_alone(self) -> None:
        self.put_in_force(self.route(builtin=True))
        client = self.open()
        self.identifier.user = InvalidToken()
        self.reviewer.everything()
        self.wait(2 * INTERVAL)
        self.assertEqual(self.reason(client), "")

    def test_attack_51_a_lasting_answer_of_the_gateways_own(self) -> None:
        self.put_in_force(self.route(builtin=True, lasting=True))
        self.ends(INTERVAL)


class CutTests(ReviewCase):
    """What happens then."""

    def again(self, client: Client, reason: str) -> None:
        self.reviewer.everything()
        self.wait(1)
        self.assertEqual(self.reason(client), reason)

    def test_attack_51_the_audit_log_says_why(self) -> None:
        for error in (ExpiredToken(), InvalidToken(), Rejected()):
            client = self.open()
            self.identifier.user = error
            self.again(client, error.reason)
            self.assertEqual((client.records[-1].status, client.records[-1].principal), (200, ALICE))
            self.identifier.user = ALICE

    def test_attack_51_a_tunnel(self) -> None:
        client = self.open(started=False)
        self.target.exchanges[-1].switch(b"", Body())
        self.identifier.user = ExpiredToken()
        self.again(client, "expired_token")
        self.assertEqual(client.records[-1].status, 101)

    def test_attack_51_an_upload_is_answered(self) -> None:
        client = Client(self.site)
        client.request("POST", "/x", "Authorization: Bearer x", "Content-Length: 9", body=b"some")
        self.identifier.user = ExpiredToken()
        self.reviewer.everything()
        self.wait(1)
        self.assertEqual((client.response().status, client.records[-1].reason), (401, "expired_token"))
        self.assertEqual(self.target.exchanges[-1].responder, None)

    def test_attack_51_rules_that_a_reload_has_changed(self) -> None:
        client = self.open()
        self.put_in_force(self.route(policy=Policy((Rule("user", "bob"),))))
        self.wait(1)
        self.assertEqual(self.reason(client), "insufficient_scope")

    def test_attack_51_a_route_that_is_open_no_more(self) -> None:
        self.put_in_force(self.route(access=ANYBODY))
        client = self.open("X: y")
        self.put_in_force()
        self.wait(1)
        self.assertEqual(self.reason(client), "missing_credentials")

    def test_attack_51_a_route_that_is_gone(self) -> None:
        client = self.open()
        self.put_in_force(self.route("/other"))
        self.wait(1)
        self.assertEqual(self.reason(client), "no_route")

    def test_attack_51_an_endpoint_that_is_gone(self) -> None:
        """Its path now belongs to another endpoint or route, which may need no credentials."""
        old = self.route("/x", builtin=True, lasting=True)
        for now, reason in (
            (attrs.evolve(self.route(builtin=True, access=ANYBODY), name="pages"), "no_route"),
            (self.route("/x", access=ANYBODY), "no_route"),
            (self.route("/x", builtin=True, lasting=True, access=ANYBODY), ""),
        ):
            self.put_in_force(old)
            client = self.open()
            self.put_in_force(now)
            self.wait(1)
            self.assertEqual(self.reason(client), reason)

    def test_attack_39_a_role_that_was_taken_away(self) -> None:
        for roles, reason in ((("user",), "identity_changed"), (("user", "admin", "more"), "")):
            client = self.open()
            self.identifier.user = attrs.evolve(ALICE, roles=roles)
            self.again(client, reason)
            self.identifier.user = ALICE

    def test_attack_51_a_credential_that_is_another_users_by_now(self) -> None:
        for change in ({"username": "bob"}, {"realm": "guests"}):
            client = self.open()
            self.identifier.user = attrs.evolve(ALICE, **change)
            self.again(client, "identity_changed")
            self.identifier.user = ALICE

    def test_a_route_that_is_open_by_now(self) -> None:
        client = self.open()
        self.put_in_force(self.route(access=ANYBODY))
        self.wait(1)
        self.assertEqual((self.reason(client), self.exchanges()[0].review), ("", inf))

    def test_a_listener_that_is_gone(self) -> None:
        client = self.open()
        self.put_in_force(listener="other")
        self.wait(1)
        self.assertEqual(self.reason(client), "", "another listener serves the same routes")
        self.put_in_force(listener="other", fallback=False)
        self.wait(1)
        self.assertEqual(self.reason(client), "no_route")

    def test_attack_41_a_bug_is_no_admission(self) -> None:
        client = self.open()
        self.identifier.user = ValueError("x")
        self.again(client, "internal_error")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_attack_41_what_cannot_be_decided_ends_after_an_interval(self) -> None:
        for error in (Unavailable(), TooManyAttempts()):
            client = self.open()
            self.identifier.user = error
            self.again(client, "")
            asked = self.identifier.asked
            self.wait(RETRY - 1)
            self.assertEqual(self.identifier.asked, asked)
            self.wait(1)
            self.assertEqual(self.identifier.asked, asked + 1)
            self.wait(INTERVAL - RETRY - 1)
            self.assertEqual(self.reason(client), "")
            self.wait(1)
            self.assertEqual(self.reason(client), error.reason)
            self.identifier.user = ALICE

    def test_what_was_not_decided_may_be_decided_later(self) -> None:
        client = self.open()
        self.identifier.user = Unavailable()
        self.again(client, "")
        self.identifier.user = ALICE
        self.wait(RETRY)
        self.identifier.user = Unavailable()
        self.again(client, "")
        self.wait(INTERVAL - 1)
        self.assertEqual(self.reason(client), "", "the time runs anew")
        client.transport.lose()
        self.wait(1)
        self.assertEqual(self.reviewer._undecided, {})


class LaterTests(ReviewCase):
    """Authenticators that take their time."""

    def test_the_decision_of_the_exchange_stays(self) -> None:
        client = self.open()
        decision = self.exchanges()[0].decision
        later = self.identifier.later = Deferred()
        self.reviewer.everything()
        self.wait(2)
        self.assertIs(self.exchanges()[0].decision, decision)
        later.callback(None)
        self.assertEqual(self.reason(client), "missing_credentials")

    def test_it_is_asked_once(self) -> None:
        client = self.open()
        asked = self.identifier.asked
        later = self.identifier.later = Deferred()
        self.reviewer.everything()
        self.wait(2 * INTERVAL)
        self.assertEqual(self.identifier.asked, asked + 1)
        later.callback(ALICE)
        self.assertEqual((self.reason(client), self.exchanges()[0].review), ("", START + 3 * INTERVAL))

    def test_attack_51_rules_that_change_meanwhile(self) -> None:
        client = self.open()
        later = self.identifier.later = Deferred()
        self.reviewer.everything()
        self.wait(1)
        self.put_in_force(self.route(policy=Policy((Rule("user", "bob"),))))
        self.identifier.later = None
        later.callback(ALICE)
        self.wait(1)
        self.assertEqual(self.reason(client), "insufficient_scope")

    def test_who_has_left_meanwhile(self) -> None:
        for result in (ALICE, InvalidToken()):
            client = self.open()
            later = self.identifier.later = Deferred()
            self.reviewer.everything()
            self.wait(1)
            client.transport.lose()
            if isinstance(result, Principal):
                later.callback(result)
            else:
                later.errback(result)
            self.assertEqual(client.records[-1].reason, "client_gone")
            self.identifier.later = None

    def test_a_first_judgement_under_way_is_not_doubled(self) -> None:
        later = self.identifier.later = Deferred()
        self.open(started=False)
        self.reviewer.everything()
        self.wait(2)
        self.assertEqual((self.identifier.asked, self.exchanges()[0].review), (1, 0.0))
        later.callback(ALICE)

    def test_many_are_judged_in_slices(self) -> None:
        for _ in range(250):
            self.open()
        asked = self.identifier.asked
        self.reviewer.everything()
        self.clock.advance(1)
        self.reviewer.sweep()
        self.assertEqual(self.identifier.asked - asked, 100)
        self.reviewer.sweep()
        self.assertEqual(self.identifier.asked - asked, 100)
        self.clock.advance(0.01)
        self.assertEqual(self.identifier.asked - asked, 200)
        self.clock.advance(0.01)
        self.assertEqual(self.identifier.asked - asked, 250)

    def test_few_authenticators_are_asked_at_a_time(self) -> None:
        for _ in range(40):
            self.open()
        asked = self.identifier.asked
        later = self.identifier.later = Deferred()
        self.reviewer.everything()
        self.wait(2)
        self.assertEqual(self.identifier.asked - asked, 32)
        self.identifier.later = None
        later.callback(ALICE)
        self.clock.advance(0.01)
        self.assertEqual(self.identifier.asked - asked, 40)

    def test_nothing_is_judged_while_the_gateway_stops(self) -> None:
        for _ in range(101):
            self.open()
        self.reviewer.everything()
        self.clock.advance(1)
        self.reviewer.sweep()
        self.assertEqual(len(self.clock.getDelayedCalls()), 2, "the sweep of deadlines, and the rest")
        self.identifier.user = InvalidToken()
        self.reviewer.stop()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.wait(2 * INTERVAL)
        self.assertEqual(len(self.exchanges()), 101)
        self.reviewer.stop()

"""Who needs a second factor, and who has one: boundaries of time, roles, and what a browser gets."""

from __future__ import annotations

from math import inf

import attrs
from twisted.trial.unittest import TestCase

from perimeter.config.site.rule import Rule, RuleKind
from perimeter.errors import InsufficientScope, LoginNeeded, SecondFactorNeeded
from perimeter.gate.access import Access, for_client
from perimeter.gate.factors import FactorDemand
from perimeter.gate.policy import Policy
from perimeter.http.grammar import parse_block, parse_request
from perimeter.model import Grant, GrantKind, Principal, RequestHead, SessionUse

NOW = 1000.0
USER = Principal("alice", "local", ("dev",))


def by_session(second: float, user: Principal = USER) -> Principal:
    return attrs.evolve(user, grant=Grant("id", 0.0, inf, GrantKind.SESSION, use=SessionUse(0.0), second=second))


def head(*lines: str, method: bytes = b"GET") -> RequestHead:
    """A request for a page of a route."""
    text = b"".join(line.encode() + b"\r\n" for line in ("Host: gw.example", "Accept: text/html", *lines))
    return parse_request(b"%b /app/ HTTP/1.1" % method, parse_block(text, 20))


class DemandTests(TestCase):
    def lacks(self, principal: Principal | None, **demand: object) -> bool:
        return FactorDemand(clock=lambda: NOW, **demand).lacks(principal, "GET", "", None)  # type: ignore[arg-type]

    def test_everybody(self) -> None:
        for principal, lacks in (
            (None, True),
            (USER, True),
            (attrs.evolve(USER, grant=Grant("id", 0.0, inf)), True),
            (by_session(0.0), True),
            (by_session(1.0), False),
            (attrs.evolve(USER, grant=Grant("id", 0.0, inf, GrantKind.API_TOKEN, second=1.0)), False),
        ):
            self.assertIs(self.lacks(principal, everybody=True), lacks, principal)

    def test_the_age(self) -> None:
        for second, lacks in ((NOW - 60, True), (NOW - 59.5, False), (NOW, False)):
            self.assertIs(self.lacks(by_session(second), everybody=True, age=60.0), lacks)

    def test_by_role(self) -> None:
        self.assertIs(self.lacks(None, roles=("dev",)), False)
        self.assertIs(self.lacks(USER, roles=("dev",)), True)
        self.assertIs(self.lacks(USER, roles=("admin",)), False)
        self.assertIs(self.lacks(by_session(1.0), roles=("dev",)), False)
        self.assertIs(self.lacks(USER, roles=("DEV",)), False)
        self.assertIs(self.lacks(USER, roles=("DEV",), directory_realms=frozenset(("local",))), True)
        self.assertIs(self.lacks(USER), False)


class PolicyTests(TestCase):
    def policy(self, **more: object) -> Policy:
        return Policy(factors=FactorDemand(everybody=True, clock=lambda: NOW), **more)  # type: ignore[arg-type]

    def test_it_is_no_open_policy(self) -> None:
        policy = self.policy()
        self.assertEqual((policy.open, policy.timed), (False, False))
        self.assertIs(policy.permits(USER, "GET"), False)
        self.assertIs(policy.permits(by_session(1.0), "GET"), True)
        aged = Policy(factors=FactorDemand(everybody=True, age=60.0))
        self.assertIs(aged.timed, True)

    def test_a_second_factor_that_helps(self) -> None:
        refusal = self.policy().refusal(USER, "GET")
        self.assertIsInstance(refusal, SecondFactorNeeded)
        self.assertEqual((refusal.status, refusal.reason), (403, "second_factor_needed"))
        self.assertEqual(refusal.detail, "factors = 2 of the route demands a second factor")
        aged = Policy(factors=FactorDemand(everybody=True, age=60.0)).refusal(USER, "GET")
        self.assertIn("shown less than 60 s ago (factor_age)", aged.detail)
        role = Policy(factors=FactorDemand(("dev", "ops"))).refusal(USER, "GET")
        self.assertEqual(role.detail, "[second_factor] roles = dev, ops demands a second factor")

    def test_a_second_factor_that_would_not_help(self) -> None:
        policy = self.policy(allow=(Rule(RuleKind.ROLE, "admin"),))
        for principal in (USER, by_session(1.0)):
            refusal = policy.refusal(principal, "GET")
            self.assertIsInstance(refusal, InsufficientScope)
            self.assertIn("no term of allow", refusal.detail)
            self.assertIs(policy.permits(principal, "GET"), False)

    def test_without_a_demand(self) -> None:
        policy = Policy(allow=(Rule(RuleKind.ROLE, "admin"),))
        self.assertIsInstance(policy.refusal(USER, "GET"), InsufficientScope)
        self.assertIs(Policy().open, True)

    def test_the_explanation(self) -> None:
        self.assertIn("demands a second factor", self.policy().explanation(USER, "GET"))
        self.assertEqual(self.policy().explanation(by_session(1.0), "GET"), "the route has no rules")


class BrowserTests(TestCase):
    access = Access(login=b"/.perimeter/login", factor=b"/.perimeter/factor")
    page = ("Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")

    def test_a_page_leads_to_the_page_for_the_second_factor(self) -> None:
        found = for_client(SecondFactorNeeded("x"), self.access, head(*self.page), by_session(0.0))
        assert isinstance(found, LoginNeeded)
        self.assertEqual((found.status, found.reason), (302, "second_factor_needed"))
        self.assertTrue(found.location.startswith(b"/.perimeter/factor?to=/"), found.location)

    def test_without_the_page_there_is_a_refusal(self) -> None:
        found = for_client(SecondFactorNeeded("x"), Access(login=b"/.perimeter/login"), head(*self.page), by_session(0.0))
        assert isinstance(found, SecondFactorNeeded)
        self.assertIsNone(found.sign_in)

    def test_nothing_helps_a_password(self) -> None:
        for principal in (None, USER, attrs.evolve(USER, grant=Grant("id", 0.0, inf))):
            found = for_client(SecondFactorNeeded("x"), self.access, head(*self.page), principal)
            assert isinstance(found, SecondFactorNeeded)
            self.assertIsNone(found.sign_in)

    def test_a_form_gets_a_link(self) -> None:
        found = for_client(SecondFactorNeeded("x"), self.access, head(*self.page, method=b"POST"), by_session(0.0))
        assert isinstance(found, SecondFactorNeeded)
        assert found.sign_in is not None
        self.assertEqual((found.sign_in.sent, found.sign_in.user, found.sign_in.label), (True, "", "Go on"))
        self.assertTrue(found.sign_in.location.startswith("/.perimeter/factor?to="))

    def test_a_script_gets_403(self) -> None:
        script = head("Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty")
        found = for_client(SecondFactorNeeded("x"), self.access, script, by_session(0.0))
        self.assertIsInstance(found, SecondFactorNeeded)
        self.assertIsInstance(
            for_client(SecondFactorNeeded("x"), Access(), head(*self.page), by_session(0.0)), SecondFactorNeeded
        )

"""Logins against a directory in memory, and what the factory builds from a section."""

from __future__ import annotations

import secrets
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from perimeter.auth.kinds.ldap import directory as directory_module
from perimeter.auth.kinds.ldap.authenticator import LdapAuthenticator, LdapFactory
from perimeter.errors import Rejected, Unavailable
from perimeter.model import AuthenticationRequest, BasicCredentials, Principal, Recollection
from perimeter.plugin.authenticator import IAuthenticatorFactory, IRunningAuthenticator
from perimeter.plugin.services import AuthServices
from tests.unit.doubles.auth import ImmediateThreads, ThreadClock, offload_with
from tests.unit.doubles.ldap_directory import MemoryDirectory, entry
from tests.unit.doubles.ldap_sections import MINIMAL, parsed

PEOPLE = "ou=people,dc=example,dc=org"
ALICE = f"cn=Alice,{PEOPLE}"
GROUPS = "ou=groups,dc=example,dc=org"
REQUEST = AuthenticationRequest("192.0.2.1")


class LdapCase(TestCase):
    options = {**MINIMAL, "role_base_dn": GROUPS, "domain": "example.org"}

    def setUp(self) -> None:
        self.clock = ThreadClock()
        self.clock.advance(1_800_000_000)
        self.directory = MemoryDirectory(
            self.clock,
            entry(ALICE, objectClass="inetOrgPerson", cn="Alice"),
            entry(f"cn=ops,{GROUPS}", objectClass="groupOfUniqueNames", cn="ops", uniqueMember=ALICE),
            passwords={ALICE: "right"},
        )
        self.lines: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)
        self.use()

    def observe(self, event: Any) -> None:
        if event["log_namespace"].startswith("perimeter"):
            self.lines.append(event["log_format"].format_map(event))

    def use(self, **options: str) -> None:
        settings = parsed(**{**self.options, **options})
        self.ldap = LdapAuthenticator("corp", "staff", settings, self.clock, self.directory)  # type: ignore[arg-type]

    def ask(self, credentials: Any, request: AuthenticationRequest = REQUEST) -> Deferred[Principal | None]:
        return Deferred.fromCoroutine(self.ldap.authenticate(credentials, request))

    def login(self, username: str = "alice", password: str = "right") -> Deferred[Principal | None]:
        return self.ask(BasicCredentials(username, password))

    def recall(self, username: str) -> Principal | None:
        return self.successResultOf(self.ask(Recollection(username)))


class LoginTests(LdapCase):
    def test_a_user_with_roles(self) -> None:
        for name in ("alice", "ALICE", "alice@example.org"):
            self.assertEqual(self.successResultOf(self.login(name)), Principal("Alice", "staff", ("ops",), "corp"))

    def test_what_was_searched_for(self) -> None:
        self.successResultOf(self.login())
        self.assertEqual([search.base for search in self.directory.asked], [PEOPLE, GROUPS])
        self.assertEqual(str(self.directory.asked[0].filter), "(&(objectClass=inetOrgPerson)(cn=alice))")
        self.assertEqual(self.directory.bound, [ALICE])

    def test_one_search_finds_a_user_by_any_form_of_their_name(self) -> None:
        self.successResultOf(self.login("alice@example.org"))
        self.assertEqual([search.base for search in self.directory.asked], [PEOPLE, GROUPS])
        self.assertEqual(self.directory.asked[0].limit, 1)

    def test_active_directory_is_asked_for_people_and_whether_their_account_is_open(self) -> None:
        self.use(flavour="active-directory", bind_dn="cn=gw", bind_password="pw", role_base_dn="")
        self.successResultOf(self.login("alice"))
        (search,) = self.directory.asked
        self.assertTrue(str(search.filter).startswith("(&(objectClass=user)(objectCategory=person)"), search.filter)
        self.assertEqual(search.attributes, ("sAMAccountName", "userAccountControl", "accountExpires"))

    def test_a_wrong_password(self) -> None:
        self.failureResultOf(self.login(password="wrong"), Rejected)
        self.assertEqual(len(self.directory.asked), 1)

    def test_an_unknown_user_is_left_to_the_next_authenticator_after_a_failed_bind(self) -> None:
        self.assertIsNone(self.successResultOf(self.login("nobody")))
        (tried,) = self.directory.bound
        self.assertTrue(tried.startswith("cn=nobody-") and tried.endswith(PEOPLE), tried)

    def test_a_user_of_another_domain_is_left_to_the_next_authenticator(self) -> None:
        self.assertIsNone(self.successResultOf(self.login("ELSEWHERE\\alice")))
        self.assertEqual((self.directory.asked, self.directory.bound), ([], []))

    def test_attack_32_an_empty_password(self) -> None:
        self.failureResultOf(self.login(password=""), Rejected)
        self.assertEqual(self.directory.bound, [])

    def test_attack_31_two_entries_with_the_name(self) -> None:
        self.directory.entries.append(entry(f"cn=alice,ou=guests,{PEOPLE}", objectClass="inetOrgPerson", cn="alice"))
        self.failureResultOf(self.login(), Rejected)
        self.assertEqual(self.directory.bound, [])
        self.assertIn("more than one entry", self.lines[-1])

    def test_attack_41_a_directory_that_is_too_slow(self) -> None:
        self.directory.takes = 60
        done = self.login()
        self.clock.advance(5)
        self.assertIn("corp", self.failureResultOf(done, Unavailable).value.detail)

    def test_attack_29_the_decoy_costs_a_search_and_a_bind(self) -> None:
        steps: list[str] = []
        request = AuthenticationRequest("192.0.2.1", explain=steps.append)
        self.successResultOf(Deferred.fromCoroutine(self.ldap.decoy(request)))
        self.assertEqual((len(self.directory.asked), len(self.directory.bound)), (1, 1))
        self.assertEqual(steps, [])

    def test_each_step_is_explained_and_logged_where_that_is_asked_for(self) -> None:
        steps: list[str] = []
        request = AuthenticationRequest("192.0.2.1", explain=steps.append)
        self.successResultOf(self.ask(BasicCredentials("alice", "right"), request))
        self.assertEqual(
            steps[:2], [f"search for the user below {PEOPLE}: (&(objectClass=inetOrgPerson)(cn=alice))", f"bind as {ALICE}"]
        )
        self.assertEqual(steps[-1], "Alice is in, with roles: ops")
        self.assertEqual(self.lines, [])
        explained = steps.copy()
        self.use(debug="yes")
        self.successResultOf(self.ask(BasicCredentials("alice", "right"), request))
        self.assertEqual(self.lines[-1], "Authenticator corp: Alice is in, with roles: ops")
        self.assertEqual(steps, explained * 2)
        self.assertNotIn("right", "".join([*steps, *self.lines]))

    def test_each_refusal_is_explained(self) -> None:
        wrong = "wrong password"
        for username, expected in (
            ("ELSEWHERE\\alice", ["the name is of another domain"]),
            ("nobody", ["no such user", "bind as a user that does not exist, to take the time of a wrong password"]),
            ("alice", [f"bind as {ALICE}", wrong]),
        ):
            steps: list[str] = []
            request = AuthenticationRequest("192.0.2.1", explain=steps.append)
            result = self.ask(BasicCredentials(username, "wrong"), request)
            if wrong in expected:
                refusal = self.failureResultOf(result, Rejected).value
                expected = [*expected[:-1], f"{refusal.reason}: {refusal.detail}"]
            else:
                self.assertIsNone(self.successResultOf(result))
            self.assertEqual([step for step in steps if not step.startswith("search for")], expected)

    def test_stopping_closes_the_directory(self) -> None:
        self.ldap.start(lambda: None)
        self.ldap.stop()
        self.assertEqual(self.directory.closed, 1)

    def test_the_time_that_wrong_passwords_took_is_remembered(self) -> None:
        self.directory.takes = 0.25
        self.use()
        wrong = self.login(password="wrong")
        for _ in range(2):
            self.clock.advance(0.25)
        self.failureResultOf(wrong, Rejected)
        self.directory.takes = 0.0
        unknown = self.login("nobody")
        self.clock.advance(0.24)
        self.assertNoResult(unknown)
        self.clock.advance(0.02)
        self.assertIsNone(self.successResultOf(unknown))

    def test_the_time_of_the_search_and_the_bind_counts(self) -> None:
        self.ldap._costs.append(1.0)
        self.directory.takes = 0.25  # for the search, and again for the bind
        unknown = self.login("nobody")
        for _ in range(4):
            self.clock.advance(0.25)
            self.assertNoResult(unknown)
        self.clock.advance(0.25)
        self.assertIsNone(self.successResultOf(unknown))

    def test_the_times_of_the_last_64_wrong_passwords_are_remembered(self) -> None:
        self.patch(secrets, "choice", max)
        self.ldap._costs.append(1.0)
        for _ in range(63):
            self.failureResultOf(self.login(password="wrong"), Rejected)
        unknown = self.login("nobody")
        self.clock.advance(0.75)
        self.assertNoResult(unknown)
        self.clock.advance(0.25)
        self.assertIsNone(self.successResultOf(unknown))
        self.failureResultOf(self.login(password="wrong"), Rejected)
        self.assertIsNone(self.successResultOf(self.login("nobody")))


class RecallTests(LdapCase):
    def test_as_a_login_finds_them_without_a_bind(self) -> None:
        self.assertEqual(self.recall("Alice"), Principal("Alice", "staff", ("ops",), "corp"))
        self.assertEqual(self.directory.bound, [])

    def test_a_user_who_is_gone_or_has_another_name(self) -> None:
        self.assertIsNone(self.recall("bob"))
        self.assertIsNone(self.recall("alice"))  # the directory spells the name with a capital letter

    def test_attack_39_a_closed_account_of_active_directory(self) -> None:
        self.use(flavour="active-directory", bind_dn="cn=gw", bind_password="pw", role_base_dn="")
        for control, found in (("512", True), ("514", False)):
            self.directory.entries = [
                entry(ALICE, objectClass="user", objectCategory="person", sAMAccountName="Alice", userAccountControl=control)
            ]
            self.assertEqual(self.recall("Alice") is not None, found, control)


class FactoryTests(LdapCase):
    def build(self, workers: int = 1, **options: str) -> list[Any]:
        """The addresses that the directory gets."""
        made: list[Any] = []

        def directory(name: str, addresses: Any, *account: Any, **settings: Any) -> MemoryDirectory:
            made.extend((name, list(addresses), account[:2], settings))
            return self.directory

        self.patch(directory_module, "LdapDirectory", directory)
        services = AuthServices(self.clock, offload_with(ImmediateThreads(), self.clock), workers=workers)
        built = LdapFactory().build("corp", "staff", parsed(**{**MINIMAL, **options}), services)
        self.assertTrue(verifyObject(IRunningAuthenticator, built))
        return made

    def test_a_probe_asks_the_directory(self) -> None:
        asked: list[str] = []

        async def probe() -> None:
            asked.append("directory")

        self.directory.probe = probe  # type: ignore[attr-defined]
        self.successResultOf(Deferred.fromCoroutine(self.ldap.probe()))
        self.assertEqual(asked, ["directory"])

    def test_its_interface(self) -> None:
        self.assertTrue(verifyObject(IAuthenticatorFactory, LdapFactory()))

    def test_workers_divide_the_connections(self) -> None:
        for workers, searches, binds in ((1, 4, 32), (2, 2, 16), (4, 1, 8)):
            settings = self.build(workers, tls="ldaps")[3]
            self.assertEqual((settings["search_connections"], settings["bind_connections"]), (searches, binds))
        self.assertEqual(self.lines, [])

    def test_division_with_a_rest_is_said(self) -> None:
        settings = self.build(5, tls="ldaps")[3]
        self.assertEqual((settings["search_connections"], settings["bind_connections"]), (1, 6))
        said = "".join(self.lines)
        self.assertIn("search_connections = 4 is divided among 5 workers: each has 1, all together 5", said)
        self.assertIn("bind_connections = 32 is divided among 5 workers: each has 6, all together 30", said)

    def test_plain_text(self) -> None:
        name, (address,), account, settings = self.build(bind_dn="cn=gw", bind_password="pw", server_timeout="3s", rest="7s")
        self.assertEqual((name, str(address), address.tls, address.start_tls), ("corp", "ldap.example.org:389", None, False))
        self.assertEqual(account, ("cn=gw", "pw"))
        self.assertEqual((settings["timeout"], settings["rest"]), (3.0, 7.0))
        self.assertIn("plain text", "".join(self.lines))

    def test_plain_text_on_this_machine_is_warned_about_too(self) -> None:
        """Another program of this machine may listen on the port, and a directory may move to another machine."""
        self.build(hostname="localhost, 127.0.0.1, [::1]:1389")
        self.assertIn("tls = none: passwords go to localhost, 127.0.0.1, ::1 in plain text", "".join(self.lines))

    def test_ldaps(self) -> None:
        _, addresses, _, _ = self.build(hostname="a.example, b.example:1636", tls="ldaps")
        self.assertEqual([str(one) for one in addresses], ["a.example:636", "b.example:1636"])
        self.assertEqual([one.tls.server_name for one in addresses], ["a.example", "b.example"])
        self.assertEqual([one.start_tls for one in addresses], [False, False])
        self.assertEqual(self.lines, [])

    def test_starttls_with_the_name_in_the_certificate(self) -> None:
        _, (address,), _, _ = self.build(tls="starttls", server_name="directory.example")
        self.assertEqual((address.port, address.tls.server_name, address.start_tls), (389, "directory.example", True))

"""``type = plain``: users in the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from perimeter.auth.kinds.plain import PlainAuthenticator, PlainFactory
from perimeter.config.language.references import References
from perimeter.config.language.scanner import scan
from perimeter.config.language.section import Section
from perimeter.errors import Problem, Rejected
from perimeter.model import BasicCredentials, BearerCredentials, Principal, Recollection
from perimeter.plugin.authenticator import IAuthenticator, IAuthenticatorFactory
from perimeter.plugin.services import AuthServices
from tests.unit.doubles.auth import CHEAP_ARGON2, REQUEST, ImmediateThreads, ThreadClock, offload_with

USERS = f"""\
users =
    someuser: somesecret
    alice: {CHEAP_ARGON2},admin,ops
    José: sésame, viewer
"""


class PlainTests(TestCase):
    def read(self, text: str) -> tuple[Any, list[str]]:
        (scanned,), _ = scan(f"[authenticator local]\n{text}")
        problems: list[Problem] = []
        section = Section(scanned, "site.ini", Path("/"), References({"USERS": "eve: apple"}, Path("/")), problems)
        settings = PlainFactory().parse(section)
        section.finish()
        return settings, [str(problem) for problem in problems]

    def build(self, text: str = USERS) -> PlainAuthenticator:
        settings, problems = self.read(text)
        self.assertEqual(problems, [])
        clock = ThreadClock()
        with capturedLogs() as self.events:
            return PlainFactory().build("local", "site", settings, AuthServices(clock, offload_with(ImmediateThreads(), clock)))

    def login(self, name: str, password: str, text: str = USERS) -> Deferred[Principal | None]:
        return ensureDeferred(self.build(text).authenticate(BasicCredentials(name, password), REQUEST))

    def test_interfaces(self) -> None:
        verifyObject(IAuthenticatorFactory, PlainFactory())
        verifyObject(IAuthenticator, self.build())

    def test_users_have_their_roles(self) -> None:
        for name, password, roles in (
            ("someuser", "somesecret", ()),
            ("alice", "argon2", ("admin", "ops")),
            ("José", "sésame", ("viewer",)),
        ):
            self.assertEqual(self.successResultOf(self.login(name, password)), Principal(name, "site", roles, "local"))

    def test_wrong_is_rejected_and_unknown_is_not_mine(self) -> None:
        for password in ("wrong", "", "somesecretx", "Somesecret"):
            self.failureResultOf(self.login("someuser", password), Rejected)
        self.assertIsNone(self.successResultOf(self.login("nobody", "somesecret")))
        self.assertIsNone(self.successResultOf(self.login("SOMEUSER", "somesecret")))
        bearer = ensureDeferred(self.build().authenticate(BearerCredentials("x"), REQUEST))
        self.assertIsNone(self.successResultOf(bearer))

    def test_a_reference_stands_for_all_of_them(self) -> None:
        found = self.successResultOf(self.login("eve", "apple", "users = env:USERS"))
        assert found is not None
        self.assertEqual(found.username, "eve")

    def test_fault_of_the_original_passwords_are_not_compared_as_they_are(self) -> None:
        """Every attempt, for any user, uses the hashes of the file and never ``==`` on the password."""
        authenticator = self.build()
        checked: list[tuple[bool, int]] = []
        users = authenticator._users

        class Counting:
            by_name = users.by_name

            def check(self, user: Any, password: str) -> bool:
                checked.append((user is not None, len(users.decoys)))
                return users.check(user, password)

        authenticator._users = Counting()  # type: ignore[assignment]
        for name in ("someuser", "nobody"):
            ensureDeferred(authenticator.authenticate(BasicCredentials(name, "wrong"), REQUEST)).addErrback(lambda _: None)
        self.assertEqual(checked, [(True, 2), (False, 2)])

    def test_attack_29_the_decoy_checks_a_password_of_no_user(self) -> None:
        authenticator = self.build()
        checked: list[tuple[object, str]] = []

        class Recording:
            def check(self, user: object, password: str) -> bool:
                checked.append((user, password))
                return False

        authenticator._users = Recording()  # type: ignore[assignment]
        for _ in range(2):
            self.successResultOf(ensureDeferred(authenticator.decoy(REQUEST)))
        self.assertEqual([user for user, _ in checked], [None, None])
        self.assertEqual(len({password for _, password in checked}), 2)

    def test_a_user_is_recalled_without_a_password(self) -> None:
        for name, found in (("alice", Principal("alice", "site", ("admin", "ops"), "local")), ("bob", None)):
            asked = ensureDeferred(self.build().authenticate(Recollection(name), REQUEST))
            self.assertEqual(self.successResultOf(asked), found)

    def test_plain_text_is_warned_of(self) -> None:
        self.build()
        self.assertIn("plain text", str(self.events))
        self.assertNotIn("somesecret", str(self.events))

    def test_faults_are_reported_without_the_password(self) -> None:
        for text, told in (
            ("users =\n    alice: {scrambled}secret-42\n", "{scheme}"),
            ("users =\n    alice: secret-42\n    alice: secret-43\n", "already"),
            ("users =\n    alice:\n", "no password"),
        ):
            _, problems = self.read(text)
            self.assertEqual(len(problems), 1, problems)
            self.assertIn("[authenticator local] users: ", problems[0])
            self.assertIn(told, problems[0])
            self.assertNotIn("secret-4", problems[0])
        self.assertIn("is required", self.read("")[1][0])

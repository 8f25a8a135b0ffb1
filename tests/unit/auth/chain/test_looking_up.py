"""A user is looked up by name at every authenticator that can do it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from perimeter.auth.chain.chain import AuthenticatorChain
from perimeter.auth.chain.looking_up import look_up
from perimeter.errors import Rejected, Unavailable
from perimeter.model import AuthenticationRequest, Credentials, Principal, Recollection
from perimeter.plugin.authenticator import IAuthenticator, ISchemes, Scheme


@implementer(IAuthenticator, ISchemes)
class Directory:
    """Answers with ``answer``: a principal, an exception, or a Deferred of one."""

    def __init__(self, name: str, realm: str, answer: Any, schemes: Sequence[Scheme] = (Scheme.BASIC, Scheme.RECALL)) -> None:
        self.name = name
        self.realm = realm
        self.schemes = frozenset(schemes)
        self.asked: list[Credentials] = []
        self._answer = answer

    async def authenticate(self, credentials: Credentials, request: AuthenticationRequest) -> Principal | None:
        self.asked.append(credentials)
        if isinstance(self._answer, Exception):
            raise self._answer
        if isinstance(self._answer, Deferred):
            return await self._answer
        return self._answer  # type: ignore[no-any-return]


class LookUpTests(TestCase):
    def ask(self, *directories: Directory, name: str = "alice", realm: str = "") -> tuple[list[Principal], list[str]]:
        chain = AuthenticatorChain(directories, 5.0, 0.0, Clock())
        return self.successResultOf(ensureDeferred(look_up(chain, name, realm)))

    def test_each_realm_that_knows_the_user(self) -> None:
        one = Directory("a", "staff", Principal("alice", "staff", ("admin",)))
        two = Directory("b", "guests", Principal("alice", "guests"))
        found, notes = self.ask(one, two)
        self.assertEqual(
            [(user.realm, user.roles, user.authenticator) for user in found], [("staff", ("admin",), "a"), ("guests", (), "b")]
        )
        self.assertEqual((notes, one.asked), ([], [Recollection("alice")]))

    def test_one_realm_alone(self) -> None:
        one, two = Directory("a", "staff", None), Directory("b", "guests", Principal("alice", "guests"))
        found, _ = self.ask(one, two, realm="guests")
        self.assertEqual(([user.realm for user in found], one.asked), (["guests"], []))

    def test_who_is_not_known(self) -> None:
        for answer in (None, Rejected("no such user"), Principal("ALICE", "staff")):
            self.assertEqual(self.ask(Directory("a", "staff", answer)), ([], []))

    def test_an_authenticator_that_cannot_answer_is_named(self) -> None:
        down = Directory("a", "staff", Unavailable("the directory is down"))
        blind = Directory("b", "guests", None, (Scheme.BASIC,))
        self.assertEqual(
            self.ask(down, blind), ([], ["a: the directory is down", "b: cannot look up a user without a credential"])
        )
        self.assertEqual(blind.asked, [])

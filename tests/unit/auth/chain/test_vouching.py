"""Users for whom a provider has vouched: augmenters add roles."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from zope.interface import alsoProvides, implementer
from zope.interface.verify import verifyObject

from perimeter.auth.augment.augmented import augment
from perimeter.auth.chain.chain import AuthenticatorChain
from perimeter.auth.chain.vouching import ProviderUsers, vouched
from perimeter.errors import InternalError, InvalidToken, Unavailable
from perimeter.model import (
    AuthenticationRequest,
    BasicCredentials,
    BearerCredentials,
    ConnectionCredentials,
    Credentials,
    Principal,
    Recollection,
)
from perimeter.plugin.augmenter import IAugmenter
from perimeter.plugin.authenticator import IAuthenticator, IProbe
from tests.unit.doubles.auth import REQUEST
from tests.unit.doubles.provider import FakeProvider

CAROL = Principal("Carol", "corp", ("dev",))


@implementer(IAugmenter)
class Adds:
    """Adds the role ``admin``."""

    name = "adds"
    realm = "corp"

    async def augment(self, principal: Principal, request: AuthenticationRequest) -> Principal:
        return attrs.evolve(principal, roles=(*principal.roles, "admin"))

    def stop(self) -> None:
        pass


class VouchingTests(TestCase):
    def chain(self, *authenticators: Any) -> AuthenticatorChain:
        return AuthenticatorChain([ProviderUsers(FakeProvider()), *authenticators], 5.0, 60.0, Clock())

    def vouch(self, chain: AuthenticatorChain, principal: Principal = CAROL) -> Any:
        return ensureDeferred(vouched(chain, "corp", principal, REQUEST))

    def test_a_user_of_the_provider(self) -> None:
        found = self.successResultOf(self.vouch(self.chain(ProviderUsers(FakeProvider("corp2")))))
        self.assertEqual((found, found.authenticator), (attrs.evolve(CAROL, authenticator="corp"), "corp"))

    def test_augmenters_add_roles(self) -> None:
        augmented = augment(ProviderUsers(FakeProvider()), [Adds()])
        chain = AuthenticatorChain([augmented], 5.0, 60.0, Clock())
        self.assertEqual(self.successResultOf(self.vouch(chain)).roles, ("dev", "admin"))

    def test_a_name_that_cannot_be_used(self) -> None:
        for name in ("", "x\ny"):
            self.failureResultOf(self.vouch(self.chain(), attrs.evolve(CAROL, username=name)), Unavailable)
        self.flushLoggedErrors()

    def test_a_realm_that_is_not_the_providers(self) -> None:
        self.failureResultOf(self.vouch(self.chain(), attrs.evolve(CAROL, realm="local")), InternalError)

    def test_no_credential_of_a_request_reaches_a_provider(self) -> None:
        verifyObject(IAuthenticator, ProviderUsers(FakeProvider()))
        chain = self.chain()
        for credentials in (
            BasicCredentials("Carol", "x"),
            BearerCredentials("x"),
            ConnectionCredentials(),
            Recollection("Carol"),
        ):
            self.assertEqual(chain.concerned(credentials, REQUEST), [])
            self.assertIsNone(
                self.successResultOf(ensureDeferred(ProviderUsers(FakeProvider()).authenticate(credentials, REQUEST)))
            )

    def test_access_tokens_of_the_provider_are_for_their_authenticator(self) -> None:
        @implementer(IAuthenticator)
        class Tokens:
            name = "corp"
            realm = "corp"

            async def authenticate(self, credentials: Credentials, request: AuthenticationRequest) -> Principal | None:
                return CAROL if credentials == BearerCredentials("good") else None

        users = ProviderUsers(FakeProvider(), Tokens())
        chain = AuthenticatorChain([users], 5.0, 60.0, Clock())
        self.assertTrue(chain.takes_tokens)
        self.assertFalse(self.chain().takes_tokens)
        for credentials in (BasicCredentials("Carol", "x"), ConnectionCredentials(), Recollection("Carol")):
            self.assertEqual(chain.concerned(credentials, REQUEST), [])
        found = self.successResultOf(ensureDeferred(chain.authenticate(BearerCredentials("good"), REQUEST)))
        self.assertEqual(found, attrs.evolve(CAROL, authenticator="corp"))
        self.failureResultOf(ensureDeferred(chain.authenticate(BearerCredentials("bad"), REQUEST)), InvalidToken)
        self.assertEqual(self.successResultOf(self.vouch(chain)).username, "Carol")

    def test_the_owner_of_a_session_stays_as_they_were(self) -> None:
        owner = attrs.evolve(CAROL, authenticator="corp")
        self.assertIs(self.chain().recall(owner, REQUEST), owner)

    def test_a_look_at_the_provider(self) -> None:
        self.assertFalse(IProbe.providedBy(ProviderUsers(FakeProvider())))
        provider = FakeProvider()
        alsoProvides(provider, IProbe)
        looked: list[str] = []

        async def probe() -> None:
            looked.append("at it")

        provider.probe = probe  # type: ignore[attr-defined]
        users = augment(ProviderUsers(provider), [Adds()])
        self.assertTrue(IProbe.providedBy(users))
        self.successResultOf(ensureDeferred(users.probe()))  # type: ignore[attr-defined]
        self.assertEqual(looked, ["at it"])

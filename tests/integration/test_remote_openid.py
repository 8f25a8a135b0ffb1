"""jwt and openid-offline against a certified OpenID provider, which rotates its keys."""

from __future__ import annotations

from typing import Any

from perimeter.errors import Unavailable
from tests.integration.oidcpeer import SECRET, OpenIdProvider
from tests.unit.doubles.remote import RemoteCase


class OpenIdCase(RemoteCase):
    def setUp(self) -> None:
        super().setUp()
        self.provider = OpenIdProvider()
        self.addCleanup(self.provider.close)

    def jwt(self, options: str = "") -> Any:
        url = self.provider.realm_url
        return self.build("jwt", f"cert_uri = {url}/certs\nissuer = {self.provider.url}\naudience = gateway\n{options}", "desp")

    def offline(self, options: str = "", secret: str = SECRET) -> Any:
        return self.build(
            "openid-offline",
            f"cert_uri = {self.provider.realm_url}/certs\niam_url = {self.provider.url}\npublic_client_id = public\n"
            f"private_client_id = private\nprivate_client_secret = {secret}\n{options}",
            "desp",
        )


class JwtTests(OpenIdCase):
    async def test_its_access_tokens_are_known(self) -> None:
        found = await self.ask(self.jwt(), self.provider.access_token())
        assert found is not None
        self.assertEqual((found.username, found.realm, found.roles), ("alice", "desp", ("viewer", "a,admin")))
        self.assertEqual(found.scopes, {"weather": ("data:read",)})
        self.assertEqual(found.attributes["client_id"], "private")

    async def test_another_audience_is_not_mine(self) -> None:
        url = self.provider.realm_url
        other = self.build("jwt", f"cert_uri = {url}/certs\nissuer = {self.provider.url}\naudience = somebody-else")
        self.assertIsNone(await self.ask(other, self.provider.access_token()))

    async def test_keys_are_rotated(self) -> None:
        found = self.jwt("cooldown = 20s")
        old = self.provider.access_token()
        self.assertIsNotNone(await self.ask(found, old))
        self.time.advance(20)
        self.provider.rotate(keep=True)
        self.assertIsNotNone(await self.ask(found, self.provider.access_token()), "signed with the new key")
        self.assertIsNotNone(await self.ask(found, old), "which has not ended the old one")
        self.time.advance(20)
        self.provider.rotate(keep=False)
        self.assertIsNotNone(await self.ask(found, self.provider.access_token()))
        self.assertIsNone(await self.ask(found, old), "its key is gone")


class OfflineTests(OpenIdCase):
    async def test_an_offline_token_is_known(self) -> None:
        found = await self.ask(self.offline(f"issuer = {self.provider.url}\naudience = gateway"), self.provider.offline_token())
        assert found is not None
        self.assertEqual((found.username, found.realm, found.roles), ("alice", "desp", ("viewer", "a,admin")))
        self.assertIn("data:read", found.scopes["weather"])

    async def test_not_mine(self) -> None:
        found = self.offline()
        for token in ("opaque", "x" * 43, self.provider.offline_token(scope="openid data:read"), self.provider.access_token()):
            self.assertIsNone(await self.ask(found, token))

    async def test_a_token_of_another_client_is_not_exchanged(self) -> None:
        self.assertIsNone(await self.ask(self.offline(), self.provider.offline_token(clientId="private")))

    async def test_a_wrong_secret_of_the_gateway_is_not_the_users_fault(self) -> None:
        await self.refusal(lambda: self.ask(self.offline(secret="wrong"), self.provider.offline_token()), Unavailable)

    async def test_keys_are_rotated(self) -> None:
        found = self.offline("cooldown = 10s")
        self.assertIsNotNone(await self.ask(found, self.provider.offline_token()))
        self.time.advance(10)
        self.provider.rotate(keep=False)
        self.assertIsNotNone(await self.ask(found, self.provider.offline_token()))

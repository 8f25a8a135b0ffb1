"""The kind oidc against a certified OpenID provider, without a gateway: what a sign-in, a refresh and a sign-out ask and
believe."""

from __future__ import annotations

import json
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

import attrs
from twisted.internet.defer import Deferred

from perimeter.errors import NotAllowedHere, ProviderDenied, ProviderMisconfigured, ProviderUnavailable, Rejected
from perimeter.oidc.flow import flow_secrets
from perimeter.plugin.redirect import Flow, SignedIn
from perimeter.tokens.jwk import generate
from tests.integration.oidcpeer import SECRET, SignInProvider, shared_provider
from tests.unit.doubles.remote import RemoteCase

HOST = "https://gw.example/.perimeter"
CALLBACK = f"{HOST}/callback/corp"
ALICE = {
    "preferred_username": "alice",
    "name": "Alice A",
    "email": "alice@example.com",
    "email_verified": True,
    "groups": ["/ops/admins", "staff"],
}


def flow(number: int = 1, **changed: Any) -> Flow:
    secrets = flow_secrets(b"%032d" % number)
    return attrs.evolve(Flow("corp", CALLBACK, secrets.state, secrets.nonce, secrets.verifier), **changed)


def parameters(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


class ProviderCase(RemoteCase):
    async def refused(self, answer: Any, *kinds: type[Exception]) -> str:
        return str(await self.refusal(lambda: Deferred.fromCoroutine(answer), *kinds))


class SignInCase(ProviderCase):
    options: ClassVar[dict[str, object]] = {}

    def setUp(self) -> None:
        super().setUp()
        self.peer = shared_provider(**self.options)
        logout = {"backchannel_logout_uri": f"{HOST}/backchannel/corp", "backchannel_logout_session_required": True}
        self.peer.client(CALLBACK, **logout)
        self.peer.account("account-7", **ALICE)

    def provider(self, text: str = "", secret: str = f"client_secret = {SECRET}") -> Any:
        return self.build_provider("oidc", f"issuer = {self.peer.url}\nclient_id = gateway\n{secret}\n{text}")

    async def answer(self, provider: Any, begun: Flow, account: str = "account-7") -> dict[str, str]:
        back = self.peer.sign_in(await provider.begin(begun), account)
        self.assertTrue(back.startswith(f"{CALLBACK}?"), back)
        return parameters(back)

    async def sign_in(self, provider: Any, account: str = "account-7", begun: Flow | None = None) -> SignedIn:
        of = begun or flow()
        found: SignedIn = await provider.complete(await self.answer(provider, of, account), of)
        return found


class SignInTests(SignInCase):
    async def test_a_user_signs_in(self) -> None:
        options = "role_map = /ops/admins: admin\nlifetime = 8h\nscopes = openid, profile, email, offline_access"
        found = await self.sign_in(self.provider(options))
        user = found.principal
        self.assertEqual((user.username, user.realm, user.roles, user.authenticator), ("alice", "corp", ("admin",), "corp"))
        self.assertEqual(user.attributes, {"name": "Alice A", "email": "alice@example.com"})
        self.assertEqual((found.issuer, found.subject, found.factors, found.lifetime), (self.peer.url, "account-7", 1, 8 * 3600))
        self.assertTrue(found.sid)
        self.assertLess(abs(found.at - self.time.seconds()), 5)
        self.assertLess(abs(found.renew_after - self.time.seconds() - 900), 5)

    async def test_the_user_authenticates_anew(self) -> None:
        begun = flow(started=self.time.seconds(), again=True, login_hint="alice")
        url = await self.provider("extra = prompt=consent, ui_locales=de").begin(begun)
        asked = {"prompt": "login", "max_age": "0", "login_hint": "alice", "ui_locales": "de"}
        self.assertEqual(asked.items() - parameters(url).items(), set())
        found = await self.sign_in(self.provider(), begun=begun)
        self.assertGreaterEqual(found.at, begun.started - 2)

    async def test_the_user_says_no(self) -> None:
        provider = self.provider()
        begun = flow()
        said = await self.refused(provider.complete(await self.answer(provider, begun, "nobody"), begun), ProviderDenied)
        self.assertIn("access_denied: the user said <no>", said)

    async def test_ways_in_which_the_gateway_authenticates(self) -> None:
        key = generate("ES256")
        ways: dict[str, tuple[str, dict[str, Any]]] = {
            "client_secret_basic": (f"client_secret = {SECRET}", {}),
            "client_secret_post": (f"client_secret = {SECRET}\nclient_auth = post", {}),
            "none": ("", {"client_secret": None}),
            "private_key_jwt": (
                f"client_key = {json.dumps(key.members(private=True))}",
                {"client_secret": None, "jwks": {"keys": [key.members()]}, "token_endpoint_auth_signing_alg": "ES256"},
            ),
        }
        for way, (text, metadata) in ways.items():
            self.peer.client(CALLBACK, **{"token_endpoint_auth_method": way, **metadata})
            found = await self.sign_in(self.provider(secret=text))
            self.assertEqual(found.principal.username, "alice", way)

    async def test_a_wrong_secret_is_for_the_operator(self) -> None:
        provider, begun = self.provider(secret="client_secret = wrong"), flow()
        said = await self.refused(provider.complete(await self.answer(provider, begun), begun), ProviderMisconfigured)
        self.assertIn("invalid_client", said)
        self.assertNotIn("wrong", said)

    async def test_attack_o1_a_code_of_another_flow_or_a_second_time(self) -> None:
        provider, mine, other = self.provider(), flow(1), flow(2)
        answer = await self.answer(provider, other)
        await self.refused(provider.complete(answer, mine), Rejected)  # the verifier is not that of the challenge
        answer = await self.answer(provider, mine)
        await provider.complete(answer, mine)
        await self.refused(provider.complete(answer, mine), Rejected)
        stolen = attrs.evolve(other, nonce=mine.nonce)
        await self.refused(provider.complete(await self.answer(provider, other), stolen), Rejected)

    async def test_attack_o2_an_answer_without_the_issuer_or_of_another(self) -> None:
        provider, begun = self.provider(), flow()
        answer, before = await self.answer(provider, begun), self.peer.counts()
        self.assertEqual(answer["iss"], self.peer.url)
        absent = {name: text for name, text in answer.items() if name != "iss"}
        for changed in ({**answer, "iss": "https://other.example"}, absent):
            self.assertIn("iss", await self.refused(provider.complete(changed, begun), Rejected))
        self.assertEqual(self.peer.counts(), before, "the code was sent to nobody")

    async def test_users_who_may_not_come_in(self) -> None:
        for text in ("require = groups:staf", "allow_groups = nobody", "email_domains = other.example"):
            provider, begun = self.provider(text), flow()
            answer = await self.answer(provider, begun)
            await self.refused(provider.complete(answer, begun), NotAllowedHere)
        self.assertEqual(
            (await self.sign_in(self.provider("require = groups:staff\nemail_domains = example.com"))).subject, "account-7"
        )


class SessionTests(SignInCase):
    SCOPES = "scopes = openid, profile, email, offline_access"

    async def test_a_refresh_knows_new_roles(self) -> None:
        provider = self.provider(self.SCOPES)
        found = await self.sign_in(provider)
        self.peer.account("account-7", **{**ALICE, "groups": ["staff"]})
        renewed = await provider.renew(found.secret, "account-7")
        self.assertEqual(renewed.principal.roles, ("staff",))
        self.assertEqual((renewed.sid, renewed.at), (found.sid, found.at))
        again = await provider.renew(renewed.secret, "account-7")
        self.assertEqual(again.principal.roles, ("staff",))

    async def test_a_disabled_account_ends_the_session(self) -> None:
        provider = self.provider(self.SCOPES)
        found = await self.sign_in(provider)
        self.peer.disable("account-7")
        await self.refused(provider.renew(found.secret, "account-7"), Rejected)

    async def test_keys_change_between_sign_in_and_refresh(self) -> None:
        provider = self.provider(self.SCOPES)
        found = await self.sign_in(provider)
        self.peer.new_keys()
        self.time.advance(31)
        renewed = await provider.renew(found.secret, "account-7")
        self.assertEqual(renewed.principal.roles, ("/ops/admins", "staff"))

    async def test_the_page_that_signs_the_user_out(self) -> None:
        provider = self.provider()
        found = await self.sign_in(provider)
        url = await provider.sign_out_url(found.secret, f"{HOST}/signed-out", "s1")
        sent = parameters(url)
        self.assertTrue(url.startswith(f"{self.peer.url}/session/end?"), url)
        self.assertEqual(sent["state"], "s1")
        self.assertEqual(sent["client_id"], "gateway")
        self.assertEqual(sent["id_token_hint"].count("."), 2)


class UserinfoTests(SignInCase):
    options: ClassVar[dict[str, object]] = {"claims": "userinfo"}

    async def test_missing_claims_come_from_the_userinfo_endpoint(self) -> None:
        found = await self.sign_in(self.provider())
        self.assertEqual((found.principal.username, found.principal.roles), ("alice", ("/ops/admins", "staff")))


class LateTests(ProviderCase):
    async def test_a_provider_that_comes_late_and_one_that_goes(self) -> None:
        peer = SignInProvider()
        self.addCleanup(lambda: peer.close())
        provider = self.build_provider("oidc", f"issuer = {peer.url}\nclient_id = gateway\nclient_secret = {SECRET}")
        port = int(peer.url.rpartition(":")[2])
        peer.close()
        self.assertIn("refused", await self.refused(provider.begin(flow()), ProviderUnavailable))
        peer = SignInProvider(port)
        peer.client(CALLBACK)
        peer.account("account-7", **ALICE)
        self.time.advance(1)
        begun = flow()
        answer = parameters(peer.sign_in(await provider.begin(begun), "account-7"))
        peer.close()
        await self.refused(provider.complete(answer, begun), ProviderUnavailable)

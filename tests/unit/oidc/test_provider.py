"""Sign-in, refresh and sign-out at a provider that says whatever the test wants (attacks O3, O5, O7)."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import attrs
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import capturedLogs, formatEvent

from perimeter.errors import NotAllowedHere, ProviderDenied, ProviderMisconfigured, ProviderUnavailable, Rejected
from perimeter.oidc.flow import challenge
from perimeter.oidc.kept import SOON, STALE
from perimeter.oidc.provider import MAX_HINT
from perimeter.tokens.jwk import generate
from tests.integration.upstreams import Connection
from tests.unit.doubles.openid import FLOW, KEY, OpenIdCase, changed, signed

METADATA = "/.well-known/openid-configuration"


class BeginTests(OpenIdCase):
    async def test_the_url(self) -> None:
        self.metadata["authorization_endpoint"] += "?kind=web"
        url = await self.provider("extra = audience=a b\nscopes = openid, groups").begin(FLOW)
        self.assertTrue(url.startswith(f"{self.issuer}/auth?kind=web&"), url)
        self.assertEqual(
            dict(parse_qsl(urlsplit(url).query)),
            {
                "kind": "web",
                "audience": "a b",
                "response_type": "code",
                "client_id": "gateway",
                "redirect_uri": FLOW.redirect_uri,
                "scope": "openid groups",
                "state": FLOW.state,
                "nonce": FLOW.nonce,
                "code_challenge": challenge(FLOW.verifier),
                "code_challenge_method": "S256",
            },
        )
        self.assertNotIn(FLOW.verifier, url)

    async def test_anew(self) -> None:
        url = await self.provider("extra = prompt=consent").begin(changed(again=True, login_hint="alice"))
        asked = dict(parse_qsl(urlsplit(url).query))
        self.assertEqual((asked["prompt"], asked["max_age"], asked["login_hint"]), ("login", "0", "alice"))
        self.metadata["claims_supported"] = ["sub", "email"]
        url = await self.provider("prompt_again = select_account").begin(changed(again=True))
        asked = dict(parse_qsl(urlsplit(url).query))
        self.assertEqual((asked["prompt"], asked.get("max_age")), ("select_account", None))

    async def test_a_provider_has_a_title(self) -> None:
        self.assertEqual(self.provider().title, "corp")
        self.assertEqual(self.provider("title = Company login").title, "Company login")


class CompleteTests(OpenIdCase):
    async def test_the_token_request(self) -> None:
        found = await self.complete(self.provider("refresh = 10m\nlifetime = 8h"))
        self.assertEqual((found.principal.username, found.principal.realm, found.principal.roles), ("alice", "corp", ("viewer",)))
        self.assertEqual((found.issuer, found.subject, found.factors, found.lifetime), (self.issuer, "8f2c", 1, 28800.0))
        self.assertLess(abs(found.renew_after - self.time.seconds() - 600), 5)
        (form,) = self.asked("/token")
        self.assertEqual(
            form,
            {"grant_type": "authorization_code", "code": "c1", "redirect_uri": FLOW.redirect_uri, "code_verifier": FLOW.verifier},
        )
        for secret in ("at-1", "rt-1"):
            self.assertNotIn(secret, repr(found))

    async def test_claims_are_explained(self) -> None:
        said: list[str] = []
        await self.complete(self.provider(), changed(explain=said.append))
        self.assertIn('claim preferred_username = "alice"', said)

    async def test_without_a_refresh_token_there_is_no_refresh(self) -> None:
        del self.answers["/token"]["refresh_token"]
        with capturedLogs() as logged:
            self.assertEqual((await self.complete(self.provider())).renew_after, 0.0)
        self.assertIn("the provider corp has issued no refresh token", formatEvent(logged[0]))
        with capturedLogs() as logged:
            self.assertEqual((await self.complete(self.provider("refresh = 0"))).renew_after, 0.0)
            self.answers["/token"] = self.tokens()
            self.assertEqual((await self.complete(self.provider("refresh = 0"))).renew_after, 0.0)
            await self.complete(self.provider())
        self.assertEqual(logged, [])

    async def test_two_factors(self) -> None:
        self.answers["/token"] = self.tokens(amr=["pwd", "otp"], auth_time=int(self.time.seconds()) - 100)
        found = await self.complete(self.provider("second_factor_acr = otp"))
        self.assertEqual((found.factors, round(self.time.seconds() - found.at, -1)), (2, 100))

    async def test_the_user_says_no(self) -> None:
        provider = self.provider()
        answer = Deferred.fromCoroutine(provider.complete({"error": "access_denied"}, FLOW))
        await self.refusal(lambda: answer, ProviderDenied)
        self.assertEqual(self.asked("/token"), [])

    async def test_refusals_of_the_token_endpoint(self) -> None:
        for status, answer, kind in (
            (400, {"error": "invalid_grant"}, Rejected),
            (200, {"error": "bad_verification_code"}, Rejected),
            (401, {"error": "invalid_client"}, ProviderMisconfigured),
            (400, {"error": "redirect_uri_mismatch"}, ProviderMisconfigured),
            (400, {"error": "slow_down"}, ProviderUnavailable),
            (400, {"error": 7}, ProviderUnavailable),
            (400, {}, ProviderUnavailable),
            (500, {"error": "invalid_grant"}, ProviderUnavailable),
            (302, {}, ProviderUnavailable),
            (200, [], ProviderUnavailable),
            (200, {"token_type": "Bearer"}, ProviderUnavailable),
            (200, {"token_type": "DPoP", "access_token": "a"}, ProviderUnavailable),
            (200, {"access_token": "a"}, ProviderUnavailable),
            (200, {"token_type": "bearer", "access_token": "a"}, ProviderMisconfigured),
            (200, {"token_type": "bearer", "access_token": "a" * 16385}, ProviderUnavailable),
            (200, {"token_type": "bearer", "access_token": "a", "id_token": 7}, ProviderUnavailable),
            (200, {"token_type": "bearer", "access_token": "a", "id_token": "opaque"}, ProviderUnavailable),
        ):
            self.answers["/token"] = (status, answer)
            await self.refused(self.provider(), kind)

    async def test_attack_o3_an_id_token_that_is_not_good(self) -> None:
        stranger = generate("ES256")
        at_hash = {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}
        for token in (
            signed(self.claims(nonce="N" * 43)),
            signed(self.claims(aud="other")),
            signed(self.claims(iss="https://evil.example")),
            signed(self.claims(**at_hash)),
            signed(self.claims(), stranger, kid=KEY.kid),
            signed(self.claims(), typ="at+jwt"),
            signed(self.claims(exp=int(self.time.seconds()) - 1)),
        ):
            self.answers["/token"] = {**self.tokens(), "id_token": token}
            await self.refused(self.provider(), Rejected)
        self.answers["/token"] = {**self.tokens(), "id_token": signed(self.claims(), stranger)}
        self.assertIn("a key that it does not publish", await self.refused(self.provider(), ProviderUnavailable))

    async def test_users_who_may_not_come_in(self) -> None:
        error: Any = await self.refusal(lambda: self.complete(self.provider("require = roles:admin")), NotAllowedHere)
        self.assertEqual(error.attempted_user, "alice")
        self.answers["/token"] = self.tokens(preferred_username=...)
        error = await self.refusal(lambda: self.complete(self.provider()), NotAllowedHere)
        self.assertIsNone(error.attempted_user)

    async def test_claims_of_another_shape_are_for_the_operator(self) -> None:
        self.answers["/token"] = self.tokens(roles=7)
        self.assertIn("roles is no list of roles", await self.refused(self.provider(), ProviderMisconfigured))
        self.answers["/token"] = self.tokens(groups=..., _claim_names={"groups": "src1"})
        self.assertIn("left out groups", await self.refused(self.provider(), ProviderMisconfigured))

    async def test_a_sign_in_anew(self) -> None:
        now = self.time.seconds()
        flow = changed(again=True, started=now)
        self.assertIn("authenticated anew", await self.refused(self.provider(), Rejected, flow=flow))
        self.answers["/token"] = self.tokens(auth_time=int(now) - 100)
        await self.refused(self.provider(), Rejected, flow=flow)
        self.answers["/token"] = self.tokens(auth_time=int(now) + 1)
        self.assertEqual((await self.complete(self.provider(), flow)).at, int(now) + 1)

    async def test_a_sign_in_anew_at_a_provider_that_does_not_date_it(self) -> None:
        flow = changed(again=True, started=self.time.seconds())
        self.metadata["claims_supported"] = ["sub", "auth_time"]
        await self.refused(self.provider(), Rejected, flow=flow)
        self.metadata["claims_supported"] = ["sub"]
        found = await self.complete(self.provider(), flow)
        self.assertLess(abs(found.at - self.time.seconds()), 5)

    async def test_a_sign_in_that_must_not_be_old(self) -> None:
        provider = self.provider("extra = max_age=600")
        await self.refused(provider, Rejected)
        now = int(self.time.seconds())
        self.answers["/token"] = self.tokens(auth_time=now - 600 - 70)
        await self.refused(provider, Rejected)
        self.answers["/token"] = self.tokens(auth_time=now - 600)
        self.assertEqual((await self.complete(provider)).at, now - 600)

    async def test_attack_o5_the_realm_next_door(self) -> None:
        self.answers["/token"] = self.tokens(iss=f"{self.issuer}/realms/next")
        await self.refused(self.provider(), Rejected)

    async def test_attack_o5_another_tenant_of_entra(self) -> None:
        self.metadata["issuer"] = f"{self.issuer}/{{tenantid}}/v2.0"
        common = f"{self.issuer}/common/v2.0"
        self.answers[f"/common/v2.0{METADATA}"] = self.metadata
        text = f"issuer = {common}\nclient_id = gateway\npreset = entra\ntenants = t1"
        mine = {"iss": f"{self.issuer}/t1/v2.0", "tid": "t1", "oid": "o1"}
        self.answers["/token"] = self.tokens(**mine)
        found = await self.complete(self.build_provider("oidc", text))
        self.assertEqual((found.issuer, found.subject), (mine["iss"], "t1/o1"))
        self.answers["/token"] = self.tokens(iss=f"{self.issuer}/t2/v2.0", tid="t2", oid="o1")
        await self.refused(self.build_provider("oidc", text), Rejected)


class ExplainTests(OpenIdCase):
    async def test_the_claims_are_explained_before_the_user_is_refused(self) -> None:
        steps: list[str] = []
        flow = attrs.evolve(FLOW, explain=steps.append)
        await self.refusal(lambda: self.complete(self.provider("require = roles:admin"), flow), NotAllowedHere)
        self.assertIn("require = roles:admin: is not met, so the sign-in is refused", steps)
        self.assertNotIn(FLOW.nonce, str(steps))


class ClaimsTests(OpenIdCase):
    def setUp(self) -> None:
        super().setUp()
        self.metadata["userinfo_endpoint"] = f"{self.issuer}/me"
        self.answers["/me"] = {"sub": "8f2c", "groups": ["staff"], "preferred_username": "mallory"}

    async def test_the_userinfo_endpoint_is_asked_for_what_is_missing(self) -> None:
        await self.complete(self.provider())
        self.assertEqual(self.asked("/me"), [])
        self.answers["/token"] = self.tokens(groups=...)
        found = await self.complete(self.provider())
        self.assertEqual((found.principal.username, found.principal.roles), ("alice", ("viewer", "staff")))
        (received,) = [one for one in self.upstream.requests if one.line.startswith("GET /me ")]
        self.assertEqual(received.get("authorization"), "Bearer at-1")

    async def test_attack_o3_userinfo_of_another_user(self) -> None:
        self.answers["/token"] = self.tokens(groups=...)
        for sub in ("other", None, 7):
            self.answers["/me"] = {"sub": sub, "groups": ["admin"]}
            self.assertIn("another user", await self.refused(self.provider(), Rejected))
        self.answers["/me"] = {"groups": ["admin"]}
        await self.refused(self.provider(), Rejected)
        for broken in ((401, {}), (500, {}), [], (302, {"sub": "8f2c"})):
            self.answers["/me"] = broken
            await self.refused(self.provider(), ProviderUnavailable)

    async def test_claims_of_the_access_token(self) -> None:
        claims = {"realm_access": {"roles": ["admin"]}, "groups": ["ops"]}
        access = signed(self.claims(aud="account", nonce=..., roles=..., **claims), typ="at+jwt")
        self.answers["/token"] = {**self.tokens(groups=...), "access_token": access}
        found = await self.complete(self.provider("preset = keycloak"))
        self.assertEqual(found.principal.roles, ("admin", "ops"))
        self.answers["/token"] = {**self.tokens(groups=...), "access_token": "opaque"}
        found = await self.complete(self.provider("preset = keycloak"))
        self.assertEqual(found.principal.roles, ("staff",))
        other = signed(self.claims(sub="other", **claims), typ="at+jwt")
        self.answers["/token"] = {**self.tokens(groups=...), "access_token": other}
        self.assertEqual((await self.complete(self.provider("preset = keycloak"))).principal.roles, ("staff",))


class RenewTests(OpenIdCase):
    async def renewed(self, provider: Any, found: Any) -> Any:
        return await provider.renew(found.secret, found.subject)

    def again(self, **values: Any) -> dict[str, Any]:
        return {name: value for name, value in {**self.tokens(nonce=...), **values}.items() if value is not ...}

    async def failing(self, provider: Any, found: Any, *kinds: type[Exception], subject: str = "8f2c") -> str:
        return str(await self.refusal(lambda: Deferred.fromCoroutine(provider.renew(found.secret, subject)), *kinds))

    async def test_roles_of_now_and_the_next_refresh_token(self) -> None:
        provider = self.provider("second_factor_acr = otp")
        self.answers["/token"] = self.tokens(amr=["otp"], sid="s-1")
        found = await self.complete(provider)
        self.answers["/token"] = self.again(refresh_token="rt-2", id_token=signed(self.claims(nonce=..., roles=["ops"])))
        first = await self.renewed(provider, found)
        self.assertEqual(first.principal.roles, ("ops",))
        self.assertEqual((first.sid, first.factors, first.at, first.subject), ("s-1", 2, found.at, "8f2c"))
        self.answers["/token"] = self.again(refresh_token=...)
        self.assertEqual((await self.renewed(provider, first)).principal.roles, ("viewer",))
        last = await self.renewed(provider, await self.renewed(provider, first))
        self.assertEqual((last.sid, last.factors), ("s-1", 2))
        self.assertEqual([form.get("refresh_token") for form in self.asked("/token")[1:]], ["rt-1", "rt-2", "rt-2", "rt-2"])
        self.assertEqual(self.asked("/token")[1], {"grant_type": "refresh_token", "refresh_token": "rt-1"})

    async def test_silence_takes_nothing_away(self) -> None:
        provider = self.provider()
        found = await self.complete(provider)
        self.answers["/token"] = self.again(id_token=...)
        renewed = await self.renewed(provider, found)
        self.assertEqual((renewed.principal.username, renewed.principal.roles), ("alice", ("viewer",)))
        url = await provider.sign_out_url(renewed.secret, "https://gw.example/", "")
        self.assertEqual(url, "")

    async def test_what_the_provider_does_not_say_any_more_is_gone(self) -> None:
        self.metadata["userinfo_endpoint"] = f"{self.issuer}/me"
        self.answers["/me"] = {"sub": "8f2c", "groups": ["staff"]}
        self.answers["/token"] = self.tokens(groups=...)
        provider = self.provider()
        found = await self.complete(provider)
        self.assertEqual(found.principal.roles, ("viewer", "staff"))
        self.answers["/token"] = self.again(id_token=...)
        self.answers["/me"] = {"sub": "8f2c"}
        kept = await self.renewed(provider, found)
        self.assertEqual(kept.principal.roles, ("viewer",), "the userinfo endpoint never had this one")
        self.assertEqual((await self.renewed(provider, kept)).principal.roles, ("viewer",))
        self.answers["/token"] = self.again(id_token=signed(self.claims(nonce=..., roles=..., groups=...)))
        self.assertEqual((await self.renewed(provider, found)).principal.roles, ())

    async def test_claims_that_the_userinfo_endpoint_told_stay_while_it_is_not_asked(self) -> None:
        self.metadata["userinfo_endpoint"] = f"{self.issuer}/me"
        self.answers["/me"] = {"sub": "8f2c", "groups": ["staff"]}
        self.answers["/token"] = self.tokens(groups=...)
        provider = self.provider()
        found = await self.complete(provider)
        del self.metadata["userinfo_endpoint"]
        await provider.probe()
        self.answers["/token"] = self.again(id_token=...)
        kept = await self.renewed(provider, found)
        self.assertEqual(kept.principal.roles, ("viewer", "staff"))
        self.metadata["userinfo_endpoint"] = f"{self.issuer}/me"
        await provider.probe()
        self.answers["/me"] = {"sub": "8f2c"}
        self.assertEqual((await self.renewed(provider, kept)).principal.roles, ("viewer",))

    async def test_the_end(self) -> None:
        provider = self.provider("require = roles:viewer")
        found = await self.complete(provider)
        self.answers["/token"] = (400, {"error": "invalid_grant"})
        await self.failing(provider, found, Rejected)
        self.answers["/token"] = self.again(id_token=signed(self.claims(nonce=..., roles=["other"])))
        await self.failing(provider, found, NotAllowedHere)
        self.answers["/token"] = self.again()
        self.assertIn("another user", await self.failing(provider, found, Rejected, subject="other"))

    async def test_attack_o2_another_provider_of_the_same_name_gets_no_tokens(self) -> None:
        self.metadata["end_session_endpoint"] = f"{self.issuer}/end"
        found = await self.complete(self.provider())
        kept = json.loads(found.secret)
        asked = len(self.asked("/token"))
        for claims in ({**kept["claims"], "iss": "https://other.example"}, {"sub": "8f2c"}):
            moved = attrs.evolve(found, secret=json.dumps({**kept, "claims": claims}).encode())
            self.assertIn("another provider", await self.failing(self.provider(), moved, Rejected))
            self.assertEqual(await self.provider().sign_out_url(moved.secret, "https://gw.example/out", ""), "")
        for secret in (b"", b"{}", b'{"refresh": "x"}'):
            self.assertIn("another provider", await self.failing(self.provider(), attrs.evolve(found, secret=secret), Rejected))
        self.assertEqual(len(self.asked("/token")), asked)

    async def test_new_rules_hold_for_a_user_who_cannot_be_looked_up(self) -> None:
        found = await self.complete(self.provider())
        self.answers["/token"] = self.again(id_token="opaque")
        await self.failing(self.provider("require = roles:admin"), found, NotAllowedHere)
        self.answers[METADATA] = {**self.metadata, "issuer": "https://other.example"}
        await self.failing(self.provider(), found, ProviderUnavailable)

    async def test_a_provider_that_is_down(self) -> None:
        provider = self.provider()
        found = await self.complete(provider)
        for answer in ((500, {}), (401, {"error": "invalid_client"}), (400, {"error": "temporarily_unavailable"})):
            self.answers["/token"] = answer
            await self.failing(provider, found, ProviderUnavailable)

    async def test_attack_o8_a_refresh_token_is_not_lost_when_the_user_cannot_be_looked_up(self) -> None:
        provider = self.provider("refresh = 15m")
        found = await self.complete(provider)
        for bad in (signed(self.claims(nonce="other")), signed(self.claims(nonce=..., roles=7)), "opaque"):
            self.answers["/token"] = self.again(refresh_token="rt-2", id_token=bad)
            kept = await self.renewed(provider, found)
            self.assertEqual((kept.principal.username, kept.principal.roles), ("alice", ("viewer",)))
            self.assertLess(abs(kept.renew_after - self.time.seconds() - SOON), 5)
            self.assertEqual(json.loads(kept.secret)["refresh_token"], "rt-2")
        self.time.advance(STALE - 5)
        self.answers["/token"] = self.again(id_token="opaque")
        kept = await self.renewed(provider, kept)
        self.time.advance(5)
        await self.failing(provider, kept, ProviderUnavailable)
        self.answers["/token"] = self.again()
        good = await self.renewed(provider, kept)
        self.assertLess(abs(good.renew_after - self.time.seconds() - 900), 5)


class SignOutTests(OpenIdCase):
    async def test_the_page(self) -> None:
        self.metadata["end_session_endpoint"] = f"{self.issuer}/end"
        provider = self.provider()
        found = await self.complete(provider)
        url = await provider.sign_out_url(found.secret, "https://gw.example/out", "s1")
        self.assertTrue(url.startswith(f"{self.issuer}/end?"))
        self.assertEqual(
            dict(parse_qsl(urlsplit(url).query)),
            {
                "id_token_hint": self.answers["/token"]["id_token"],
                "client_id": "gateway",
                "post_logout_redirect_uri": "https://gw.example/out",
                "state": "s1",
            },
        )
        for size, there in ((MAX_HINT, True), (MAX_HINT + 1, False)):
            kept = {**json.loads(found.secret), "id_token": "a" * size}
            url = await provider.sign_out_url(json.dumps(kept).encode(), "https://gw.example/out", "s1")
            self.assertEqual("id_token_hint=" in url, there)
            self.assertIn("client_id=gateway", url)
        for secret in (b"", b"{}", b'{"a": 1}'):
            self.assertEqual(await provider.sign_out_url(secret, "https://gw.example/out", "s1"), "")

    async def test_there_is_none_while_the_provider_is_down(self) -> None:
        self.answers[METADATA] = (500, {})
        self.assertEqual(await self.provider().sign_out_url(b"", "https://gw.example/out", "s1"), "")


class DiscoveryTests(OpenIdCase):
    async def begin(self, provider: Any) -> str:
        return str(await provider.begin(FLOW))

    async def unavailable(self, provider: Any, kind: type[Exception] = ProviderUnavailable) -> str:
        return str(await self.refusal(lambda: Deferred.fromCoroutine(provider.begin(FLOW)), kind))

    async def test_it_is_asked_when_it_is_needed_and_once(self) -> None:
        provider = self.provider()
        self.assertEqual(self.upstream.requests, [])
        await gatherResults([Deferred.fromCoroutine(provider.begin(FLOW)) for _ in range(20)])
        self.assertEqual(len(self.asked(METADATA)), 1)
        self.time.advance(3599)
        await self.begin(provider)
        self.assertEqual(len(self.asked(METADATA)), 1)

    async def test_known_metadata_are_used_while_they_are_renewed(self) -> None:
        provider = self.provider()
        first = await self.begin(provider)
        self.time.advance(3601)
        self.answers[METADATA] = (500, {})
        self.assertEqual(await self.begin(provider), first)
        await self.until(lambda: len(self.asked(METADATA)) == 2 and provider.discovery.fault, "the question")
        self.assertIn("status 500", provider.discovery.fault)
        self.flushLoggedErrors()
        self.assertEqual(await self.begin(provider), first)
        self.assertEqual(len(self.asked(METADATA)), 2, "not again before the pause has ended")
        self.time.advance(1)
        self.answers[METADATA] = {**self.metadata, "authorization_endpoint": f"{self.issuer}/new"}
        self.assertEqual(await self.begin(provider), first)
        await self.until(lambda: not provider.discovery.fault, "the answer")
        self.assertIn("/new?", await self.begin(provider))

    async def test_pauses_grow(self) -> None:
        provider = self.provider()
        self.answers[METADATA] = (503, {})
        for number, pause in enumerate((1, 2, 4, 8, 16, 32, 60, 60), 1):
            self.assertIn("status 503", await self.unavailable(provider))
            self.assertIn("status 503", await self.unavailable(provider))
            self.assertEqual(len(self.asked(METADATA)), number)
            self.time.advance(pause)
        self.answers[METADATA] = self.metadata
        await self.begin(provider)
        await provider.probe()

    async def test_attack_o7_metadata_that_must_not_be_used(self) -> None:
        for bad in (
            {"issuer": "https://evil.example"},
            {"end_session_endpoint": "javascript:alert(1)"},
            {"token_endpoint": "http://192.0.2.1/token"},
        ):
            self.answers[METADATA] = {**self.metadata, **bad}
            await self.unavailable(self.provider(), ProviderMisconfigured)

    async def test_attack_o7_a_redirect_is_not_followed(self) -> None:
        target = self.server()

        def redirecting(connection: Connection) -> None:
            connection.send(b"HTTP/1.1 302 X\r\nLocation: %b/\r\nContent-Length: 0\r\n\r\n" % target.url.encode())

        for path in (METADATA, "/token", "/keys"):
            before = self.answers[path]
            self.answers[path] = redirecting
            self.assertIn("status 302", await self.refused(self.provider(), ProviderUnavailable))
            self.answers[path] = before
        self.assertEqual(target.requests, [])

    async def test_attack_o7_answers_without_end(self) -> None:
        def endless(connection: Connection) -> None:
            connection.send(b"HTTP/1.1 200 X\r\nContent-Length: 2147483648\r\n\r\n")
            try:
                while True:
                    connection.send(b" " * 65536)
            except OSError:
                return

        for path in (METADATA, "/token", "/keys"):
            before = self.answers[path]
            self.answers[path] = endless
            self.assertIn("more than 65536 bytes", await self.refused(self.provider(), ProviderUnavailable))
            self.answers[path] = before

    async def test_attack_o7_answers_that_do_not_come(self) -> None:
        def slow(connection: Connection) -> None:
            connection.send(b"HTTP/1.1 200 X\r\nContent-Length: 10\r\n\r\n{")
            connection.read_until(b"never")

        for path in (METADATA, "/token", "/keys"):
            before = self.answers[path]
            self.answers[path] = slow
            self.assertIn("longer than 0.1 s", await self.refused(self.provider("timeout = 100ms"), ProviderUnavailable))
            self.answers[path] = before

    async def test_attack_o7_keys_of_other_types_are_left_out(self) -> None:
        public, shared = KEY.members(), {"kty": "oct", "kid": KEY.kid, "alg": "HS256", "k": "c2VjcmV0"}
        self.answers["/keys"] = {"keys": [shared, {"kty": "RSA", "n": "AQAB", "e": "AQAB"}, public]}
        self.assertEqual((await self.complete(self.provider())).subject, "8f2c")
        self.answers["/keys"] = {"keys": [shared]}
        self.assertIn("cannot be used", await self.refused(self.provider(), ProviderUnavailable))

    async def test_other_keys_at_another_place(self) -> None:
        provider, key = self.provider(), generate("ES256")
        await self.complete(provider)
        self.answers[METADATA] = {**self.metadata, "jwks_uri": f"{self.issuer}/more"}
        self.answers["/more"] = {"keys": [key.members()]}
        self.answers["/token"] = {**self.tokens(), "id_token": signed(self.claims(), key)}
        await provider.probe()
        self.assertEqual((await self.complete(provider)).subject, "8f2c")

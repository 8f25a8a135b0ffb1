"""Access tokens of a provider: which are accepted, for whom, and how often the provider is asked."""

from __future__ import annotations

import time
from typing import Any

import attrs
import jwt
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from perimeter.auth.kinds.remote.judge import read_header
from perimeter.auth.registry import provider_factories
from perimeter.errors import ExpiredToken, InvalidToken, NameConflict, Overloaded, ProviderUnavailable, Unavailable
from perimeter.oidc import bearer
from perimeter.oidc.access_token import Accepted
from perimeter.oidc.bearer import Holder, holder_of
from perimeter.oidc.claims import ClaimRules
from perimeter.oidc.discovery import RENEW
from perimeter.tokens.jwk import Jwk, generate
from tests.unit.doubles.openid import OpenIdCase
from tests.unit.doubles.remote import RemoteCase

KEY, OTHER = generate("ES256"), generate("ES256")
ISSUER = "https://sso.example.com/realms/corp"
NOW = 1_800_000_000.0
ACCEPTED = Accepted(frozenset({ISSUER}), frozenset({"https://gw.example.com"}), "gateway")
RULES = ClaimRules("corp", "sso", roles_claims=("groups",), role_map=(("/ops", "admin"),), attribute_claims=("email",))


def make(key: Jwk = KEY, headers: dict[str, Any] | None = None, now: float = NOW, **claims: Any) -> str:
    body = {
        "iss": ISSUER,
        "sub": "8f2c",
        "aud": "https://gw.example.com",
        "exp": now + 300,
        "iat": now,
        "preferred_username": "alice",
        "groups": ["/ops", "/dev"],
        "scope": "jobs email",
        "email": "alice@example.com",
        "email_verified": True,
        **claims,
    }
    body = {name: value for name, value in body.items() if value is not ...}
    return jwt.encode(body, key.private, "ES256", headers={"kid": key.kid, **(headers or {})})  # type: ignore[arg-type]


def held(token: str, accepted: Accepted = ACCEPTED, rules: ClaimRules = RULES) -> Holder | None:
    header = read_header(token)
    assert header is not None
    return holder_of(header, (KEY,), accepted, rules, NOW)


class HolderTests(TestCase):
    def test_the_rules_of_the_sign_in_make_the_user(self) -> None:
        found = held(make())
        assert found is not None
        principal = found.principal
        self.assertEqual((principal.username, principal.realm, principal.roles), ("alice", "corp", ("admin",)))
        self.assertEqual(principal.attributes, {"email": "alice@example.com"})
        self.assertEqual(principal.scopes, {"sso": ("jobs", "email")})
        self.assertEqual((found.issuer, found.subject, found.expires), (ISSUER, "8f2c", NOW + 300))

    def test_scopes(self) -> None:
        for claims, scopes in (
            ({"scope": ..., "scp": "Jobs.Read"}, ("Jobs.Read",)),
            ({"scope": ..., "scp": ["a", "b", "a"]}, ("a", "b")),
            ({"scope": "a  b"}, ("a", "b")),
            ({"scope": ...}, ()),
        ):
            found = held(make(**claims))
            assert found is not None
            self.assertEqual(found.principal.scopes, {"sso": scopes})
        for scope in (7, {"a": 1}, ["a", 7]):
            self.assertRaises(InvalidToken, held, make(scope=scope))

    def test_attack_o15_a_token_for_another_audience_or_issuer_is_not_mine(self) -> None:
        for claims in ({"aud": "https://other"}, {"aud": ...}, {"aud": []}, {"iss": ISSUER + "2"}, {"iss": ...}):
            self.assertIsNone(held(make(**claims)), claims)
        self.assertIsNotNone(held(make(aud=["https://other", "https://gw.example.com"])))

    def test_attack_o15_other_tokens_of_the_provider_are_no_credentials(self) -> None:
        for claims in (
            {"nonce": "n"},
            {"at_hash": "x"},
            {"events": {}},
            {"typ": "ID"},
            {"typ": "Refresh"},
            {"cnf": {"jkt": "x"}},
        ):
            self.assertRaises(InvalidToken, held, make(**claims))
        for typ in ("logout+jwt", "dpop+jwt", "application/logout+jwt"):
            self.assertRaises(InvalidToken, held, make(headers={"typ": typ}))
        self.assertRaises(ExpiredToken, held, make(exp=NOW))

    def test_attack_o15_an_id_token_is_for_the_client_alone(self) -> None:
        """Entra's access tokens for the gateway's own API have the client as audience, too, and a scope."""
        accepted = attrs.evolve(ACCEPTED, audiences=frozenset({"gateway"}))
        for aud in ("gateway", ["gateway", "x"]):
            self.assertRaises(InvalidToken, held, make(aud=aud, scope=...), accepted)
            for claims in ({}, {"scope": ..., "scp": "a"}, {"scope": ..., "typ": "Bearer"}):
                self.assertIsNotNone(held(make(aud=aud, **claims), accepted))
            self.assertIsNotNone(held(make(aud=aud, scope=..., headers={"typ": "at+jwt"}), accepted))
        self.assertIsNotNone(held(make(scope=...)), "no ID token has this audience")

    def test_who_may_not_sign_in_may_not_use_a_token(self) -> None:
        for rules, claims in (
            (attrs.evolve(RULES, require=(("email_verified", "true"),)), {"email_verified": False}),
            (attrs.evolve(RULES, allow_groups=frozenset({"/qa"})), {}),
            (RULES, {"preferred_username": ...}),
            (RULES, {"preferred_username": "a\nb"}),
            (RULES, {"sub": ...}),
            (RULES, {"groups": ..., "_claim_names": {"groups": "src1"}}),
        ):
            self.assertRaises(InvalidToken, held, make(**claims), ACCEPTED, rules)
        self.assertIsNotNone(held(make(email_verified=True), rules=attrs.evolve(RULES, require=(("email_verified", "true"),))))


class BearerTests(OpenIdCase):
    """Against a provider over HTTP."""

    def setUp(self) -> None:
        super().setUp()
        self.answers["/keys"] = {"keys": [KEY.members()]}
        self.bound: list[tuple[str, ...]] = []
        self.refusal_of_name: Exception | None = None
        self.bound_at = 1000
        self.authenticator = self.accepting()

    def accepting(self, options: str = "") -> Any:
        provider = self.build_provider(
            "oidc",
            f"issuer = {self.issuer}\nclient_id = gateway\nclient_secret = hush\nbearer = yes\n"
            f"audience = https://gw.example.com\nroles_claim = groups\nrole_map = /ops: admin\nattributes = email\n{options}",
            "corp",
        )
        return provider.token_authenticator(self.services, self.bind)

    async def bind(self, *name_and_identity: str) -> None:
        self.bound.append(name_and_identity)
        if self.refusal_of_name is not None and len(self.bound) < self.bound_at:
            raise self.refusal_of_name

    def make(self, **claims: Any) -> str:
        return make(now=time.time(), **{"iss": self.issuer, **claims})

    async def test_a_token_is_known_and_its_name_is_bound_once(self) -> None:
        token = self.make()
        for _ in range(3):
            found = await self.ask(self.authenticator, token)
            assert found is not None
            self.assertEqual((found.username, found.roles), ("alice", ("admin",)))
        self.assertEqual(self.bound, [("corp", "alice", self.issuer, "8f2c")])
        lines = [request.line for request in self.upstream.requests]
        self.assertEqual(lines, ["GET /.well-known/openid-configuration HTTP/1.1", "GET /keys HTTP/1.1"])

    async def test_attack_o4_a_name_of_another_identity_is_refused(self) -> None:
        self.refusal_of_name = NameConflict("the name belongs to another identity")
        error = await self.refusal(lambda: self.ask(self.authenticator, self.make(sub="other")), InvalidToken)
        self.assertIn("belongs to another identity", str(error))

    async def test_a_name_that_cannot_be_bound_now(self) -> None:
        self.patch(bearer, "BETWEEN_TRIES", 0.001)
        self.refusal_of_name = Unavailable("the state cannot be written")
        await self.refusal(lambda: self.ask(self.authenticator, self.make()), Unavailable)
        self.assertEqual(len(self.bound), bearer.TRIES)
        self.refusal_of_name = Overloaded("too many names")
        await self.refusal(lambda: self.ask(self.authenticator, self.make()), Overloaded)
        self.assertEqual(len(self.bound), bearer.TRIES + 1)

    async def test_another_request_may_be_binding_the_name(self) -> None:
        self.patch(bearer, "BETWEEN_TRIES", 0.001)
        self.refusal_of_name, self.bound_at = Unavailable("another sign-in with this user name is under way"), bearer.TRIES
        self.assertIsNotNone(await self.ask(self.authenticator, self.make()))
        self.assertEqual(len(self.bound), bearer.TRIES)

    async def test_other_tokens_cause_no_question(self) -> None:
        for token in ("opaque", self.make(iss="https://other"), "a.b.c"):
            self.assertIsNone(await self.ask(self.authenticator, token))
        self.assertEqual(self.upstream.connections, 0)
        self.assertEqual(self.bound, [])

    async def test_a_token_for_another_audience_or_of_an_unknown_key_is_not_mine(self) -> None:
        self.assertIsNone(await self.ask(self.authenticator, self.make(aud="other")))
        self.assertIsNone(await self.ask(self.authenticator, self.make(key=OTHER)))
        self.assertEqual(self.bound, [])

    async def test_other_keys_end_what_is_remembered(self) -> None:
        known = self.make()
        self.assertIsNotNone(await self.ask(self.authenticator, known))
        self.answers["/keys"] = {"keys": [OTHER.members()]}
        self.time.advance(30)
        self.assertIsNotNone(await self.ask(self.authenticator, self.make(key=OTHER)))
        self.assertIsNone(await self.ask(self.authenticator, known))

    async def test_keys_at_another_address_end_what_is_remembered(self) -> None:
        known = self.make()
        self.assertIsNotNone(await self.ask(self.authenticator, known))
        self.answers["/.well-known/openid-configuration"] = {**self.metadata, "jwks_uri": f"{self.issuer}/other"}
        self.answers["/other"] = {"keys": [OTHER.members()]}
        self.time.advance(RENEW)
        later = time.time() + RENEW
        self.assertIsNotNone(await self.ask(self.authenticator, self.make(exp=later + 300)), "by the keys of before")
        await self.until(lambda: len(self.asked("/.well-known/openid-configuration")) == 2, "the metadata are read again")
        await deferLater(reactor, 0.02)
        self.assertIsNotNone(await self.ask(self.authenticator, self.make(key=OTHER, exp=later + 300)))
        self.assertIsNone(await self.ask(self.authenticator, self.make(exp=later + 300)))

    async def test_a_provider_that_is_down_or_misconfigured_decides_nothing(self) -> None:
        self.answers["/.well-known/openid-configuration"] = (500, {})
        await self.refusal(lambda: self.ask(self.authenticator, self.make()), ProviderUnavailable)
        self.answers["/.well-known/openid-configuration"] = {**self.metadata, "issuer": "https://other"}
        self.time.advance(60)
        await self.refusal(lambda: self.ask(self.authenticator, self.make()), Unavailable)

    async def test_a_probe_reads_the_keys(self) -> None:
        await self.authenticator.probe()
        self.assertEqual(self.upstream.requests[-1].line, "GET /keys HTTP/1.1")

    async def test_without_bearer_there_is_no_authenticator(self) -> None:
        provider = self.build_provider("oidc", f"issuer = {self.issuer}\nclient_id = gateway")
        self.assertIsNone(provider.token_authenticator(self.services, self.bind))


class OptionTests(RemoteCase):
    SECTION = "issuer = https://sso.example.com\nclient_id = gateway\n"

    def problems(self, options: str) -> list[str]:
        return [one.partition("] ")[2] for one in self.parse("oidc", self.SECTION + options, provider_factories())[1]]

    def test_combinations(self) -> None:
        self.assertEqual(self.problems("bearer = yes\naudience = https://gw.example.com, api"), [])
        self.assertEqual(self.problems("bearer = no"), [])
        for options, problem in (
            ("bearer = yes", "bearer: also needs audience"),
            ("audience = api", "audience: has no effect without bearer = yes"),
            ("bearer = yes\naudience = *", "audience: expected the audience of tokens for the gateway"),
            ("bearer = yes\naudience = api, *", "audience: expected the audience of tokens for the gateway"),
        ):
            (found,) = self.problems(options)
            self.assertIn(problem, found)

    def test_the_accepted_issuers(self) -> None:
        settings, _ = self.parse("oidc", self.SECTION + "bearer = yes\naudience = a, b", provider_factories())
        self.assertEqual(settings.accepted, Accepted(frozenset({"https://sso.example.com"}), frozenset({"a", "b"}), "gateway"))
        many = (
            "preset = entra\nissuer = https://login.microsoftonline.com/organizations/v2.0\ntenants = t1, t2\n"
            "client_id = gateway\nbearer = yes\naudience = a"
        )
        settings, problems = self.parse("oidc", many, provider_factories())
        self.assertEqual(problems, [])
        issuers = {f"https://login.microsoftonline.com/{tenant}/v2.0" for tenant in ("t1", "t2")}
        self.assertEqual(settings.accepted.issuers, issuers)

"""ID tokens: which are accepted, and attempts to put another token in their place (attack O3)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from jwt import PyJWS
from twisted.trial.unittest import TestCase

from perimeter.auth.kinds.remote.judge import read_header
from perimeter.errors import ExpiredToken, InvalidToken
from perimeter.oidc.access_token import access_token_claims
from perimeter.oidc.idtoken import MAX_AGE, MAX_SUBJECT, Expected, IdToken, SignIn, judge_id_token, judge_renewed
from perimeter.tokens.jwk import BadKey, Jwk, generate, load_jwk

NOW = 1_800_000_000
ISSUER = "https://sso.example.com/realms/corp"
KEY, OTHER, RSA, ED = generate("ES256"), generate("ES256"), generate("RS256"), generate("EdDSA")
EXPECTED = Expected(ISSUER, "gateway")
SIGN_IN = SignIn("n" * 43, None, "the code", "the access token")
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "sub": "8f2c",
    "aud": "gateway",
    "exp": NOW + 300,
    "iat": NOW,
    "nonce": "n" * 43,
}
SECRET = "a secret of the client that is long enough for HS256"


def make(key: Jwk = KEY, headers: dict[str, Any] | None = None, **claims: Any) -> str:
    body = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not ...}
    header = {"kid": key.kid, **(headers or {})}
    made: str = PyJWS().encode(json.dumps(body).encode(), key.private, key.algorithm, header)  # type: ignore[arg-type]
    return made


def segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def half(text: str, made: Any = hashlib.sha256) -> str:
    digest = made(text.encode()).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()


def judged(token: str, key: Jwk = KEY, expected: Expected = EXPECTED, sign_in: SignIn = SIGN_IN, now: float = NOW) -> IdToken:
    header = read_header(token)
    assert header is not None
    return judge_id_token(header, [key], expected, sign_in, now)


class Refusing(TestCase):
    def refused(self, token: str, words: str, **how: Any) -> None:
        error = self.assertRaises(InvalidToken, judged, token, **how)
        self.assertIn(words, error.detail)


class IdTokenTests(Refusing):
    def test_a_good_one(self) -> None:
        found = judged(make(auth_time=NOW - 900, sid="s-1", azp="gateway", typ="ID"))
        self.assertEqual((found.issuer, found.subject, found.authenticated, found.sid), (ISSUER, "8f2c", NOW - 900, "s-1"))
        self.assertEqual(found.nonce, "n" * 43)
        for value in (found, SIGN_IN):
            self.assertNotRegex(repr(value), "nnn|the code|the access token|s-1")
        self.assertEqual(judged(make()).authenticated, NOW)
        self.assertEqual(judged(make()).sid, "")
        self.assertEqual(judged(make(sid=7)).sid, "")
        for key in (RSA, ED):
            self.assertEqual(judged(make(key), key).subject, "8f2c")

    def test_attack_o3_another_signature(self) -> None:
        self.refused(make(OTHER, {"kid": KEY.kid}), "signature is wrong")
        self.refused(make(OTHER, {"kid": KEY.kid, "jwk": OTHER.members()}), "signature is wrong")
        self.refused(make(OTHER, {"kid": KEY.kid, "jku": "https://evil.example/keys"}), "signature is wrong")
        self.refused(make(headers={"crit": ["exp"], "exp": 1}), "its header has crit")
        unsigned = f"{segment({'alg': 'none', 'kid': KEY.kid})}.{segment(CLAIMS)}.AAAA"
        self.refused(unsigned, "another algorithm")
        self.assertIsNone(read_header(f"{segment({'alg': 'none'})}.{segment(CLAIMS)}."))

    def test_attack_o3_a_public_key_or_the_client_secret_as_a_shared_one(self) -> None:
        public = RSA.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        head = f"{segment({'alg': 'HS256', 'kid': RSA.kid})}.{segment(CLAIMS)}"
        for secret in (public, SECRET.encode(), json.dumps(RSA.members()).encode()):
            signature = hmac.new(secret, head.encode(), hashlib.sha256).digest()
            token = f"{head}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
            self.refused(token, "another algorithm", key=RSA)
        self.assertRaises(BadKey, load_jwk, {"kty": "oct", "k": segment("secret")})

    def test_attack_o3_for_others(self) -> None:
        for audience in ("other", ["other"], [], ["gateway", 7], None, {"gateway": 1}, ..., "gatewa", "gateway "):
            self.refused(make(aud=audience), "for another client")
        self.refused(make(aud=["gateway", "other"]), "also for others")
        trusting = Expected(ISSUER, "gateway", frozenset({"other"}))
        self.assertEqual(judged(make(aud=["gateway", "other"]), expected=trusting).subject, "8f2c")
        self.refused(make(aud=["other"]), "for another client", expected=trusting)
        for azp in ("other", None, ["gateway"]):
            self.refused(make(azp=azp), "azp")

    def test_attack_o3_another_issuer(self) -> None:
        for issuer in ("https://sso.example.com/realms/next", f"{ISSUER}/", ISSUER.upper(), None, [ISSUER], ...):
            self.refused(make(iss=issuer), "another issuer")

    def test_attack_o3_another_nonce(self) -> None:
        for nonce in ("N" * 43, "n" * 42, "", None, 7, ["n" * 43], ..., "\u00e9"):
            self.refused(make(nonce=nonce), "nonce")

    def test_attack_o3_times(self) -> None:
        self.assertEqual(judged(make(exp=NOW + 1)).subject, "8f2c")
        self.assertRaises(ExpiredToken, judged, make(exp=NOW))
        self.assertEqual(judged(make(iat=NOW + 60)).subject, "8f2c")
        self.refused(make(iat=NOW + 61), "iat is in the future")
        self.refused(make(nbf=NOW + 61), "nbf is in the future")
        self.assertEqual(judged(make(iat=NOW - MAX_AGE)).subject, "8f2c")
        self.refused(make(iat=NOW - MAX_AGE - 1), "too long ago")
        self.refused(make(iat=...), "iat of the ID token is absent")
        for value in (None, "1", True, -1, 2**53):
            self.refused(make(iat=value), "iat")
            self.refused(make(exp=value), "exp")

    def test_attack_o3_hashes(self) -> None:
        good = {"at_hash": half("the access token"), "c_hash": half("the code")}
        self.assertEqual(judged(make(**good)).subject, "8f2c")
        self.assertEqual(judged(make(ED, at_hash=half("the access token", hashlib.sha512)), ED).subject, "8f2c")
        for name in good:
            for value in (
                "",
                half("another"),
                good[name] + "=",
                good[name][:-1],
                half("x", hashlib.sha512),
                None,
                7,
                [good[name]],
                "\u00e9",
            ):
                self.refused(make(**{name: value}), f"{name} of the ID token does not fit")
        self.refused(make(at_hash=half("the access token")), "at_hash", sign_in=SignIn("n" * 43, None, "the code"))

    def test_attack_o3_a_token_for_another_purpose_in_its_place(self) -> None:
        for typ in ("at+jwt", "logout+jwt", "application/at+jwt", 7):
            self.refused(make(headers={"typ": typ}), "another purpose")
        for typ in ("JWT", "jwt", "application/jwt"):
            self.assertEqual(judged(make(headers={"typ": typ})).subject, "8f2c")
        for purpose in ("Bearer", "Refresh", "Logout", "", None, 7):
            self.refused(make(typ=purpose), "for another purpose")
        self.refused(make(events={"http://schemas.openid.net/event/backchannel-logout": {}}), "for another purpose")

    def test_subjects(self) -> None:
        for subject in ("", None, 7, "a" * (MAX_SUBJECT + 1), "\u00e9", "a\n", ...):
            self.refused(make(sub=subject), "names no subject")
        self.assertEqual(judged(make(sub="a" * MAX_SUBJECT)).subject, "a" * MAX_SUBJECT)
        self.assertEqual(judged(make(sub="auth0|a/b c")).subject, "auth0|a/b c")

    def test_a_sign_in_anew(self) -> None:
        anew = SignIn("n" * 43, NOW - 30.0)
        self.assertEqual(judged(make(auth_time=NOW - 90), sign_in=anew).authenticated, NOW - 90)
        self.refused(make(auth_time=NOW - 91), "authenticated anew", sign_in=anew)
        self.refused(make(), "authenticated anew", sign_in=anew)
        self.assertEqual(judged(make(auth_time=NOW + 60)).authenticated, NOW + 60)
        for value in (NOW + 61, "1", True, -1, [1]):
            self.refused(make(auth_time=value), "no time in the past")
        self.assertEqual(judged(make(auth_time=0)).authenticated, 0)

    def test_attack_o5_entra_of_another_tenant(self) -> None:
        template = "https://login.microsoftonline.com/{tenantid}/v2.0"
        expected = Expected(template, "gateway", tenants=frozenset({"8f2c", "9a9a"}))
        mine = "https://login.microsoftonline.com/8f2c/v2.0"
        self.assertEqual(judged(make(iss=mine, tid="8f2c"), expected=expected).issuer, mine)
        other = "https://login.microsoftonline.com/0000/v2.0"
        for claims in (
            {"iss": other, "tid": "0000"},
            {"iss": mine, "tid": "0000"},
            {"iss": other, "tid": "8f2c"},
            {"iss": mine, "tid": "9a9a"},
            {"iss": mine},
            {"iss": template, "tid": "{tenantid}"},
            {"tid": None, "iss": None},
            {"tid": None, "iss": ...},
            {"iss": mine, "tid": ["8f2c"]},
        ):
            self.refused(make(**claims), "another issuer", expected=expected)
        self.refused(make(iss=mine, tid="8f2c"), "another issuer", expected=Expected(template, "gateway"))

    @given(
        st.dictionaries(
            st.sampled_from(["iss", "aud", "nonce", "azp", "at_hash", "c_hash"]),
            st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.text(max_size=3), max_size=2),
            min_size=1,
            max_size=3,
        )
    )
    def test_a_changed_claim_refuses_and_nothing_else_is_raised(self, changed: dict[str, Any]) -> None:
        self.assertRaises(InvalidToken, judged, make(**changed))


class RenewedTests(TestCase):
    BEFORE = IdToken(ISSUER, "8f2c", NOW - 5000.0, "n" * 43, {"sid": "s-1"})

    def renewed(self, token: str) -> IdToken:
        header = read_header(token)
        assert header is not None
        return judge_renewed(header, [KEY], EXPECTED, self.BEFORE, "the access token", NOW)

    def test_it_needs_no_nonce(self) -> None:
        for token in (make(nonce=...), make()):
            found = self.renewed(token)
            self.assertEqual((found.subject, found.authenticated, found.nonce), ("8f2c", NOW - 5000.0, "n" * 43))

    def test_attack_o3_another_user_or_sign_in(self) -> None:
        for changed in (
            {"sub": "other"},
            {"nonce": "N" * 43},
            {"nonce": None},
            {"aud": "other"},
            {"iat": NOW - 601},
            {"iss": "https://x"},
        ):
            self.assertRaises(InvalidToken, self.renewed, make(**changed))
        self.assertRaises(InvalidToken, self.renewed, make(OTHER))
        self.assertRaises(InvalidToken, self.renewed, make(headers={"typ": "at+jwt"}))


class AccessTokenTests(TestCase):
    ID = IdToken(ISSUER, "8f2c", NOW, "", {})

    def claims(self, token: str) -> dict[str, Any]:
        header = read_header(token)
        assert header is not None
        return access_token_claims(header, [KEY], self.ID, "gateway", NOW)

    def test_that_of_the_same_user(self) -> None:
        self.assertEqual(self.claims(make(headers={"typ": "at+jwt"}, roles=["a"], aud="account"))["roles"], ["a"])
        self.assertEqual(self.claims(make(roles=["a"], azp="gateway"))["roles"], ["a"])

    def test_any_other_has_nothing_to_say(self) -> None:
        for changed in ({"sub": "other"}, {"iss": "https://x"}, {"azp": "other"}, {"exp": NOW}, {"exp": ...}):
            self.assertEqual(self.claims(make(roles=["a"], **changed)), {})
        self.assertEqual(self.claims(make(OTHER, roles=["a"])), {})
        self.assertEqual(self.claims(make(headers={"typ": "logout+jwt"}, roles=["a"])), {})

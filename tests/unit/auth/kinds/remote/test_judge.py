"""JWTs of other issuers: which are accepted, and attempts to confuse the verifier (attacks 35, 36 and 40)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import attrs
import jwt
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from perimeter.auth.kinds.remote.judge import Expectations, judge, read_header
from perimeter.auth.kinds.remote.memory import Vouched
from perimeter.errors import ExpiredToken, InvalidToken
from perimeter.model import Principal
from perimeter.tokens.jwk import BadKey, Jwk, generate, load_jwk
from tests.unit.doubles.properties import reached, reaches

NOW = 1_800_000_000
KEY = generate("ES256")
RSA = generate("RS256")
EXPECTED = Expectations("desp", "iam", frozenset({"https://iam.example"}), frozenset({"gateway"}))
CLAIMS: dict[str, Any] = {
    "iss": "https://iam.example",
    "aud": ["gateway", "account"],
    "sub": "8f2c",
    "exp": NOW + 300,
    "iat": NOW,
    "preferred_username": "alice",
    "realm_access": {"roles": ["viewer"]},
    "entitlements": ["/data/era5"],
    "resource_access": {"app": {"roles": ["a,admin", "viewer"]}, "other": {"roles": ["ops"]}},
    "scope": "openid email",
    "email": "alice@example.int",
    "level": 3,
}


TWICE = b'{"kid": "a", "kid": "b", "alg": "ES256"}'


def make(key: Jwk = KEY, headers: dict[str, Any] | None = None, algorithm: str = "", **claims: Any) -> str:
    body = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not ...}
    return jwt.encode(body, key.private, algorithm or key.algorithm, headers={"kid": key.kid, **(headers or {})})  # type: ignore[arg-type]


def segment(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


UNSIGNED = st.builds(
    lambda header, claims, signature: f"{segment({'kid': 'k', 'alg': 'ES256', **header})}.{segment(claims)}.{signature}",
    st.dictionaries(st.sampled_from(["kid", "alg", "crit", "typ", "x"]), st.text(max_size=5) | st.none(), max_size=1),
    st.dictionaries(st.sampled_from(["iss", "exp", "sub", "x"]), st.none() | st.integers() | st.text(max_size=5)),
    st.sampled_from(["AAAA", "", "A" * 86]),
)
"""Tokens that can be read, and whose signature is wrong."""


def judged(token: str, key: Jwk = KEY, expected: Expectations = EXPECTED, now: float = NOW) -> Vouched | None:
    header = read_header(token)
    assert header is not None
    return judge(header, [key], expected, now)


def user(token: str, key: Jwk = KEY, expected: Expectations = EXPECTED) -> Principal:
    found = judged(token, key, expected)
    assert found is not None
    return found.principal


class MappingTests(TestCase):
    def test_claims_become_a_user(self) -> None:
        found = judged(make())
        assert found is not None
        principal = found.principal
        self.assertEqual((principal.username, principal.realm, found.expires), ("alice", "desp", NOW + 300))
        self.assertEqual(principal.roles, ("viewer", "/data/era5", "a,admin", "ops"))
        self.assertEqual(principal.scopes, {"iam": ("openid", "email")})
        self.assertEqual(principal.attributes["email"], "alice@example.int")
        self.assertEqual(principal.attributes["level"], "3")
        self.assertNotIn("realm_access", principal.attributes)

    def test_the_subject_where_there_is_no_name(self) -> None:
        self.assertEqual(user(make(preferred_username=...)).username, "8f2c")

    def test_a_user_without_roles_or_scopes(self) -> None:
        found = user(make(realm_access=..., entitlements=..., resource_access=..., scope=...))
        self.assertEqual((found.roles, found.scopes), ((), {}))

    def test_claims_may_be_chosen(self) -> None:
        expected = attrs.evolve(
            EXPECTED,
            username_claims=("profile.login",),
            roles_claims=("groups", "https://x.example/roles"),
            scope_claim="scp",
            attribute_claims=("email", "absent"),
        )
        claims: dict[str, Any] = {"profile": {"login": "al"}, "groups": "one", "https://x.example/roles": ["two"], "scp": ["a"]}
        found = user(make(**claims), expected=expected)
        self.assertEqual((found.username, found.roles, found.scopes), ("al", ("one", "two"), {"iam": ("a",)}))
        self.assertEqual(found.attributes, {"email": "alice@example.int"})

    def test_every_kind_of_key(self) -> None:
        for key in (KEY, RSA, generate("EdDSA")):
            self.assertEqual(user(make(key), key).username, "alice")

    def test_attributes_are_bounded_and_without_control_characters(self) -> None:
        found = user(make(note="a\r\nb", long="x" * 5000, deep={"a": [1]}))
        self.assertEqual((found.attributes["note"], found.attributes["deep"]), ("ab", '{"a":[1]}'))
        self.assertNotIn("long", found.attributes)

    def test_attack_15_claims_that_are_no_names(self) -> None:
        for claims in (
            {"preferred_username": "a\nb"},
            {"preferred_username": 7},
            {"preferred_username": " "},
            {"preferred_username": ..., "sub": ...},
            {"realm_access": {"roles": {"admin": True}}},
            {"realm_access": {"roles": ["x" * 257]}},
            {"entitlements": ["x"] * 1001},
            {"scope": {"a": 1}},
            {"scope": [1]},
        ):
            self.assertRaises(InvalidToken, judged, make(**claims))

    def test_attack_15_one_bad_role_does_not_spoil_the_others(self) -> None:
        for bad in ("a\r\nX: y", ["admin"], None, 7, "", {"admin": True}):
            self.assertEqual(user(make(realm_access={"roles": [bad, "viewer", "x" * 256]})).roles[:2], ("viewer", "x" * 256))

    def test_attack_40_the_domain_of_an_address(self) -> None:
        expected = attrs.evolve(EXPECTED, username_claims=("email",), domain="company.com")
        self.assertEqual(user(make(email="a@Company.com", email_verified=True), expected=expected).username, "a")
        self.assertEqual(user(make(email="a@company.com"), expected=expected).username, "a", "the issuer says nothing of it")
        for address in (
            "a@evil.com@company.com",
            "a@evil.com",
            "a@company.com@evil.com",
            "a@company.com.evil.com",
            "@company.com",
            "a",
        ):
            self.assertRaises(InvalidToken, judged, make(email=address), KEY, expected)
        for verified in (False, "true", None):
            token = make(email="a@company.com", email_verified=verified)
            self.assertRaises(InvalidToken, judged, token, KEY, expected)


class JudgementTests(TestCase):
    def test_what_is_for_others_is_not_mine(self) -> None:
        for claims in (
            {"iss": "https://other.example"},
            {"iss": ...},
            {"aud": "other"},
            {"aud": ...},
            {"aud": []},
            {"aud": {"x": 1}},
        ):
            self.assertIsNone(judged(make(**claims)), claims)

    def test_anybody_and_any_audience_where_that_is_said(self) -> None:
        expected = attrs.evolve(EXPECTED, issuers=frozenset("*"), audiences=frozenset("*"))
        self.assertEqual(user(make(iss=..., aud=...), expected=expected).username, "alice")
        self.assertIsNone(judged(make(iss="*", aud="*")), "only the configuration says so")

    def test_attack_35_the_expiry_is_needed(self) -> None:
        for value in (..., None, "soon", True, -1, [NOW + 5], 2**60, 10**400, 2**53):
            self.assertRaises(InvalidToken, judged, make(exp=value))
        self.assertRaises(ExpiredToken, judged, make(exp=NOW))
        self.assertRaises(ExpiredToken, judged, make(exp=NOW - 100))
        self.assertIsNotNone(judged(make(exp=NOW + 0.5)))

    def test_times_in_the_future(self) -> None:
        for name in ("iat", "nbf"):
            self.assertRaises(InvalidToken, judged, make(**{name: NOW + 120}))
            self.assertIsNotNone(judged(make(**{name: NOW + 30})))
        self.assertIsNotNone(judged(make(iat=...)))

    def test_attack_36_the_signature_comes_first(self) -> None:
        head, body, signature = make(exp=NOW - 5).split(".")
        error = self.assertRaises(InvalidToken, judged, f"{head}.{body}.{'A' * len(signature)}")
        self.assertNotIsInstance(error, ExpiredToken)
        self.assertRaises(InvalidToken, judged, make(iss="https://other.example"), generate("ES256"))

    def test_attack_35_algorithm_confusion(self) -> None:
        public = RSA.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        header = {"alg": "HS256", "kid": RSA.kid, "typ": "JWT"}
        signed = f"{segment(header)}.{segment(CLAIMS)}"
        mac = hmac.new(public, signed.encode(), hashlib.sha256).digest()
        self.assertRaises(InvalidToken, judged, f"{signed}.{segment(mac)}", RSA)
        for algorithm in ("none", "None", "RS512", "PS256", "ES256", "HS512", ""):
            token = f"{segment({**header, 'alg': algorithm})}.{segment(CLAIMS)}.{segment(mac)}"
            self.assertRaises(InvalidToken, judged, token, RSA)
        # a good signature by another algorithm of the same key
        self.assertRaises(InvalidToken, judged, make(RSA, algorithm="RS512"), RSA)
        self.assertRaises(InvalidToken, judged, make(RSA, algorithm="PS256"), RSA)

    def test_attack_35_headers_that_bring_their_own_rules(self) -> None:
        for extra in (
            {"crit": ["exp"]},
            {"typ": "logout+jwt"},
            {"typ": "perimeter-assertion+jwt"},
            {"typ": "dpop+jwt"},
        ):
            self.assertRaises(InvalidToken, judged, make(headers=extra))
        for typ in ("JWT", "at+jwt", "AT+JWT"):
            self.assertIsNotNone(judged(make(headers={"typ": typ})))

    def test_attack_35_a_payload_that_is_not_base64url(self) -> None:
        """``b64`` changes what is signed (RFC 7797). The signature of this token is good."""
        head, body = segment({"alg": "ES256", "kid": KEY.kid, "b64": True}), segment(CLAIMS)
        signed = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).sign(f"{head}.{body}".encode(), KEY.private)  # type: ignore[arg-type]
        self.assertRaises(InvalidToken, judged, f"{head}.{body}.{segment(signed)}")

    def test_attack_35_a_key_that_a_token_brings_is_ignored(self) -> None:
        stranger = generate("ES256")
        for extra in (
            {"jku": "https://evil.example/jwks"},
            {"jwk": stranger.members()},
            {"x5u": "https://evil.example"},
            {"x5c": ["AAAA"]},
        ):
            self.assertEqual(user(make(headers=extra)).username, "alice")
            self.assertRaises(InvalidToken, judged, make(stranger, headers={**extra, "kid": KEY.kid}))

    def test_each_fitting_key_is_tried(self) -> None:
        others = [generate("ES256"), generate("ES256")]
        header = read_header(make())
        assert header is not None
        for keys in ([KEY, *others], [*others, KEY], [others[0], KEY, others[1]]):
            self.assertIsNotNone(judge(header, keys, EXPECTED, NOW))
        self.assertRaises(InvalidToken, judge, header, others, EXPECTED, NOW)

    def test_a_token_may_leave_its_key_unnamed(self) -> None:
        head, body, signature = jwt.encode(CLAIMS, KEY.private, "ES256").split(".")  # type: ignore[arg-type]
        header = read_header(f"{head}.{body}.{signature}")
        assert header is not None
        self.assertEqual((header.kid, header.algorithm, header.issuer), (None, "ES256", "https://iam.example"))
        self.assertIsNotNone(judge(header, [KEY], EXPECTED, NOW))

    def test_attack_36_tokens_for_another_purpose(self) -> None:
        for purpose in ("ID", "Refresh", "Offline", "Logout"):
            self.assertRaises(InvalidToken, judged, make(typ=purpose))
        self.assertIsNotNone(judged(make(typ="Bearer")))

    def test_attack_o15_an_id_token_or_a_logout_token_is_no_credential(self) -> None:
        for claims in ({"nonce": "n"}, {"at_hash": "x"}, {"c_hash": "x"}, {"events": {}}, {"at_hash": None, "typ": "Bearer"}):
            with self.assertRaisesRegex(InvalidToken, "^not an access token$"):
                judged(make(**claims))
        for headers, claims in (({}, {"typ": "Bearer"}), ({"typ": "at+jwt"}, {}), ({"typ": "application/AT+JWT"}, {})):
            self.assertIsNotNone(judged(make(headers=headers, nonce="n", **claims)), "Keycloak's access tokens had a nonce")
        for headers in ({"typ": "at+jwt"}, {}):
            self.assertRaises(InvalidToken, judged, make(headers=headers, at_hash="x"))

    def test_attack_o15_a_token_that_is_bound_to_a_key_is_not_its_bearers(self) -> None:
        for cnf in ({"jkt": "x"}, {"x5t#S256": "x"}, {}, None):
            with self.assertRaisesRegex(InvalidToken, "bound to a key"):
                judged(make(cnf=cnf))

    def test_what_is_no_jwt_is_not_even_looked_at(self) -> None:
        head, body, signature = make().split(".")
        for token in (
            "opaque",
            "a.b.c",
            f"{head}.{body}",
            f"{head}.{body}.{signature}.x",
            f"{head}=.{body}.{signature}",
            f"{segment({'alg': 'ES256', 'kid': None})}.{body}.{signature}",
            f"{segment({'alg': 'ES256', 'kid': ''})}.{body}.{signature}",
            f"{segment({'alg': 'ES256', 'kid': 7})}.{body}.{signature}",
            f"{segment({'kid': 'x'})}.{body}.{signature}",
            f"{segment([1])}.{body}.{signature}",
            f"{segment(TWICE)}.{body}.{signature}",
            f"{segment({'alg': 'ES256', 'kid': 'x' * 5000})}.{body}.{signature}",
            f"{segment(b'[' * 3000)}.{body}.{signature}",
            f"{head}.{segment(b'[' * 6000)}.{signature}",
        ):
            self.assertIsNone(read_header(token), token)

    def test_members_that_a_token_brings_are_not_shown(self) -> None:
        self.assertNotIn("evil.example", repr(read_header(make(headers={"jku": "https://evil.example/jwks"}))))

    def test_a_member_named_twice_is_refused(self) -> None:
        payload = json.dumps(CLAIMS)[:-1] + ', "preferred_username": "root"}'
        token = jwt.api_jws.PyJWS().encode(payload.encode(), KEY.private, "ES256", headers={"kid": KEY.kid})  # type: ignore[arg-type]
        self.assertIsNone(read_header(token))

    def test_attack_35_keys_that_may_not_verify_never_get_here(self) -> None:
        for change in ({"use": "enc"}, {"key_ops": ["sign"]}, {"alg": "HS256"}, {"crv": "P-384"}):
            self.assertRaises(BadKey, load_jwk, {**KEY.members(), **change})

    @reaches(1)
    @given(st.text(max_size=300) | st.binary(max_size=300).map(lambda data: f"{segment(data)}.{segment(data)}.AAAA") | UNSIGNED)
    def test_anything_can_be_read_without_an_accident(self, token: str) -> None:
        header = read_header(token)
        if header is not None:
            reached(self)
            self.assertRaises(InvalidToken, judge, header, [KEY], EXPECTED, NOW)

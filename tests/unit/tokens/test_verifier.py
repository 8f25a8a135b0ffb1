"""Issued tokens are accepted, and no others."""

from __future__ import annotations

import json

import attrs
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from perimeter.config.site.token import TokenSettings
from perimeter.errors import ExpiredToken, ForeignToken, InternalError, InvalidToken
from perimeter.model import Principal
from tests.unit.doubles.properties import reached, reaches
from tests.unit.doubles.tokens_site import ALICE, NOW, SECRET, TokenCase, b64, parts, sign, unb64


class IssuedTokenTests(TokenCase):
    def test_round_trip(self) -> None:
        for algorithm, secret in (("ES256", None), ("EdDSA", None), ("RS256", None), ("HS256", SECRET)):
            self.use(TokenSettings(algorithm=algorithm, secret=secret))
            issued = self.issuer.issue(ALICE, 60)
            verdict = self.verifier.verify(issued.access_token)
            self.assertEqual(verdict.principal, attrs.evolve(ALICE, authenticator="token"))
            self.assertEqual(verdict.principal.attributes, ALICE.attributes)
            self.assertEqual(verdict.principal.scopes, ALICE.scopes)
            self.assertEqual(issued.expires_in, 60)
            self.assertEqual(parts(issued.access_token)[0], {"alg": algorithm, "kid": self.key.kid, "typ": "at+jwt"})

    def test_claims(self) -> None:
        _, claims = parts(self.token())
        self.assertEqual(len(unb64(claims.pop("jti"))), 16)
        expected = {
            "iss": "perimeter",
            "aud": "perimeter",
            "sub": "local-alice",
            "username": "alice",
            "realm": "local",
            "roles": ["admin", "dev"],
            "scopes": {"data": ["read", "write"]},
            "attributes": {"mail": "a@example.com"},
            "iat": int(NOW),
            "exp": int(NOW) + 3601,
        }
        self.assertEqual(claims, expected)
        self.assertNotEqual(parts(self.token())[1]["jti"], parts(self.token())[1]["jti"])

    def test_names_that_share_a_subject_stay_apart(self) -> None:
        one = self.verifier.verify(self.issuer.issue(Principal("b-c", "a"), 60).access_token)
        other = self.verifier.verify(self.issuer.issue(Principal("c", "a-b"), 60).access_token)
        self.assertEqual((one.principal.realm, one.principal.username), ("a", "b-c"))
        self.assertEqual((other.principal.realm, other.principal.username), ("a-b", "c"))

    def test_lives_as_long_as_it_says(self) -> None:
        token = self.token(60)
        self.clock.advance(60)
        self.assertEqual(self.verifier.verify(token).expires, int(NOW) + 61)
        self.clock.advance(1)
        error = self.assertRaises(ExpiredToken, self.verifier.verify, token)
        self.assertEqual(error.phrase, "The access token expired")

    def test_lifetimes_that_no_key_outlives(self) -> None:
        for lifetime in (0.0, -1.0, 7 * 86400.0 + 1, float("nan"), float("inf")):
            self.assertRaises(ValueError, self.issuer.issue, ALICE, lifetime)

    def test_too_many_roles_for_a_token(self) -> None:
        many = Principal("alice", "local", tuple(f"role-{number}" for number in range(1000)))
        self.assertRaises(InternalError, self.issuer.issue, many, 60)
        self.assertRaises(InternalError, self.issuer.issue_assertion, many, "up")

    def test_the_longest_token_has_8192_bytes(self) -> None:
        def issued(length: int) -> str:
            return self.issuer.issue(attrs.evolve(ALICE, attributes={"note": "x" * length}), 60).access_token

        missing = 8192 - len(issued(0))
        longest = issued(missing * 3 // 4)  # base64url: three bytes are four characters
        self.assertEqual(len(longest), 8192)
        self.assertEqual(self.verifier.verify(longest).principal.username, "alice")
        self.assertRaises(InternalError, issued, missing * 3 // 4 + 1)

    def test_names_of_any_language(self) -> None:
        token = self.issuer.issue(Principal("José 名 %(x)s", "löcal", ("a,admin",)), 60).access_token
        self.assertEqual(self.verifier.verify(token).principal, Principal("José 名 %(x)s", "löcal", ("a,admin",), "token"))
        self.assertIn("José 名".encode(), unb64(token.split(".")[1]), "in UTF-8, which is shorter than escapes")

    def test_clocks_that_differ_a_little(self) -> None:
        token = self.token()
        self.clock.rightNow -= 59
        self.assertEqual(self.verifier.verify(token).principal.username, "alice")
        self.clock.rightNow -= 3
        self.refused(token, "iat is in the future")

    def test_tokens_are_not_shown(self) -> None:
        issued = self.issuer.issue(ALICE, 60)
        self.assertNotIn(issued.access_token, repr(issued))


class ConfusionTests(TokenCase):
    """Attack 35: the header of a token cannot choose the algorithm or the key."""

    def test_forgeries_start_from_a_good_token(self) -> None:
        self.assertEqual(self.verifier.verify(self.forge()).principal.username, "alice")

    def test_attack_35_algorithm_none(self) -> None:
        header, claims = parts(self.token())
        signature = self.token().rsplit(".")[2]
        for name in ("none", "None", "NONE", "nOnE"):
            unsigned = f"{b64(json.dumps({**header, 'alg': name}).encode())}.{b64(json.dumps(claims).encode())}."
            self.refused(unsigned, "not a JWT")
            self.refused(unsigned + signature, "another algorithm")

    def test_attack_35_hs256_keyed_with_the_public_key(self) -> None:
        for algorithm in ("ES256", "RS256", "EdDSA"):
            self.use(TokenSettings(algorithm=algorithm))
            header, claims = parts(self.token())
            public = self.keyring.entries[0].jwk.public
            jwk = self.keyring.jwks()["keys"][0]
            for secret in (
                public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
                public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
                json.dumps(jwk).encode(),
                header["kid"].encode(),
                b"",
            ):
                self.refused(sign({**header, "alg": "HS256"}, claims, "HS256", secret), "another algorithm")
                self.refused(sign(header, claims, "HS256", secret), "signature")

    def test_attack_35_algorithm_of_the_same_key_type(self) -> None:
        self.use(TokenSettings(algorithm="RS256"))
        header, claims = parts(self.token())
        for algorithm in ("RS384", "PS256"):
            self.refused(sign({**header, "alg": algorithm}, claims, algorithm, self.key.key), "another algorithm")

    def test_attack_35_public_key_algorithm_keyed_with_the_secret_of_hs256(self) -> None:
        self.use(TokenSettings(algorithm="HS256", secret=SECRET))
        header, claims = parts(self.token())
        mine = ec.generate_private_key(ec.SECP256R1())
        self.refused(sign({**header, "alg": "ES256"}, claims, "ES256", mine), "another algorithm")
        self.refused(sign({**header, "alg": "HS512"}, claims, "HS512", SECRET.encode()), "another algorithm")

    def test_attack_35_unknown_crit(self) -> None:
        for crit in (["b64"], ["exp"], ["x-unknown"], [], "exp", None):
            self.refused(self.forge({"crit": crit, "x-unknown": 1}), "other members")
            self.refused(self.forge({"crit": crit}), "other members")

    def test_attack_35_unencoded_payload(self) -> None:
        self.refused(self.forge({"b64": False, "crit": ["b64"]}), "other members")
        self.refused(self.forge({"b64": False}), "other members")
        head, _, signature = self.forge({"b64": False, "crit": ["b64"]}).split(".")
        self.refused(f"{head}..{signature}", "not a JWT")

    def test_attack_35_key_brought_along(self) -> None:
        mine = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = {"kty": "RSA", "n": b64(mine.public_key().public_numbers().n.to_bytes(256, "big")), "e": "AQAB"}
        _, claims = parts(self.token())
        brought: list[dict[str, object]] = [
            {"jku": "https://evil.example/jwks.json"},
            {"jwk": public},
            {"x5u": "https://evil.example/chain.pem"},
            {"x5c": ["MIIB"]},
            {"x5t": "AAAA"},
        ]
        for more in brought:
            for kid in (self.key.kid, "mine"):
                header = {"alg": "RS256", "kid": kid, "typ": "at+jwt", **more}
                self.refused(sign(header, claims, "RS256", mine), "other members")
            self.refused(self.forge(more), "other members")
        self.refused(sign({"alg": "RS256", "kid": "mine", "typ": "at+jwt"}, claims, "RS256", mine), "unknown")

    def test_attack_35_absent_claims(self) -> None:
        for claim, detail in (
            ("exp", "exp is absent"),
            ("aud", "another audience"),
            ("iss", "another issuer"),
            ("iat", "iat is absent"),
            ("jti", "jti is absent"),
            ("sub", "sub is absent"),
            ("username", "username is absent"),
            ("realm", "realm is absent"),
            ("roles", "roles are not"),
            ("scopes", "scopes are not"),
            ("attributes", "attributes are not"),
        ):
            self.refused(self.forge(drop=claim), detail)

    def test_attack_35_absent_header_members(self) -> None:
        header, claims = parts(self.token())
        for name in ("alg", "kid", "typ"):
            less = {key: value for key, value in header.items() if key != name}
            self.refused(sign(less, claims, "ES256", self.key.key), "other members")

    def test_attack_35_kid_with_a_path(self) -> None:
        for kid in (
            "../../../dev/null",
            "/etc/passwd",
            "a/b",
            "a\x00",
            "x' OR '1'='1",
            "",
            "k" * 65,
            "é",
            f"{self.key.kid}\n",
        ):
            self.refused(self.forge({"kid": kid}), "its kid is not the name")
        self.refused(self.forge({"kid": "\ud800"}), "half a character")
        for odd in (None, 1, True, [self.key.kid], {"kid": self.key.kid}):
            self.refused(self.forge({"kid": odd}), "other members")

    def test_attack_35_header_that_is_read_in_two_ways(self) -> None:
        _, claims = parts(self.token())
        twice = f'{{"alg":"none","kid":"{self.key.kid}","typ":"at+jwt","alg":"ES256"}}'
        self.refused(sign(twice, claims, "ES256", self.key.key), "cannot be read")
        old_header, body, signature = self.token().split(".")
        utf16 = b64(unb64(old_header).decode().encode("utf-16"))
        self.refused(f"{utf16}.{body}.{signature}", "cannot be read")
        for header in ("[]", "null", "1", '"alg"', "", "{", "\ufeff{}"):
            self.assertRaises(InvalidToken, self.verifier.verify, sign(header, claims, "ES256", self.key.key))

    def test_attack_35_claims_of_odd_types(self) -> None:
        for claims, detail in (
            ({"username": 1}, "username"),
            ({"username": ""}, "username"),
            ({"username": ["alice"]}, "username"),
            ({"realm": None}, "realm"),
            ({"sub": {}}, "sub"),
            ({"roles": "admin"}, "roles"),
            ({"roles": {"admin": 1}}, "roles"),
            ({"roles": ["dev", 1]}, "roles"),
            ({"roles": ["dev", ["admin"]]}, "roles"),
            ({"scopes": ["data"]}, "scopes"),
            ({"scopes": {"data": "read"}}, "scopes"),
            ({"attributes": {"mail": 1}}, "attributes"),
            ({"attributes": []}, "attributes"),
            ({"exp": True}, "exp"),
            ({"exp": str(int(NOW) + 60)}, "exp"),
            ({"exp": NOW + 60}, "exp"),
            ({"exp": 10**400}, "exp"),
            ({"exp": -1}, "exp"),
            ({"exp": float("nan")}, "cannot be read"),
            ({"exp": float("inf")}, "cannot be read"),
            ({"iat": "now"}, "iat"),
            ({"nbf": "now"}, "nbf"),
            ({"nbf": int(NOW) + 120}, "nbf is in the future"),
            ({"iat": int(NOW) + 120}, "iat is in the future"),
        ):
            self.refused(self.forge(claims=claims), detail)
        self.assertEqual(self.verifier.verify(self.forge(claims={"nbf": int(NOW) + 30})).principal.username, "alice")

    def test_attack_23_unbounded_work(self) -> None:
        header, claims = parts(self.token())
        self.refused("a." * 10**6, "longer than any")
        self.refused("e" * 8193, "longer than any")
        self.refused("e" * 8192, "not a JWT")
        self.refused(f"{'e' * 1025}.e.e", "header is longer")
        self.refused(f"{'e' * 1024}.e.e", "header cannot be read")
        self.refused(f"{'e' * 2000}.{'e' * 2000}.{'e' * 2000}", "header is longer")
        deep = "[" * 700
        self.refused(sign(deep, claims, "ES256", self.key.key), "cannot be read")
        self.refused(sign(header, "[" * 5000, "ES256", self.key.key), "cannot be read")
        self.refused(sign(header, '{"a":' * 900 + "1" + "}" * 900, "ES256", self.key.key), "")


class WrongTokenTests(TokenCase):
    """Attack 36: valid signatures on tokens that are not for us, and tokens without a signature."""

    def test_attack_36_other_audience(self) -> None:
        for audience in (
            "other",
            "Perimeter",
            "perimeter ",
            "",
            None,
            1,
            ["perimeter"],
            ["other", "perimeter"],
            {"perimeter": 1},
        ):
            self.refused(self.forge(claims={"aud": audience}), "another audience")

    def test_attack_36_other_issuer(self) -> None:
        for issuer in ("other", "", None, ["perimeter"]):
            self.refused(self.forge(claims={"iss": issuer}), "another issuer")

    def test_attack_36_assertion_replayed(self) -> None:
        assertion = self.issuer.issue_assertion(ALICE, "ecflow")
        header, claims = parts(assertion)
        self.assertEqual((header["typ"], claims["aud"]), ("perimeter-assertion+jwt", "upstream:ecflow"))
        self.assertEqual((claims["username"], claims["roles"]), ("alice", ["admin", "dev"]))
        self.assertEqual(claims["exp"], int(NOW) + 301)
        self.refused(assertion, "not an access token")
        _, body, signature = assertion.split(".")
        changed = b64(json.dumps({**header, "typ": "at+jwt"}, separators=(",", ":"), sort_keys=True).encode())
        self.refused(f"{changed}.{body}.{signature}", "signature")

    def test_attack_36_assertion_where_the_audience_is_an_upstreams(self) -> None:
        self.use(TokenSettings(audience="upstream:ecflow"))
        self.refused(self.issuer.issue_assertion(ALICE, "ecflow"), "not an access token")
        self.refused(self.forge({"typ": "JWT"}), "not an access token")

    def test_attack_36_other_gateways_token(self) -> None:
        token = self.token()
        self.state_dir = self.state_dir.with_name("other")
        self.use(TokenSettings())
        self.refused(token, "unknown or too old")
        header, claims = parts(token)
        mine = ec.generate_private_key(ec.SECP256R1())
        self.refused(sign({**header, "kid": self.key.kid}, claims, "ES256", mine), "signature")

    def test_attack_36_garbage(self) -> None:
        for token in ("", ".", "..", "...", "xxxxx", "a.b.c", "a.b", f"{self.token()}.", f"{self.token()}==", f" {self.token()}",
                      f"{self.token()}\n", "é.é.é", "\x00", "\ud800.a.b", f"{self.token()}, {self.token()}"):  # fmt: skip
            self.assertNotIsInstance(self.assertRaises(InvalidToken, self.verifier.verify, token), ExpiredToken)

    def test_what_was_never_ours_is_reported_apart_from_what_is_wrong_with_ours(self) -> None:
        header, claims = parts(self.token())
        for token in ("opaque", "a.b.c", sign({**header, "kid": "unknown"}, claims, "ES256", self.key.key)):
            self.assertIsInstance(self.assertRaises(InvalidToken, self.verifier.verify, token), ForeignToken)
        good = sign(header, claims, "ES256", self.key.key)
        for token in (sign(header, {**claims, "aud": "x"}, "ES256", self.key.key), good[:-8]):
            self.assertNotIsInstance(self.assertRaises(InvalidToken, self.verifier.verify, token), ForeignToken)

    def test_attack_36_signature_before_expiry(self) -> None:
        token = self.token(60)
        head, body, signature = token.split(".")
        self.clock.advance(3600)
        self.assertRaises(ExpiredToken, self.verifier.verify, token)
        flipped = ("A" if signature[0] != "A" else "B") + signature[1:]
        self.refused(f"{head}.{body}.{flipped}", "signature")
        header, claims = parts(token)
        self.refused(sign({**header, "kid": "unknown"}, claims, "ES256", self.key.key), "unknown")
        self.refused(sign(header, {**claims, "aud": "other"}, "ES256", self.key.key), "another audience")
        self.refused(self.forge({"typ": "perimeter-assertion+jwt"}, {"exp": 1}), "not an access token")


class MutationTests(TokenCase):
    """Only issued tokens are accepted, and every other input raises the documented exception."""

    def judge(self, token: str) -> bool:
        try:
            self.verifier.verify(token)
        except InvalidToken:
            return False
        return True

    @given(
        st.sampled_from([("ES256", None), ("EdDSA", None), ("HS256", SECRET)]),
        st.integers(0, 500),
        st.integers(0, 20),
        st.one_of(st.text(max_size=8), st.text("ABCdef019-_.=", max_size=8)),
    )
    @settings(max_examples=500, deadline=None)
    def test_mutations_never_verify(self, kind: tuple[str, str | None], start: int, length: int, text: str) -> None:
        if self.settings.algorithm != kind[0]:
            self.use(TokenSettings(algorithm=kind[0], secret=kind[1]))
        token = self.token()
        mutated = token[:start] + text + token[start + length :]
        self.assertEqual(self.judge(mutated), mutated == token)

    def test_every_single_character(self) -> None:
        self.use(TokenSettings(algorithm="HS256", secret=SECRET))
        token = self.token()
        for place, old in enumerate(token):
            for new in {"A", "B", "_", ".", "="} - {old}:
                self.assertFalse(self.judge(token[:place] + new + token[place + 1 :]), place)
            self.assertFalse(self.judge(token[:place] + token[place + 1 :]), place)

    @given(st.text(max_size=200))
    @settings(max_examples=200, deadline=None)
    def test_arbitrary_text(self, text: str) -> None:
        self.assertFalse(self.judge(text))

    @reaches(1)
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=5,
        ),
        st.sampled_from(
            ["alg", "kid", "typ", "crit", "exp", "iat", "nbf", "aud", "iss", "roles", "scopes", "attributes", "username"]
        ),
    )
    @settings(max_examples=300, deadline=None)
    def test_signed_claims_of_any_type(self, value: object, name: str) -> None:
        """Even with our own signature, odd values are refused or harmless, and never crash."""
        if name in ("alg", "kid", "typ", "crit"):
            self.assertFalse(self.judge(self.forge({name: value})))
            return
        token = self.forge(claims={name: value})
        if self.judge(token):
            principal = self.verifier.verify(token).principal
            reached(self)
            self.assertIsInstance(principal.username, str)
            self.assertTrue(all(isinstance(role, str) for role in principal.roles))

"""How the gateway authenticates as a client of a provider."""

from __future__ import annotations

import base64
import json

import jwt
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from twisted.trial.unittest import TestCase

from perimeter.oidc.client_auth import ASSERTION_LIFETIME, ASSERTION_TYPE, Proof, client_auth, private_key
from perimeter.oidc.client_method import ClientMethod
from perimeter.tokens.jwk import BadKey, generate, load_jwk

ISSUER = "https://sso.example.com"
NOW = 1_800_000_000.5


def pem(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | dsa.DSAPrivateKey, password: bytes = b""
) -> str:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()


class ProofTests(TestCase):
    def proof(self, method: ClientMethod) -> Proof:
        return client_auth(method, "gate:way", "p+ss:w/rd secret", None).proof(ISSUER, NOW)

    def test_basic(self) -> None:
        found = self.proof(ClientMethod.BASIC)
        scheme, _, value = found.authorization.partition(" ")
        self.assertEqual((scheme, base64.b64decode(value)), ("Basic", b"gate%3Away:p%2Bss%3Aw%2Frd+secret"))
        self.assertEqual(found.form, {})
        self.assertNotIn(value, repr(found))

    def test_post(self) -> None:
        found = self.proof(ClientMethod.POST)
        self.assertEqual(found, Proof("", {"client_id": "gate:way", "client_secret": "p+ss:w/rd secret"}))
        self.assertNotIn("secret'", repr(found))

    def test_none(self) -> None:
        self.assertEqual(self.proof(ClientMethod.NONE), Proof("", {"client_id": "gate:way"}))

    def test_private_key_jwt(self) -> None:
        key = generate("ES256")
        found = client_auth(ClientMethod.PRIVATE_KEY, "gateway", "", key).proof(ISSUER, NOW)
        self.assertEqual((found.authorization, found.form["client_assertion_type"]), ("", ASSERTION_TYPE))
        self.assertEqual(found.form["client_id"], "gateway")
        token = found.form["client_assertion"]
        self.assertEqual(jwt.get_unverified_header(token), {"alg": "ES256", "kid": key.kid, "typ": "JWT"})
        claims = jwt.decode(token, key.public, ["ES256"], options={"verify_exp": False, "verify_aud": False, "verify_iat": False})  # type: ignore[arg-type]
        jti = claims.pop("jti")
        began = int(NOW)
        self.assertEqual(
            claims, {"iss": "gateway", "sub": "gateway", "aud": ISSUER, "iat": began, "exp": began + ASSERTION_LIFETIME}
        )
        again = client_auth(ClientMethod.PRIVATE_KEY, "gateway", "", key).proof(ISSUER, NOW).form["client_assertion"]
        other = jwt.decode(again, options={"verify_signature": False})
        self.assertNotEqual(jti, other["jti"])


class KeyTests(TestCase):
    def test_keys_in_pem_and_as_jwk(self) -> None:
        made = {
            "RS256": rsa.generate_private_key(65537, 2048),
            "ES256": ec.generate_private_key(ec.SECP256R1()),
            "ES384": ec.generate_private_key(ec.SECP384R1()),
            "ES512": ec.generate_private_key(ec.SECP521R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate(),
        }
        for algorithm, key in made.items():
            found = private_key(pem(key))
            self.assertEqual(found.algorithm, algorithm)
            self.assertEqual(load_jwk(found.members()).kid, found.kid)
            self.assertEqual(private_key(json.dumps(found.members(private=True))), found)

    def test_what_is_no_such_key(self) -> None:
        key = generate("ES256")
        for text, words in (
            ("", "neither a JWK nor"),
            ("{", "not JSON"),
            (json.dumps(key.members()), "private half"),
            (pem(ec.generate_private_key(ec.SECP256R1()), b"password"), "without a password"),
            (pem(rsa.generate_private_key(65537, 1024)), "1024 bits"),
            (pem(ec.generate_private_key(ec.SECP256K1())), "not of RSA"),
            (pem(dsa.generate_private_key(2048)), "not of RSA"),
        ):
            self.assertIn(words, str(self.assertRaises(BadKey, private_key, text)))

"""Rows 35 and 36 of the attacks, against a running gateway: forged, foreign and replayed tokens, and bad key sets."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.integration.harness import USERS, Gateway, GatewayCase, site
from tests.integration.ports import eventually
from tests.integration.wire import Response, basic, bearer

ALICE = basic("alice", "secret")
SECRET = "a secret that is long enough for HS256, and then some"

ROUTES = """
[upstream service]
servers = {url}

[route all]
path = /
upstream = service

[route asserted]
path = /asserted
upstream = service
identity = headers, jwt

[route optional]
path = /optional
upstream = service
auth = optional
"""


def b64(data: bytes | dict[str, Any] | list[Any]) -> str:
    if not isinstance(data, bytes):
        data = json.dumps(data, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims; the signature is not verified."""
    header, claims, _ = token.split(".")
    return tuple(json.loads(base64.urlsafe_b64decode(part + "==")) for part in (header, claims))


class TokenCase(GatewayCase):
    """A gateway, a good token of it, and the key that it signs with."""

    token_section = ""

    def setUp(self) -> None:
        self.service = self.upstream()
        extra = f"[token]\n{self.token_section}\n" if self.token_section else ""
        self.site = self.gateway(site(ROUTES.format(url=self.service.url), extra=extra), USERS)
        self.wire = self.connect(self.site, "http")
        self.token = self.issued()
        self.header, self.claims = parts(self.token)
        self.jwks = json.loads(self.wire.get("/.well-known/jwks.json").body)

    def issued(self) -> str:
        return str(json.loads(self.wire.get("/token", ALICE).body)["access_token"])

    def with_token(self, token: str, path: str = "/x") -> Response:
        return self.wire.get(path, bearer(token))

    def assert_refused(self, token: str, why: str) -> None:
        """401 as in RFC 6750, on every kind of route, and no request reaches the service."""
        before = len(self.service.requests)
        for path in ("/x", "/optional/x"):
            response = self.with_token(token, path)
            self.assertEqual(response.status, 401, f"{why}: {response}")
            self.assertEqual(
                response.get_all("www-authenticate")[0],
                'Bearer realm="example", error="invalid_token", error_description="The access token is invalid"',
                why,
            )
            body = json.loads(response.body)
            self.assertEqual((body["error"], body["error_description"]), ("invalid_token", "The access token is invalid"), why)
        self.assertEqual(len(self.service.requests), before, why)
        self.assertEqual(self.with_token(token, "/token").status, 401, why)

    def assert_good(self, token: str, why: str) -> None:
        self.assertEqual(self.with_token(token).status, 200, why)

    def private_key(self) -> tuple[str, Any]:
        """Name and key of the signing key in the keyring, so that a token can have exactly one fault."""
        (path,) = (self.site.directory / "state").glob("*.json")
        (entry,) = [
            entry for entry in json.loads(path.read_text())["keys"] if entry["activated"] is not None and entry["retired"] is None
        ]
        return entry["jwk"]["kid"], ECAlgorithm(ECAlgorithm.SHA256).from_jwk(entry["jwk"])

    def signed(self, header: dict[str, Any] | None = None, without: str = "", **claims: Any) -> str:
        """The good token with changed members and a valid signature. ``without`` names a claim to leave out."""
        kid, key = self.private_key()
        made = {**self.claims, **claims}
        made.pop(without, None)
        return jwt.encode(made, key, "ES256", {"typ": "at+jwt", "kid": kid, **(header or {})})


class ForgedTokenTests(TokenCase):
    def test_attack_35_jwt_confusion(self) -> None:
        """Every header that makes some verifier accept a token which the gateway did not sign."""
        self.assert_good(self.token, "the token as it was issued")
        self.assert_good(self.signed(), "the same signed by the test: what follows fails for its own reason")
        for why, token in self.forged():
            self.assert_refused(token, why)
        self.assert_good(self.token, "the good token, after all that")

    def forged(self) -> list[tuple[str, str]]:
        claims = {**self.claims, "username": "root"}
        found: list[tuple[str, str]] = []
        # none, in spellings that filters miss
        for name in ("none", "None", "NONE", "nOnE", "", "none "):
            header = {**self.header, "alg": name}
            for signature in ("", self.token.split(".")[2], b64(b"\0" * 64)):
                found.append((f"alg {name!r}", f"{b64(header)}.{b64(claims)}.{signature}"))
        header = {name: value for name, value in self.header.items() if name != "alg"}
        found.append(("no alg", f"{b64(header)}.{b64(claims)}.{b64(b'x')}"))
        found.append(("no signature", self.token.rsplit(".", 1)[0] + "."))
        found.append(("claims of another", f"{b64(self.header)}.{b64(claims)}.{self.token.split('.')[2]}"))
        found.append(("all zero", f"{b64(self.header)}.{b64(claims)}.{b64(bytes(64))}"))  # CVE-2022-21449
        # HS256 with the public key as its secret, in every form that an attacker might have
        for jwk in self.jwks["keys"]:
            key = ECAlgorithm(ECAlgorithm.SHA256).from_jwk(jwk)
            assert isinstance(key, ec.EllipticCurvePublicKey)
            public = key.public_bytes
            pem = public(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            der = public(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
            point = public(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
            for secret in (pem, pem.strip(), der, point, jwk["x"].encode(), json.dumps(jwk).encode(), jwk["kid"].encode(), b""):
                for kid in (jwk["kid"], None):
                    found.append(("HS256 with a public key", self.hmac_signed({"kid": kid} if kid else {}, claims, secret)))
        # a key that the token contains, or the address of a key
        own = ec.generate_private_key(ec.SECP256R1())
        brought = json.loads(ECAlgorithm.to_jwk(own.public_key()))
        for extra in (
            {"jwk": brought},
            {"jku": "http://127.0.0.1:1/jwks.json"},
            {"jku": self.service.url + "/jwks.json"},
            {"x5u": self.service.url + "/chain.pem"},
            {"x5c": ["MIIB"]},
            {"kid": brought["x"][:20]},
            {},
        ):
            found.append((f"own key with {extra}", jwt.encode(claims, own, "ES256", {**self.header, **extra})))
        # a valid signature with a header that must be refused
        for extra in (
            {"crit": ["exp"]},
            {"crit": ["http://example.test/unknown"], "http://example.test/unknown": 1},
            {"crit": []},
            {"jwk": brought},
            {"jku": self.service.url},
            {"x5u": self.service.url},
            {"x5c": []},
            {"x5t": "a"},
            {"cty": "JWT"},
            {"zip": "DEF"},
            {"typ": "JWT"},
            {"typ": "at+JWT"},
            {"typ": "application/at+jwt"},
            {"typ": "perimeter-assertion+jwt"},
        ):
            found.append((f"signed with {extra}", self.signed(extra)))
        found.append(("signed and detached", self.detached()))
        for algorithm in ("ES384", "RS256", "EdDSA", "HS256", "es256"):
            header = {**self.header, "alg": algorithm}
            found.append((f"the key with {algorithm}", f"{b64(header)}.{b64(self.claims)}.{self.token.split('.')[2]}"))
        for kid in (
            "../../../../dev/null",
            "/dev/null",
            "keyring.json",
            "' OR '1'='1",
            "a\0b",
            "*",
            "",
            "http://127.0.0.1:1/",
            "é",
        ):
            found.append((f"kid {kid!r}", self.hmac_signed({"kid": kid}, claims, b"")))
            found.append((f"kid {kid!r}, signed", self.signed({"kid": kid})))
        for odd in (None, 1, ["a"], {"a": 1}):
            found.append((f"kid {odd!r}", f"{b64({**self.header, 'kid': odd})}.{b64(claims)}.{b64(b'x')}"))
        # claims that are absent or have an unexpected type
        for name in ("exp", "aud", "iss", "iat", "username", "realm", "roles", "sub", "jti"):
            found.append((f"no {name}", self.signed(without=name)))
        for changed in (
            {"exp": str(self.claims["exp"])},
            {"exp": None},
            {"exp": True},
            {"exp": 1e300},
            {"exp": -1},
            {"exp": 2**70},
            {"exp": [self.claims["exp"]]},
            {"iat": self.claims["iat"] + 3600},
            {"nbf": self.claims["iat"] + 3600},
            {"nbf": "never"},
            {"username": ""},
            {"username": ["root"]},
            {"roles": "admin"},
            {"roles": {"admin": 1}},
            {"roles": [1]},
        ):
            found.append((f"claims {changed}", self.raw_signed(json.dumps({**self.claims, **changed}).encode())))
        text = json.dumps(self.claims)
        found.append(("exp is Infinity", self.raw_signed(re.sub(r'"exp": \d+', '"exp": Infinity', text).encode())))
        found.append(("exp is NaN", self.raw_signed(re.sub(r'"exp": \d+', '"exp": NaN', text).encode())))
        found.append(("a claim twice", self.raw_signed(text[:-1].encode() + b', "username": "root"}')))
        found.append(("claims in UTF-16", self.raw_signed(text.encode("utf-16"))))
        found.append(("claims that are a list", self.raw_signed(b"[]")))
        return found

    @staticmethod
    def hmac_signed(header: dict[str, Any], claims: dict[str, Any], secret: bytes) -> str:
        """Without PyJWT, which refuses a PEM as a secret."""
        text = f"{b64({'alg': 'HS256', 'typ': 'at+jwt', **header})}.{b64(claims)}"
        return f"{text}.{b64(hmac.digest(secret, text.encode(), hashlib.sha256))}"

    def raw_signed(self, payload: bytes) -> str:
        kid, key = self.private_key()
        return jwt.PyJWS().encode(payload, key, "ES256", {"typ": "at+jwt", "kid": kid})

    def detached(self) -> str:
        """RFC 7797: a payload that is not encoded, so that a verifier would compute the signature differently."""
        kid, key = self.private_key()
        payload = json.dumps(self.claims).encode()
        token = jwt.PyJWS().encode(payload, key, "ES256", {"typ": "at+jwt", "kid": kid, "b64": False}, is_payload_detached=True)
        header, _, signature = token.split(".")
        return f"{header}.{b64(payload)}.{signature}"

    def test_attack_36_wrong_token(self) -> None:
        """Another audience, another issuer, a token of another gateway, our own assertion, garbage: all get the same answer."""
        for why, token in (
            ("another audience", self.signed(aud="another")),
            ("the audience in a list", self.signed(aud=["perimeter", "another"])),
            ("an upstream's audience", self.signed(aud="upstream:service")),
            ("another issuer", self.signed(iss="another")),
            ("an issuer in another case", self.signed(iss="Perimeter")),
            ("a token with a tail", self.token + "A"),
            ("padding", self.token + "="),
            ("two tokens", f"{self.token}.{self.token}"),
            ("an encrypted token", f"{b64({'alg': 'dir', 'enc': 'A128GCM'})}..{b64(b'iv')}.{b64(b'x')}.{b64(b'tag')}"),
            ("a session of Reactor", base64.b64encode(bytes(range(200))).decode()),
            ("garbage", "garbage"),
            ("dots", "..."),
            ("one dot", "."),
            ("zeros", "0"),
            ("long garbage", "A" * 16_000),
            ("a deep header", f"{b64(b'[' * 700)}.{b64(b'{}')}.{b64(b'x')}"),
            ("deep claims", f"{b64(self.header)}.{b64(b'[' * 5000)}.{b64(b'x')}"),
            ("deep claims, signed", self.raw_signed(b"[" * 5000)),
        ):
            self.assert_refused(token, why)
        for why, credential, status in (
            ("characters that no token has", "Bearer a b", 400),
            ("nothing", "Bearer", 401),
            ("an empty token", "Bearer ", 401),
            ("two credentials", f"Bearer {self.token}\r\nAuthorization: Bearer {self.token}", 400),
            ("another scheme", f"Token {self.token}", 401),
        ):
            response = self.wire.get("/x", f"Authorization: {credential}")
            self.assertEqual(response.status, status, why)
        for path in (f"/x?access_token={self.token}", f"/x?token={self.token}"):
            self.assertEqual(self.wire.get(path).status, 401, "a token in the URL is no credential")
        self.assertEqual(self.wire.get("/x", f"Cookie: access_token={self.token}").status, 401)

    def test_attack_36_assertion_replayed(self) -> None:
        """The assertion that the upstream got can be verified there, and is no credential at the gateway."""
        self.assertEqual(self.wire.get("/asserted/x", ALICE).status, 200)
        received = self.service.requests[-1]
        self.assertEqual(received.get("x-auth-username"), "alice")
        scheme, _, assertion = (received.get("authorization") or "").partition(" ")
        self.assertEqual(scheme, "Bearer")
        self.assertEqual(self.with_token(self.token, "/asserted/x").status, 200)
        self.assertNotIn(self.token, str(self.service.requests[-1].fields))

        # as a backend verifies it: with the published keys and nothing else
        kid = jwt.get_unverified_header(assertion)["kid"]
        keys = {jwk["kid"]: jwt.PyJWK(jwk) for jwk in self.jwks["keys"]}
        claims = jwt.decode(assertion, keys[kid], algorithms=["ES256"], audience="upstream:service", issuer="perimeter")
        self.assertEqual((claims["username"], claims["realm"], claims["roles"]), ("alice", "local", ["admin", "ops"]))
        self.assertLessEqual(claims["exp"] - time.time(), 301)
        self.assertNotIn("d", self.jwks["keys"][0])

        self.assert_refused(assertion, "the assertion as a credential")
        self.assertEqual(self.with_token(assertion, "/extendedtoken").status, 401)
        self.assertEqual(self.with_token(assertion, "/asserted/x").status, 401)
        # and with another type: the signature covers the type
        _, payload, signature = assertion.split(".")
        self.assert_refused(f"{self.token.split('.')[0]}.{payload}.{signature}", "the assertion under a token's header")
        self.assert_refused(self.signed({"typ": "perimeter-assertion+jwt"}), "a token under an assertion's header")


class ExpiredTokenTests(TokenCase):
    token_section = "lifetime = 1s\nextended_lifetime = 1h"

    def test_attack_36_expiry_is_reported_only_of_our_own(self) -> None:
        """The answer `The access token expired` is only for a token with a valid signature, never for a forged one."""
        expired = 'Bearer realm="example", error="invalid_token", error_description="The access token expired"'

        def over() -> Response | None:
            response = self.with_token(self.token)
            return response if response.status != 200 else None

        # it was valid and cached; the cached verdict ends too
        eventually(over, "the token expires")
        response = over()
        assert response is not None
        self.assertEqual((response.status, response.get_all("www-authenticate")[0]), (401, expired))
        body = json.loads(response.body)
        self.assertEqual(body["error_description"], "The access token expired")
        self.assertIn("auth_uri", body)
        head, payload, signature = self.token.split(".")
        flipped = bytearray(base64.urlsafe_b64decode(signature + "=="))
        flipped[0] ^= 1
        stale = {**self.claims, "exp": int(time.time()) - 3600, "username": "root"}
        for why, token in (
            ("expired, its signature changed", f"{head}.{payload}.{b64(bytes(flipped))}"),
            ("expired, other claims", f"{head}.{b64(stale)}.{signature}"),
            ("expired, unsigned", f"{b64({**self.header, 'alg': 'none'})}.{b64(stale)}."),
            ("expired, own key", jwt.encode(stale, ec.generate_private_key(ec.SECP256R1()), "ES256", self.header)),
            ("expired, for another audience", self.signed(aud="another")),
            ("expired assertion", self.signed({"typ": "perimeter-assertion+jwt"})),
        ):
            self.assert_refused(token, why)
        long = str(json.loads(self.wire.get("/extendedtoken", ALICE).body)["access_token"])
        self.assert_good(long, "an extended token outlives it")


class SharedSecretTests(TokenCase):
    token_section = f"algorithm = HS256\nsecret = {SECRET}"

    def test_attack_35_confusion_with_a_shared_secret(self) -> None:
        """The other way round: with HS256 no public key verifies anything, and none is published."""
        self.assert_good(self.token, "the token as it was issued")
        self.assertEqual(self.jwks["keys"], [])
        self.assertNotIn(SECRET, json.dumps(self.jwks))
        rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        claims = {**self.claims, "username": "root"}
        good = {"typ": "at+jwt", "kid": self.header["kid"]}
        self.assert_good(
            jwt.encode(claims, SECRET, "HS256", good), "signed with the secret: what follows fails for its own reason"
        )
        for why, token in (
            ("RS256", jwt.encode(claims, rsa_key, "RS256", good)),
            ("ES256", jwt.encode(claims, ec.generate_private_key(ec.SECP256R1()), "ES256", good)),
            ("HS384 with the secret", jwt.encode(claims, SECRET, "HS384", good)),
            ("HS512 with the secret", jwt.encode(claims, SECRET.ljust(64), "HS512", good)),
            ("an empty secret", ForgedTokenTests.hmac_signed({"kid": self.header["kid"]}, claims, b"")),
            ("the kid as the secret", ForgedTokenTests.hmac_signed(good, claims, self.header["kid"].encode())),
            ("none", f"{b64({**self.header, 'alg': 'none'})}.{b64(claims)}."),
        ):
            self.assert_refused(token, why)


class KeySetTests(GatewayCase):
    def test_attack_35_bad_key_set_is_refused_when_it_is_loaded(self) -> None:
        """A key that does not permit its use stops the start, with one line that quotes nothing of the key."""
        config = site("[upstream sample]\nservers = sample:\n\n[route all]\npath = /\nupstream = sample\n")
        good = self.gateway(config, USERS)
        (path,) = (good.directory / "state").glob("*.json")
        keyring = json.loads(path.read_text())
        good.stop()
        private = next(entry["jwk"]["d"] for entry in keyring["keys"] if "d" in entry["jwk"])

        def changed(**members: Any) -> Callable[[dict[str, Any]], None]:
            return lambda ring: ring["keys"][0]["jwk"].update(members)

        weak = json.loads(RSAAlgorithm.to_jwk(rsa.generate_private_key(public_exponent=65537, key_size=1024)))
        p384 = json.loads(ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP384R1())))
        spoilt: dict[str, Callable[[dict[str, Any]], None]] = {
            "use": changed(use="enc"),
            "key_ops": changed(key_ops=["verify"]),
            "key_ops of encryption": changed(key_ops=["encrypt", "sign"]),
            "alg": changed(alg="RS256"),
            "alg HS256": changed(alg="HS256"),
            "alg none": changed(alg="none"),
            "curve": lambda ring: ring["keys"][0].update(jwk={**p384, "alg": "ES256", "kid": "a"}),
            "size": lambda ring: ring["keys"][0].update(jwk={**weak, "alg": "RS256", "kid": "a"}),
            "symmetric": lambda ring: ring["keys"].append(
                {
                    "created": 1,
                    "activated": 1,
                    "retired": 2,
                    "jwk": {"kty": "oct", "k": b64(b"x" * 32), "alg": "HS256", "kid": "s"},
                }
            ),
            "kid": changed(kid="../../etc/passwd"),
            "numbers": changed(x=b64(bytes(32))),
        }
        gateways: dict[str, Gateway] = {}
        for name, spoil in spoilt.items():
            ring = json.loads(json.dumps(keyring))
            spoil(ring)
            gateway = gateways[name] = self.unstarted(config, USERS)
            state = gateway.directory / "state"
            state.mkdir(mode=0o700)
            (state / path.name).write_text(json.dumps(ring))
            (state / path.name).chmod(0o600)
        for some in (list(gateways.items())[start : start + 4] for start in range(0, len(gateways), 4)):
            for _, gateway in some:
                gateway.launch()
            for name, gateway in some:
                self.assertNotEqual(gateway.wait(), 0, name)
                (line,) = [line for line in gateway.log.splitlines() if " info " not in line]
                self.assertIn(path.name, line, name)
                self.assertNotIn(private, gateway.log, name)
                gateway.kill()

"""How the gateway proves to a provider that it is the client (RFC 6749, section 2.3; RFC 7523; OpenID Connect Core, section
9)."""

from __future__ import annotations

import secrets
from typing import Final, Protocol

import attrs
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from perimeter.oidc.client_method import ClientMethod
from perimeter.strict_json import decode
from perimeter.tokens.jwk import RSA_BITS, BadKey, Jwk, load_jwk, thumbprint
from perimeter.web_client.client import client_basic

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

ASSERTION_LIFETIME: Final = 60
"""Seconds."""

_CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


@attrs.frozen
class Proof:
    """What a request has in addition: a header Authorization ("" for none), and members of its form."""

    authorization: str = attrs.field(default="", repr=False)
    form: dict[str, str] = attrs.field(factory=dict, repr=False)


class ClientAuth(Protocol):
    """A way to authenticate."""

    def proof(self, audience: str, now: float) -> Proof:
        """The proof for one request at ``now`` (epoch seconds) to the provider whose issuer is ``audience``."""


@attrs.frozen
class Basic:
    """``client_secret_basic``."""

    client_id: str
    secret: str = attrs.field(repr=False)

    def proof(self, audience: str, now: float) -> Proof:
        """See `ClientAuth`."""
        return Proof(client_basic(self.client_id, self.secret))


@attrs.frozen
class Post:
    """``client_secret_post``."""

    client_id: str
    secret: str = attrs.field(repr=False)

    def proof(self, audience: str, now: float) -> Proof:
        """See `ClientAuth`."""
        return Proof(form={"client_id": self.client_id, "client_secret": self.secret})


@attrs.frozen
class Public:
    """``none``: the client only says who it is; the code verifier protects the code."""

    client_id: str

    def proof(self, audience: str, now: float) -> Proof:
        """See `ClientAuth`."""
        return Proof(form={"client_id": self.client_id})


@attrs.frozen
class PrivateKey:
    """``private_key_jwt``: an assertion that ``key`` signs, good once and for a minute."""

    client_id: str
    key: Jwk

    def proof(self, audience: str, now: float) -> Proof:
        """See `ClientAuth`. The only audience is the issuer: an assertion is worth nothing to another provider."""
        began = int(now)
        claims = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": audience,
            "iat": began,
            "exp": began + ASSERTION_LIFETIME,
            "jti": secrets.token_urlsafe(16),
        }
        assert self.key.private is not None
        signed = jwt.encode(claims, self.key.private, self.key.algorithm, headers={"kid": self.key.kid})
        return Proof(
            form={"client_id": self.client_id, "client_assertion_type": ASSERTION_TYPE, "client_assertion": signed},
        )


def private_key(text: str) -> Jwk:
    """The private key of a client: a JWK (RFC 7517), or PEM without a password.

    Raises `BadKey`, whose text holds no key material.
    """
    if text.lstrip().startswith("{"):
        try:
            return load_jwk(decode(text.encode()), private=True)
        except ValueError:
            raise BadKey("the key is not JSON that can be read") from None
    try:
        key = load_pem_private_key(text.encode(), None)
    except (ValueError, TypeError):
        message = "the key is neither a JWK nor a private key in PEM format without a password; write file:PATH for one in a file"
        raise BadKey(message) from None
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size not in RSA_BITS:
            raise BadKey(f"an RSA key has {key.key_size} bits, not {RSA_BITS.start} to {RSA_BITS.stop - 1}")
        return _named("RS256", key)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return _named("EdDSA", key)
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return _named(_CURVES[key.curve.name], key)
    raise BadKey("the key is not of RSA, Ed25519, or one of the curves P-256, P-384 and P-521")


def _named(algorithm: str, key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> Jwk:
    made = Jwk("", algorithm, key.public_key(), key)
    return attrs.evolve(made, kid=thumbprint(made.members()))


def client_auth(method: ClientMethod, client_id: str, secret: str, key: Jwk | None) -> ClientAuth:
    """The way of ``method``, which needs ``secret`` or ``key``."""
    if method is ClientMethod.PRIVATE_KEY:
        assert key is not None
        return PrivateKey(client_id, key)
    if method is ClientMethod.NONE:
        return Public(client_id)
    return Basic(client_id, secret) if method is ClientMethod.BASIC else Post(client_id, secret)

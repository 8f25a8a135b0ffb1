"""JSON Web Keys (RFC 7517), checked when they are loaded, so that no check is left for when a signature is verified.

PyJWT does the arithmetic, but ignores ``use`` and ``key_ops``, accepts a 512-bit RSA key, and chooses an algorithm if the key
names none (attack 35). This module accepts only asymmetric keys for signatures, each with exactly one algorithm. The caller
fetches the sets.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
from collections.abc import Mapping
from typing import Any, Final

import attrs
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt import PyJWK, PyJWTError
from jwt.algorithms import get_default_algorithms

from perimeter.config.site.token import Algorithm
from perimeter.errors import PerimeterError

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey
PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

MAX_KEYS: Final = 100
MAX_TRIED: Final = 4
"""Keys that are tried for one token: each costs a stranger's token up to a millisecond of CPU."""
RSA_BITS: Final = range(2048, 8192 + 1)

#: algorithm → its key type and curve (RFC 7518, section 3.1; RFC 8037, section 3.1)
_KINDS: Final[dict[str, tuple[str, str | None]]] = {
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
    "RS256": ("RSA", None),
    "RS384": ("RSA", None),
    "RS512": ("RSA", None),
    "PS256": ("RSA", None),
    "PS384": ("RSA", None),
    "PS512": ("RSA", None),
}

#: algorithms that may verify a signature
ALGORITHMS: Final = tuple(_KINDS)

#: the members of a public key, by key type; a thumbprint is made of the same (RFC 7638, section 3.2)
_PUBLIC: Final = {"EC": ("crv", "x", "y"), "OKP": ("crv", "x"), "RSA": ("e", "n")}
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]{1,2048}")
_KID: Final = re.compile(r"[\x21-\x7e]{1,256}")


class BadKey(PerimeterError):
    """A key or set that must not be used; the text holds no key material."""


class ForeignKey(BadKey):
    """A key for another purpose, such as encryption, or of an unknown algorithm or type."""


@attrs.frozen
class Jwk:
    """A checked key. ``private`` is None if only the public half is known."""

    kid: str
    algorithm: str
    public: PublicKey
    private: PrivateKey | None = attrs.field(default=None, repr=False, eq=False)

    def members(self, *, private: bool = False) -> dict[str, Any]:
        """The members of RFC 7517, with the private half if it is wanted and known."""
        key = self.private if private and self.private is not None else self.public
        written: dict[str, Any] = dict(get_default_algorithms()[self.algorithm].to_jwk(key, as_dict=True))
        ops = ["sign"] if key is self.private else ["verify"]
        return {**written, "use": "sig", "key_ops": ops, "alg": self.algorithm, "kid": self.kid}


@attrs.frozen
class JwkSet:
    """The keys of a set that may verify signatures. ``left_out`` says for each unusable key why it is not among them."""

    keys: tuple[Jwk, ...]
    left_out: tuple[str, ...] = ()

    def fitting(self, kid: str | None, algorithm: str) -> tuple[Jwk, ...]:
        """The keys that can have signed a token with this header, at most `MAX_TRIED`.

        ``kid`` is None for a token that names no key (RFC 7515, section 4.1.4: the member is optional). Two keys of one name are
        allowed if they are alternatives (RFC 7517, section 4.5); each of them has one algorithm.
        """
        found = (key for key in self.keys if key.algorithm == algorithm and (kid is None or key.kid == kid))
        return tuple(itertools.islice(found, MAX_TRIED))


def thumbprint(members: Mapping[str, Any]) -> str:
    """The RFC 7638 thumbprint (SHA-256, base64url) of a public or private key's public half."""
    kty = members["kty"]
    required = {"kty": kty, **{name: members[name] for name in _PUBLIC[kty]}}
    digest = hashlib.sha256(json.dumps(required, sort_keys=True, separators=(",", ":")).encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def generate(algorithm: str) -> Jwk:
    """A new key for ES256, EdDSA or RS256 (3072 bit, which takes some hundred milliseconds), named by its thumbprint."""
    private: PrivateKey
    if algorithm == Algorithm.ES256:
        private = ec.generate_private_key(ec.SECP256R1())
    elif algorithm == Algorithm.EDDSA:
        private = ed25519.Ed25519PrivateKey.generate()
    elif algorithm == Algorithm.RS256:
        private = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    else:
        raise BadKey(f"no key can be made for {algorithm}")
    key = Jwk("", algorithm, private.public_key(), private)
    return attrs.evolve(key, kid=thumbprint(key.members()))


def load_jwk(data: object, *, private: bool = False) -> Jwk:
    """A key from its parsed JSON.

    With ``private`` the key must bring its private half and be allowed to sign; without, it must not bring one, and be
    allowed to verify. A key without ``kid`` is named by its thumbprint. Raises `BadKey`, or `ForeignKey` where the key is
    for something else.
    """
    if not isinstance(data, dict):
        raise BadKey("a key is not a JSON object")
    kty = data.get("kty")
    if kty == "oct":
        raise BadKey("a symmetric key stands among public ones")
    if not isinstance(kty, str):
        raise BadKey("a key has no type (kty)")
    if kty not in _PUBLIC:
        raise ForeignKey("a key is of an unknown type (kty)")
    if private and "d" not in data:
        raise BadKey("the private half of a key is missing")
    if not private and not _PRIVATE.isdisjoint(data):
        raise BadKey("a private key stands among public ones")
    _check_purpose(data, "sign" if private else "verify")
    for name in (*_PUBLIC[kty], *_PRIVATE.intersection(data)):
        if name != "crv" and not (isinstance(data.get(name), str) and _BASE64URL.fullmatch(data[name])):
            raise BadKey(f"{name} of a key is not base64url")
    algorithm = _algorithm(data, kty)
    kid = data.get("kid")
    if kid is not None and not (isinstance(kid, str) and _KID.fullmatch(kid)):
        raise BadKey("the name (kid) of a key is not printable ASCII of at most 256 characters")
    return _build(data, algorithm, kid)


def load_jwk_set(data: object) -> JwkSet:
    """The keys of a public set (RFC 7517, section 5), from its parsed JSON. Raises `BadKey` if there is none to use.

    A key that must not be used does no harm to the others: the RFC asks to ignore what is not understood, incomplete or out of
    range. Keys for other purposes are left out without a word; ``left_out`` of the result has the others.
    """
    listed = data.get("keys") if isinstance(data, dict) else None
    if not isinstance(listed, list):
        raise BadKey("not a key set: there is no list of keys")
    if len(listed) > MAX_KEYS:
        raise BadKey(f"more than {MAX_KEYS} keys in a set")
    keys: list[Jwk] = []
    left_out: list[str] = []
    for number, one in enumerate(listed, 1):
        try:
            keys.append(load_jwk(one))
        except ForeignKey:
            continue
        except BadKey as error:
            left_out.append(f"key {number}: {error}")
    if not keys:
        raise BadKey("; ".join(left_out) or "no key of the set is for verifying signatures")
    return JwkSet(tuple(keys), tuple(left_out))


def _check_purpose(data: dict[str, Any], operation: str) -> None:
    """``use`` and ``key_ops`` must allow the operation and agree with each other (RFC 7517, sections 4.2 and 4.3)."""
    use, ops = data.get("use"), data.get("key_ops")
    if use is not None and not isinstance(use, str):
        raise BadKey("use of a key is not a string")
    if ops is not None:
        if not isinstance(ops, list) or not all(isinstance(op, str) for op in ops) or len(set(ops)) != len(ops):
            raise BadKey("key_ops of a key is not a list of different strings")
        if use == "sig" and not {"sign", "verify"}.issuperset(ops):
            raise BadKey("use and key_ops of a key contradict each other")
        if operation not in ops:
            raise ForeignKey(f"key_ops of a key do not allow to {operation}")
    if use not in (None, "sig"):
        raise ForeignKey("use of a key is not sig")


def _algorithm(data: dict[str, Any], kty: str) -> str:
    """The one algorithm that the key may be used with: its ``alg``, or what its type and curve stand for."""
    curve = None if kty == "RSA" else data.get("crv")
    fitting = [name for name, kind in _KINDS.items() if kind == (kty, curve)]
    if not fitting:
        raise ForeignKey("the curve (crv) of a key is unknown")
    named = data.get("alg", fitting[0])
    if not isinstance(named, str):
        raise BadKey("alg of a key is not a string")
    if named not in _KINDS:
        raise (
            BadKey("alg of a key is symmetric or none")
            if named.startswith("HS") or named.lower() == "none"
            else (ForeignKey("alg of a key is unknown"))
        )
    if named not in fitting:
        raise BadKey("alg of a key does not fit its type and curve")
    return named


def _build(data: dict[str, Any], algorithm: str, kid: str | None) -> Jwk:
    try:
        loaded: Any = PyJWK(data, algorithm=algorithm).key
    except (PyJWTError, ValueError, TypeError, KeyError):
        # also a private half that does not belong to the public one; the text of PyJWT's exception may quote the key
        raise BadKey("the numbers of a key are not those of a valid one") from None
    private: PrivateKey | None = None
    public: PublicKey = loaded
    if "d" in data:
        private = loaded
        public = loaded.public_key()
    if isinstance(public, rsa.RSAPublicKey) and public.key_size not in RSA_BITS:
        raise BadKey(f"an RSA key has {public.key_size} bits, not {RSA_BITS.start} to {RSA_BITS.stop - 1}")
    key = Jwk(kid or "", algorithm, public, private)
    return key if kid else attrs.evolve(key, kid=thumbprint(key.members()))

"""An authenticator for passkeys, and the browser in front of it: answers as `navigator.credentials` gives them to a page."""

from __future__ import annotations

import hashlib
import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import attrs
import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


def b64(value: bytes) -> str:
    """base64url without padding."""
    return urlsafe_b64encode(value).rstrip(b"=").decode("ascii")


def unb64(text: str) -> bytes:
    """The bytes of `b64`."""
    return urlsafe_b64decode(text + "==")


@attrs.define
class Authenticator:
    """One passkey (ES256) for ``rp_id``, used by pages of ``origin``. ``count`` is its signature counter, 0 if it has none.

    Tests change its attributes to make answers that must be refused. ``members`` are added to the client data.
    """

    rp_id: str = "gw.example"
    origin: str = "https://gw.example"
    count: int = 0
    flags: int = PRESENT | VERIFIED
    handle: bytes = b""
    members: dict[str, Any] = attrs.field(factory=dict)
    credential: bytes = attrs.field(factory=lambda: secrets.token_bytes(32))
    key: ec.EllipticCurvePrivateKey = attrs.field(factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def create(self, options: str, fmt: str = "none", statement: dict[str, Any] | None = None) -> str:
        """The answer to options for a new passkey. A ``packed`` statement without contents is made by the new key itself."""
        asked = json.loads(options)
        self.handle = self.handle or unb64(asked["user"]["id"])
        data = self._client_data("webauthn.create", asked["challenge"])
        numbers = self.key.public_key().public_numbers()
        key = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        attested = bytes(16) + len(self.credential).to_bytes(2, "big") + self.credential + cbor2.dumps(key)
        own = self._data(ATTESTED) + attested
        if fmt == "packed" and statement is None:
            statement = {"alg": -7, "sig": self._signed(own, data)}
        attestation = {"fmt": fmt, "attStmt": statement or {}, "authData": own}
        response = {"attestationObject": b64(cbor2.dumps(attestation)), "clientDataJSON": b64(data), "transports": ["usb", "x"]}
        return self._answer(response)

    def get(self, options: str) -> str:
        """The answer to options for a passkey that exists."""
        data = self._client_data("webauthn.get", json.loads(options)["challenge"])
        own = self._data(0)
        response = {"authenticatorData": b64(own), "clientDataJSON": b64(data), "signature": b64(self._signed(own, data))}
        return self._answer({**response, **({"userHandle": b64(self.handle)} if self.handle else {})})

    def _signed(self, own: bytes, data: bytes) -> bytes:
        return self.key.sign(own + hashlib.sha256(data).digest(), ec.ECDSA(hashes.SHA256()))

    def _answer(self, response: dict[str, Any]) -> str:
        id = b64(self.credential)
        return json.dumps({"id": id, "rawId": id, "type": "public-key", "response": response, "clientExtensionResults": {}})

    def _client_data(self, kind: str, challenge: str) -> bytes:
        made = {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False, **self.members}
        return json.dumps(made).encode()

    def _data(self, flags: int) -> bytes:
        return hashlib.sha256(self.rp_id.encode()).digest() + bytes([self.flags | flags]) + self.count.to_bytes(4, "big")

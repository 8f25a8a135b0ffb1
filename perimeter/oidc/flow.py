"""The secrets of one sign-in at a provider, made of the value of the browser's flow cookie by HKDF-SHA256 (RFC 5869). Pure.

The state keeps a hash of that value alone, so that a copy of the state completes no sign-in. Each secret has a label of its own:
none of them shows another, although the provider and the browser's history see ``state`` and ``nonce``.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final

import attrs

_LENGTH: Final = 32
_LABELS: Final = {
    "state": b"perimeter flow state 1",
    "nonce": b"perimeter flow nonce 1",
    "verifier": b"perimeter flow verifier 1",
}


@attrs.frozen
class FlowSecrets:
    """43 characters of base64url each.

    ``state`` is that of RFC 6749 (section 10.12), ``nonce`` that of OpenID Connect Core (section 3.1.2.1), and ``verifier`` the
    code verifier of RFC 7636 (section 4.1).
    """

    state: str = attrs.field(repr=False)
    nonce: str = attrs.field(repr=False)
    verifier: str = attrs.field(repr=False)


def flow_secrets(cookie: bytes) -> FlowSecrets:
    """The secrets of the flow whose cookie has the value ``cookie``, which needs 256 bits of chance."""
    return FlowSecrets(**{name: _derived(cookie, label) for name, label in _LABELS.items()})


def challenge(verifier: str) -> str:
    """The S256 code challenge of ``verifier`` (RFC 7636, section 4.2)."""
    return _base64url(hashlib.sha256(verifier.encode("ascii")).digest())


def _derived(cookie: bytes, label: bytes) -> str:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return _base64url(HKDF(SHA256(), _LENGTH, None, label).derive(cookie))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")

"""Passkeys: the two ceremonies of Web Authentication (W3C, Level 3, section 7), and what is kept of a passkey. Pure.

py_webauthn verifies an answer of a browser. What it leaves open is decided here: JSON with one reading, no page in a frame of
another site (section 13.4.2), the user handle, and the signature counter, which is compared only after the signature was
found good. An authenticator has to prove nothing about its maker: attestation is ``none``, and of the formats of statements only
those are read that browsers send for it.

`registered` and `verified` take 2 ms, and the first call imports the library, which takes 0.5 s: call them in a thread.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, Final, TypeVar

import attrs

from perimeter.errors import WrongFactor
from perimeter.strict_json import decode_object

T = TypeVar("T")

LIFETIME: Final = 300
"""Seconds for which a browser waits for its user, and a challenge is good."""

LONGEST_ID: Final = 1023
"""Bytes of the longest credential id (section 7.1, step 25)."""

#: EdDSA, ECDSA with P-256, RSASSA-PKCS1-v1_5 (COSE Algorithms), in the order of preference
_ALGORITHMS: Final = (-8, -7, -257)
_TRANSPORTS: Final = frozenset(("usb", "nfc", "ble", "smart-card", "hybrid", "internal"))
_MOST_TRANSPORTS: Final = 8


@attrs.frozen
class RelyingParty:
    """The site as authenticators know it: the domain ``id`` (section 5.1.2), its ``name`` for users, and the origins of its
    pages (``https://login.example``)."""

    id: str
    name: str
    origins: tuple[str, ...]


@attrs.frozen
class Passkey:
    """What is kept of a passkey, besides its signature counter.

    ``credential`` is its id, ``public_key`` a COSE key (RFC 9052), ``user`` the number of the user that the authenticator keeps
    (the user handle), and ``transports`` the ways in which a browser reaches it. ``vouched`` is the name of the authenticator
    that knew the user when it was registered: when the passkey is the only proof, that one looks the user up.
    """

    credential: bytes
    public_key: bytes
    user: bytes
    transports: tuple[str, ...] = ()
    vouched: str = ""

    @property
    def handle(self) -> bytes:
        """What the passkey is found by (`perimeter.factors.factor.Factor.handle`)."""
        return handle_of(self.credential)

    def encode(self) -> bytes:
        """The passkey as JSON."""
        kept = {
            "credential": _encoded(self.credential),
            "public_key": _encoded(self.public_key),
            "user": _encoded(self.user),
            "transports": self.transports,
            "vouched": self.vouched,
        }
        return json.dumps(kept, separators=(",", ":")).encode("ascii")

    @classmethod
    def decode(cls, text: bytes) -> Passkey:
        """The passkey that `encode` wrote."""
        kept = decode_object(text)
        credential, public_key, user = (_decoded(kept[name]) for name in ("credential", "public_key", "user"))
        return cls(credential, public_key, user, tuple(kept["transports"]), kept["vouched"])


def handle_of(credential: bytes) -> bytes:
    """The SHA-256 of a credential id."""
    return sha256(credential).digest()


def creation_options(party: RelyingParty, username: str, user: bytes, passkeys: Sequence[Passkey], challenge: bytes) -> str:
    """The JSON that ``PublicKeyCredential.parseCreationOptionsFromJSON`` reads, for a user who has ``passkeys`` already.

    ``user`` is the number of the user, which says nothing about them (section 14.6.1). An authenticator keeps one passkey for it.
    """
    options = {
        "rp": {"id": party.id, "name": party.name},
        "user": {"id": _encoded(user), "name": username, "displayName": username},
        "challenge": _encoded(challenge),
        "pubKeyCredParams": [{"type": "public-key", "alg": algorithm} for algorithm in _ALGORITHMS],
        "timeout": LIFETIME * 1000,
        "excludeCredentials": _descriptors(passkeys),
        "authenticatorSelection": {"residentKey": "preferred", "requireResidentKey": False, "userVerification": "preferred"},
        "attestation": "none",
    }
    return json.dumps(options)


def request_options(party: RelyingParty, passkeys: Sequence[Passkey], challenge: bytes, alone: bool) -> str:
    """The JSON that ``PublicKeyCredential.parseRequestOptionsFromJSON`` reads, for one of ``passkeys``.

    ``alone``: the passkey is the only proof, so the authenticator has to verify the user, by a PIN or a fingerprint. Then
    ``passkeys`` may be empty: the user chooses among those that the authenticator has for the site.
    """
    options = {
        "rpId": party.id,
        "challenge": _encoded(challenge),
        "timeout": LIFETIME * 1000,
        "allowCredentials": _descriptors(passkeys),
        "userVerification": "required" if alone else "preferred",
    }
    return json.dumps(options)


def registered(party: RelyingParty, answer: str, challenge: bytes, user: bytes) -> tuple[Passkey, int]:
    """The new passkey and its counter, in the browser's ``answer`` to `creation_options` (section 7.1). Raises `WrongFactor`."""
    return _judged(lambda: _registered(party, answer, challenge, user))


def _registered(party: RelyingParty, answer: str, challenge: bytes, user: bytes) -> tuple[Passkey, int]:
    from webauthn import verify_registration_response
    from webauthn.helpers import parse_attestation_object
    from webauthn.helpers.structs import AttestationFormat

    sent = _answer(answer)
    statement = parse_attestation_object(_decoded(sent["response"]["attestationObject"]))
    own = statement.fmt == AttestationFormat.PACKED and statement.att_stmt.x5c is None  # by the new key itself
    if statement.fmt != AttestationFormat.NONE and not own:
        raise WrongFactor("an attestation that was not asked for")
    found = verify_registration_response(
        credential=sent, expected_challenge=challenge, expected_rp_id=party.id, expected_origin=list(party.origins)
    )
    if len(found.credential_id) > LONGEST_ID:
        raise WrongFactor("a credential id that is too long")
    ways = sent["response"].get("transports") or []
    known = tuple(one for one in ways[:_MOST_TRANSPORTS] if one in _TRANSPORTS)
    return Passkey(found.credential_id, found.credential_public_key, user, known), found.sign_count


def credential_of(answer: str) -> bytes:
    """The credential id that a browser's ``answer`` to `request_options` names. Raises `WrongFactor`."""
    return _judged(lambda: _decoded(decode_object(answer.encode("utf-8"))["rawId"]))


def verified(party: RelyingParty, answer: str, challenge: bytes, passkey: Passkey, count: int, alone: bool) -> int:
    """The new counter of ``passkey``, which the browser's ``answer`` to `request_options` proves (section 7.2).

    ``count`` is the counter so far. Raises `WrongFactor`; `CounterBack` if all else is good, and the counter did not grow.
    """
    return _judged(lambda: _verified(party, answer, challenge, passkey, count, alone))


class CounterBack(WrongFactor):
    """The signature counter of a passkey did not grow: there may be a copy of it (section 6.1.1)."""


def _verified(party: RelyingParty, answer: str, challenge: bytes, passkey: Passkey, count: int, alone: bool) -> int:
    from webauthn import verify_authentication_response

    sent = _answer(answer)
    if _decoded(sent["rawId"]) != passkey.credential:
        raise WrongFactor("another credential than the one that was looked up")
    user = sent["response"].get("userHandle")
    if (alone or user) and (not isinstance(user, str) or _decoded(user) != passkey.user):
        raise WrongFactor("the passkey belongs to another user")
    found = verify_authentication_response(
        credential=sent,
        expected_challenge=challenge,
        expected_rp_id=party.id,
        expected_origin=list(party.origins),
        credential_public_key=passkey.public_key,
        credential_current_sign_count=0,  # it is compared below, when the signature is known to be good
        require_user_verification=alone,
    )
    now = found.new_sign_count
    if (now or count) and now <= count:
        raise CounterBack(f"the signature counter of a passkey went from {count} to {now}: there may be a copy of it")
    return now


def _answer(text: str) -> dict[str, Any]:
    """A browser's answer, whose page was in no frame of another site."""
    from webauthn.helpers import parse_client_data_json

    sent = decode_object(text.encode("utf-8"))
    data = _decoded(sent["response"]["clientDataJSON"])
    decode_object(data)
    if parse_client_data_json(data).cross_origin:
        raise WrongFactor("the page was in a frame of another site")
    return sent


def _judged(judge: Callable[[], T]) -> T:
    """The result of ``judge``, with `WrongFactor` for all that it cannot read: the parsers raise many kinds of exceptions."""
    try:
        return judge()
    except (WrongFactor, ImportError):
        raise
    except Exception as error:
        raise WrongFactor(f"an answer that is not one of this passkey here: {_why(error)}") from error


def _why(error: Exception) -> str:
    """What is wrong, without what the client has sent: that follows in quotes in messages of the library."""
    from webauthn.helpers.exceptions import WebAuthnException

    return str(error).partition('"')[0].strip() if isinstance(error, WebAuthnException) else type(error).__name__


def _descriptors(passkeys: Sequence[Passkey]) -> list[dict[str, Any]]:
    return [{"type": "public-key", "id": _encoded(one.credential), "transports": list(one.transports)} for one in passkeys]


def _encoded(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode("ascii")


def _decoded(text: str) -> bytes:
    """The bytes of base64url without padding (RFC 4648, section 5). Raises ValueError."""
    value = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if _encoded(value) != text:
        raise ValueError("not base64url")
    return value

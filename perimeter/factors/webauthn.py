"""Passkeys: the two ceremonies of Web Authentication (W3C, Level 3, section 7), and what is kept of a passkey. Pure.

py_webauthn verifies an answer of a browser. What it leaves open is decided here: JSON with one reading, no page in a frame of
another site (section 13.4.2), the user handle, and the signature counter, which is compared only after the signature was
found good. An authenticator has to prove nothing about its maker: attestation is ``none``, and of the formats of statements only
those are read that browsers send for it.

The functions that verify take 2 ms: call them in a thread. The library takes 0.5 s to import, and is imported by the first call.
"""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

from perimeter.errors import WrongFactor
from perimeter.strict_json import decode_object

if TYPE_CHECKING:
    from webauthn.helpers.structs import PublicKeyCredentialDescriptor

T = TypeVar("T")

LIFETIME: Final = 300
"""Seconds for which a browser waits for its user, and a challenge is good."""

LONGEST_ID: Final = 1023
"""Bytes of the longest credential id (section 7.1, step 25)."""

_HANDLE: Final = 32
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
    """What is kept of a passkey.

    ``credential`` is its id, ``public_key`` a COSE key (RFC 9052), ``count`` the signature counter, ``handle`` the number of the
    user that the authenticator keeps, and ``transports`` the ways in which a browser reaches it.
    """

    credential: bytes
    public_key: bytes
    count: int
    handle: bytes
    transports: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The passkey as a JSON object."""
        return {
            "credential": _encoded(self.credential),
            "public_key": _encoded(self.public_key),
            "count": self.count,
            "handle": _encoded(self.handle),
            "transports": list(self.transports),
        }

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> Passkey:
        """What `as_json` returned. Raises KeyError, TypeError or ValueError for anything else."""
        return cls(
            _decoded(kept["credential"]),
            _decoded(kept["public_key"]),
            int(kept["count"]),
            _decoded(kept["handle"]),
            tuple(kept["transports"]),
        )


def factor_id(credential: bytes) -> str:
    """The id under which a passkey is kept: 32 hexadecimal digits, which its credential id leads to."""
    return sha256(credential).hexdigest()[:32]


def new_handle(passkeys: Sequence[Passkey]) -> bytes:
    """The number of a user who has ``passkeys``: theirs, or a new one. It says nothing about the user (section 14.6.1)."""
    return passkeys[0].handle if passkeys else secrets.token_bytes(_HANDLE)


def creation_options(party: RelyingParty, username: str, handle: bytes, passkeys: Sequence[Passkey], challenge: bytes) -> str:
    """The JSON that ``PublicKeyCredential.parseCreationOptionsFromJSON`` reads, for a user who has ``passkeys`` already."""
    from webauthn import generate_registration_options, options_to_json
    from webauthn.helpers.structs import (
        AuthenticatorSelectionCriteria,
        ResidentKeyRequirement,
        UserVerificationRequirement,
    )

    options = generate_registration_options(
        rp_id=party.id,
        rp_name=party.name,
        user_id=handle,
        user_name=username,
        challenge=challenge,
        timeout=LIFETIME * 1000,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.PREFERRED, user_verification=UserVerificationRequirement.PREFERRED
        ),
        exclude_credentials=_descriptors(passkeys),
    )
    return options_to_json(options)


def request_options(party: RelyingParty, passkeys: Sequence[Passkey], challenge: bytes, alone: bool) -> str:
    """The JSON that ``PublicKeyCredential.parseRequestOptionsFromJSON`` reads, for one of ``passkeys``.

    ``alone``: the passkey is the only proof, so the authenticator has to verify the user, by a PIN or a fingerprint. Then
    ``passkeys`` may be empty: the user chooses among those that the authenticator has for the site.
    """
    from webauthn import generate_authentication_options, options_to_json
    from webauthn.helpers.structs import UserVerificationRequirement

    wanted = UserVerificationRequirement.REQUIRED if alone else UserVerificationRequirement.PREFERRED
    options = generate_authentication_options(
        rp_id=party.id,
        challenge=challenge,
        timeout=LIFETIME * 1000,
        allow_credentials=_descriptors(passkeys),
        user_verification=wanted,
    )
    return options_to_json(options)


def registered(party: RelyingParty, answer: str, challenge: bytes, handle: bytes) -> Passkey:
    """The new passkey in the browser's ``answer`` to `creation_options` (section 7.1). Raises `WrongFactor`."""
    return _judged(lambda: _registered(party, answer, challenge, handle))


def _registered(party: RelyingParty, answer: str, challenge: bytes, handle: bytes) -> Passkey:
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
    return Passkey(found.credential_id, found.credential_public_key, found.sign_count, handle, known)


def credential_of(answer: str) -> bytes:
    """The credential id that a browser's ``answer`` to `request_options` names. Raises `WrongFactor`."""
    return _judged(lambda: _decoded(_answer(answer)["rawId"]))


def verified(party: RelyingParty, answer: str, challenge: bytes, passkey: Passkey, alone: bool) -> Passkey:
    """``passkey`` with its new counter, which the browser's ``answer`` to `request_options` proves (section 7.2).

    Raises `WrongFactor`; `CounterBack` if all of it is good, and the counter did not grow.
    """
    return _judged(lambda: _verified(party, answer, challenge, passkey, alone))


class CounterBack(WrongFactor):
    """The signature counter of a passkey did not grow: there may be a copy of it (section 6.1.1)."""


def _verified(party: RelyingParty, answer: str, challenge: bytes, passkey: Passkey, alone: bool) -> Passkey:
    from webauthn import verify_authentication_response

    sent = _answer(answer)
    if _decoded(sent["rawId"]) != passkey.credential:
        raise WrongFactor("another credential than the one that was looked up")
    handle = sent["response"].get("userHandle")
    if (alone or handle) and (not isinstance(handle, str) or _decoded(handle) != passkey.handle):
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
    if (found.new_sign_count or passkey.count) and found.new_sign_count <= passkey.count:
        raise CounterBack(f"the signature counter went from {passkey.count} to {found.new_sign_count}: is there a copy?")
    return attrs.evolve(passkey, count=found.new_sign_count)


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
        raise WrongFactor(f"an answer that is not one of this passkey here: {type(error).__name__}: {error}") from error


def _descriptors(passkeys: Sequence[Passkey]) -> list[PublicKeyCredentialDescriptor]:
    from webauthn.helpers.structs import AuthenticatorTransport, PublicKeyCredentialDescriptor

    return [
        PublicKeyCredentialDescriptor(id=one.credential, transports=[AuthenticatorTransport(way) for way in one.transports])
        for one in passkeys
    ]


def _encoded(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode("ascii")


def _decoded(text: str) -> bytes:
    """The bytes of base64url without padding (RFC 4648, section 5). Raises ValueError."""
    value = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if _encoded(value) != text:
        raise ValueError("not base64url")
    return value

"""What is kept of second factors, and what ends them, as changes of the state. Times are seconds since the epoch."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import attrs

from perimeter.state.changes import Change

RECOVERY: Final = "recovery"
"""The method of a sign-in with a recovery code (`perimeter.sessions.session.Session.proved`)."""


class FactorKind(StrEnum):
    """Kinds of factors that a user can register. The words are those of `perimeter.sessions.session.Session.proved`."""

    TOTP = "totp"
    WEBAUTHN = "webauthn"


@attrs.frozen(slots=True)
class Factor(Change):
    """A factor that a user has registered.

    ``id`` is what pages and the audit log show: 16 hexadecimal digits. ``name`` is the user's own. ``sealed`` is its secret under
    the key of the gateway (`perimeter.secrets_key`). ``handle`` finds a passkey: SHA-256 of its credential id, or b"".
    ``used`` is when it was used last, 0 if never. ``count`` only grows: the last time step of a TOTP that was used (RFC 6238,
    section 5.2), the signature counter of a passkey (WebAuthn, section 6.1.1).
    """

    realm: str
    username: str
    kind: FactorKind
    id: str
    name: str
    sealed: bytes = attrs.field(repr=False)
    created: float
    handle: bytes = b""
    used: float = 0.0
    count: int = 0

    @property
    def adds(self) -> bool:
        """True: a factor counts once it is written."""
        return True


@attrs.frozen(slots=True)
class UsedFactor(Change):
    """The factor was used at this time, and its count has become ``count``: what counts up to it is refused from now on."""

    id: str
    at: float
    count: int

    @property
    def passing(self) -> bool:
        """True: it cuts no connection. A code is claimed besides (`perimeter.state.once`), which no power failure undoes."""
        return True


@attrs.frozen(slots=True)
class RenamedFactor(Change):
    """The factor has another name."""

    id: str
    name: str

    @property
    def adds(self) -> bool:
        """True: it takes nothing away."""
        return True


@attrs.frozen(slots=True)
class RemovedFactor(Change):
    """The factor does not count any more."""

    id: str


@attrs.frozen(slots=True)
class RecoveryCodes(Change):
    """The SHA-256 of each recovery code of a user. They replace those that there were."""

    realm: str
    username: str
    digests: tuple[bytes, ...] = attrs.field(repr=False)
    created: float

    @property
    def adds(self) -> bool:
        """True: they count once they are written."""
        return True


@attrs.frozen(slots=True)
class UsedRecoveryCode(Change):
    """The recovery code with this SHA-256 was used."""

    realm: str
    username: str
    digest: bytes = attrs.field(repr=False)

    @property
    def passing(self) -> bool:
        """As `UsedFactor.passing`."""
        return True


@attrs.frozen(slots=True)
class EnrollCode(Change):
    """The SHA-256 of a code of the operator, with which the user may register a first factor until ``expires``."""

    realm: str
    username: str
    digest: bytes = attrs.field(repr=False)
    expires: float

    @property
    def adds(self) -> bool:
        """True: it counts once it is written."""
        return True


@attrs.frozen(slots=True)
class ResetFactors(Change):
    """The user has no factors, no recovery codes and no code of the operator any more, of those made up to ``before``."""

    realm: str
    username: str
    before: float

"""The second factors of users: registered, checked, renamed and removed.

Every code is good once, in all processes together: it is claimed (`perimeter.state.once`) before it counts.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from perimeter.errors import FactorDemanded, NoSuchFactor, TooManyFactors, Unavailable, WrongFactor
from perimeter.factors.factor import (
    RECOVERY,
    EnrollCode,
    Factor,
    FactorKind,
    RecoveryCodes,
    RemovedFactor,
    RenamedFactor,
    ResetFactors,
    UsedFactor,
    UsedRecoveryCode,
)
from perimeter.factors.one_time_codes import RECOVERY_CODES, digest_of, new_code
from perimeter.factors.stored import StoredFactors
from perimeter.factors.totp import SECRET_LENGTH, STEP, WINDOW, step_of
from perimeter.secrets_key import SecretsKey, Unopened
from perimeter.state.once import Claims
from perimeter.state.writer import look
from perimeter.tokens.format import EpochClock

MOST_FACTORS: Final = 20
"""Factors that one user may have."""

LONGEST_NAME: Final = 100
"""Characters of a factor's name that are kept."""

ENROLL_LIFETIME: Final = 86400.0
"""Seconds for which a code of the operator is good."""

_REMOVAL: Final = 60.0
"""Seconds in which a removal is written, or has failed."""

_CLAIMED: Final = 86400.0
"""Seconds for which the claim of a code is remembered that is removed from the state as well."""


class FactorBook:
    """Works on ``stored``; ``key`` seals secrets, ``claims`` makes codes count once."""

    def __init__(self, stored: StoredFactors, key: SecretsKey, claims: Claims, clock: EpochClock) -> None:
        self._stored = stored
        self._key = key
        self._claims = claims
        self._clock = clock

    # -- looking

    def factors_of(self, realm: str, username: str) -> tuple[Factor, ...]:
        """The factors of a user, the oldest first."""
        return self._stored.of(realm, username)

    async def with_handle(self, handle: bytes) -> Factor | None:
        """The passkey whose credential id has this SHA-256. Raises `Unavailable` if what is new cannot be read."""
        await look(self._stored)
        return self._stored.with_handle(handle)

    def secret_of(self, factor: Factor) -> bytes:
        """The secret of a factor. Raises `Unavailable` if the key of the gateway does not open it."""
        try:
            return self._key.unseal(factor.sealed, _purpose(factor.realm, factor.username, factor.kind, factor.id))
        except Unopened:
            raise Unavailable("the key that has sealed the second factor is not in secrets.key or cluster_secret") from None

    async def has_factor(self, realm: str, username: str) -> bool:
        """Whether the user has a factor, also one that another process has registered a moment ago. Raises `Unavailable`."""
        await look(self._stored)
        return bool(self._stored.of(realm, username))

    def recovery_left(self, realm: str, username: str) -> int:
        """How many recovery codes the user has left."""
        codes = self._stored.recovery_of(realm, username)
        return 0 if codes is None else len(codes.digests)

    # -- registering

    def proposed_secrets(self, cookie: bytes, once: bytes = b"") -> Sequence[bytes]:
        """The secret of a TOTP that the browser with ``cookie`` is about to register: the same one until then.

        The page shows the first one. The others are those of the other keys of the gateway: another machine may have shown them.
        They are kept nowhere. ``once`` makes other ones.
        """
        return [one[:SECRET_LENGTH] for one in self._key.derive_all(b"totp", cookie, once)]

    async def add(
        self, realm: str, username: str, kind: FactorKind, name: str, secret: bytes, *, handle: bytes = b"", count: int = 0
    ) -> Factor:
        """Register a factor. ``handle`` and ``count`` as in `Factor`.

        Raises `TooManyFactors`, and `Unavailable` if it cannot be written.
        """
        await look(self._stored)
        if len(self._stored.of(realm, username)) >= MOST_FACTORS:
            raise TooManyFactors(f"the user has {MOST_FACTORS} second factors")
        id, now = secrets.token_hex(8), self._clock.seconds()
        sealed = self._key.seal(secret, _purpose(realm, username, kind, id))
        factor = Factor(realm, username, kind, id, name[:LONGEST_NAME], sealed, now, handle, count=count)
        await self._stored.add(factor)
        return factor

    async def add_totp(self, realm: str, username: str, name: str, proposed: Iterable[bytes], code: str) -> Factor:
        """Register an app that shows ``code`` for one of the ``proposed`` secrets; the code is used by that.

        Raises `WrongFactor` besides `add`.
        """
        for secret in proposed:
            step = step_of(secret, code, self._clock.seconds())
            if step is not None:
                for key in sorted(self._key.derive_all(b"claim", secret)):
                    await self._claim_step(key.hex(), step)
                return await self.add(realm, username, FactorKind.TOTP, name, secret, count=step)
        raise WrongFactor("the app shows another code for the new secret")

    async def make_recovery_codes(self, realm: str, username: str) -> Sequence[str]:
        """New recovery codes, which replace the earlier ones. They can be shown only now. Raises `Unavailable`."""
        codes = [new_code() for _ in range(RECOVERY_CODES)]
        digests = tuple(digest for code in codes if (digest := digest_of(code)) is not None)
        await self._stored.add(RecoveryCodes(realm, username, digests, self._clock.seconds()))
        return codes

    async def rename(self, realm: str, username: str, id: str, name: str) -> Factor:
        """Give a factor of the user another name. Raises `NoSuchFactor` and `Unavailable`."""
        factor = await self._owned(realm, username, id)
        await self._stored.add(RenamedFactor(id, name[:LONGEST_NAME]))
        return attrs.evolve(factor, name=name[:LONGEST_NAME])

    async def remove(self, realm: str, username: str, id: str, *, demanded: bool = False) -> Factor:
        """Remove a factor of the user. ``demanded``: not the last one.

        Raises `FactorDemanded` for the last one, `NoSuchFactor`, and `Unavailable`.
        """
        factor = await self._owned(realm, username, id)
        if demanded:
            await self._keep_one(realm, username)
        await self._stored.remove(RemovedFactor(id))
        return factor

    async def _keep_one(self, realm: str, username: str) -> None:
        """Raises `FactorDemanded` if a removal might leave none: of several at the same moment one is let through."""
        ids = [one.id for one in self._stored.of(realm, username)]
        if len(ids) < 2:
            raise FactorDemanded("the last factor of a user who must have one")
        if not await self._claims.claim(f"factors {' '.join(ids)}".encode("ascii"), self._clock.seconds() + _REMOVAL):
            raise FactorDemanded("another factor of the user is being removed at this moment")

    async def _owned(self, realm: str, username: str, id: str) -> Factor:
        await look(self._stored)
        factor = next((one for one in self._stored.of(realm, username) if one.id == id), None)
        if factor is None:
            raise NoSuchFactor("the user has no second factor with this id")
        return factor

    # -- using

    async def use_code(self, realm: str, username: str, text: str) -> str:
        """Check a code that the user has typed: of an authenticator app, or a recovery code. Returns the method.

        Raises `WrongFactor` for a wrong one and for one that was used, and `Unavailable` if that cannot be established.
        """
        await look(self._stored)
        digest = digest_of(text)
        if digest is not None:
            await self._use_recovery_code(realm, username, digest)
            return RECOVERY
        now = self._clock.seconds()
        for factor in self._stored.of(realm, username):
            if factor.kind is FactorKind.TOTP:
                step = step_of(self.secret_of(factor), text, now)
                if step is not None:
                    await self._use_step(factor, step)
                    return FactorKind.TOTP
        raise WrongFactor("the code is none of the user's")

    async def _use_step(self, factor: Factor, step: int) -> None:
        if step <= factor.count:
            raise WrongFactor("the code, or a later one, was used before")
        await self._claim_step(factor.id, step)
        await self.used(factor, step)

    async def _claim_step(self, which: str, step: int) -> None:
        """Raises `WrongFactor` if the code of this step was used."""
        until = (step + WINDOW + 2) * STEP
        if not await self._claims.claim(f"totp {which} {step}".encode("ascii"), float(until)):
            raise WrongFactor("the code was used before")

    async def used(self, factor: Factor, count: int) -> None:
        """Note that a factor was used, and that what counts up to ``count`` is refused. Raises `Unavailable`."""
        await self._stored.remove(UsedFactor(factor.id, self._clock.seconds(), count))

    async def _use_recovery_code(self, realm: str, username: str, digest: bytes) -> None:
        codes = self._stored.recovery_of(realm, username)
        if codes is None or digest not in codes.digests:
            raise WrongFactor("the recovery code is none of the user's, or was used before")
        if not await self._claims.claim(b"recovery " + digest, self._clock.seconds() + _CLAIMED):
            raise WrongFactor("the recovery code was used before")
        await self._stored.remove(UsedRecoveryCode(realm, username, digest))

    # -- the operator's code

    async def check_enroll_code(self, realm: str, username: str, text: str) -> EnrollCode:
        """The operator's code that ``text`` is. Raises `WrongFactor` for a wrong or old one, and `Unavailable`."""
        await look(self._stored)
        digest, kept, now = digest_of(text), self._stored.enroll_of(realm, username), self._clock.seconds()
        if digest is None or kept is None or kept.digest != digest or kept.expires <= now:
            raise WrongFactor("not the code of the operator for this user, or too old")
        return kept

    async def use_enroll_code(self, realm: str, username: str, text: str) -> None:
        """Check the operator's code, which is used by that. Raises `WrongFactor` if it was used before, and as above."""
        kept = await self.check_enroll_code(realm, username, text)
        if not await self._claims.claim(b"enroll " + kept.digest, kept.expires):
            raise WrongFactor("the code of the operator was used before")


async def make_enroll_code(stored: StoredFactors, realm: str, username: str, now: float) -> str:
    """A code with which the user may register a first factor, once, within `ENROLL_LIFETIME`. It replaces an earlier one.

    Raises `Unavailable` if it cannot be written.
    """
    code = new_code()
    digest = digest_of(code)
    assert digest is not None
    await stored.add(EnrollCode(realm, username, digest, now + ENROLL_LIFETIME))
    return code


async def reset_factors(stored: StoredFactors, realm: str, username: str, now: float) -> int:
    """Remove all factors and recovery codes of a user. Returns how many factors there were. Raises `Unavailable`."""
    had = len(stored.of(realm, username))
    await stored.remove(ResetFactors(realm, username, now))
    return had


def _purpose(realm: str, username: str, kind: FactorKind, id: str) -> str:
    """What a secret is sealed for: no other factor's row can take its place."""
    return "\0".join(("second factor", realm, username, kind, id))

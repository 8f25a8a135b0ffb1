"""The result of verifying a credential, and the bounded memory of such results.

The gate looks here before anything else, once per request, so a hit is one dictionary look-up. Refused credentials are never
kept: a flood of garbage would otherwise push out the good ones.
"""

from __future__ import annotations

from typing import Protocol

from perimeter.model import Grant, Principal


class Revocations(Protocol):
    """What was taken away (`perimeter.tokens.stored.StoredTokens`)."""

    epoch: int

    def good(self, principal: Principal) -> bool:
        """Whether what the principal was established by is still valid."""

    def still_good(self, principal: Principal, epoch: int) -> bool:
        """Whether it is still valid, after it was in an earlier ``epoch``."""

    def check_fresh(self, grant: Grant | None = None) -> None:
        """Raise `StateUnavailable` if it is not known what was taken away, and ``grant`` is not good all the same."""


class Verdict:
    """A credential that was verified. The caller compares ``expires`` (epoch seconds) with the time.

    ``epoch`` is that of the revocations when it was last looked at (`perimeter.tokens.stored.StoredTokens.epoch`).
    """

    __slots__ = ("epoch", "expires", "principal")

    def __init__(self, principal: Principal, expires: float, epoch: int = 0) -> None:
        self.principal = principal
        self.expires = expires
        self.epoch = epoch


def still_good(verdict: Verdict, revocations: Revocations) -> bool:
    """Whether ``verdict`` is still valid: since it was last checked, its token or session has not been revoked.

    Raises `StateUnavailable` if that is not known.
    """
    revocations.check_fresh(verdict.principal.grant)
    epoch = revocations.epoch
    good = revocations.still_good(verdict.principal, verdict.epoch)
    if good:
        verdict.epoch = epoch
    return good


class VerdictCache:
    """Verdicts by the bytes of a credential (Authorization, or a cookie), never more than ``limit`` of them.

    Three generations of a third each. A verdict enters the young one, and again when it is asked for while it is old; a full
    young generation becomes the old, and the old one is cleared away two entries with each entry that comes, because to drop
    some hundred thousand at once would hold up every request for tens of milliseconds.
    """

    __slots__ = ("_dying", "_old", "_share", "_young")

    def __init__(self, limit: int) -> None:
        if limit < 3:
            raise ValueError("a cache needs room for three verdicts")
        self._share = limit // 3
        self._young: dict[bytes, Verdict] = {}
        self._old: dict[bytes, Verdict] = {}
        self._dying: dict[bytes, Verdict] = {}

    def __len__(self) -> int:
        """How many verdicts can be found."""
        return len(self._young) + len(self._old)

    def get(self, authorization: bytes) -> Verdict | None:
        """The verdict, perhaps expired, or None."""
        verdict = self._young.get(authorization)
        if verdict is not None:
            return verdict
        verdict = self._old.pop(authorization, None)
        if verdict is not None:
            self.put(authorization, verdict)
        return verdict

    def put(self, authorization: bytes, verdict: Verdict) -> None:
        """Remember a verdict, in place of an earlier one."""
        young = self._young
        if len(young) >= self._share and authorization not in young:
            # emptied by now: as many have come since the last change as it can hold, and each took two away
            self._dying = self._old
            self._old = young
            young = self._young = {}
        young[authorization] = verdict
        self._old.pop(authorization, None)
        dying = self._dying
        for _ in range(min(2, len(dying))):
            dying.popitem()

    def clear(self) -> None:
        """Forget everything, because the keys or the configuration changed."""
        self._young, self._old, self._dying = {}, {}, {}

"""Names that count once on all machines: of several claims of a name the first succeeds. The primary of Redis decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred

from perimeter.cluster.confirmed import ConfirmedWrites
from perimeter.cluster.names import ORIGIN, claim_of
from perimeter.errors import StateUnavailable
from perimeter.redis.link import Link
from perimeter.redis.script import Script
from perimeter.state.store import Claim

# KEYS: the claim, the name of the contents. ARGV: that name as this machine knows it, milliseconds. Replies with 1 for the first
# claim, 0 for a later one, and -1 if these are other contents.
_CLAIM: Final = Script("""
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return -1 end
return redis.call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[2]) and 1 or 0
""")


class CommonClaims:
    """Makes claims by ``writes``. ``clock`` gives epoch seconds."""

    def __init__(self, writes: ConfirmedWrites, clock: Callable[[], float]) -> None:
        self._writes = writes
        self._clock = clock
        #: the name of the contents of Redis that this machine belongs to; "" while it does not know
        self.origin: Callable[[], str] = str

    def claim(self, claim: Claim) -> Deferred[bool]:
        """Whether this is the first claim of its digest.

        Fails with `Unavailable` if that is not known, or not safe: the name is used up then.
        """
        digest, until = claim

        def make(link: Link) -> Deferred[Any]:
            life = max(1, int((until - self._clock()) * 1000))
            return link.run(_CLAIM, [claim_of(digest), ORIGIN], [self.origin(), life])

        return self._writes.write(make, needed=True).addCallback(self._read)

    def _read(self, reply: int) -> bool:
        if not self.origin() or reply == -1:
            raise StateUnavailable("Redis has lost its contents, or has not been read yet")
        return reply == 1

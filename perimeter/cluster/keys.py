"""The signing keys that all machines share: one sealed document on the engine, of which each machine keeps a copy.

Keys are on the engine before a machine uses them, and a machine asks the engine for a key that it does not know: so each machine
verifies what another one has just signed. A document is replaced only if it is still the one that the new one was made of. One
machine at a time rotates, under a lease.

The copy of a machine is its own keyring file. It serves while the engine is away, and what a failover has lost is put there
again: of two documents the later one is in force.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final, Protocol

import attrs

from perimeter.cluster.leases import Lease
from perimeter.cluster.names import PREFIX
from perimeter.cluster.scripts import RunsScripts
from perimeter.errors import StateUnavailable
from perimeter.offload import Offload
from perimeter.redis.script import Script
from perimeter.secrets_key import SecretsKey, Unopened
from perimeter.strict_json import decode
from perimeter.tokens.jwk import BadKey
from perimeter.tokens.key_file import KeySet, parse_keys, write_keys
from perimeter.tokens.keyring import Keyring

KEY: Final = f"{PREFIX}keyring"
LEASE: Final = "keyring"

_PURPOSE: Final = "signing keys of the site"
_TRIES: Final = 5
"""Attempts to put a document if other machines put theirs at the same time."""

_MOST: Final = 1024 * 1024
"""Bytes of a document."""

_CALM: Final = 600.0
"""Seconds since the last rotation after which a document is sealed anew that was sealed with another line of the cluster secret:
while the lines are exchanged on one machine after the other, the machines do not seal it in turns."""

_GET: Final = Script("return redis.call('HMGET', KEYS[1], 'order', 'sealed', 'under', 'fence')")

# The fence of a rotation: one that was paused until the next machine had the lease changes nothing.
_PUT: Final = Script("""
local found = redis.call('HMGET', KEYS[1], 'order', 'fence')
local fence = tonumber(ARGV[5])
if (found[1] or '') ~= ARGV[1] or (fence > 0 and fence < tonumber(found[2] or '0')) then
  return 0
end
redis.call('HSET', KEYS[1], 'order', ARGV[2], 'sealed', ARGV[3], 'under', ARGV[4])
if fence > 0 then
  redis.call('HSET', KEYS[1], 'fence', ARGV[5])
end
return 1
""")


class TakesLeases(Protocol):
    """See `perimeter.cluster.leases.Leases`."""

    async def take(self, name: str) -> Lease | None: ...  # noqa: D102


class SharedKeys:
    """The keys of all machines, for the ``keyring`` of this one, which works in ``threads``. ``changed`` is called with the order
    of the keys that this machine has put on the engine.

    All methods raise `Unavailable` if the engine does not answer, and `StartupError` if the file cannot be used.
    """

    def __init__(
        self,
        redis: RunsScripts,
        secrets: SecretsKey,
        leases: TakesLeases,
        keyring: Keyring,
        threads: Offload,
        changed: Callable[[int, int], object] = lambda epoch, number: None,
    ) -> None:
        self._redis = redis
        self._secrets = secrets
        self._leases = leases
        self._keyring = keyring
        self._threads = threads
        self._changed = changed
        #: a name of the key that seals, which does not show it
        self._under = secrets.derive(b"name of the key that seals signing keys")[:8].hex().encode("ascii")
        #: what was read last is sealed with another key, and was put at this time of the engine (seconds); None: with this one
        self._other_since: float | None = None

    async def exchange(self) -> bool:
        """Take over the keys of all machines, and give them those that this one alone has. True if there are other keys here."""
        changed, _ = await self._exchange()
        return changed

    async def rotate_if_due(self) -> bool:
        """As `exchange`; replaces the keys if that is due and no other machine is doing it."""
        changed, _ = await self._exchange()
        if self._keyring.due_together() or self._other_since is not None:
            lease = await self._leases.take(LEASE)
            if lease is not None:
                with lease:
                    changed = await self._rotate(lease) or changed
        return changed

    async def rotate(self, *, discard: bool = False) -> None:
        """Replace the signing key now; with ``discard`` all keys, so that no token of theirs is valid on any machine.

        Raises `StateUnavailable` too if another machine is replacing keys at this moment.
        """
        lease = await self._leases.take(LEASE)
        if lease is None:
            raise StateUnavailable("another machine replaces the signing keys at this moment")
        with lease:
            await self._rotate(lease, force=True, discard=discard)

    async def _exchange(self) -> tuple[bool, KeySet]:
        for _ in range(_TRIES):
            theirs = await self._get()
            keys = await self._threads.run(self._keyring.agreed, theirs)
            if keys == theirs or not keys.number or await self._put(theirs, keys):
                changed = await self._threads.run(self._keyring.adopt, keys) if keys.number else False
                return changed, keys
        raise StateUnavailable("other machines change the signing keys all the time")

    async def _rotate(self, lease: Lease, **how: bool) -> bool:
        for _ in range(_TRIES):
            changed, keys = await self._exchange()
            fresh = await self._threads.run(self._keyring.rotated, keys, **how)
            if fresh == keys and self._other_since is not None and lease.fence / 1e6 - self._other_since >= _CALM:
                fresh = attrs.evolve(keys, number=keys.number + 1)
            if fresh == keys:
                return changed
            if not lease.held:
                break
            if await self._put(keys if keys.number else None, fresh, lease.fence):
                return await self._threads.run(self._keyring.adopt, fresh)
        raise StateUnavailable("another machine has replaced the signing keys meanwhile")

    # -- the engine

    async def _get(self) -> KeySet | None:
        """The keys of all machines; None if there are none yet."""
        self._other_since = None
        match await self._redis.run(_GET, [KEY], []):
            case [None, None, *_]:
                return None
            case [bytes(order), bytes(sealed), under, fence] if len(sealed) <= _MOST:
                keys = self._read(sealed)
                if _spelled(keys) == order:
                    if under != self._under:
                        self._other_since = _seconds(fence)
                    return keys
        raise StateUnavailable(
            "the signing keys on Redis cannot be read: they are damaged, or it is not what this site has written"
        )

    def _read(self, sealed: bytes) -> KeySet:
        try:
            return parse_keys(decode(self._secrets.unseal(sealed, _PURPOSE)))
        except Unopened:
            raise StateUnavailable(
                "the signing keys on Redis are sealed with another cluster_secret than that of this machine"
            ) from None
        except (BadKey, ValueError):
            raise StateUnavailable("the signing keys on Redis are damaged") from None

    async def _put(self, before: KeySet | None, keys: KeySet, fence: int = 0) -> bool:
        """Replace ``before``. False if another machine has replaced it meanwhile."""
        sealed = self._secrets.seal(json.dumps(write_keys(keys)).encode("ascii"), _PURPOSE)
        expected = b"" if before is None else _spelled(before)
        if await self._redis.run(_PUT, [KEY], [expected, _spelled(keys), sealed, self._under, fence]) != 1:
            return False
        self._changed(*keys.order)
        return True


def _seconds(fence: bytes | None) -> float:
    """The time of the engine at which a lease with this number was taken."""
    return int(fence) / 1e6 if fence is not None and fence.isdigit() else 0.0


def _spelled(keys: KeySet) -> bytes:
    return b"%d.%d" % keys.order

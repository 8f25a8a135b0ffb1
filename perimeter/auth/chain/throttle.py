"""The throttle: after some wrong passwords for one name or from one address, further ones are refused, longer each time.

Names are counted as the directory compares them, in each realm separately. Addresses are counted in their canonical spelling,
IPv6 by the /64, because a client can choose any address in it. While a name is locked out, its password is not verified at all:
the answer shows nothing about it. Users who are remembered, or have a token, are never locked out: they do not come here.

Many people may share an address. So its limit is one of its own, and the same wrong password for the same name counts once for
the address, however often a forgotten program repeats it (attack 71): it tells a guesser nothing new. Below the limit, the count
of an address goes down with time, so that the few mistakes of many people do not add up.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from heapq import nlargest
from ipaddress import IPv6Address, ip_address
from math import ceil
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from perimeter.auth.chain.attempts import ALONE, FORGOTTEN_AFTER, AttemptPeers, Attempts, Counted, IAttemptStore, Key, lockout
from perimeter.auth.chain.nodes import Nodes
from perimeter.cluster.counts import Count
from perimeter.errors import TooManyAttempts
from perimeter.model import UNIX_PEER
from perimeter.recent import Recent

_log = Logger()

REPEATED = 20_000
"""Wrong passwords from an address that are remembered by their digest: those that came last."""


class Attempt:
    """A password that is being verified. Exactly one of its methods is called at the end."""

    __slots__ = ("_guess", "_keys", "_throttle")

    def __init__(self, throttle: Throttle, keys: tuple[Key, ...], guess: bytes) -> None:
        self._throttle = throttle
        self._keys = keys
        self._guess = guess

    def failed(self) -> Deferred[Any]:
        """The password was wrong, or no authenticator knew the name.

        Fires when the other machines can know it, in bounded time: a client that is told so before could go on guessing there.
        """
        throttle = self._throttle
        throttle._landed(self._keys)
        counted = throttle._failed(self._keys, self._guess)
        throttle._peers.failed(self._keys, self._guess)
        if throttle._nodes is None:
            return succeed(None)
        return throttle._nodes.add([(key, throttle._allowed[key.kind]) for key in counted], self._guess, throttle._learn)

    def succeeded(self, realm: str) -> None:
        """The password was right, for a user of ``realm``: the count of that name is dropped.

        The count of the address stays: a client with one good password could otherwise guess others for ever.
        """
        throttle, store = self._throttle, self._throttle._store
        throttle._landed(self._keys)
        own = [key for key in self._keys if key.kind is not Counted.ADDRESS and key.realm == realm]
        counted = [key for key in own if store.find(key) is not None]
        if counted:
            throttle._drop(counted)

    def undecided(self) -> None:
        """It could not be found out."""
        self._throttle._landed(self._keys)


CODES_ALLOWED = 10
"""Wrong codes of a second factor for one name, if names are not locked out for wrong passwords."""


class Throttle:
    """Locks a name out after ``allowed`` wrong passwords, and an address after ``allowed_from_address``; 0: never.

    Wrong codes of a second factor are counted apart, and always: after ``allowed`` or `CODES_ALLOWED` of them.

    ``peers`` are the other worker processes: this process sends its failures to them, and gets theirs (`heard_failure`).
    ``nodes`` are the other machines, which are asked; None if there are none.
    """

    def __init__(
        self,
        allowed: int,
        store: IAttemptStore,
        clock: IReactorTime,
        *,
        allowed_from_address: int,
        peers: AttemptPeers = ALONE,
        nodes: Nodes | None = None,
    ) -> None:
        self._allowed = {
            Counted.NAME: allowed,
            Counted.ADDRESS: allowed_from_address,
            Counted.FACTOR: allowed or CODES_ALLOWED,
        }
        self._store = store
        self._clock = clock
        self._peers = peers
        self._nodes = nodes
        self._flying: Counter[Key] = Counter()
        self._guesses: Recent[tuple[Key, bytes], None] = Recent(REPEATED)

    async def learn(self, names: Iterable[tuple[str, str]], address: str) -> None:
        """Ask the other machines for their counts before `admit`, which gets the same arguments. Never raises."""
        if self._nodes is not None:
            await self._ask(self._nodes, self._keys(names, address))

    async def learn_code(self, realm: str, username: str) -> None:
        """Ask the other machines for their counts before `admit_code`, which gets the same arguments. Never raises."""
        if self._nodes is not None:
            await self._ask(self._nodes, (Key(Counted.FACTOR, username, realm),))

    def admit(self, names: Iterable[tuple[str, str]], address: str, guess: bytes = b"") -> Attempt:
        """Let a password be verified for ``names`` (pairs of realm and canonical name), sent from the canonical ``address``.

        ``guess`` is a digest of name and password; b"" if each password counts. Raises `TooManyAttempts`.
        """
        return self._admit(self._keys(names, address), guess)

    def admit_code(self, realm: str, username: str) -> Attempt:
        """Let a code of the second factor of a user be checked. Raises `TooManyAttempts`."""
        return self._admit((Key(Counted.FACTOR, username, realm),), b"")

    def _keys(self, names: Iterable[tuple[str, str]], address: str) -> tuple[Key, ...]:
        keys = tuple({Key(Counted.NAME, name, realm): None for realm, name in names})
        if address:
            keys += (Key(Counted.ADDRESS, address_block(address)),)
        return tuple(key for key in keys if self._allowed[key.kind])

    def _admit(self, keys: tuple[Key, ...], guess: bytes) -> Attempt:
        for key in keys:
            self._check(key)
        self._flying.update(keys)
        return Attempt(self, keys, guess)

    def _repeated(self, key: Key, guess: bytes) -> bool:
        """Whether ``guess`` was counted for ``key`` already; it is from now on."""
        if not guess:
            return False
        known = (key, guess) in self._guesses
        self._guesses.keep((key, guess), None)
        return known

    def _check(self, key: Key) -> None:
        now = self._clock.seconds()
        found = self._current(key, now)
        failures = 0 if found is None else found.failures
        flying, allowed = self._flying[key], self._limit(key)
        if found is not None and now < found.until:
            raise TooManyAttempts(f"{failures} {key.kind.wrong} for this {key.kind}", retry_after=ceil(found.until - now))
        # Simultaneous guesses for one name count before they are found wrong. For an address, which many people may share, that
        # holds only after it has sent too many wrong passwords.
        if flying and (failures >= allowed or (key.kind is not Counted.ADDRESS and failures + flying >= allowed)):
            raise TooManyAttempts(f"passwords for this {key.kind} are being verified already", retry_after=1)

    def _current(self, key: Key, now: float) -> Attempts | None:
        found = self._store.find(key)
        if found is not None and found.forgotten(now):
            self._store.drop(key)
            return None
        return found

    def _landed(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self._flying[key] -= 1
            if self._flying[key] <= 0:
                del self._flying[key]

    def _limit(self, key: Key) -> int:
        allowed = self._allowed[key.kind]
        return allowed if self._nodes is None else self._nodes.limit(allowed)

    def _failed(self, keys: Iterable[Key], guess: bytes, *, logged: bool = True) -> list[Key]:
        """Count a failure for ``keys``. Returns those for which it is not a repetition."""
        counted = [key for key in keys if key.kind is not Counted.ADDRESS or not self._repeated(key, guess)]
        for key in counted:
            self._count(key, logged=logged)
        return counted

    def _drop(self, keys: Sequence[Key]) -> None:
        for key in keys:
            self._store.drop(key)
        self._peers.dropped(keys)
        if self._nodes is not None:
            self._nodes.drop(keys)

    def _count(self, key: Key, *, logged: bool) -> None:
        now = self._clock.seconds()
        found = self._current(key, now)
        allowed = self._limit(key)
        failures = 1 if found is None else found.failures + 1
        if found is not None and key.kind is Counted.ADDRESS and found.failures < allowed:
            failures = 1 + max(0, found.failures - int((now - found.last) * allowed / FORGOTTEN_AFTER))
        delay = lockout(failures, allowed)
        if delay and logged:
            _log.warn(
                "{failures} {wrong} for {key}: further ones are refused for {delay} s",
                failures=failures,
                wrong=key.kind.wrong,
                key=str(key),
                delay=int(delay),
            )
        self._store.keep(key, Attempts(failures, now, now + delay if delay else 0.0))

    # -- from other worker processes

    def heard_failure(self, keys: Iterable[Key], guess: bytes) -> None:
        """Another worker has found a password wrong (`AttemptPeers.failed`)."""
        self._failed((key for key in keys if self._allowed[key.kind]), guess, logged=False)

    def heard_drop(self, keys: Iterable[Key]) -> None:
        """Another worker has dropped counts."""
        for key in keys:
            self._store.drop(key)

    def worst(self, most: int) -> list[tuple[Key, Attempts]]:
        """Counts for a worker that starts: the ``most`` with the most failures."""
        now = self._clock.seconds()
        counts = ((key, one) for key, one in self._store.items() if not one.forgotten(now))
        return nlargest(most, counts, key=lambda item: item[1].failures)

    def merge(self, counts: Iterable[tuple[Key, Attempts]]) -> None:
        """Add what another worker had counted when this one started."""
        for key, one in counts:
            own = self._store.find(key) or one
            merged = Attempts(max(own.failures, one.failures), max(own.last, one.last), max(own.until, one.until))
            self._store.keep(key, merged)

    # -- from other machines

    async def _ask(self, nodes: Nodes, keys: Sequence[Key]) -> None:
        for key, count in await nodes.find(keys):
            self._learn(key, count)

    def _learn(self, key: Key, count: Count) -> None:
        """Use the count of all machines, if it is higher than this one's, or if they have dropped this one's."""
        now, own = self._clock.seconds(), self._store.find(key)
        if own is not None and count.dropped is not None and own.last <= now - count.dropped:
            self._store.drop(key)
        if count.failures:
            last, delay = now - count.age, lockout(count.failures, self._limit(key))
            self.merge([(key, Attempts(count.failures, last, last + delay if delay else 0.0))])

    # -- for the operator

    def refused(self) -> Iterator[tuple[Key, Attempts]]:
        """What is locked out, or would be at the next wrong password: the longest lockout first."""
        now = self._clock.seconds()
        found = [(key, one) for key, one in self._store.items() if self._refuses(key, one) and not one.forgotten(now)]
        yield from sorted(found, key=lambda item: -item[1].until)

    def _refuses(self, key: Key, attempts: Attempts) -> bool:
        return 0 < self._limit(key) <= attempts.failures

    async def learn_named(self, text: str, names: Iterable[tuple[str, str]]) -> None:
        """Ask the other machines for their counts before `release`, which gets the same arguments. Never raises."""
        if self._nodes is not None:
            await self._ask(self._nodes, self._named(text, names))

    def release(self, text: str, names: Iterable[tuple[str, str]]) -> list[Key]:
        """Forget the wrong passwords for ``names``, the wrong codes for ``text`` and, if that is an address, those from there.

        Returns what was forgotten.
        """
        keys = self._named(text, names)
        found = [key for key in keys if self._store.find(key) is not None]
        self._drop(keys)
        return found

    def _named(self, text: str, names: Iterable[tuple[str, str]]) -> list[Key]:
        names = dict.fromkeys(names)
        keys = [Key(Counted.NAME, name, realm) for realm, name in names]
        with contextlib.suppress(ValueError):
            keys.append(Key(Counted.ADDRESS, address_block(text)))
        codes = {Key(Counted.FACTOR, text, realm): None for realm, _ in names}
        codes.update((key, None) for key, _ in self._store.items() if key.kind is Counted.FACTOR and key.value == text)
        return [*keys, *codes]


def address_block(address: str) -> str:
    """The network that stands for a client: its IPv4 address, or the /64 of its IPv6 address. Raises ValueError.

    The clients of unix sockets have no addresses, so one word stands for all of them.
    """
    if address == UNIX_PEER:
        return address
    parsed = ip_address(address.partition("/")[0])
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"

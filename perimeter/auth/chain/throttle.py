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
from collections.abc import Iterable, Iterator
from enum import StrEnum
from ipaddress import IPv6Address, ip_address
from math import ceil

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import Interface, implementer

from perimeter.errors import TooManyAttempts
from perimeter.recent import Recent

_log = Logger()

LONGEST_DELAY = 900.0
"""Seconds of the longest lockout."""

FORGOTTEN_AFTER = 900.0
"""Seconds without a wrong password, after the lockout has ended, until the count is forgotten."""

CAPACITY = 100_000
"""Names and addresses that are remembered: those with the latest wrong passwords."""

REPEATED = 20_000
"""Wrong passwords from an address that are remembered by their digest: those that came last."""


class Counted(StrEnum):
    """The key of a count of wrong passwords."""

    NAME = "name"
    ADDRESS = "address"


@attrs.frozen
class Key:
    """One counter; ``realm`` is "" for an address."""

    kind: Counted
    value: str
    realm: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.value!r}" + (f" of realm {self.realm}" if self.realm else "")


@attrs.frozen
class Attempts:
    """Wrong passwords so far. Times are seconds since the epoch; ``until`` is the end of the lockout, 0 if there is none."""

    failures: int
    last: float
    until: float

    def forgotten(self, now: float) -> bool:
        """Whether this is too old to count."""
        return now >= max(self.last, self.until) + FORGOTTEN_AFTER


class IAttemptStore(Interface):
    """Keeps the counts. No method blocks: a store that several processes share keeps a replica in each."""

    def find(key: Key) -> Attempts | None:
        """The count of ``key``, if there is one."""

    def keep(key: Key, attempts: Attempts) -> None:
        """Replace the count of ``key``."""

    def drop(key: Key) -> None:
        """Forget ``key``."""

    def items() -> Iterable[tuple[Key, Attempts]]:
        """All counts."""


@implementer(IAttemptStore)
class MemoryAttempts:
    """Counts in the memory of this process, at most ``capacity`` of them."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._attempts: Recent[Key, Attempts] = Recent(capacity)

    def find(self, key: Key) -> Attempts | None:
        """See `IAttemptStore`."""
        return self._attempts.get(key)

    def keep(self, key: Key, attempts: Attempts) -> None:
        """See `IAttemptStore`. The count that has not changed for the longest time is dropped if there are too many."""
        self._attempts.keep(key, attempts)

    def drop(self, key: Key) -> None:
        """See `IAttemptStore`."""
        self._attempts.pop(key, None)

    def items(self) -> list[tuple[Key, Attempts]]:
        """See `IAttemptStore`."""
        return list(self._attempts.items())


class Attempt:
    """A password that is being verified. Exactly one of its methods is called at the end."""

    __slots__ = ("_guess", "_keys", "_throttle")

    def __init__(self, throttle: Throttle, keys: tuple[Key, ...], guess: bytes) -> None:
        self._throttle = throttle
        self._keys = keys
        self._guess = guess

    def failed(self) -> None:
        """The password was wrong, or no authenticator knew the name."""
        self._throttle._landed(self._keys)
        for key in self._keys:
            if key.kind is Counted.NAME or not self._throttle._repeated(key, self._guess):
                self._throttle._count(key)

    def succeeded(self, realm: str) -> None:
        """The password was right, for a user of ``realm``: the count of that name is dropped.

        The count of the address stays: a client with one good password could otherwise guess others for ever.
        """
        self._throttle._landed(self._keys)
        for key in self._keys:
            if key.kind is Counted.NAME and key.realm == realm:
                self._throttle._store.drop(key)

    def undecided(self) -> None:
        """It could not be found out."""
        self._throttle._landed(self._keys)


class Throttle:
    """Locks a name out after ``allowed`` wrong passwords, and an address after ``allowed_from_address``; 0: never."""

    def __init__(self, allowed: int, store: IAttemptStore, clock: IReactorTime, *, allowed_from_address: int) -> None:
        self._allowed = {Counted.NAME: allowed, Counted.ADDRESS: allowed_from_address}
        self._store = store
        self._clock = clock
        self._flying: Counter[Key] = Counter()
        self._guesses: Recent[tuple[Key, bytes], None] = Recent(REPEATED)

    def admit(self, names: Iterable[tuple[str, str]], address: str, guess: bytes = b"") -> Attempt:
        """Let a password be verified for ``names`` (pairs of realm and canonical name), sent from the canonical ``address``.

        ``guess`` is a digest of name and password; b"" if each password counts. Raises `TooManyAttempts`.
        """
        keys = tuple({Key(Counted.NAME, name, realm): None for realm, name in names})
        if address:
            keys += (Key(Counted.ADDRESS, address_block(address)),)
        keys = tuple(key for key in keys if self._allowed[key.kind])
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
        flying, allowed = self._flying[key], self._allowed[key.kind]
        if found is not None and now < found.until:
            raise TooManyAttempts(f"{failures} wrong passwords for this {key.kind}", retry_after=ceil(found.until - now))
        # Simultaneous guesses for one name count before they are found wrong. For an address, which many people may share, that
        # holds only after it has sent too many wrong passwords.
        if flying and (failures >= allowed or (key.kind is Counted.NAME and failures + flying >= allowed)):
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

    def _count(self, key: Key) -> None:
        now = self._clock.seconds()
        found = self._current(key, now)
        allowed = self._allowed[key.kind]
        failures = 1 if found is None else found.failures + 1
        if found is not None and key.kind is Counted.ADDRESS and found.failures < allowed:
            failures = 1 + max(0, found.failures - int((now - found.last) * allowed / FORGOTTEN_AFTER))
        until = 0.0
        if failures >= allowed:
            # The exponent is bounded; otherwise a patient guesser would make it compute ever larger numbers.
            delay = min(LONGEST_DELAY, 2.0 ** min(failures - allowed, 16))
            until = now + delay
            _log.warn(
                "{failures} wrong passwords for {key}: further ones are refused for {delay} s",
                failures=failures,
                key=str(key),
                delay=int(delay),
            )
        self._store.keep(key, Attempts(failures, now, until))

    # -- for the operator

    def refused(self) -> Iterator[tuple[Key, Attempts]]:
        """What is locked out, or would be at the next wrong password: the longest lockout first."""
        now = self._clock.seconds()
        found = [(key, one) for key, one in self._store.items() if self._refuses(key, one) and not one.forgotten(now)]
        yield from sorted(found, key=lambda item: -item[1].until)

    def _refuses(self, key: Key, attempts: Attempts) -> bool:
        allowed = self._allowed[key.kind]
        return 0 < allowed <= attempts.failures

    def release(self, text: str, names: Iterable[tuple[str, str]]) -> list[Key]:
        """Forget the wrong passwords for ``names`` and, if ``text`` is an address, those from there.

        Returns what was forgotten.
        """
        keys = [Key(Counted.NAME, name, realm) for realm, name in dict.fromkeys(names)]
        with contextlib.suppress(ValueError):
            keys.append(Key(Counted.ADDRESS, address_block(text)))
        found = [key for key in keys if self._store.find(key) is not None]
        for key in found:
            self._store.drop(key)
        return found


def address_block(address: str) -> str:
    """The network that stands for a client: its IPv4 address, or the /64 of its IPv6 address. Raises ValueError."""
    parsed = ip_address(address.partition("/")[0])
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"

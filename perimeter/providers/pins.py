"""User names of providers' users, each bound to one identity at its provider, as one kind of state.

Many providers let their users choose the name or the mail address that the gateway takes for the user name. What a provider never
gives to another user is the subject. The first sign-in binds the name to issuer and subject; another subject with that name is
refused until the operator releases the name (attack O4). Names are compared without case, and in their compatibility form (NFKC),
because services may not distinguish them either.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred

from perimeter.errors import NameConflict, Overloaded, Unavailable
from perimeter.state.changes import Change
from perimeter.state.kinds import Codec, Execute, Kind
from perimeter.state.once import Claims
from perimeter.state.writer import ChangeWriter, look

MOST_PINS: Final = 200_000
"""Names that may be bound."""

CLAIM_TIME: Final = 15.0
"""Seconds for which, at least, one worker alone may bind a name; at most twice as many."""


@attrs.frozen(slots=True)
class Pin(Change):
    """``username`` in ``realm`` belongs to ``subject`` of ``issuer``, since ``created`` (epoch seconds)."""

    realm: str
    username: str
    issuer: str
    subject: str
    created: float

    @property
    def adds(self) -> bool:
        """True: a name is bound once that is written."""
        return True

    def is_of(self, issuer: str, subject: str) -> bool:
        """Whether the name belongs to this identity."""
        return (self.issuer, self.subject) == (issuer, subject)


@attrs.frozen(slots=True)
class ReleasedName(Change):
    """``username`` in ``realm`` belongs to no identity any more."""

    realm: str
    username: str


Key = tuple[str, str]
"""Realm, and name as names are compared."""


def compared(username: str) -> str:
    """``username`` as names are compared."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", username).casefold())


def _key(realm: str, username: str) -> Key:
    return realm, compared(username)


class StoredPins:
    """The names that are bound (`perimeter.state.kinds.View`)."""

    def __init__(self, writer: ChangeWriter) -> None:
        self._writer = writer
        self._pins: dict[Key, Pin] = {}

    # -- View

    def index(self, changes: Iterable[Change]) -> dict[Key, Pin]:
        """A new index of ``changes``."""
        pins: dict[Key, Pin] = {}
        for change in changes:
            _apply(pins, change)
        return pins

    def replace(self, index: dict[Key, Pin]) -> None:
        """Use ``index`` from now on."""
        self._pins = index

    def apply(self, change: Change) -> None:
        """Put one change in force."""
        _apply(self._pins, change)

    def removed(self) -> None:
        """Nothing remembers pins."""

    def forget(self, now: float) -> None:
        """Nothing: a name stays bound."""

    # -- pins

    def of(self, realm: str, username: str) -> Pin | None:
        """The identity to which a name is bound, if it is."""
        return self._pins.get(_key(realm, username))

    def all(self) -> list[Pin]:
        """All names that are bound, by realm and name."""
        return sorted(self._pins.values(), key=lambda pin: (pin.realm, pin.username))

    def news(self) -> Deferred[None] | None:
        """See `perimeter.state.writer.Follows`."""
        return self._writer.catch_up()

    async def bind(self, claims: Claims, realm: str, username: str, issuer: str, subject: str) -> Pin:
        """Let the name belong to this identity, as it may already.

        Raises `NameConflict` if it belongs to another one, `Overloaded` if there are too many names, and `Unavailable` if it
        cannot be bound now, also because another worker is binding it.
        """
        pin = self.of(realm, username)
        if pin is None:
            pin = await self._bind_first(claims, realm, username, issuer, subject)
        if not pin.is_of(issuer, subject):
            raise NameConflict("the name belongs to another identity since its first sign-in: see perimeter identity list")
        return pin

    async def _bind_first(self, claims: Claims, realm: str, username: str, issuer: str, subject: str) -> Pin:
        """The pin of a name that this process does not know: of another process, or made now."""
        await look(self)
        found = self.of(realm, username)
        if found is not None:
            return found
        if len(self._pins) >= MOST_PINS:
            raise Overloaded("too many user names are bound to identities of providers")
        now = self._writer.seconds()
        # For this interval and the next one, so that a claim a moment later, in the next interval, fails too.
        for interval in (int(now // CLAIM_TIME), int(now // CLAIM_TIME) + 1):
            name = json.dumps(["provider name", *_key(realm, username), interval]).encode("ascii")
            if not await claims.claim(name, (interval + 1) * CLAIM_TIME):
                raise Unavailable("another sign-in with this user name is under way", retry_after=int(2 * CLAIM_TIME))
        found = self.of(realm, username)  # the claim may have waited for the one that was first
        if found is None:
            found = Pin(realm, username, issuer, subject, now)
            await self._writer.add(found)
        return found

    async def release(self, realm: str, username: str) -> Pin | None:
        """Release the name. Returns what it was bound to; None if it was not. Raises `Unavailable`."""
        pin = self.of(realm, username)
        if pin is None:
            await look(self)
            pin = self.of(realm, username)
        if pin is not None:
            await self._writer.remove(ReleasedName(pin.realm, compared(pin.username)))
        return pin


def _apply(pins: dict[Key, Pin], change: Change) -> None:
    if isinstance(change, Pin):
        pins.setdefault(_key(change.realm, change.username), change)
    elif isinstance(change, ReleasedName):
        pins.pop((change.realm, change.username), None)


_TABLE: Final = """
CREATE TABLE provider_name (
    realm TEXT NOT NULL, compared TEXT NOT NULL, username TEXT NOT NULL, issuer TEXT NOT NULL, subject TEXT NOT NULL,
    created REAL NOT NULL, PRIMARY KEY (realm, compared)
) WITHOUT ROWID;
"""


class PinTable:
    """`perimeter.state.kinds.Table` of names."""

    migrations: Sequence[str] = (_TABLE,)

    def load(self, execute: Execute) -> Iterator[Change]:
        """All names."""
        for row in execute("SELECT realm, username, issuer, subject, created FROM provider_name"):
            yield Pin(*row)

    def write(self, execute: Execute, change: Change) -> None:
        """Apply one change."""
        if isinstance(change, Pin):
            row = (change.realm, compared(change.username), change.username, change.issuer, change.subject, change.created)
            execute("INSERT OR IGNORE INTO provider_name VALUES (?, ?, ?, ?, ?, ?)", row)
        elif isinstance(change, ReleasedName):
            execute("DELETE FROM provider_name WHERE realm = ? AND compared = ?", (change.realm, change.username))

    def forget(self, execute: Execute, now: float) -> None:
        """Nothing: a name stays bound."""


CODECS: Final[Mapping[str, Codec[Any]]] = {
    "provider_name": Codec(Pin, lambda pin: json.dumps(attrs.astuple(pin)), lambda text: Pin(*json.loads(text))),
    "provider_name_released": Codec(
        ReleasedName, lambda name: json.dumps(attrs.astuple(name)), lambda text: ReleasedName(*json.loads(text))
    ),
}
"""By the word in the log."""

PINS: Final = Kind("provider_names", CODECS, PinTable(), StoredPins)

"""The announcement that the machines of a site have other signing keys, as a change in their common log.

The keys are not in it: a machine gets them from where they are shared (`perimeter.cluster.keys`). Without other machines there
are no such changes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import attrs

from perimeter.state.changes import Change
from perimeter.state.kinds import Codec, Execute, Kind
from perimeter.state.writer import ChangeWriter


@attrs.frozen(slots=True)
class KeysChanged(Change):
    """The keys of all machines are those with this `perimeter.tokens.key_file.KeySet.order`, or later ones."""

    epoch: int
    number: int

    @property
    def adds(self) -> bool:
        """True: it takes nothing away. Machines that do not hear of it look for other keys from time to time."""
        return True

    @property
    def passing(self) -> bool:
        """True, for the same reason."""
        return True


class KeyNews:
    """Calls `heard` at each announcement (`perimeter.state.kinds.View`). Keeps nothing."""

    def __init__(self, writer: ChangeWriter) -> None:
        self._writer = writer
        self.heard: Callable[[], object] = _ignore

    def announce(self, epoch: int, number: int) -> None:
        """Let the other machines know of the keys of this order. If it fails, they find the keys later by themselves."""
        self._writer.add(KeysChanged(epoch, number)).addErrback(lambda _: None)

    def index(self, changes: Iterable[Change]) -> None:
        """Nothing."""

    def replace(self, index: None) -> None:
        """Announcements may have been missed."""
        self.heard()

    def apply(self, change: Change) -> None:
        """There are other keys."""
        self.heard()

    def removed(self) -> None:
        """Nothing is remembered."""

    def forget(self, now: float) -> None:
        """Nothing to drop."""


def _ignore() -> None:
    """Look for no keys."""


class NoTable:
    """`perimeter.state.kinds.Table` of announcements, which are in the log only."""

    migrations: Sequence[str] = ()

    def load(self, execute: Execute) -> Iterator[Change]:
        """Nothing."""
        return iter(())

    def write(self, execute: Execute, change: Change) -> None:
        """Nothing to write."""

    def forget(self, execute: Execute, now: float) -> None:
        """Nothing to delete."""


def _encode(change: KeysChanged) -> str:
    return json.dumps([change.epoch, change.number])


def _decode(text: str) -> KeysChanged:
    epoch, number = json.loads(text)
    if not (type(epoch) is type(number) is int):
        raise ValueError("not the number of keys")
    return KeysChanged(epoch, number)


KEY_NEWS: Final[Kind[KeyNews]] = Kind("keyring", {"keys_changed": Codec(KeysChanged, _encode, _decode)}, NoTable(), KeyNews)
"""Announcements of other signing keys."""

"""Changes of the state: the unit that is written, logged, and followed by other processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import attrs


class Change:
    """One change of one kind of state. Subclasses are frozen values; each kind brings its own (`perimeter.state.kinds.Kind`)."""

    __slots__ = ()

    @property
    def adds(self) -> bool:
        """Whether the change gives something: it is in force once it is written. All other changes are in force at once."""
        return False

    @property
    def passing(self) -> bool:
        """Whether a power failure may lose the change. Such a change cuts no connection, either."""
        return False


@attrs.frozen
class Extent(Change):
    """How many records of a kind a store has (``count``). Up to ``whole_up_to`` all follow, and none of more. A negative
    ``whole_up_to`` means that none ever follow: they are in Redis.

    It is no change: it comes before all others of a kind whose records can be looked up, and is never written.
    """

    count: int
    whole_up_to: int

    @property
    def whole(self) -> bool:
        """Whether all records follow."""
        return self.count <= self.whole_up_to


Held: TypeAlias = Mapping[str, Sequence[Change]]
"""The contents of a store by kind, as the changes that lead to it from nothing, in the order in which they are to be applied."""

Cursor: TypeAlias = int
"""Position in the change log of a store: the number of the last change that was read. Each change counts 1."""


@attrs.frozen
class Gap:
    """The log does not reach back to the cursor. The reader has to load everything."""

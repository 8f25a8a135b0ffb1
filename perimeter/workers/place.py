"""The place of a worker process among the others: its slot on the shared page, and the channel to the other workers.

Messages go through the manager, which passes them on without reading them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from perimeter.workers.channel import Channel, Handler
from perimeter.workers.page import SharedPage, Slot


@attrs.frozen
class Reply:
    """The answer of the worker of ``slot``: a value, or the text of a refusal; ``late`` if it has not answered in time."""

    slot: int
    value: Any = None
    refused: str = ""
    late: bool = False


@attrs.frozen(eq=False)
class Place:
    """Slot ``number`` of ``page``, and the ``channel`` to the manager.

    ``handlers`` are the channel's: a part of the worker that answers questions of the others adds its own by name.
    """

    number: int
    page: SharedPage
    channel: Channel
    handlers: dict[str, Handler]

    @property
    def slot(self) -> Slot:
        """The row of this worker."""
        return self.page.slots[self.number]

    @property
    def leads(self) -> bool:
        """Whether this worker does the work that one worker does for all: it has the lowest number of the serving workers."""
        first = next(self.page.serving(), None)
        return first is not None and first.number == self.number

    def gather(self, name: str, timeout: float, /, **arguments: Any) -> Deferred[Sequence[Reply]]:
        """Ask all other serving workers the same question, for ``timeout`` seconds each. Fails as `Channel.ask` does."""
        asked = self.channel.ask("gather", timeout + 1.0, name=name, timeout=timeout, arguments=arguments)
        return asked.addCallback(_replies)

    def tell_others(self, name: str, /, **arguments: Any) -> None:
        """Send all other serving workers a message that needs no answer."""
        self.channel.tell("others", name=name, arguments=arguments)


def _replies(found: Sequence[Mapping[str, Any]]) -> Sequence[Reply]:
    return tuple(Reply(**one) for one in found)

"""Forwards questions of one worker to the others, and of the operator to one worker. The manager does not read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred, gatherResults

from perimeter.manager.child import Child
from perimeter.workers.channel import ChannelClosed, Handler, Refused

ANSWER: Final = 60.0
"""Seconds for the answer to a question of the operator."""

TURNS: Final = 0.5
"""Seconds in which a worker has to answer that it is alive. The operator's command waits only for a few seconds."""


class Relay:
    """Between the workers that ``serving`` returns. ``renewed`` is called if a worker finds renewed files."""

    def __init__(self, serving: Callable[[], list[Child]]) -> None:
        self._serving = serving
        self.renewed: Callable[[int, list[str]], None] = lambda generation, paths: None

    def handlers(self, child: Child) -> dict[str, Handler]:
        """Handlers for the questions and messages of ``child``."""

        async def gather(asked: Mapping[str, Any]) -> list[Mapping[str, Any]]:
            return await gatherResults([Deferred.fromCoroutine(_reply(other, asked)) for other in self._others(child)])

        def others(told: Mapping[str, Any]) -> None:
            for other in self._others(child):
                other.channel.tell(told["name"], **told["arguments"])

        def renewed(told: Mapping[str, Any]) -> None:
            self.renewed(told["generation"], told["paths"])

        return {"gather": gather, "others": others, "renewed": renewed}

    def _others(self, child: Child) -> list[Child]:
        return [other for other in self._serving() if other is not child]

    async def control(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """The answer of the first worker that serves, and does not hang. Raises ValueError with a text for the operator.

        The manager first checks that a worker is alive: a question that changes something must not go to two workers.
        """
        for child in self._serving():
            try:
                await child.channel.ask("turns", TURNS)
                return dict(await child.channel.ask("control", ANSWER, question=question))
            except Refused as error:
                raise ValueError(str(error)) from None
            except (ChannelClosed, TimeoutError):
                continue
        raise ValueError("no worker serves at the moment; try again")


async def _reply(child: Child, asked: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        value = await child.channel.ask(asked["name"], asked["timeout"], **asked["arguments"])
    except Refused as error:
        return {"slot": child.number, "refused": str(error)}
    except (ChannelClosed, TimeoutError):
        return {"slot": child.number, "late": True}
    return {"slot": child.number, "value": value}

"""Runs a coroutine of a command on a reactor."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def on_reactor(attempt: Callable[[Any], Coroutine[Any, Any, T]], failed: T) -> T:
    """The result of ``attempt``, on a reactor that runs until it ends; ``failed`` if it has raised, which is printed then."""
    from twisted.internet.defer import Deferred
    from twisted.internet.task import react

    outcome: list[T] = []

    async def trying(reactor: Any) -> None:
        outcome.append(await attempt(reactor))

    with contextlib.suppress(SystemExit):
        react(lambda reactor: Deferred.fromCoroutine(trying(reactor)), ())
    return outcome[0] if outcome else failed

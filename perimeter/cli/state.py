"""The state for commands: through the running gateway, or in its database if the gateway is stopped."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from perimeter.auth.text import unfit_for_name
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.perimeter import StateKind
from perimeter.errors import StartupError, Unavailable
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.run.control import NoGateway, ask
from perimeter.state.direct import DirectState
from perimeter.state.sqlite import NAME as DATABASE
from perimeter.state.sqlite import SqliteStore

Ask = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Asks what `perimeter.run.operations.answer` answers. Raises `StartupError`."""

Answer = Callable[[SiteConfig | None, DirectState, Mapping[str, Any]], Mapping[str, Any]]
"""The answer to the same question without a gateway. Raises `StartupError`."""


@contextlib.contextmanager
def gateway_or_store(directory: Path, site: SiteConfig | None, answer: Answer) -> Iterator[Ask]:
    """The way to the state: through the gateway if one runs, else in the store, by ``answer``. Raises `StartupError`."""
    try:
        ask(directory, {"command": "status", "brief": True})
    except NoGateway:
        if site is None and not (directory / DATABASE).exists():
            raise
        if site is not None and site.perimeter.state is not StateKind.SQLITE:
            raise StartupError(
                f"no gateway is running with state_dir {directory}, and with state = memory nothing is stored"
            ) from None
        store = SqliteStore(directory, STATE_KINDS)
        try:
            yield partial(answer, site, DirectState(store, STATE_KINDS, time.time))
        finally:
            store.close()
    else:
        yield partial(ask, directory)


def print_all(ask: Ask, question: Mapping[str, Any]) -> None:
    """Print what the command of ``question`` lists, each as a line of JSON. The answer comes in pages. Raises `StartupError`."""
    first: int | None = 0
    while first is not None:
        answer = ask({**question, "first": first})
        for one in answer[question["command"]]:
            click.echo(json.dumps(one))
        first = answer["next"]


def written(work: Awaitable[Any]) -> Any:
    """The result of ``work`` on a `DirectState`, which writes at once. Raises `StartupError`."""

    async def waiting() -> Any:
        return await work

    results: list[Any] = []
    Deferred.fromCoroutine(waiting()).addBoth(results.append)
    (result,) = results
    if isinstance(result, Failure):
        result.trap(ValueError, Unavailable)
        raise StartupError(str(result.value))
    return result


def check_owner(user: str | None, realm: str | None) -> None:
    """Refuse names that no user or realm can have."""
    for option, value in (("--user", user), ("--realm", realm)):
        if value is not None and (not value or unfit_for_name(value)):
            raise click.BadParameter("expected a name without control characters", param_hint=option)

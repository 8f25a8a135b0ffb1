"""The state for commands: through the running gateway, or in its database if the gateway is stopped (`perimeter.cli.store`)."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import click

from perimeter.cli.site import Ask, Site


@contextlib.contextmanager
def gateway_or_store(site: Site) -> Iterator[Ask]:
    """The way to the state: through the gateway if one runs, else in the store. Raises `perimeter.errors.StartupError`."""
    from perimeter.run.asking import NoGateway

    try:
        site.ask({"command": "status", "brief": True})
    except NoGateway as nothing:
        from perimeter.cli.store import opened

        with opened(site.directory, site.whole(), nothing) as ask:
            yield ask
    else:
        yield site.ask


def pages(ask: Ask, question: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What the command of ``question`` lists, one by one. The answer comes in pages. Raises `perimeter.errors.StartupError`."""
    first: int | None = 0
    while first is not None:
        answer = ask({**question, "first": first})
        yield from answer[question["command"]]
        first = answer["next"]


def print_lines(ask: Ask, question: Mapping[str, Any]) -> None:
    """Print what the command of ``question`` lists, each as a line of JSON. Raises `perimeter.errors.StartupError`."""
    for one in pages(ask, question):
        click.echo(json.dumps(one))

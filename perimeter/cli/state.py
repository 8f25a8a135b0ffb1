"""The state for commands: through the running gateway, or in its database if the gateway is stopped (`perimeter.cli.store`)."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import click

from perimeter.cli.site import Ask, Site, print_text
from perimeter.cli.table import columns

Row = Callable[[Mapping[str, Any]], Sequence[object]]
"""The cells of one thing that is listed."""


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


def print_list(ask: Ask, question: Mapping[str, Any], as_json: bool, heading: Sequence[str], row: Row) -> None:
    """Print what the command of ``question`` lists: as a table, or as a line of JSON each. Raises `StartupError`.

    ``row`` gives the cells below ``heading``.
    """
    found = pages(ask, question)
    if as_json:
        for one in found:
            click.echo(json.dumps(one))
        return
    rows = [row(one) for one in found]
    if rows:
        print_text("\n".join(columns([heading, *rows])))
    else:
        click.echo(f"there are no {question['command']}", err=True)

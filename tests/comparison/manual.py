"""Writes the page that lists the differences: ``python -m tests.comparison.manual docs/reference/auth-o-tron.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.auth_o_tron import CRATE, VERSION
from tests.comparison.differences import GROUPS, READ
from tests.comparison.judge import Difference, OneOf
from tests.comparison.requests import REQUESTS

INTRODUCTION = f"""\
# Auth-o-tron and Perimeter, answer by answer

Auth-o-tron itself (the crate `{CRATE}` {VERSION}) and a Perimeter that was configured from the same file by `perimeter import`
get the same {len(REQUESTS)} requests. Status, challenges, the headers that a proxy passes on, the body, and every claim of the
token are the same, except for the differences on this page. Each has its reason.

`tox -e auth-o-tron` runs the comparison. It fails if there is any other difference, or if a difference on this page no longer
exists. The first run builds Auth-o-tron with cargo, which takes a quarter of an hour.

[How to replace Auth-o-tron](../how-to/auth-o-tron.md) describes the migration.
"""


def page() -> str:
    """The whole page, as Markdown."""
    return "\n".join([INTRODUCTION, *_differences(), *_read(), *_asked()])


def _differences() -> Iterator[str]:
    shown: set[str] = set()
    for title, group in GROUPS:
        yield f"## {title}\n\n| | Auth-o-tron | Perimeter | why |\n|---|---|---|---|"
        for one in group:
            # a difference that is the same in several scenes is shown once
            if one.title not in shown:
                shown.add(one.title)
                yield f"| {one.title} | {_side(one, 0)} | {_side(one, 1)} | {one.why} |"
        yield ""


def _side(difference: Difference, index: int) -> str:
    parts = []
    for facet, pair in difference.facets.items():
        if facet == "status":
            parts.append(_value(pair[index]))
        else:
            parts.append(f"no {facet}" if pair[index] is None else f"{facet}: {_value(pair[index])}")
    return "<br>".join(parts).replace("|", "\\|")


def _value(value: Any) -> str:
    if isinstance(value, OneOf):
        return " or ".join(_value(one) for one in value.values)
    if isinstance(value, list):
        return ", ".join(map(_value, value)) or "none"
    if isinstance(value, dict):
        return " ".join(map(_value, value.values()))
    return "none" if value is None else "empty" if value == "" else str(value) if isinstance(value, int) else f"`{value}`"


def _read() -> Iterator[str]:
    yield "## Differences that no request shows\n\nThese were found in Auth-o-tron's source.\n"
    yield "| | Auth-o-tron | Perimeter | why |\n|---|---|---|---|"
    for one in READ:
        yield f"| {one.title} | {one.theirs} | {one.ours} | {one.why} |"
    yield ""


def _asked() -> Iterator[str]:
    yield "## The requests\n\n| | |\n|---|---|"
    groups: dict[str, list[str]] = {}
    for request in REQUESTS:
        group, _, name = request.name.partition("/")
        groups.setdefault(group, []).append(name)
    for group, names in groups.items():
        yield f"| {group} | {'; '.join(names)} |"
    yield ""


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")

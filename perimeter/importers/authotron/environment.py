"""Auth-o-tron's environment: ``AOT_JWT__ISS=…`` stands in place of ``jwt.iss`` of its file. Pure.

A value that is not known here (a reference to a secret, a list) makes the value of the file unknown too: it is not in force in
Auth-o-tron, so it must not be here (attack 75).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import attrs

from perimeter.importers.draft import Draft, Note
from perimeter.importers.yaml_tree import Value

PREFIX = "AOT_"
_PATH_OF_FILE = "AOT_CONFIG_PATH"
_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=(.*)")
_QUOTED = re.compile(r"""(["'])(.*)\1""")


@attrs.frozen
class Override:
    """A variable. ``value`` is None if it is not known here."""

    name: str
    value: str | None = attrs.field(repr=False)
    file: str
    line: int


def looks_like(text: str) -> bool:
    """Whether these are lines of NAME=VALUE with Auth-o-tron's variables."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return any(line.strip().removeprefix("export").lstrip().startswith(PREFIX) for line in lines) and all(map(_LINE.match, lines))


def read(text: str, file: str) -> list[Override]:
    """The variables of an environment file. A value that a shell would compute is not known."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        match = _LINE.match(line)
        if match is not None and match[1].startswith(PREFIX) and not line.lstrip().startswith("#"):
            found.append(Override(match[1], _plain(match[2].strip()), file, number))
    return found


def of_container(listed: Sequence[Value], file: str) -> list[Override]:
    """The variables of a container in Kubernetes: a list of ``name`` with ``value``, or with a reference to a secret."""
    found = []
    for one in listed:
        name = one.table["name"].text if "name" in one.table else None
        if name is not None and name.startswith(PREFIX):
            value = one.table.get("value")
            found.append(Override(name, None if value is None or "$(" in value.raw else value.raw, file, one.line))
    return found


def applied(document: Value, overrides: Iterable[Override], draft: Draft) -> Value:
    """The configuration with the variables in place of its values."""
    for one in overrides:
        keys = [key.lower() for key in one.name.removeprefix(PREFIX).split("__")]
        if one.name == _PATH_OF_FILE or not all(keys):
            continue
        value = Value(one.line, _data(one.value), one.value or "", one.file)
        if one.value is None or one.value.startswith(("[", "{")):
            value = Value(one.line, None, "", one.file)
            draft.left(Note(one.file, one.line, one.name), f"{one.name}: its value is not here: set what is in its place by hand")
        document = _with(document, keys, value)
    return document


def _with(outer: Value, keys: Sequence[str], value: Value) -> Value:
    """``outer`` with a value at a path. Where there is something other than a mapping on the way, it is no longer in force."""
    first, *rest = keys
    inside = outer.table.get(first, Value(value.line, {}, "", value.file))
    if not rest:
        return attrs.evolve(outer, data={**outer.table, first: value})
    if not isinstance(inside.data, dict):
        return attrs.evolve(outer, data={**outer.table, first: Value(value.line, None, "", value.file)})
    return attrs.evolve(outer, data={**outer.table, first: _with(inside, rest, value)})


def _plain(text: str) -> str | None:
    match = _QUOTED.fullmatch(text)
    if match is not None:
        text = match[2]
    if match is None or match[1] == '"':
        return None if "$" in text or "`" in text else text
    return text


def _data(text: str | None) -> object:
    return {"true": True, "false": False}.get(text or "", text)

"""YAML with the line of each value. Pure.

There are limits: no aliases (a few lines of them expand to gigabytes), and a bounded depth and size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import yaml

from perimeter.importers.draft import ImportFault

MAX_SIZE = 1 << 20
MAX_DEPTH = 20
MAX_EVENTS = 150_000
"""A scalar is one event, a list or a mapping two more than its items: enough for ten thousand users, read in a few seconds."""


@attrs.frozen
class Value:
    """A value with its line. ``data`` is a scalar, a list of values, or a mapping's values by name. ``raw`` is a scalar as it is
    written, because a password ``yes`` or ``007`` must not change; it is "" for null, which is no text. ``file`` is set for a
    value that came from another file than its neighbours."""

    line: int
    data: Any = attrs.field(repr=False)
    raw: str = attrs.field(default="", repr=False)
    file: str = ""

    @property
    def text(self) -> str | None:
        """A scalar as text, None for anything else. YAML's ``true`` becomes ``yes``, ``false`` becomes ``no``."""
        if self.data is None or isinstance(self.data, dict | list):
            return None
        if isinstance(self.data, bool):
            return "yes" if self.data else "no"
        return str(self.data)

    @property
    def table(self) -> dict[str, Value]:
        """The entries of a mapping; empty for anything else."""
        return self.data if isinstance(self.data, dict) else {}

    @property
    def items(self) -> list[Value]:
        """The items of a list; empty for anything else."""
        return self.data if isinstance(self.data, list) else []


class _Refused(Exception):
    def __init__(self, mark: Any, message: str) -> None:
        super().__init__(message)
        self.line = mark.line + 1
        self.message = message


def read(text: str, file: str, above: int = 0) -> Value:
    """The one document in ``text``, which has ``above`` lines above it in its file. Raises `ImportFault`."""
    found = read_all(text, file, above)
    if len(found) != 1:
        raise ImportFault(file, 0, "empty" if not found else "not YAML: expected one document")
    return found[0]


def read_all(text: str, file: str, above: int = 0) -> list[Value]:
    """The documents in ``text`` that are not empty. Raises `ImportFault`."""
    if len(text) > MAX_SIZE:
        raise ImportFault(file, 0, f"larger than {MAX_SIZE >> 20} MiB")
    try:
        _judge(yaml.parse(text, Loader=yaml.SafeLoader))
        loader = yaml.SafeLoader(text)
        try:
            found = []
            while loader.check_node():
                node = loader.get_node()
                assert node is not None
                found.append(_value(loader, node, above))
            return [one for one in found if one.data is not None]
        finally:
            loader.dispose()
    except _Refused as refused:
        raise ImportFault(file, refused.line + above, refused.message) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "not YAML"
        raise ImportFault(file, mark.line + 1 + above if mark else 0, f"not YAML: {problem}") from None
    except ValueError as error:  # an impossible number or date
        raise ImportFault(file, 0, f"not YAML: {type(error).__name__}") from None


def _judge(events: Iterator[Any]) -> None:
    """Refuse aliases and deep nesting before anything is built of them."""
    depth = 0
    for count, event in enumerate(events):
        if count > MAX_EVENTS:
            raise _Refused(event.start_mark, f"more than {MAX_EVENTS} values and brackets")
        if isinstance(event, yaml.AliasEvent):
            raise _Refused(event.start_mark, f"an alias (*{event.anchor}): write its value in its place")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise _Refused(event.start_mark, f"more than {MAX_DEPTH} levels deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _value(loader: yaml.SafeLoader, node: yaml.Node, above: int) -> Value:
    line = node.start_mark.line + 1 + above
    if node.tag not in _TAGS:
        raise _Refused(node.start_mark, f"the tag {node.tag} means nothing here")
    if isinstance(node, yaml.MappingNode):
        table: dict[str, Value] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _Refused(key.start_mark, "a key that is not text")
            if key.value in table:
                raise _Refused(key.start_mark, f"{key.value!r} is there twice")
            table[key.value] = _value(loader, value, above)
        return Value(line, table)
    if isinstance(node, yaml.SequenceNode):
        return Value(line, [_value(loader, item, above) for item in node.value])
    if node.tag == "tag:yaml.org,2002:null":
        return Value(line, None)
    if node.tag == "tag:yaml.org,2002:bool":
        return Value(line, loader.construct_object(node), node.value)
    # numbers and dates stay as they are written: versions, ports and passwords are not quantities
    return Value(line, node.value, node.value)


_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str", "int", "float", "bool", "null", "timestamp"))

"""Conditions of a route besides host and path: methods, headers, and parameters of the query."""

from __future__ import annotations

import re
from pathlib import Path

import attrs

from perimeter.config.language.datatypes import BadValue, Datatype, list_of
from perimeter.config.language.expressions import Expression, compiled

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_REGEX = "regex:"
_ANY = "*"
#: Headers with secrets, which would be in site.ini, and headers that name the host or the framing.
_REFUSED = frozenset(
    ("authorization", "proxy-authorization", "cookie", "host", "content-length", "transfer-encoding", "connection", "te")
)


@attrs.frozen
class Condition:
    """A header or a parameter ``name`` (of a header: in lower case) has ``value``, or any with None.

    With an ``expression``, which ``value`` is the text of, it matches the whole of the value.
    """

    name: str
    value: str | None = None
    expression: Expression | None = attrs.field(default=None, eq=False, repr=False)

    def accepts(self, value: bytes) -> bool:
        """Whether the header or parameter may have ``value``."""
        if self.expression is not None:
            return self.expression.fullmatch(value) is not None
        return self.value is None or value == self.value.encode("utf-8")

    @property
    def shown(self) -> str:
        """The value as it is written."""
        return _ANY if self.value is None else self.value if self.expression is None else _REGEX + self.value


def _condition(name: str, text: str) -> Condition:
    if text == _ANY:
        return Condition(name)
    if text.startswith(_REGEX):
        expression = text.removeprefix(_REGEX).strip()
        return Condition(name, expression, compiled(expression))
    return Condition(name, text)


def _header(text: str, base: Path) -> Condition:
    name, colon, value = (part.strip() for part in text.partition(":"))
    if not _TOKEN.fullmatch(name) or not colon or not value or not value.isascii() or not value.isprintable():
        raise BadValue("expected NAME: VALUE, NAME: regex:EXPRESSION or NAME: *")
    if name.lower() in _REFUSED:
        raise BadValue(f"a route cannot depend on {name}", complete=True)
    return _condition(name.lower(), value)


def _parameter(text: str, base: Path) -> Condition:
    name, equals, value = (part.strip() for part in text.partition("="))
    if not name or not equals or not (name + value).isprintable() or "%" in name:
        raise BadValue("expected NAME=VALUE, NAME=regex:EXPRESSION or NAME=*, without percent-encoding")
    return _condition(name, value)


def _method(text: str, base: Path) -> str:
    if not re.fullmatch("[A-Z][A-Z-]*", text):
        hint = text.upper() if re.fullmatch("[A-Za-z][A-Za-z-]*", text) else ""
        raise BadValue("expected a method in capital letters, such as GET", hint)
    return text


def _once(conditions: tuple[Condition, ...]) -> tuple[Condition, ...]:
    names = [one.name for one in conditions]
    for name in names:
        if names.count(name) > 1:
            raise BadValue(f"{name} is listed twice: write one regular expression")
    return conditions


METHODS: Datatype[tuple[str, ...]] = list_of(Datatype("method", _method, ""))
HEADERS: Datatype[tuple[Condition, ...]] = list_of(Datatype("header", _header, Condition("")), "\n", whole=_once)
QUERY: Datatype[tuple[Condition, ...]] = list_of(Datatype("parameter", _parameter, Condition("")), "\n", whole=_once)

"""Filters that an operator writes (RFC 4515), with places such as ``{username}`` for what is known at a login. Pure.

The text is parsed when the configuration is read. A name fills a place of the parsed filter, so no character in it has a meaning
there (attack 31).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping

import attrs

from perimeter.auth.kinds.ldap.values import (
    And,
    AtLeast,
    AtMost,
    Equal,
    Filter,
    Matching,
    Not,
    Or,
    Present,
    Similar,
    Substrings,
)

MAX_DEPTH = 20
"""Brackets in brackets that a filter may have."""

_DESCRIPTION = r"(?:[A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)+)"
_ITEM = re.compile(
    rf"(?P<attribute>{_DESCRIPTION}(?:;[A-Za-z0-9-]+)*)?"
    rf"(?:(?P<sign>=|>=|<=|~=)|(?P<in_name>:[dD][nN])?(?::(?P<rule>{_DESCRIPTION}))?:=)"
)
_VALUE = re.compile(r"[^()\0]*")
_BLANKS = re.compile(r"\s*")
_PIECES = re.compile(r"\{([^{}]*)\}")
_ESCAPE = re.compile(rb"\\([0-9A-Fa-f]{2})?")

_COMPARISONS: dict[str, Callable[[str, str], Filter]] = {"=": Equal, ">=": AtLeast, "<=": AtMost, "~=": Similar}


class FilterError(ValueError):
    """A text is not a filter. ``column`` counts from 1."""

    def __init__(self, message: str, column: int) -> None:
        super().__init__(message)
        self.message = message
        self.column = column


@attrs.frozen
class Place:
    """A place in a value, to be filled with what has this name."""

    name: str


Value = tuple[str | Place, ...]


@attrs.frozen
class Item:
    """A comparison with ``values``: a single one, or with a sign "=" those between the asterisks."""

    attribute: str
    sign: str
    values: tuple[Value, ...]
    rule: str = ""
    in_name: bool = False

    @property
    def places(self) -> frozenset[str]:
        """The names of the places."""
        return frozenset(piece.name for value in self.values for piece in value if isinstance(piece, Place))

    def filled(self, known: Mapping[str, str]) -> Filter:
        """The comparison with what is ``known``, which has all names of its places."""
        texts = tuple(
            "".join(known[piece.name] if isinstance(piece, Place) else piece for piece in value) for value in self.values
        )
        if not self.sign:
            return Matching(self.attribute, self.rule, texts[0], self.in_name)
        if len(texts) == 1:
            return _COMPARISONS[self.sign](self.attribute, texts[0])
        return Substrings(self.attribute, texts) if any(texts) else Present(self.attribute)


@attrs.frozen
class Group:
    """``sign`` is "&", "|" or "!" (with one part)."""

    sign: str
    parts: tuple[Item | Group, ...]


@attrs.frozen
class FilterTemplate:
    """A filter with places."""

    text: str
    root: Item | Group

    def needs(self, names: Collection[str]) -> bool:
        """Whether an entry matches only by a value with one of the places ``names``: in each alternative there is one."""
        return _needs(self.root, frozenset(names))

    def negates(self) -> bool:
        """Whether there is a place below a "not", where it would exclude entries instead of finding them."""
        return _negates(self.root, False)

    def has(self, name: str) -> bool:
        """Whether a place has this name."""
        return any(name in item.places for item in _items(self.root))

    def filled(self, known: Mapping[str, str], instead: Mapping[str, Filter] | None = None) -> Filter | None:
        """The filter with what is ``known``.

        ``instead`` has filters that stand for comparisons with a place of that name. A comparison with a place that neither of
        them has matches nothing, and is left out; None if nothing is left.
        """
        return _filled(self.root, known, instead or {})


def _items(node: Item | Group) -> list[Item]:
    return [node] if isinstance(node, Item) else [item for part in node.parts for item in _items(part)]


def _needs(node: Item | Group, names: frozenset[str]) -> bool:
    if isinstance(node, Item):
        return bool(node.places & names)
    if node.sign == "!":
        return False
    return (any if node.sign == "&" else all)(_needs(part, names) for part in node.parts)


def _negates(node: Item | Group, below: bool) -> bool:
    if isinstance(node, Item):
        return below and bool(node.places)
    return any(_negates(part, below or node.sign == "!") for part in node.parts)


def _filled(node: Item | Group, known: Mapping[str, str], instead: Mapping[str, Filter]) -> Filter | None:
    if isinstance(node, Item):
        other = next((instead[name] for name in sorted(node.places) if name in instead), None)
        if other is not None:
            return other
        return node.filled(known) if node.places <= known.keys() else None
    found = [_filled(part, known, instead) for part in node.parts]
    left = tuple(dict.fromkeys(one for one in found if one is not None))
    if not left or (node.sign == "&" and None in found):
        return None
    if node.sign == "!":
        return Not(left[0])
    return left[0] if len(left) == 1 else And(left) if node.sign == "&" else Or(left)


def parse_filter(text: str, places: Collection[str]) -> FilterTemplate:
    """The filter in ``text``, which may have these ``places``. Blanks around brackets do not count. Raises `FilterError`."""
    node, end = _node(text, _BLANKS.match(text).end(), places, 0)  # type: ignore[union-attr]
    if end < len(text):
        raise FilterError("expected the end of the filter", end + 1)
    return FilterTemplate(text, node)


def _node(text: str, start: int, places: Collection[str], depth: int) -> tuple[Item | Group, int]:
    """The filter whose bracket opens at ``start``, and where the next one may begin."""
    if text[start : start + 1] != "(":
        raise FilterError("expected (", start + 1)
    if depth == MAX_DEPTH:
        raise FilterError(f"brackets are nested more than {MAX_DEPTH} deep", start + 1)
    at = _after_blanks(text, start + 1)
    sign = text[at : at + 1]
    if sign and sign in "&|!":
        parts: list[Item | Group] = []
        at = _after_blanks(text, at + 1)
        while text[at : at + 1] == "(" or not parts:
            part, at = _node(text, at, places, depth + 1)
            parts.append(part)
            if sign == "!":
                break
        node: Item | Group = Group(sign, tuple(parts))
    else:
        node, at = _item(text, at, places)
    if text[at : at + 1] != ")":
        raise FilterError("expected )", at + 1)
    return node, _after_blanks(text, at + 1)


def _after_blanks(text: str, at: int) -> int:
    match = _BLANKS.match(text, at)
    assert match is not None
    return match.end()


def _item(text: str, at: int, places: Collection[str]) -> tuple[Item, int]:
    match = _ITEM.match(text, at)
    if match is None or not (match["attribute"] or match["rule"]) or (match["sign"] and not match["attribute"]):
        raise FilterError("expected a comparison such as uid={username}", at + 1)
    value = _VALUE.match(text, match.end())
    assert value is not None
    raw, sign = value[0], match["sign"] or ""
    if sign != "=" and "*" in raw:
        raise FilterError(r"only = takes an asterisk; as a character it is \2a", match.end() + raw.index("*") + 1)
    if "**" in raw:
        raise FilterError("two asterisks with nothing between them", match.end() + raw.index("**") + 1)
    values, column = [], match.end()
    for part in raw.split("*"):
        values.append(_pieces(part, column, places))
        column += len(part) + 1
    item = Item(match["attribute"] or "", sign, tuple(values), match["rule"] or "", bool(match["in_name"]))
    return item, value.end()


def _pieces(raw: str, start: int, places: Collection[str]) -> Value:
    """The literal texts and the places of a value; ``start`` is where it stands in the whole text, counted from 0."""
    pieces: list[str | Place] = []
    done = 0
    for match in _PIECES.finditer(raw):
        if match[1] not in places:
            known = " or ".join(f"{{{name}}}" for name in places)
            raise FilterError(rf"{match[0]} is not known here, only {known}; a brace is \7b or \7d", start + match.start() + 1)
        pieces += _literal(raw[done : match.start()], start + done)
        pieces.append(Place(match[1]))
        done = match.end()
    return (*pieces, *_literal(raw[done:], start + done))


def _literal(raw: str, start: int) -> tuple[str, ...]:
    if "{" in raw or "}" in raw:
        raise FilterError(r"a brace without its pair; as a character it is \7b or \7d", start + 1)

    def unescape(match: re.Match[bytes]) -> bytes:
        if match[1] is None:
            raise FilterError(r"a backslash without two hexadecimal digits; as a character it is \5c", start + 1)
        return bytes.fromhex(match[1].decode("ascii"))

    data = _ESCAPE.sub(unescape, raw.encode("utf-8", "surrogateescape"))
    return (data.decode("utf-8", "surrogateescape"),) if data else ()

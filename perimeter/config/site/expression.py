"""Expressions of ``allow`` and ``deny``: terms with ``and``, ``or``, ``not`` and brackets.

::

    list       = alternative *( ("," / newline) alternative )
    alternative = both *( "or" both )
    both       = negation *( "and" negation )
    negation   = "not" negation / "(" list ")" / term
    term       = KIND ":" VALUE          ; `perimeter.config.site.rule`

So ``not`` binds closest, then ``and``, then ``or``. A comma is an ``or``, and so is the end of a line outside of brackets, unless
there is an operator before or after it. A value ends before an operator, a bracket, a comma or the end of the line; in double
quotes it may contain these. Each fault has its offset.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Final, TypeAlias

import attrs

from perimeter.config.language.datatypes import BadValue, Datatype, list_of
from perimeter.config.site.rule import Rule, RuleKind, parse_rule

Expression: TypeAlias = "Rule | AllOf | AnyOf | Not"
"""What a client must be, in ``allow``, or must not be, in ``deny``."""

MOST_NESTED: Final = 50
"""Brackets and negations within each other."""

_TOKEN = re.compile(r'\s+|[(),]|(?:"[^"\n]*"|[^\s(),"]|")+')
_AND, _OR, _NOT = "and", "or", "not"
_CONTINUES = re.compile(r"(?:^|[\s()])(?:and|or|not)\s*$")
_CONTINUED = re.compile(r"\s*(?:and|or)(?=[\s(]|$)")
_OPERATORS = frozenset((_AND, _OR, _NOT))
_LIKE_OPERATORS = {"&&": _AND, "&": _AND, "||": _OR, "|": _OR, "!": _NOT, "unless": "and not", "except": "and not"}


@attrs.frozen
class AllOf:
    """Every one of ``parts``, which are at least two."""

    parts: tuple[Expression, ...]

    def __str__(self) -> str:
        return " and ".join(f"({one})" if isinstance(one, AnyOf) else str(one) for one in self.parts)

    @property
    def terms(self) -> tuple[Rule, ...]:
        """Every term, in the order of the text."""
        return tuple(term for one in self.parts for term in one.terms)

    def of_realms(self, realms: Collection[str]) -> AllOf:
        """See `Rule.of_realms`."""
        return AllOf(tuple(one.of_realms(realms) for one in self.parts))


@attrs.frozen
class AnyOf:
    """One of ``parts``, which are at least two."""

    parts: tuple[Expression, ...]

    def __str__(self) -> str:
        return " or ".join(map(str, self.parts))

    @property
    def terms(self) -> tuple[Rule, ...]:
        """Every term, in the order of the text."""
        return tuple(term for one in self.parts for term in one.terms)

    def of_realms(self, realms: Collection[str]) -> AnyOf:
        """See `Rule.of_realms`."""
        return AnyOf(tuple(one.of_realms(realms) for one in self.parts))


@attrs.frozen
class Not:
    """Anything but ``part``."""

    part: Expression

    def __str__(self) -> str:
        return f"not ({self.part})" if isinstance(self.part, AllOf | AnyOf) else f"not {self.part}"

    @property
    def terms(self) -> tuple[Rule, ...]:
        """Every term, in the order of the text."""
        return self.part.terms

    def of_realms(self, realms: Collection[str]) -> Not:
        """See `Rule.of_realms`."""
        return Not(self.part.of_realms(realms))


@attrs.frozen
class _Token:
    """A bracket, a comma, or a word, which begins at ``start`` of the text."""

    start: int
    text: str


def _tokens(text: str) -> list[_Token]:
    return [_Token(match.start(), match[0]) for match in _TOKEN.finditer(text) if not match[0].isspace()]


class _Parser:
    """Reads one expression."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._next = 0
        self._depth = 0

    def whole(self) -> Expression:
        """The expression, which is all of the text."""
        found = self._any_of()
        if self._next < len(self._tokens):
            at = self._tokens[self._next]
            wrong = "this bracket closes none" if at.text == ")" else "expected and, or, a comma or the end"
            raise BadValue(wrong, at=at.start)
        return found

    def _peek(self) -> str:
        return self._tokens[self._next].text if self._next < len(self._tokens) else ""

    def _any_of(self) -> Expression:
        parts = [self._all_of()]
        while self._peek() in (_OR, ",") and self._peek():
            self._next += 1
            parts.append(self._all_of())
        return parts[0] if len(parts) == 1 else AnyOf(_flat(parts, AnyOf))

    def _all_of(self) -> Expression:
        parts = [self._negation()]
        while self._peek() == _AND:
            self._next += 1
            parts.append(self._negation())
        return parts[0] if len(parts) == 1 else AllOf(_flat(parts, AllOf))

    def _negation(self) -> Expression:
        word = self._peek()
        if word not in (_NOT, "("):
            return self._term()
        opening = self._tokens[self._next]
        self._depth += 1
        if self._depth > MOST_NESTED:
            raise BadValue(f"more than {MOST_NESTED} brackets and negations within each other", at=opening.start)
        self._next += 1
        found: Expression
        if word == _NOT:
            found = Not(self._negation())
        else:
            found = self._any_of()
            if not self._peek():
                raise BadValue("this bracket is not closed", at=opening.start)
            if self._peek() != ")":
                raise BadValue("expected and, or, a comma or a closing bracket", at=self._tokens[self._next].start)
            self._next += 1
        self._depth -= 1
        return found

    def _term(self) -> Expression:
        begin = self._next
        while self._peek() and self._peek() not in ("(", ")", ",", *_OPERATORS):
            self._next += 1
        if begin == self._next:
            after = f" after {self._tokens[begin - 1].text}" if begin else ""
            end = self._tokens[begin].start if begin < len(self._tokens) else len(self._text)
            raise BadValue(f"expected a term such as role:admin{after}", at=end)
        words = self._tokens[begin : self._next]
        last = words[-1]
        text = self._text[words[0].start : last.start + len(last.text)]
        try:
            return parse_rule(text)
        except BadValue as bad:
            raise self._explained(words, bad) from None

    def _explained(self, words: list[_Token], bad: BadValue) -> BadValue:
        """``bad`` with its place, and another message if one of ``words`` is meant as an operator."""
        for word in words:
            meant = _LIKE_OPERATORS.get(word.text) or (word.text.lower() if word.text.lower() in _OPERATORS else "")
            if meant:
                return BadValue("the operators are and, or and not, in lower case", meant, at=word.start)
        if len(words) > 1 and any(word.text.partition(":")[0] in list(RuleKind) for word in words[1:]):
            second = next(word for word in words[1:] if word.text.partition(":")[0] in list(RuleKind))
            return BadValue("expected and, or or a comma before this term", at=second.start)
        return BadValue(bad.message, bad.suggestion, at=words[0].start)


def _flat(parts: list[Expression], kind: type[AllOf | AnyOf]) -> tuple[Expression, ...]:
    """``parts``, with those of one of the same ``kind`` in its place."""
    return tuple(one for part in parts for one in (part.parts if isinstance(part, kind) else (part,)))


def parse_expression(text: str) -> Expression:
    """The expression in ``text``. Raises `BadValue` with the offset of the fault."""
    return _Parser(text).whole()


def split_expressions(text: str) -> list[tuple[int, str]]:
    """The expressions that commas and newlines outside of brackets separate, and their offsets. Empty ones do not count.

    An operator before or after the end of a line continues the expression.
    """
    found: list[tuple[int, str]] = []
    depth = begin = 0
    for match in re.finditer(r'"[^"\n]*"|[(),\n]', text + "\n"):
        if match[0] == "(":
            depth += 1
        elif match[0] == ")":
            depth = max(0, depth - 1)
        elif match[0] in (",", "\n"):
            part, last = text[begin : match.start()], match.end() > len(text)
            goes_on = match[0] == "\n" and (_CONTINUES.search(part) or _CONTINUED.match(text, match.end()))
            if (depth or goes_on) and not last:
                continue
            bare = part.strip()
            if bare:
                found.append((begin + part.index(bare), bare))
            begin = match.end()
    return found


def _expression(text: str, base: Path) -> Expression:
    return parse_expression(text)


def _alternatives(found: tuple[Expression, ...]) -> tuple[Expression, ...]:
    """``found``, with the parts of an ``or`` in its place: the same as with commas."""
    return _flat(list(found), AnyOf)


EXPRESSION: Datatype[Expression] = Datatype("rule", _expression, Rule(RuleKind.ROLE, ""))
EXPRESSIONS: Datatype[tuple[Expression, ...]] = list_of(EXPRESSION, whole=_alternatives, split=split_expressions)

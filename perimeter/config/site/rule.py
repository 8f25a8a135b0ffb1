"""A rule of ``allow`` and ``deny``: a role, user, realm or method."""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import StrEnum
from pathlib import Path

import attrs

from perimeter.config.language.datatypes import BadValue, Datatype, closest
from perimeter.config.language.name_types import checked_name

_METHOD = re.compile(r"[A-Z][A-Z0-9-]*")
# two rules in one: role:admin and method:POST
_JOINED = re.compile(
    r"(?:\s|[|&;+])(?:and|or|not|unless|except|but|with|&&?|\|\|?|[+;])\s|(?:role|user|realm|method)\s*[:=]|&&|\|\|",
    re.IGNORECASE,
)
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class RuleKind(StrEnum):
    """The part of a request that a rule compares."""

    ROLE = "role"
    USER = "user"
    REALM = "realm"
    METHOD = "method"


@attrs.frozen
class Rule:
    """One term of ``allow`` or ``deny``. A user or role is of the realm ``realm``, or of any realm if that is ""."""

    kind: RuleKind = attrs.field(converter=RuleKind)
    value: str
    realm: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.realm}/{self.value}" if self.realm else f"{self.kind}:{self.value}"

    def of_realm(self, realms: Collection[str]) -> Rule:
        """The rule with the realm that its value begins with, if that is one of ``realms``: ``staff/root`` is staff's root."""
        if self.kind not in (RuleKind.USER, RuleKind.ROLE):
            return self
        for realm in sorted(realms, key=len, reverse=True):
            value = self.value.removeprefix(f"{realm}/")
            if value and value != self.value:
                return attrs.evolve(self, value=value, realm=realm)
        return self


def _rule(text: str, base: Path) -> Rule:
    kind, colon, value = (part.strip() for part in text.partition(":"))
    expected = f"expected {', '.join(f'{one}:…' for one in list(RuleKind)[:-1])} or {RuleKind.METHOD}:…"
    if not colon or not value:
        word, equals, rest = (part.strip() for part in text.partition("="))
        near = f"{word}:{rest}" if equals and word in list(RuleKind) else ""
        raise BadValue(expected, f"method:{text}" if text in _METHODS else near)
    if kind not in list(RuleKind):
        # "!user" and "not role" exclude: the rule without that word would admit.
        near = closest(kind, tuple(RuleKind)) if kind.isalpha() else ""
        raise BadValue(expected, f"{near}:{value}" if near else "")
    if kind == RuleKind.METHOD:
        if not _METHOD.fullmatch(value) or value in ("ALL", "ANY"):
            raise BadValue("expected one method in capitals", f"method:{value.upper()}" if value.upper() in _METHODS else "")
        return Rule(RuleKind.METHOD, value)
    try:
        return Rule(RuleKind(kind), checked_name(value))
    except BadValue as bad:
        joined = _JOINED.search(value)
        if joined:
            raise BadValue(
                "expected one rule: separate several with commas. One match is enough; rules that have to hold together need a "
                "route of their own"
            ) from None
        raise BadValue(bad.message, f"{kind}:{bad.suggestion}" if bad.suggestion else "") from None


RULE: Datatype[Rule] = Datatype("rule", _rule, Rule(RuleKind.ROLE, ""))

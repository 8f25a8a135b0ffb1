"""Names of users and roles as values: what is plausible but would be taken literally is refused, with the right spelling.

A rule with the name of a user who does not exist admits no user, and does not refuse the user it was meant for. So words,
wildcards, operators and blanks are refused in a bare name. In double quotes a name can have all characters.
"""

from __future__ import annotations

import re
from pathlib import Path

from perimeter.config.language.datatypes import BadValue, Datatype

_EVERYBODY = frozenset(
    (
        "all",
        "any",
        "anyone",
        "anybody",
        "everyone",
        "everybody",
        "authenticated",
        "valid-user",
        "valid_user",
        "logged-in",
    )
)
_KIND = re.compile(r"(?:not\s+)?(?:role|group|user|realm|method)s?\s*[:=]", re.IGNORECASE)
_LEADING = re.compile(r"[!~^@+-]")
_SPECIAL = re.compile(r"[*?|&()\[\]{};<>^\"]")

#: Those of word processors too.
_QUOTES = "'\"\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb"


def checked_name(text: str) -> str:
    """``text`` as the name of one user or role, without its quotes. Raises `BadValue`."""
    if text.startswith('"'):
        inner = text[1:-1]
        if len(text) < 3 or not text.endswith('"') or '"' in inner or inner != inner.strip():
            raise BadValue("expected a name, bare or in one pair of double quotes")
        return inner
    if text[:1] in _QUOTES or text[-1:] in _QUOTES:
        bare = text.strip(_QUOTES)
        raise BadValue("expected a name, bare or in one pair of double quotes", spelled_name(bare) if bare else "")
    if _KIND.search(text):
        raise BadValue("expected one name: separate several with commas")
    if text.lower() in _EVERYBODY:
        raise BadValue(f'expected a name: {text} has no meaning of its own (write "{text}" if this is one)')
    if _SPECIAL.search(text) or _LEADING.match(text):
        raise BadValue(
            "expected a name: wildcards, patterns and operators are not known here (a name is taken as it is in double quotes)"
        )
    if re.search(r"\s", text):
        raise BadValue("expected one name: separate several with commas, or put a name with blanks in double quotes", f'"{text}"')
    return text


def spelled_name(name: str) -> str:
    """``name`` as `checked_name` reads it back: in quotes if it needs them."""
    try:
        if checked_name(name) == name:
            return name
    except BadValue:
        pass
    return f'"{name}"'


def _name(text: str, base: Path) -> str:
    return checked_name(text)


NAME: Datatype[str] = Datatype("text", _name, "", quotes=True)
"""The name of one user or role."""


def _word(text: str, base: Path) -> str:
    if text != "*" and re.search(r"[\s*\"']", text):
        raise BadValue("expected one value without blanks, quotes or wildcards: separate several with commas")
    return text


WORD: Datatype[str] = Datatype("text", _word, "")
"""An identifier without blanks, such as the name of an issuer, or ``*`` alone."""

"""Regular expressions that match in a time that is linear in the text: for texts that clients choose.

They are those of RE2 (the package google-re2, of the extra ``regex``), which has no back-references and no assertions about what
comes before or after. Python's ``re`` tries all ways to match: ``^/(a+)+$`` takes it minutes for 30 characters.
"""

from __future__ import annotations

from typing import Protocol

from perimeter.config.language.datatypes import BadValue

#: Bytes for the automaton of one expression. An expression that needs more is refused, such as ``(a{1000}){1000}``.
_MOST_MEMORY = 1024 * 1024


class Match(Protocol):
    """What an expression has matched."""

    def group(self, number: int) -> bytes | None:
        """What the group has captured; None if it took no part. Group 0 is the whole match."""


class Expression(Protocol):
    """A compiled expression for bytes."""

    @property
    def groups(self) -> int:
        """How many groups it captures."""

    def match(self, text: bytes) -> Match | None:
        """Match at the beginning of ``text``."""

    def fullmatch(self, text: bytes) -> Match | None:
        """Match the whole of ``text``."""


def compiled(text: str) -> Expression:
    """``text`` as an expression. Raises `BadValue` if it has a fault, or could take more than linear time or much memory."""
    if not text.isascii() or not text.isprintable():
        raise BadValue("expected a regular expression of ASCII characters")
    try:
        import re2
    except ImportError:
        raise BadValue(
            "regular expressions need the package google-re2: install perimeter-gateway[regex]", complete=True
        ) from None
    options = re2.Options()
    options.max_mem = _MOST_MEMORY
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    try:
        made: Expression = re2.compile(text.encode("ascii"), options)
    except re2.error as error:
        (why,) = error.args
        words = why.decode("ascii", "replace") if isinstance(why, bytes) else str(why)
        raise BadValue(f"expected a regular expression that matches in linear time (RE2): {words}") from None
    return made

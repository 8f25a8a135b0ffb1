"""Questions to a directory and its answers, as values without their encoding. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from perimeter.errors import PerimeterError

ENTRY = 0
"""Search scope: the base object alone."""

SUBTREE = 2
"""Search scope: the base object and everything below it."""


class ServerFailure(PerimeterError):
    """A server cannot be used: it is unreachable, not secure, silent, has closed the connection, or reports a failure of its own.

    ``final`` says that another try would only repeat it (the gateway's own account is refused): the server rests whatever else
    is down, so that no account is locked by our insisting. ``stale`` says that a connection from before broke: the server
    may well be up. ``str()`` is for the operator.
    """

    def __init__(self, detail: str, *, final: bool = False, stale: bool = False) -> None:
        super().__init__(detail)
        self.detail = detail
        self.final = final
        self.stale = stale


@attrs.frozen
class LdapEntry:
    """An entry of the directory. The keys of ``attributes`` are in lower case; values are bytes, as they came."""

    dn: str
    attributes: Mapping[str, tuple[bytes, ...]] = attrs.field(factory=dict)

    def values(self, attribute: str) -> tuple[bytes, ...]:
        """The values of an attribute; none if it is absent or not readable."""
        return self.attributes.get(attribute.lower(), ())


@attrs.frozen
class Reference:
    """A reference to another server for a part of the answer (RFC 4511, section 4.5.3); never followed."""


@attrs.frozen
class Result:
    """How an operation ended (RFC 4511, section 4.1.9). ``message`` is the server's own text, for a debug log at most.

    ``cookie`` continues a paged search (RFC 2696); empty where there is no more.
    """

    code: int
    message: str = ""
    cookie: bytes = b""


@attrs.frozen
class Message:
    """One message from the server. ``id`` is 0 for an unsolicited notice."""

    id: int
    content: LdapEntry | Reference | Result


@attrs.frozen
class Equal:
    """The attribute has this value, as its own matching rule compares (RFC 4511, section 4.5.1.7.1)."""

    attribute: str
    value: str

    def __str__(self) -> str:
        return f"({self.attribute}={escaped(self.value)})"


@attrs.frozen
class AtLeast:
    """The attribute has a value that is not below this one (RFC 4511, section 4.5.1.7.3)."""

    attribute: str
    value: str

    def __str__(self) -> str:
        return f"({self.attribute}>={escaped(self.value)})"


@attrs.frozen
class AtMost:
    """The attribute has a value that is not above this one (RFC 4511, section 4.5.1.7.4)."""

    attribute: str
    value: str

    def __str__(self) -> str:
        return f"({self.attribute}<={escaped(self.value)})"


@attrs.frozen
class Similar:
    """The attribute has a value that the server considers close to this one (RFC 4511, section 4.5.1.7.6)."""

    attribute: str
    value: str

    def __str__(self) -> str:
        return f"({self.attribute}~={escaped(self.value)})"


@attrs.frozen
class Present:
    """The attribute has a value (RFC 4511, section 4.5.1.7.5)."""

    attribute: str

    def __str__(self) -> str:
        return f"({self.attribute}=*)"


@attrs.frozen
class Substrings:
    """The attribute has a value with ``parts`` in this order (RFC 4511, section 4.5.1.7.2): two of them at least.

    The first one is at the beginning of the value and the last one at its end; "" for any beginning or end.
    """

    attribute: str
    parts: tuple[str, ...]

    def __str__(self) -> str:
        return f"({self.attribute}={'*'.join(map(escaped, self.parts))})"


@attrs.frozen
class Matching:
    """The attribute has this value as the matching rule ``rule`` (an OID) compares (RFC 4511, section 4.5.1.7.7).

    ``attribute`` or ``rule`` may be "": any attribute, or the attribute's own rule. With ``in_name`` the attributes in the
    entry's distinguished name count too.
    """

    attribute: str
    rule: str
    value: str
    in_name: bool = False

    def __str__(self) -> str:
        rule = f":{self.rule}" if self.rule else ""
        return f"({self.attribute}{':dn' if self.in_name else ''}{rule}:={escaped(self.value)})"


@attrs.frozen
class And:
    """All of ``parts``."""

    parts: tuple[Filter, ...]

    def __str__(self) -> str:
        return f"(&{''.join(map(str, self.parts))})"


@attrs.frozen
class Or:
    """Any of ``parts``."""

    parts: tuple[Filter, ...]

    def __str__(self) -> str:
        return f"(|{''.join(map(str, self.parts))})"


@attrs.frozen
class Not:
    """Entries that ``part`` does not match."""

    part: Filter

    def __str__(self) -> str:
        return f"(!{self.part})"


Filter = Equal | AtLeast | AtMost | Similar | Present | Substrings | Matching | And | Or | Not
"""A search filter, built from objects: text of a client is never parsed as a filter (attack 31). ``str()`` is for messages.

Values are text; bytes that are no UTF-8 are lone surrogates in it ("surrogateescape").
"""

_SPECIAL = frozenset("*()\\\0")


def escaped(value: str) -> str:
    """``value`` as RFC 4515, section 3, writes it in a filter."""
    return "".join(f"\\{ord(letter):02x}" if letter in _SPECIAL or ord(letter) < 0x20 else letter for letter in value)


@attrs.frozen
class Search:
    """One search. ``limit`` is the highest number of entries that is useful; more of them are an error.

    ``page`` is the number of entries that are asked for at a time, 0 for all at once.
    """

    base: str
    filter: Filter
    attributes: tuple[str, ...]
    limit: int
    page: int = 0
    scope: int = SUBTREE


@attrs.frozen
class Found:
    """The result of a search. ``more`` is true if there were more entries than the limit, or than the server returns."""

    entries: tuple[LdapEntry, ...]
    result: Result
    more: bool = False

"""The only module that uses ldaptor: encodes and decodes LDAP messages (RFC 4511).

ldaptor's last release is from 2021. Only its message classes are used, which are sound. Its shortcomings, and what this module
does about them:

* Its client takes the global reactor, does not verify certificates, has no timeouts, and has unbounded buffers:
  `perimeter.auth.kinds.ldap.connection` is used instead.
* Message numbers come from an unbounded global counter: here each message gets its number from its connection.
* It prints unknown tags to standard output: the decoders here have a class for all other tags and drop them, as RFC 4511, section
  4, requires for extensions.
* Its decoder raises any exception for a broken message, and waits for ever for the bytes of an impossible length: `frame` checks
  the length first, and `decode` turns every failure into `Malformed`.
* Its filters and names can be made from text, with incomplete escaping: here filters are built from objects, and names are read
  by `perimeter.auth.kinds.ldap.names`.
* ``str()`` of its objects changes the process's warning filters: nothing here calls it.
* Importing its syntax modules takes pyparsing and passlib along, with their deprecation warnings: only ``pureldap`` and
  ``pureber`` are imported, and those import nothing else.
"""

from __future__ import annotations

from typing import Any

from ldaptor.protocols import pureber, pureldap

from perimeter.auth.kinds.ldap.values import (
    And,
    AtLeast,
    AtMost,
    Equal,
    Filter,
    LdapEntry,
    Matching,
    Message,
    Not,
    Or,
    Present,
    Reference,
    Result,
    Similar,
    Substrings,
)
from perimeter.errors import PerimeterError

MAX_MESSAGE = 8 << 20
"""Bytes of the longest message from a server. With the few attributes that are requested, real ones have a few KiB."""

PAGED_RESULTS = b"1.2.840.113556.1.4.319"

_SEQUENCE = 0x30


class Malformed(PerimeterError):
    """The server sent something that is not LDAP."""


class _Ignored:
    """Any BER type that ldaptor does not know; its elements are dropped."""

    @classmethod
    def fromBER(cls, tag: int, content: bytes, berdecoder: Any = None) -> None:
        """Nothing."""


class _DropUnknown(pureber.BERDecoderContext):  # type: ignore[misc]
    """The end of the chain of decoders: accepts the tags that none of them knows."""

    def lookup_id(self, id: int) -> Any:
        """The class for a tag."""
        return super().lookup_id(id) or _Ignored


_DECODER = pureldap.LDAPBERDecoderContext_TopLevel(
    inherit=pureldap.LDAPBERDecoderContext_LDAPMessage(
        fallback=pureldap.LDAPBERDecoderContext(fallback=_DropUnknown()),
        inherit=pureldap.LDAPBERDecoderContext(fallback=_DropUnknown()),
    )
)


# -- from a server


def frame(buffer: bytes | bytearray) -> int:
    """The length of the message at the start of ``buffer``; 0 if too little has arrived to know it.

    Raises `Malformed` for what cannot be the start of a message, or is one of over `MAX_MESSAGE`.
    """
    if buffer and buffer[0] != _SEQUENCE:
        raise Malformed("something that is not LDAP")
    if len(buffer) < 2:
        return 0
    first = buffer[1]
    if first < 0x80:
        return 2 + first
    count = first & 0x7F
    if not 1 <= count <= 4:  # 0x80 is BER's indefinite length, which LDAP does not have (RFC 4511, section 5.1)
        raise Malformed("a message of impossible length")
    if len(buffer) < 2 + count:
        return 0
    length = 2 + count + int.from_bytes(buffer[2 : 2 + count], "big")
    if length > MAX_MESSAGE:
        raise Malformed(f"a message of {length} bytes")
    return length


def decode(data: bytes) -> Message:
    """The message that ``data`` encodes. Raises `Malformed`."""
    try:
        message, used = pureber.berDecodeObject(_DECODER, data)
        if used != len(data) or not isinstance(message.id, int):
            raise Malformed("a message that does not end where it says")
        return Message(message.id, _content(message.value, message.controls or ()))
    except Malformed:
        raise
    except Exception as error:  # assertions, index errors, recursion: the decoder raises anything
        raise Malformed(f"a malformed message ({type(error).__name__})") from None


def _content(value: Any, controls: Any) -> LdapEntry | Reference | Result:
    if isinstance(value, pureldap.LDAPSearchResultEntry):
        attributes = {_text(name).lower(): tuple(map(bytes, values)) for name, values in value.attributes}
        return LdapEntry(_text(value.objectName), attributes)
    if isinstance(value, pureldap.LDAPSearchResultReference):
        return Reference()
    if isinstance(value, pureldap.LDAPResult):
        cookie = b""
        for kind, _, content in controls:
            if kind == PAGED_RESULTS:
                cookie = _page_cookie(content)
        return Result(int(value.resultCode), bytes(value.errorMessage).decode("utf-8", "replace"), cookie)
    raise Malformed(f"an unexpected {type(value).__name__}")


def _text(data: bytes) -> str:
    # Strict: a name that is not UTF-8 must not become another name, so the message is malformed.
    return bytes(data).decode("utf-8")


def _page_cookie(content: bytes) -> bytes:
    value, _ = pureber.berDecodeObject(pureber.BERDecoderContext(), content)
    return bytes(value[1].value)


# -- to a server


def bind_request(number: int, dn: str, password: str) -> bytes:
    """A simple bind (RFC 4511, section 4.2)."""
    return _message(number, pureldap.LDAPBindRequest(dn=dn.encode(), auth=password.encode("utf-8", "surrogatepass")))


def start_tls_request(number: int) -> bytes:
    """RFC 4511, section 4.14."""
    return _message(number, pureldap.LDAPStartTLSRequest())


def unbind_request(number: int) -> bytes:
    """An unbind request (RFC 4511, section 4.3)."""
    return _message(number, pureldap.LDAPUnbindRequest())


def abandon_request(number: int, abandoned: int) -> bytes:
    """An abandon request for message ``abandoned`` (RFC 4511, section 4.11)."""
    return _message(number, pureldap.LDAPAbandonRequest(id=abandoned))


def search_request(
    number: int,
    base: str,
    scope: int,
    filter: Filter,
    attributes: tuple[str, ...],
    size_limit: int,
    time_limit: int,
    page: int = 0,
    cookie: bytes = b"",
) -> bytes:
    """A search (RFC 4511, section 4.5), aliases not followed; with ``page`` the next page of one (RFC 2696)."""
    request = pureldap.LDAPSearchRequest(
        baseObject=base.encode(),
        scope=scope,
        derefAliases=pureldap.LDAP_DEREF_neverDerefAliases,
        sizeLimit=size_limit,
        timeLimit=time_limit,
        typesOnly=0,
        filter=_filter(filter),
        attributes=[name.encode() for name in attributes],
    )
    if not page:
        return _message(number, request)
    value = pureber.BERSequence([pureber.BERInteger(page), pureber.BEROctetString(cookie)]).toWire()
    return _message(number, request, [(PAGED_RESULTS, False, value)])


def _message(number: int, operation: Any, controls: Any = None) -> bytes:
    return bytes(pureldap.LDAPMessage(operation, controls=controls, id=number).toWire())


_COMPARISONS = {
    Equal: pureldap.LDAPFilter_equalityMatch,
    AtLeast: pureldap.LDAPFilter_greaterOrEqual,
    AtMost: pureldap.LDAPFilter_lessOrEqual,
    Similar: pureldap.LDAPFilter_approxMatch,
}


def _filter(filter: Filter) -> Any:
    match filter:
        case And(parts):
            return pureldap.LDAPFilter_and([_filter(part) for part in parts])
        case Or(parts):
            return pureldap.LDAPFilter_or([_filter(part) for part in parts])
        case Not(part):
            return pureldap.LDAPFilter_not(_filter(part))
        case Equal(attribute, value) | AtLeast(attribute, value) | AtMost(attribute, value) | Similar(attribute, value):
            return _COMPARISONS[type(filter)](
                attributeDesc=pureldap.LDAPAttributeDescription(attribute.encode()),
                assertionValue=pureldap.LDAPAssertionValue(_value(value)),
            )
        case Present(attribute):
            return pureldap.LDAPFilter_present(attribute.encode())
        case Substrings(attribute, parts):
            return pureldap.LDAPFilter_substrings(type=attribute.encode(), substrings=_substrings(parts))
        case Matching(attribute, rule, value, in_name):
            return pureldap.LDAPFilter_extensibleMatch(
                matchingRule=rule.encode() or None,
                type=attribute.encode() or None,
                matchValue=_value(value),
                dnAttributes=True if in_name else None,
            )


def _substrings(parts: tuple[str, ...]) -> list[Any]:
    first, *between, last = map(_value, parts)
    found = [pureldap.LDAPFilter_substrings_initial(first)] if first else []
    found += map(pureldap.LDAPFilter_substrings_any, between)
    return [*found, pureldap.LDAPFilter_substrings_final(last)] if last else found


def _value(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")

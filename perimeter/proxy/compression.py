"""Which responses of services the gateway compresses. Pure.

The size of a compressed response shows whether one part of it repeats another. A page of another site can let a browser send
requests with text of its choice in them; if a response repeats that text beside a secret, and is compressed, its size, which an
observer of the network sees, reveals the secret character by character (BREACH; attack 121). So a response is sent as it is if it
is private, sets a cookie, or was not asked for by the service's own pages or a program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from perimeter.config.site.compression import Coding
from perimeter.model import Field, HeaderBlock, RequestHead, Version
from perimeter.proxy.codings import Encoder, chosen

MOST: Final = 128
"""Responses that are compressed at a time, in one process. Others are sent as they are. An encoder takes 1.2 MiB at most."""

#: no content, or a part of it: bytes of a range are those of the plain body (RFC 9110, section 14.2)
_WITHOUT: Final = frozenset((204, 205, 206, 304))
DIGESTS: Final = frozenset((b"content-digest", b"repr-digest", b"digest", b"content-md5", b"signature"))
"""Headers about the bytes of the body as the service has it: digests (RFC 9530, RFC 3230, RFC 1864), and signatures that may
cover them."""
_AS_IT_IS: Final = DIGESTS | {b"set-cookie", b"content-range"}
_NOT_TO_CHANGE: Final = frozenset((b"no-transform", b"no-store", b"private"))
#: the browser says that a page of the same origin, or the user, made the request
_OWN_PAGES: Final = frozenset((b"same-origin", b"none"))


class Encoders:
    """Counts the responses that are compressed at this moment: ``active``."""

    def __init__(self) -> None:
        self.active = 0

    def take(self) -> bool:
        """Count one more, if there are not too many."""
        if self.active >= MOST:
            return False
        self.active += 1
        return True

    def free(self) -> None:
        """One has ended."""
        self.active -= 1


class Compression:
    """The compression of one route's responses. ``encoders`` are by coding, the preferred one first.

    ``types`` are media types (`perimeter.config.site.compression.MEDIA_TYPE`), ``least`` is the smallest body in bytes.
    ``under_way`` counts the responses of all routes.
    """

    def __init__(
        self, encoders: Mapping[Coding, Callable[[], Encoder]], types: Sequence[str], least: int, under_way: Encoders
    ) -> None:
        self._encoders = encoders
        self._codings = tuple(encoders)
        self._types = frozenset(kind.encode("ascii") for kind in types)
        self.least = least
        self.under_way = under_way

    def suits(self, status: int, lines: bytes, length: int | None) -> bool:
        """Whether a response could be compressed for some client.

        ``lines`` are its header lines as the client gets them, so rules of the route count. ``length`` is that of its body, or
        None.
        """
        if status in _WITHOUT or (length is not None and length < self.least):
            return False
        found: dict[bytes, bytes] = {}
        for name, value in _fields(lines):
            found[name] = found[name] + b"," + value if name in found else value
        if found.get(b"content-encoding", b"identity").lower() != b"identity" or not _AS_IT_IS.isdisjoint(found):
            return False
        return _NOT_TO_CHANGE.isdisjoint(_directives(found.get(b"cache-control", b""))) and self._has_type(
            found.get(b"content-type", b"")
        )

    def _has_type(self, value: bytes) -> bool:
        kind = value.partition(b";")[0].strip().lower()
        if kind in self._types:
            return True
        main, _, sub = kind.partition(b"/")
        _, plus, suffix = sub.rpartition(b"+")
        return main + b"/*" in self._types or (bool(plus) and b"%b/*+%b" % (main, suffix) in self._types)

    def begin(self, head: RequestHead, known: bool) -> tuple[Coding, Encoder] | None:
        """The coding of a response that `suits`, and an encoder; None if it is sent as it is. Call `free` of ``under_way`` at the
        end.

        ``known``: the gateway knows the user.
        """
        if head.version is Version.HTTP_1_0 or may_be_probed(head.headers, known):
            return None
        coding = chosen(b",".join(head.headers.get_all(b"accept-encoding")), self._codings)
        if coding is None or not self.under_way.take():
            return None
        return coding, self._encoders[coding]()


def may_be_probed(headers: HeaderBlock, known: bool) -> bool:
    """Whether a page of another site may have let a browser send this request with the credentials of its user.

    Browsers say where a request comes from (Fetch Metadata). Without that, the request is a program's, which sends nothing that
    it was not given; a browser without Fetch Metadata is recognised by the credentials that it adds by itself.
    """
    site = headers.get_all(b"sec-fetch-site")
    if site:
        return site[0].lower() not in _OWN_PAGES or len(site) > 1
    if headers.get(b"cookie") is not None:
        return True
    scheme = headers.authorization[0].partition(b" ")[0].lower() if headers.authorization else b""
    return scheme != b"bearer" and (known or bool(scheme))


def coded_lines(lines: bytes, coding: Coding | None) -> bytes:
    """The header lines of a response that suits compression: with ``coding``, or without, for a client that does not accept it.

    A cache has to know that there are several forms (RFC 9110, section 12.5.5), and each has an entity tag of its own, which a
    weak one allows for (section 8.8.1). Ranges are of the plain body.
    """
    found: list[bytes] = []
    varies = False
    for line in lines.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name == b"vary":
            varies = varies or not {b"*", b"accept-encoding"}.isdisjoint(_parts(value))
        elif coding is not None:
            if name in (b"accept-ranges", b"content-encoding"):
                continue
            if name == b"etag" and not value.lstrip().startswith(b"W/"):
                line = b"ETag: W/" + value.strip()
        found.append(line)
    if coding is not None:
        found.append(b"Content-Encoding: " + coding.value.encode("ascii"))
    if not varies:
        found.append(b"Vary: Accept-Encoding")
    return b"".join(b"%b\r\n" % line for line in found)


def _fields(lines: bytes) -> Iterator[Field]:
    """Names in lower case, and values."""
    for line in lines.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        yield name.lower(), value.strip()


def _directives(value: bytes) -> set[bytes]:
    """The members of a list, without their arguments."""
    return {part.partition(b"=")[0].strip() for part in _parts(value)}


def _parts(value: bytes) -> set[bytes]:
    return {part.strip().lower() for part in value.split(b",")}

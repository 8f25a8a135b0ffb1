"""Cross-origin resource sharing (Fetch standard, section 3.3): which pages of other sites may read responses of a route. Pure.

Before some requests of a page a browser asks for permission by a request of its own, a preflight: OPTIONS without credentials.
The gateway answers it, or passes it to the service, without asking who sends it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from perimeter.gate.overrides import overrides_method
from perimeter.model import HeaderBlock, RequestHead

_VARY: Final = b"Vary: Origin\r\n"
_ANY: Final = b"*"
#: What no browser adds to a preflight. A service could take such a request for more than a preflight.
_NEVER: Final = frozenset((b"cookie", b"upgrade"))


@attrs.frozen
class Cors:
    """What pages of other sites may do on a route.

    ``origins`` are those of the pages, as browsers write them; ``*`` alone for all. ``methods`` and ``headers`` are those of
    their requests, ``exposed`` headers of responses that they may read. ``credentials``: they may send such as browsers add.
    ``max_age`` is how long a browser remembers the answer, in seconds.
    """

    origins: frozenset[bytes]
    methods: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    credentials: bool = False
    max_age: int = 0
    #: what allows the preflight of an allowed page
    permission: bytes = attrs.field(init=False)
    _lines: Mapping[bytes, bytes] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if _ANY in self.origins and (self.credentials or len(self.origins) > 1):
            raise ValueError("pages of all sites must not read responses that depend on credentials")

    @permission.default
    def _permission(self) -> bytes:
        lines = f"Access-Control-Allow-Methods: {', '.join(self.methods)}\r\nAccess-Control-Max-Age: {self.max_age}\r\n"
        if self.headers:
            lines += f"Access-Control-Allow-Headers: {', '.join(self.headers)}\r\n"
        return lines.encode("ascii")

    @_lines.default
    def _make_lines(self) -> Mapping[bytes, bytes]:
        more = b"Access-Control-Allow-Credentials: true\r\n" if self.credentials else b""
        if self.exposed:
            more += f"Access-Control-Expose-Headers: {', '.join(self.exposed)}\r\n".encode("ascii")
        vary = b"" if _ANY in self.origins else _VARY
        return {origin: b"Access-Control-Allow-Origin: %b\r\n%b%b" % (origin, more, vary) for origin in self.origins}

    def lines(self, headers: HeaderBlock) -> bytes:
        """The header lines of each response to a request with ``headers``."""
        every = self._lines.get(_ANY)
        if every is not None:
            return every
        origins = headers.get_all(b"origin")
        return self._lines.get(origins[0], _VARY) if len(origins) == 1 else _VARY

    def allows(self, headers: HeaderBlock) -> bool:
        """Whether the page that a request comes from may read the response."""
        return self.lines(headers) is not _VARY


def is_preflight(head: RequestHead) -> bool:
    """Whether ``head`` is of a preflight, with nothing in it that a service could take for another request (attack 132)."""
    headers = head.headers
    return (
        head.method == b"OPTIONS"
        and len(headers.get_all(b"origin")) == 1
        and len(headers.get_all(b"access-control-request-method")) == 1
        and not headers.authorization
        and not headers.content_length
        and not headers.chunked
        and _NEVER.isdisjoint(name for name, _ in headers.fields)
        and not overrides_method(headers)
    )

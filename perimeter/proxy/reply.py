"""The state of a request on its connection to an upstream, and the one that receives the response."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, auto
from typing import Protocol

from perimeter.errors import UpstreamBadReply
from perimeter.model import Field, ResponseHead


class ReplyPhase(IntEnum):
    """How much of the response has arrived."""

    IDLE = auto()  #: no request is under way
    HEAD = auto()  #: the head of the response is awaited
    BODY = auto()  #: the body of the response is being read
    TUNNEL = auto()  #: the server has switched protocols: everything it sends is data
    CLOSING = auto()  #: the connection closes as soon as everything written has been sent
    CLOSED = auto()


class Sending(IntEnum):
    """How much of the request has been sent."""

    FLOWING = auto()  #: the client has yet to send more of the body
    STALLED = auto()  #: there is more of the body, and the server reads more slowly than it is sent
    COMPLETE = auto()


class ReplyReceiver(Protocol):
    """The sender of the request that a connection serves. The connection calls these methods with the server's response."""

    def reply_interim(self, head: ResponseHead) -> None:
        """An informational response (1xx except 101)."""

    def reply_head(self, head: ResponseHead, length: int | None) -> None:
        """The final response begins. ``length`` is the length of its body in bytes, 0 if it has no body, None if the length is
        unknown. Raises `UpstreamBadReply` for a 101 that switches to a protocol that was not offered."""

    def reply_whole(self, head: ResponseHead, body: bytes) -> None:
        """The complete final response. The connection no longer serves this receiver."""

    def reply_data(self, data: bytes) -> None:
        """Bytes of the body or the tunnel."""

    def reply_settled(self) -> None:
        """Everything that the last read returned has been passed on."""

    def reply_end(self, trailers: Sequence[Field]) -> None:
        """The response is complete. The connection no longer serves this receiver."""

    def reply_failed(self, refusal: UpstreamBadReply) -> None:
        """The response is invalid. The connection has been dropped."""

    def reply_lost(self, clean: bool, seen: bool) -> None:
        """The connection ended before the response was complete. ``seen``: some bytes of a response had arrived."""

    def reply_timeout(self) -> None:
        """The upstream sent nothing for ``read_timeout``. The connection has been dropped."""

    def pause_request(self) -> None:
        """The upstream reads more slowly than it is sent data."""

    def resume_request(self) -> None:
        """The upstream has read what was sent."""

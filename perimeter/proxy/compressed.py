"""Requests of routes with ``compression``: their responses are compressed on the way to the client.

The encoder works on what arrived at once, at most 128 KiB, and what has arrived is sent on at once: a service that streams is not
held back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from perimeter.http.exchange import Exchange
from perimeter.model import Field, ResponseHead
from perimeter.proxy.balanced import BalancedForwarding, FairForwarding, forwarding_of
from perimeter.proxy.codings import Encoder
from perimeter.proxy.compression import DIGESTS, Compression, coded_lines
from perimeter.proxy.forwarding import Forwarding, ProxyTarget

if TYPE_CHECKING:
    from perimeter.proxy.headers import HeaderRules
    from perimeter.proxy.pool import UpstreamPool


class CompressingTarget(ProxyTarget):
    """Forwards to the servers of ``pool``, and compresses what they send."""

    def __init__(self, pool: UpstreamPool, rules: HeaderRules, compression: Compression) -> None:
        super().__init__(pool, rules, _KINDS[forwarding_of(pool)])
        self.compression = compression


class _Compressed(Forwarding):
    """What the two classes below have in common. ``_encoder`` is None for a response that is sent as it is."""

    _target: CompressingTarget
    _encoder: Encoder | None
    #: bytes were fed to the encoder since it was flushed
    _fed: bool

    def __init__(self, target: ProxyTarget, exchange: Exchange) -> None:
        super().__init__(target, exchange)
        self._encoder = None
        self._fed = False

    def reply_head(self, head: ResponseHead, length: int | None) -> None:
        """The final response or the tunnel begins."""
        if head.status == 101:
            super().reply_head(head, length)
            return
        lines = self._begun(head, length)
        self._exchange.start(head.status, lines, length if self._encoder is None else None, head.reason, flush=False)

    def _begun(self, head: ResponseHead, length: int | None) -> bytes:
        """The header lines of the response. Sets the encoder if it is compressed."""
        lines = self._final_lines(head)
        compression = self._target.compression
        if not compression.suits(head.status, lines, length):
            return lines
        request = self._exchange.head
        known = self._decision.principal is not None
        begun = None if request.method == b"HEAD" else compression.begin(request, known)
        if begun is None:
            return coded_lines(lines, None)
        coding, self._encoder = begun
        return coded_lines(lines, coding)

    def reply_whole(self, head: ResponseHead, body: bytes) -> None:
        """The complete final response."""
        connection, self._connection = self._connection, None
        if self._paused and connection is not None:
            connection.resume()
        lines = self._begun(head, len(body))
        encoder = self._encoder
        if encoder is not None:
            body = encoder.feed(body) + encoder.finish()
            self._over()
        self._exchange.answer(head.status, lines, body, head.reason)

    def reply_data(self, data: bytes) -> None:
        """Bytes of the response's body or of the tunnel."""
        if self._encoder is None:
            super().reply_data(data)
        else:
            self._fed = True
            self._exchange.write(self._encoder.feed(data))

    def reply_settled(self) -> None:
        """Send everything that has arrived to the client."""
        if self._fed and self._encoder is not None:
            self._fed = False
            self._exchange.write(self._encoder.flush())
        super().reply_settled()

    def reply_end(self, trailers: Sequence[Field]) -> None:
        """The response is complete. A digest of the plain body does not hold for this one."""
        if self._encoder is not None:
            self._exchange.write(self._encoder.finish())
            self._over()
            trailers = [(name, value) for name, value in trailers if name.lower() not in DIGESTS]
        super().reply_end(trailers)

    def client_gone(self) -> None:
        """The exchange ended before its response was complete."""
        self._over()
        super().client_gone()

    def _over(self) -> None:
        encoder, self._encoder = self._encoder, None
        if encoder is not None:
            self._target.compression.under_way.free()


class CompressedForwarding(_Compressed):
    """A request to an upstream with one server."""


class BalancedCompressedForwarding(BalancedForwarding, _Compressed):
    """A request to an upstream with several servers, or with options for them."""


class FairCompressedForwarding(FairForwarding, _Compressed):
    """A request to an upstream with ``fair = yes``."""


_KINDS: Final[Mapping[type[Forwarding], type[_Compressed]]] = {
    Forwarding: CompressedForwarding,
    BalancedForwarding: BalancedCompressedForwarding,
    FairForwarding: FairCompressedForwarding,
}

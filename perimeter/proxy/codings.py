"""Content codings (RFC 9110, section 8.4.1): the encoders, and what a client accepts. Pure.

The windows are small, so that a response takes at most 1.2 MiB while it is compressed. Levels are those at which an encoder takes
a few milliseconds for the largest piece that is read at once, because it works in the thread of the reactor.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final, Protocol

from perimeter.config.site.compression import Coding
from perimeter.errors import StartupError

_LONGEST_ACCEPT: Final = 256
"""Bytes of Accept-Encoding that are read. Browsers send 30."""

_GZIP_LEVEL: Final = 5
_GZIP_WINDOW: Final = 15 + 16
"""The largest window of deflate, with the header and the checksum of gzip (zlib's way to ask for them)."""

_BROTLI_QUALITY: Final = 4
_BROTLI_WINDOW: Final = 18
_ZSTD_LEVEL: Final = 3
_ZSTD_WINDOW: Final = 19
"""Logarithms of sizes. RFC 9659 allows windows of zstd up to 8 MiB."""


class Encoder(Protocol):
    """Encodes one body."""

    def feed(self, data: bytes) -> bytes:
        """Take ``data``. Returns what is encoded so far, perhaps nothing."""

    def flush(self) -> bytes:
        """Everything that was fed, so that the client can decode it now."""

    def finish(self) -> bytes:
        """The rest of the body."""


class _Gzip:
    def __init__(self) -> None:
        self._encoder = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
        self.feed = self._encoder.compress

    def flush(self) -> bytes:
        return self._encoder.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        return self._encoder.flush(zlib.Z_FINISH)


def _brotli() -> Callable[[], Encoder]:
    import brotli

    class Brotli:
        def __init__(self) -> None:
            encoder = brotli.Compressor(mode=brotli.MODE_TEXT, quality=_BROTLI_QUALITY, lgwin=_BROTLI_WINDOW)
            self.feed: Callable[[bytes], bytes] = encoder.process
            self.flush: Callable[[], bytes] = encoder.flush
            self.finish: Callable[[], bytes] = encoder.finish

    return Brotli


def _zstd() -> Callable[[], Encoder]:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd

    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: _ZSTD_LEVEL,
        zstd.CompressionParameter.window_log: _ZSTD_WINDOW,
    }

    class Zstd:
        def __init__(self) -> None:
            self._encoder = zstd.ZstdCompressor(options=options)
            self.feed: Callable[[bytes], bytes] = self._encoder.compress

        def flush(self) -> bytes:
            return self._encoder.flush(zstd.ZstdCompressor.FLUSH_BLOCK)

        def finish(self) -> bytes:
            return self._encoder.flush(zstd.ZstdCompressor.FLUSH_FRAME)

    return Zstd


_KINDS: Final[Mapping[Coding, Callable[[], Callable[[], Encoder]]]] = {
    Coding.GZIP: lambda: _Gzip,
    Coding.BROTLI: _brotli,
    Coding.ZSTD: _zstd,
}


def encoder_of(coding: Coding) -> Callable[[], Encoder]:
    """Makes encoders of ``coding``. Raises `StartupError` if its library is not installed."""
    try:
        return _KINDS[coding]()
    except ImportError as missing:
        raise StartupError(f"{coding} needs a library: pip install 'perimeter-gateway[compression]'") from missing


def chosen(accept: bytes, offered: Sequence[Coding]) -> Coding | None:
    """The coding that the client likes best (Accept-Encoding; RFC 9110, section 12.5.3); of several, the first of ``offered``.

    None if it likes none of them, or would rather have the body as it is.
    """
    return None if len(accept) > _LONGEST_ACCEPT else _known(accept, tuple(offered))


@lru_cache(maxsize=256)
def _known(accept: bytes, offered: tuple[Coding, ...]) -> Coding | None:
    wanted: dict[str, float] = {}
    for item in accept.decode("latin-1").lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        if name:
            wanted["gzip" if name == "x-gzip" else name] = _quality(parameters)
    others = wanted.get("*", 0.0)
    best, quality = None, max(0.0, wanted.get("identity", 0.0))
    for coding in offered:
        its = wanted.get(coding.value, others)
        if its > quality or (best is None and its == quality > 0):
            best, quality = coding, its
    return best


def _quality(parameters: Sequence[str]) -> float:
    """A weight (RFC 9110, section 12.4.2); 0 if it is malformed."""
    if not parameters:
        return 1.0
    name, _, value = parameters[0].partition("=")
    if len(parameters) > 1 or name.strip() != "q":
        return 0.0
    try:
        found = float(value)
    except ValueError:
        return 0.0
    return found if 0.0 <= found <= 1.0 else 0.0

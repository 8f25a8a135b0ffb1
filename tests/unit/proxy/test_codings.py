"""Encoders, and what a client accepts."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable

import brotli
from twisted.trial import unittest

from perimeter.config.site.compression import Coding
from perimeter.errors import StartupError
from perimeter.proxy.codings import chosen, encoder_of

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GZIP, BROTLI, ZSTD = Coding
ALL = (ZSTD, BROTLI, GZIP)


def decoder(coding: Coding) -> Callable[[bytes], bytes]:
    """Decodes piece by piece."""
    if coding is GZIP:
        return zlib.decompressobj(31).decompress
    return brotli.Decompressor().process if coding is BROTLI else zstd.ZstdDecompressor().decompress


class ChosenTests(unittest.TestCase):
    def test_the_preference_of_the_client_then_that_of_the_route(self) -> None:
        for accept, offered, expected in (
            (b"gzip, deflate, br, zstd", ALL, ZSTD),
            (b"gzip, deflate, br, zstd", (GZIP, BROTLI), GZIP),
            (b"gzip;q=1.0, br;q=0.9", ALL, GZIP),
            (b"gzip;q=0.1, br;q=0.9", ALL, BROTLI),
            (b"GZIP", ALL, GZIP),
            (b"x-gzip", ALL, GZIP),
            (b"*", (BROTLI, GZIP), BROTLI),
            (b"*;q=0.5, br;q=0", (BROTLI, GZIP), GZIP),
            (b"gzip;q=0", ALL, None),
            (b"gzip;q=0.5, identity;q=1", ALL, None),
            (b"gzip;q=0.5, identity;q=0.5", ALL, GZIP),
            (b"deflate", ALL, None),
            (b"identity", ALL, None),
            (b"", ALL, None),
            (b"gzip;q=2", ALL, None),
            (b"gzip;q=-1", ALL, None),
            (b"gzip;q=nan", ALL, None),
            (b"gzip;q=x", ALL, None),
            (b"gzip;level=9", ALL, None),
            (b"gzip;q=1;x=y", ALL, None),
            (b", ,gzip", ALL, GZIP),
        ):
            self.assertIs(chosen(accept, offered), expected, accept)

    def test_a_long_header_is_not_read(self) -> None:
        filler = b"x" * (256 - len(b"gzip,"))
        self.assertIs(chosen(b"gzip," + filler, ALL), GZIP)
        self.assertIsNone(chosen(b"gzip," + filler + b"x", ALL))


class EncoderTests(unittest.TestCase):
    def test_what_was_flushed_can_be_decoded(self) -> None:
        for coding in Coding:
            encoder, decode = encoder_of(coding)(), decoder(coding)
            sent = b""
            for piece in (b"data: 1\n\n", b"data: 2\n\n" * 1000, b""):
                sent += piece
                coded = encoder.feed(piece) + encoder.flush()
                self.assertEqual(decode(coded), piece, coding)
            self.assertEqual(decode(encoder.feed(b"end") + encoder.finish()), b"end", coding)

    def test_text_becomes_smaller(self) -> None:
        body = b'{"name": "value", "other": [1, 2, 3]}\n' * 1000
        for coding in Coding:
            encoder = encoder_of(coding)()
            coded = encoder.feed(body) + encoder.finish()
            self.assertLess(len(coded), len(body) // 20, coding)
            self.assertEqual(decoder(coding)(coded), body)

    def test_a_library_that_is_missing_is_a_fault_of_the_start(self) -> None:
        for coding, module in ((BROTLI, "brotli"), (ZSTD, zstd.__name__.partition(".")[0])):
            hidden = dict.fromkeys((module, zstd.__name__))
            kept = {name: sys.modules[name] for name in hidden}
            self.addCleanup(sys.modules.update, kept)
            sys.modules.update(hidden)  # type: ignore[arg-type]  # an import of None fails
            error = self.assertRaises(StartupError, encoder_of, coding)
            self.assertIn(f"{coding} needs a library: pip install 'perimeter-gateway[compression]'", str(error))

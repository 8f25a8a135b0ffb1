"""The frames of the benchmark's WebSocket client, compared with the examples of RFC 6455."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from bench.clients import websocket


class FrameTests(TestCase):
    def test_the_accept_of_the_rfc(self) -> None:
        # section 1.3
        self.assertEqual(websocket.accept(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")

    def test_the_masked_frame_of_the_rfc(self) -> None:
        # section 5.7
        frame = bytes.fromhex("818537fa213d7f9f4d5158")
        self.assertEqual(websocket.client_frame(b"Hello", bytes.fromhex("37fa213d")), frame)

    @given(st.binary(max_size=200), st.binary(min_size=4, max_size=4))
    def test_masking_twice_is_nothing(self, payload: bytes, key: bytes) -> None:
        self.assertEqual(websocket.masked(websocket.masked(payload, key), key), payload)

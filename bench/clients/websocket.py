"""The two ends of a WebSocket (RFC 6455).

``websocket serve PORT`` echoes, ``websocket load PORT PATH AUTHORIZATION SECONDS`` is the client.

Frames are small: text of 64 bytes, one at a time on each of 32 connections. ``load`` prints the number of echoes.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import sys
import time

from bench.clients.handshakes import client_context

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONNECTIONS = 32
_PAYLOAD = b"0123456789abcdef" * 4


def accept(key: bytes) -> bytes:
    """The Sec-WebSocket-Accept of a key (RFC 6455, section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + _GUID).digest())


def masked(payload: bytes, key: bytes) -> bytes:
    """``payload`` masked or unmasked with four bytes (section 5.3)."""
    repeated = (key * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload) ^ int.from_bytes(repeated)).to_bytes(len(payload))


def client_frame(payload: bytes, key: bytes) -> bytes:
    """A text frame of less than 126 bytes, masked (section 5.2)."""
    return bytes((0x81, 0x80 | len(payload))) + key + masked(payload, key)


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        # the case of the value matters, because the unchanged head is searched for it
        start = head.lower().index(b"sec-websocket-key: ") + len(b"sec-websocket-key: ")
        key = head[start : start + len(fields[b"sec-websocket-key"])]
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept(key) + b"\r\n\r\n"
        )
        while True:
            first, second = await reader.readexactly(2)
            mask = await reader.readexactly(4)
            payload = masked(await reader.readexactly(second & 0x7F), mask)
            writer.write(bytes((first, len(payload))) + payload)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def serve(port: int) -> None:
    """Echo until killed."""
    server = await asyncio.start_server(_echo, "127.0.0.1", port)
    await server.serve_forever()


async def _ask(port: int, path: str, authorization: str, end: float) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_context())
    key = base64.b64encode(os.urandom(16))
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{authorization}\r\n"
    writer.write(head.encode() + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n")
    answer = await reader.readuntil(b"\r\n\r\n")
    if b" 101 " not in answer.split(b"\r\n", 1)[0] or accept(key) not in answer:
        raise SystemExit(f"no WebSocket: {answer!r}")
    frame, expected = client_frame(_PAYLOAD, os.urandom(4)), bytes((0x81, len(_PAYLOAD))) + _PAYLOAD
    count = 0
    while time.monotonic() < end:
        writer.write(frame)
        if await reader.readexactly(len(expected)) != expected:
            raise SystemExit("the echo is not what was sent")
        count += 1
    writer.close()
    return count


async def load(port: int, path: str, authorization: str, seconds: float) -> None:
    """Send frames for ``seconds``."""
    end = time.monotonic() + seconds
    counts = await asyncio.gather(*(_ask(port, path, authorization, end) for _ in range(_CONNECTIONS)))
    print(json.dumps({"messages": sum(counts)}))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serve(int(sys.argv[2])))
    else:
        asyncio.run(load(int(sys.argv[2]), sys.argv[3], sys.argv[4], float(sys.argv[5])))

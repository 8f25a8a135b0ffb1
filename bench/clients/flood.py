"""Clients that send as much as they can: ``flood PORT KIND COUNT``. Each of COUNT connections keeps sending, without a pause.

KIND is ``requests`` (thousands at a time, for a path that the server answers by itself), ``forms`` (64 KiB each, of 250 nested
multipart parts, without credentials) or ``hosts`` (a Host of 7,500 labels). Prints a line of JSON when all connections are open,
and continues until its standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from bench.clients.handshakes import client_context


def _form() -> bytes:
    opened, closed = b"", b""
    for number in range(250):
        boundary = b"%032d" % number
        opened += b"Content-Type: multipart/mixed; boundary=%b\r\n\r\n--%b\r\n" % (boundary, boundary)
        closed = b"--%b--\r\n" % boundary + closed
    kind, _, body = (opened + b"\r\nx\r\n" + closed).partition(b"\r\n\r\n")
    kind = kind.replace(b"multipart/mixed", b"multipart/form-data")
    body = body.ljust(64 * 1024, b"\n")
    return b"POST /token HTTP/1.1\r\nHost: localhost\r\n%b\r\nContent-Length: %d\r\n\r\n%b" % (kind, len(body), body)


_SENT = {
    "requests": b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n" * 4500,
    "forms": _form(),
    "hosts": b"GET /x HTTP/1.1\r\nHost: %b\r\n\r\n" % b".".join([b"a"] * 7500),
}


async def _discard(reader: asyncio.StreamReader) -> None:
    while await reader.read(1 << 18):
        pass


async def _flood(port: int, data: bytes, opened: asyncio.Semaphore) -> None:
    """Open a new connection after each one that ends: some servers close a connection after a thousand requests."""
    context = client_context()
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        opened.release()
        reading = asyncio.ensure_future(_discard(reader))
        try:
            while not reading.done():
                writer.write(data)
                await asyncio.wait((asyncio.ensure_future(writer.drain()), reading), return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            pass
        finally:
            reading.cancel()
            writer.transport.abort()
            await asyncio.gather(reading, return_exceptions=True)


async def main(port: int, kind: str, count: int) -> None:
    """Open the connections, print the line, and send. The bystander on the same core has priority, so it does not wait for it."""
    os.nice(19)
    opened = asyncio.Semaphore(0)
    floods = [asyncio.ensure_future(_flood(port, _SENT[kind], opened)) for _ in range(count)]
    for _ in floods:
        await opened.acquire()
    print(json.dumps({"open": count}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for flood in floods:
        flood.cancel()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))

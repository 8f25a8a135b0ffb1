"""Clients that pipeline: ``pipeline PORT COUNT``. Each of COUNT connections keeps sending thousands of requests at a time.

There is no pause between them, and the server answers the path by itself. Prints a line of JSON when all connections are open,
and continues until its standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from bench.clients.handshakes import client_context

_REQUESTS = b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n" * 4500


async def _discard(reader: asyncio.StreamReader) -> None:
    while await reader.read(1 << 18):
        pass


async def _flood(port: int, opened: asyncio.Semaphore) -> None:
    """Open a new connection after each one that ends: some servers close a connection after a thousand requests."""
    context = client_context()
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        opened.release()
        reading = asyncio.ensure_future(_discard(reader))
        try:
            while not reading.done():
                writer.write(_REQUESTS)
                await asyncio.wait((asyncio.ensure_future(writer.drain()), reading), return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            pass
        finally:
            reading.cancel()
            writer.transport.abort()
            await asyncio.gather(reading, return_exceptions=True)


async def main(port: int, count: int) -> None:
    """Open the connections, print the line, and send. The bystander on the same core has priority, so it does not wait for it."""
    os.nice(19)
    opened = asyncio.Semaphore(0)
    floods = [asyncio.ensure_future(_flood(port, opened)) for _ in range(count)]
    for _ in floods:
        await opened.acquire()
    print(json.dumps({"open": count}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for flood in floods:
        flood.cancel()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))

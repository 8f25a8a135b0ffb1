"""Logins at the same moment: ``logins PORT PATH FILE``, where each line of FILE is an Authorization value.

Opens a TLS connection for each of them, prints a line of JSON, and waits for a line on its standard input. Then each connection
sends one request, and the results are printed as a second line.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import attrs

from bench.clients.handshakes import client_context

_TIMEOUT = 180.0


@attrs.frozen
class Answer:
    """The answer to one login: its status (0 if there was none), and the seconds that it took."""

    status: int
    seconds: float


def status_of(head: bytes) -> int:
    """The status in the head of an answer, or 0 if the head is invalid."""
    version, _, rest = head.partition(b" ")
    code = rest[:3]
    return int(code) if version.startswith(b"HTTP/1.") and len(code) == 3 and code.isdigit() else 0


def summary(answers: Sequence[Answer], seconds: float) -> dict[str, object]:
    """The figures of ``answers``, which all arrived within ``seconds``. An answer other than 200 counts as refused."""
    statuses = sorted({answer.status for answer in answers if answer.status != 200})
    refused = sum(answer.status != 200 for answer in answers)
    slowest = max((answer.seconds for answer in answers), default=0.0)
    return {"logins": len(answers), "refused": refused, "statuses": statuses, "slowest": slowest, "seconds": seconds}


async def _open(port: int, context: ssl.SSLContext) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port, ssl=context), _TIMEOUT)


async def _log_in(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, authorization: str) -> Answer:
    began = time.monotonic()
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {authorization}\r\n\r\n".encode())
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _TIMEOUT)
    except (asyncio.IncompleteReadError, TimeoutError, OSError):
        head = b""
    return Answer(status_of(head), time.monotonic() - began)


async def main(port: int, path: str, credentials: Sequence[str]) -> None:
    """Open the connections, print the line, wait, log in, and print the results."""
    context = client_context()
    connections = [await _open(port, context) for _ in credentials]
    print(json.dumps({"open": len(connections)}), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    began = time.monotonic()
    answers = await asyncio.gather(
        *(_log_in(*connection, path, value) for connection, value in zip(connections, credentials, strict=True))
    )
    print(json.dumps(summary(answers, time.monotonic() - began)), flush=True)
    for _, writer in connections:
        writer.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]).read_text().splitlines()))

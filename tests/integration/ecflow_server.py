"""A server that behaves like ecFlow's server: ``python ecflow_server.py PORT``.

It answers a command with 200 and closes the sending side of its connection. The response does not announce that: it has no
``Connection: close``, and it has a length, so that the reply is complete before the client sees the end. The end comes in a
separate segment, at once or some milliseconds later, because real servers are not always fast. Bytes after a command on the same
connection are counted as a lost command.

``POST /v1/ecflow`` receives a command, JSON with a unique ``command``, and answers with it and the SHA-256 of the body.
``GET /report`` returns how often each command was received, and how many were lost.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections import Counter

REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"

DELAYS = (0.0, 0.0, 0.001, 0.005, 0.03)
"""Seconds between a reply and the end of the connection, in turn."""

taken: Counter[int] = Counter()
report = {"connections": 0, "lost": 0, "users": {}}


class EcflowConnection(asyncio.Protocol):
    """One connection, one command."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head = b""
        self._expected = 0
        self._served = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        report["connections"] += 1

    def data_received(self, data: bytes) -> None:
        if self._served:
            report["lost"] += data.count(b"POST /v1/ecflow ")
            return
        self._buffer += data
        if not self._head:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            self._head = bytes(self._buffer[: end + 2]).lower()
            del self._buffer[: end + 4]
            _, found, rest = self._head.partition(b"\r\ncontent-length: ")
            self._expected = int(rest.partition(b"\r\n")[0]) if found else 0
        if len(self._buffer) >= self._expected:
            self._serve()

    def _serve(self) -> None:
        self._served = True
        if self._head.startswith(b"get /report "):
            answer = json.dumps({**report, "taken": taken}).encode()
        else:
            command = json.loads(self._buffer)["command"]
            taken[command] += 1
            user = self._head.partition(b"\r\nx-auth-username: ")[2].partition(b"\r\n")[0].decode()
            report["users"][user] = report["users"].get(user, 0) + 1
            answer = json.dumps({"command": command, "sha256": hashlib.sha256(self._buffer).hexdigest()}).encode()
        self._buffer.clear()
        self.transport.write(REPLY % (len(answer), answer))
        delay = DELAYS[report["connections"] % len(DELAYS)]
        if delay:
            asyncio.get_running_loop().call_later(delay, self._shut_down)
        else:
            self._shut_down()

    def _shut_down(self) -> None:
        if not self.transport.is_closing():
            self.transport.write_eof()


async def main(port: int) -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(EcflowConnection, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))

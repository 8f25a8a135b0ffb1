"""Idle keep-alive connections: ``idle PORT COUNT PATH AUTHORIZATION``.

Each connection sends one request, because a server then keeps more data for it. Prints a line of JSON when all connections are
open, and keeps them open until its standard input ends.
"""

from __future__ import annotations

import json
import resource
import ssl
import sys
import threading
from collections.abc import Iterator

from bench.clients.handshakes import client_context, connect

_THREADS = 4
# one address has about 28,000 ports for outgoing connections, and other scenarios have left some of them in TIME_WAIT
_SOURCES = [f"127.0.0.{number}" for number in range(2, 10)]


def _open(port: int, request: bytes, numbers: Iterator[int], opened: list[ssl.SSLSocket]) -> None:
    context = client_context()
    for number in numbers:
        connection = connect(context, port, source=_SOURCES[number % len(_SOURCES)])
        connection.sendall(request)
        if not connection.recv(65536).startswith(b"HTTP/1.1 200"):
            raise SystemExit("a request was not answered with 200")
        opened.append(connection)


def main(port: int, count: int, path: str, authorization: str) -> None:
    """Open the connections, print the line, and keep the connections open."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}\r\n\r\n".encode()
    opened: list[ssl.SSLSocket] = []
    threads = [
        threading.Thread(target=_open, args=(port, request, iter(range(start, count, _THREADS)), opened))
        for start in range(_THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({"open": len(opened)}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])

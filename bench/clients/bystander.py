"""A normal client: ``bystander PORT PATH AUTHORIZATION SECONDS`` sends one request after the other on one TLS connection.

It pauses for a millisecond after each answer, and prints a line of JSON: the number of answers, and their times in
milliseconds.
"""

from __future__ import annotations

import json
import sys
import time

from bench.clients.handshakes import client_context, connect

_PAUSE = 0.001


def percentile(values: list[float], share: float) -> float:
    """The quantile ``share`` of ``values``."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main(port: int, path: str, authorization: str, seconds: float) -> None:
    """Send the requests, and print the result."""
    connection = connect(client_context(), port)
    connection.settimeout(60)
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}\r\n\r\n".encode()
    took: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.perf_counter()
        connection.sendall(request)
        answer = connection.recv(65536)
        took.append((time.perf_counter() - began) * 1000)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise SystemExit("a request was not answered with 200")
        time.sleep(_PAUSE)
    print(json.dumps({"requests": len(took), "p50": percentile(took, 0.5), "p99": percentile(took, 0.99), "slowest": max(took)}))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4]))

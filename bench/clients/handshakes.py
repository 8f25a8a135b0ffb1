"""New TLS connections one after the other in a few threads: ``handshakes PORT SECONDS (full|resumed)``.

Each is closed with a close_notify as soon as its handshake is complete; no request is sent. Prints the number of
connections, and how many of them were resumed.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import sys
import threading
import time

import attrs

_THREADS = 8
_TIMEOUT = 10.0
_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@attrs.define
class Count:
    """The figures of one thread."""

    connections: int = 0
    resumed: int = 0


def client_context() -> ssl.SSLContext:
    """A client context that verifies no certificate, because the run made the certificate itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def connect(
    context: ssl.SSLContext, port: int, session: ssl.SSLSession | None = None, source: str = "127.0.0.1"
) -> ssl.SSLSocket:
    """Return a connection after its handshake."""
    plain = socket.create_connection(("127.0.0.1", port), _TIMEOUT, (source, 0))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(plain, session=session)


def _close(connection: ssl.SSLSocket) -> None:
    # some servers answer with close_notify, others only close
    with contextlib.suppress(OSError):
        connection.unwrap()
    connection.close()


def _ticket(context: ssl.SSLContext, port: int) -> ssl.SSLSession:
    """Return a session to resume. In TLS 1.3 the server sends it after the handshake, so the client has to read."""
    connection = connect(context, port)
    connection.sendall(_REQUEST)
    connection.recv(65536)
    session = connection.session
    _close(connection)
    if session is None:
        raise SystemExit("the server sends no sessions to resume")
    return session


def _work(port: int, end: float, resume: bool, count: Count) -> None:
    context = client_context()
    session = _ticket(context, port) if resume else None
    while time.monotonic() < end:
        connection = connect(context, port, session)
        count.connections += 1
        count.resumed += bool(connection.session_reused)
        _close(connection)


def main(port: int, seconds: float, resume: bool) -> Count:
    """Connect until ``seconds`` have passed."""
    end = time.monotonic() + seconds
    counts = [Count() for _ in range(_THREADS)]
    threads = [threading.Thread(target=_work, args=(port, end, resume, count)) for count in counts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Count(sum(count.connections for count in counts), sum(count.resumed for count in counts))


if __name__ == "__main__":
    print(json.dumps(attrs.asdict(main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == "resumed"))))

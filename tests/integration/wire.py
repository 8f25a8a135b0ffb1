"""Clients for tests of exact bytes: plain or TLS sockets that send given bytes and read with a timeout."""

from __future__ import annotations

import base64
import socket
import ssl
import struct
from collections.abc import Iterable
from types import TracebackType

import attrs

TIMEOUT = 10.0
"""Timeout in seconds of one read or write. Nothing on loopback takes this long, so a timeout is a failure."""


def basic(username: str, password: str) -> str:
    """A header line with Basic credentials (UTF-8, as the challenge asks)."""
    return "Authorization: Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def bearer(token: str) -> str:
    """A header line with a token."""
    return f"Authorization: Bearer {token}"


@attrs.frozen
class Response:
    """A response as it arrived. Header names are in lower case; ``interim`` are the statuses of the 1xx responses before it."""

    status: int
    reason: str
    fields: tuple[tuple[str, str], ...]
    body: bytes
    trailers: tuple[tuple[str, str], ...] = ()
    interim: tuple[int, ...] = ()
    head: bytes = b""

    def get(self, name: str) -> str | None:
        """The only value of a header, or None if it is absent. Two values are a failure."""
        values = self.get_all(name)
        if len(values) > 1:
            raise AssertionError(f"{name} is there {len(values)} times: {values}")
        return values[0] if values else None

    def get_all(self, name: str) -> list[str]:
        """All values of a header, in order."""
        return [value for key, value in self.fields if key == name.lower()]

    @property
    def text(self) -> str:
        """The body as UTF-8."""
        return self.body.decode()


def insecure_context(alpn: Iterable[str] = ("http/1.1",)) -> ssl.SSLContext:
    """A TLS client context that accepts every certificate, since most tests use self-signed ones."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(list(alpn))
    return context


class Wire:
    """One connection to 127.0.0.1. A context manager; reads raise `TimeoutError` after `TIMEOUT`."""

    def __init__(
        self,
        port: int,
        *,
        tls: bool | ssl.SSLContext = False,
        server_name: str | None = None,
        host: str = "127.0.0.1",
        timeout: float = TIMEOUT,
        receive_buffer: int | None = None,
    ) -> None:
        self.socket: socket.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.socket.settimeout(timeout)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.buffer = b""
        try:
            self.socket.connect((host, port))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls:
                context = tls if isinstance(tls, ssl.SSLContext) else insecure_context()
                self.socket = context.wrap_socket(self.socket, server_hostname=server_name)
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    # -- out

    def send(self, data: bytes) -> Wire:
        """Send all of ``data``."""
        self.socket.sendall(data)
        return self

    def dribble(self, data: bytes, size: int = 1) -> Wire:
        """Send ``data`` in pieces, one TCP segment for each."""
        for start in range(0, len(data), size):
            self.socket.sendall(data[start : start + size])
        return self

    def half_close(self) -> None:
        """Send FIN, and continue reading."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Close with FIN, or with RST if there is unread data."""
        self.socket.close()

    # -- in

    def read_some(self) -> bytes:
        """Read the buffered or the next bytes; empty at the end."""
        if self.buffer:
            data, self.buffer = self.buffer, b""
            return data
        return self.socket.recv(65536)

    def read_until(self, mark: bytes) -> bytes:
        """Read everything up to and including ``mark``. Raises `EOFError` if the connection ends before."""
        while (end := self.buffer.find(mark)) < 0:
            self._more(f"before {mark!r}")
        data, self.buffer = self.buffer[: end + len(mark)], self.buffer[end + len(mark) :]
        return data

    def read_exactly(self, size: int) -> bytes:
        """Read ``size`` bytes. Raises `EOFError` if the connection ends before."""
        while len(self.buffer) < size:
            self._more(f"{size - len(self.buffer)} bytes early")
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def read_all(self) -> bytes:
        """Read everything until the peer closes or resets the connection."""
        parts = [self.buffer]
        self.buffer = b""
        try:
            while data := self.socket.recv(65536):
                parts.append(data)
        except (ConnectionResetError, ssl.SSLEOFError, BrokenPipeError):
            pass
        return b"".join(parts)

    def closed(self) -> bool:
        """Wait for the next event: True for the end of the connection, False for another byte."""
        if self.buffer:
            return False
        try:
            self.buffer = self.socket.recv(65536)
        except (ConnectionResetError, ssl.SSLEOFError):
            return True
        return not self.buffer

    def read_head(self) -> tuple[int, str, tuple[tuple[str, str], ...], bytes]:
        """Read a response head: status, reason, headers, and its raw bytes."""
        raw = self.read_until(b"\r\n\r\n")
        lines = raw[:-4].decode("iso-8859-1").split("\r\n")
        version, _, rest = lines[0].partition(" ")
        if version not in ("HTTP/1.1", "HTTP/1.0"):
            raise AssertionError(f"not a status line: {lines[0]!r}")
        status, _, reason = rest.partition(" ")
        return int(status), reason, _fields(lines[1:]), raw

    def response(self, method: str = "GET") -> Response:
        """Read one response to a request of that ``method``, body and trailers included."""
        interim: list[int] = []
        while True:
            status, reason, fields, raw = self.read_head()
            if status >= 200 or status == 101:
                break
            interim.append(status)
        body, trailers = b"", ()
        named = dict(fields)
        if method != "HEAD" and status not in (101, 204, 304):
            if "transfer-encoding" in named:
                body, trailers = self._chunked()
            elif "content-length" in named:
                body = self.read_exactly(int(named["content-length"]))
            else:
                body = self.read_all()
        return Response(status, reason, fields, body, trailers, tuple(interim), raw)

    def get(self, target: str, *headers: str, method: str = "GET", host: str = "gateway.test", body: bytes = b"") -> Response:
        """Send an ordinary HTTP/1.1 request and read its response. ``headers`` are ``Name: value``."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join([*lines, "", ""]).encode("iso-8859-1") + body)
        return self.response(method)

    def _chunked(self) -> tuple[bytes, tuple[tuple[str, str], ...]]:
        parts: list[bytes] = []
        while size := int(self.read_until(b"\r\n")[:-2].split(b";")[0], 16):
            parts.append(self.read_exactly(size))
            if self.read_exactly(2) != b"\r\n":
                raise AssertionError("a chunk does not end with CR LF")
        lines: list[str] = []
        while (line := self.read_until(b"\r\n")) != b"\r\n":
            lines.append(line[:-2].decode("iso-8859-1"))
        return b"".join(parts), _fields(lines)

    def _more(self, what: str) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError(f"the connection ended {what}; so far: {self.buffer[:200]!r}")
        self.buffer += data


def _fields(lines: Iterable[str]) -> tuple[tuple[str, str], ...]:
    pairs = (line.partition(":") for line in lines)
    return tuple((name.lower(), value.strip()) for name, _, value in pairs)

"""What the gateway, nginx, HAProxy and Caddy make of bytes that are not, or not quite, HTTP.

The table in docs/explanation/strictness.md is measured with this: ``python -m tests.integration.strictness`` prints it. Each case
is one request to each proxy with the same service, or one response of the service to an ordinary request.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.integration.harness import USERS, Gateway, site
from tests.integration.ports import eventually, free_port
from tests.integration.upstreams import Connection, Upstream

CLIENT: tuple[tuple[str, bytes], ...] = (
    (
        "`Upgrade: h2c` with `Connection: Upgrade`",
        b"GET /x HTTP/1.1\r\nHost: a\r\n"
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
    ),
    ("chunk extension `5;a=b`", b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n"),
    (
        "chunk size with blanks after it",
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5  \r\nhello\r\n0\r\n\r\n",
    ),
    (
        "chunk extension that is malformed: `5;`",
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;\r\nhello\r\n0\r\n\r\n",
    ),
    (
        "chunk extension with a bare LF",
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n",
    ),
    ("LF alone after a chunk size", b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n"),
    ("LF alone at the end of a header", b"GET /x HTTP/1.1\nHost: a\n\n"),
    ("CR alone in a header", b"GET /x HTTP/1.1\r\nHost: a\r\nA: b\rc\r\n\r\n"),
    ("blank before the colon", b"GET /x HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n"),
    ("folded header", b"GET /x HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n"),
    ("NUL in a header", b"GET /x HTTP/1.1\r\nHost: a\r\nA: b\x00c\r\n\r\n"),
    ("header without a name", b"GET /x HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"),
    ("`Content-Length` twice, the same", b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
    ("`Content-Length: 5, 5`", b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello"),
    ("`Content-Length: +5`", b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello"),
    (
        "`Content-Length` and `Transfer-Encoding`",
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ),
    (
        "`Transfer-Encoding: gzip, chunked`",
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ),
    (
        "`Transfer-Encoding: chunked` in HTTP/1.0",
        b"POST /x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ),
    ("no `Host`", b"GET /x HTTP/1.1\r\n\r\n"),
    ("two `Host`", b"GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    ("`Host` with a user", b"GET /x HTTP/1.1\r\nHost: u@a\r\n\r\n"),
    ("unknown `Expect`", b"POST /x HTTP/1.1\r\nHost: a\r\nExpect: x\r\nContent-Length: 5\r\n\r\nhello"),
    ("empty `Expect`", b"POST /x HTTP/1.1\r\nHost: a\r\nExpect:\r\nContent-Length: 5\r\n\r\nhello"),
    ("HTTP/1.2", b"GET /x HTTP/1.2\r\nHost: a\r\n\r\n"),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
    ("empty lines before the request", b"\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("`#` in the target", b"GET /x#y HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("`TRACE`", b"TRACE /x HTTP/1.1\r\nHost: a\r\n\r\n"),
)
"""What a client sends, and the bytes."""

SERVICE: tuple[tuple[str, bytes], ...] = (
    ("chunk extension", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\n\r\n"),
    ("chunk size with blanks after it", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2  \r\nok\r\n0\r\n\r\n"),
    ("LF alone after a chunk size", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n"),
    ("LF alone at the end of a header", b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
    ("blank before the colon", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA : b\r\n\r\nok"),
    ("folded header", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: b\r\n c\r\n\r\nok"),
    ("NUL in a header", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: b\x00c\r\n\r\nok"),
    ("`Content-Length` twice, the same", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"),
    ("`Content-Length` twice, different", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"),
    (
        "`Content-Length` and `Transfer-Encoding`",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    ("`Transfer-Encoding: gzip, chunked`", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ("`Transfer-Encoding` in HTTP/1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ("101 that the request did not ask for", b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
    ("204 with a body", b"HTTP/1.1 204 N\r\nContent-Length: 2\r\n\r\nok"),
    ("103 before the response", b"HTTP/1.1 103 E\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("426 with `Upgrade`", b"HTTP/1.1 426 U\r\nConnection: upgrade\r\nUpgrade: TLS/1.3\r\nContent-Length: 2\r\n\r\nok"),
    ("HTTP/1.2", b"HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("status line without a reason", b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"),
)
"""What a service answers, and the bytes."""

ORDINARY = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"

_LENGTH = re.compile(rb"\ncontent-length: *(\d+)")
_FAULTY = re.compile(rb"(?:[^\r\n]* )?HTTP/1\.0[ \r][^\0]*?\ntransfer-encoding:", re.I)
"""Transfer-Encoding in a message of HTTP/1.0: RFC 9112, section 6.1."""

ROUTES = """
[upstream service]
servers = {url}
keepalive = 0
read_timeout = 4s

[route all]
path = /
upstream = service
auth = none
"""


class Service:
    """Sends ``reply`` to each request, or `OK` where that is None."""

    def __init__(self) -> None:
        self.reply: bytes | None = None
        self.upstream = Upstream(self._serve)

    def _serve(self, connection: Connection) -> None:
        connection.socket.settimeout(3)
        with contextlib.suppress(TimeoutError, OSError):
            head = connection.head().lower()
            length = _LENGTH.search(head)
            if b"chunked" in head:
                connection.read_until(b"0\r\n\r\n")
            elif length is not None:
                connection.read_exactly(int(length[1]))
            connection.send(OK if self.reply is None else self.reply)
            time.sleep(0.2)


def gateway(directory: Path, service: Service) -> Gateway:
    """A gateway in front of ``service``; not started."""
    return Gateway(directory, site(ROUTES.format(url=service.upstream.url)), USERS)


def outcome(port: int, data: bytes, service: Service) -> str:
    """The status that a client gets which sends ``data``; what else is worth to be known follows it."""
    connections = service.upstream.connections
    received = _received(port, data)
    if received.startswith(b"\0\0"):
        return "GOAWAY"
    if not received:
        return "closed"
    final = _final(received)
    status = final[9:12].decode()
    if received.startswith(b"HTTP/1.1 103"):
        return f"103, {status}"
    if status == "426" and b"\nupgrade: tls" in final.lower():
        return "426, `Upgrade` kept"
    if status == "200":
        return "200" + _changed(data, final, b"".join(service.upstream.raw[connections:]))
    return status


def _changed(request: bytes, response: bytes, forwarded: bytes) -> str:
    """What a client and a service are not likely to notice: another body, or framing that they read in two ways."""
    if b"hello" in request and b"hello" not in forwarded:
        return ", body dropped"
    if any(_FAULTY.match(one) for one in (response, forwarded)):
        return ", framing kept"
    content = _content(response)
    if content is None:
        return ", then cut"
    if not content:
        return ", empty"
    return "" if content == b"ok" else ", framing as content"


def _final(received: bytes) -> bytes:
    return received[received.rfind(b"HTTP/1.") :]


def _content(response: bytes) -> bytes | None:
    """The body as a client reads it; None where it is not complete."""
    ours, peer = socket.socketpair()
    with ours, peer:
        peer.sendall(response)
        peer.shutdown(socket.SHUT_WR)
        with contextlib.suppress(http.client.HTTPException), http.client.HTTPResponse(ours) as parsed:
            parsed.begin()
            return parsed.read()
    return None


def _received(port: int, data: bytes) -> bytes:
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=6) as client:
        client.sendall(data)
        end = time.monotonic() + 3.5
        with contextlib.suppress(TimeoutError, ConnectionError):
            while not _content(_final(received)):
                client.settimeout(max(0.05, end - time.monotonic()))
                part = client.recv(65536)
                if not part:
                    break
                received += part
                if not received.startswith(b"HTTP/1.1 1"):
                    end = min(end, time.monotonic() + 0.6)
    return received


def measured(ports: Mapping[str, int], service: Service) -> Iterator[tuple[str, str, list[str]]]:
    """For each case: who sends it, its name, and what becomes of it at each of ``ports``."""
    for name, data in CLIENT:
        service.reply = None
        yield "client", name, [outcome(port, data, service) for port in ports.values()]
    for name, data in SERVICE:
        service.reply = data
        yield "service", name, [outcome(port, ORDINARY, service) for port in ports.values()]


def _peers(directory: Path, url: str) -> tuple[dict[str, int], list[subprocess.Popen[bytes]]]:
    ports = {"nginx": free_port(), "HAProxy": free_port(), "Caddy": free_port()}
    server = url.removeprefix("http://")
    (directory / "nginx.conf").write_text(
        f"daemon off; pid {directory}/pid; error_log stderr crit; user root; events {{}} http {{ access_log off; "
        f"client_body_temp_path {directory}/body; "
        f"proxy_temp_path {directory}/proxy; server {{ listen 127.0.0.1:{ports['nginx']}; "
        f"location / {{ proxy_pass {url}; proxy_http_version 1.1; proxy_next_upstream off; proxy_read_timeout 4s; }} }} }}"
    )
    (directory / "haproxy.cfg").write_text(
        "defaults\n mode http\n timeout client 5s\n timeout server 4s\n timeout connect 5s\n retries 0\n"
        f"frontend f\n bind 127.0.0.1:{ports['HAProxy']}\n default_backend b\nbackend b\n server s {server}\n"
    )
    (directory / "Caddyfile").write_text(
        "{\n admin off\n auto_https off\n log {\n level ERROR\n }\n}\n"
        f"http://:{ports['Caddy']} {{\n bind 127.0.0.1\n reverse_proxy {server}\n}}\n"
    )
    commands = (
        ["nginx", "-p", str(directory), "-c", str(directory / "nginx.conf"), "-e", "stderr"],
        ["haproxy", "-f", str(directory / "haproxy.cfg"), "-db"],
        ["caddy", "run", "--config", str(directory / "Caddyfile"), "--adapter", "caddyfile"],
    )
    quiet = subprocess.DEVNULL
    return ports, [subprocess.Popen(command, stdout=quiet, stderr=quiet) for command in commands]


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def main() -> None:
    """Print the table."""
    service = Service()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        ports, processes = _peers(directory, service.upstream.url)
        own = gateway(directory / "gateway", service).start()
        ports["Perimeter"] = own["http"]
        try:
            for port in ports.values():
                eventually(lambda port=port: _listens(port), "all listen")  # type: ignore[misc]
            for sender, case, found in measured(ports, service):
                print(f"{sender} | {case} | {' | '.join(found)}", flush=True)
        finally:
            for process in processes:
                process.terminate()
                process.wait()
            own.stop()
            service.upstream.close()


if __name__ == "__main__":
    main()

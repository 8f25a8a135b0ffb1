"""Services behind a gateway: one that a test controls byte by byte, an nginx with files, and a Twisted echo service."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs

from tests.integration.ports import eventually, free_port
from tests.integration.wire import TIMEOUT

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


@attrs.frozen
class Received:
    """A request as it arrived: its head with the empty line, and its body without the chunked coding."""

    head: bytes
    body: bytes = b""
    raw_body: bytes = b""

    @property
    def line(self) -> str:
        """The request line."""
        return self.head.split(b"\r\n", 1)[0].decode("iso-8859-1")

    @property
    def fields(self) -> list[tuple[str, str]]:
        """Names in lower case, and values."""
        pairs = (line.partition(":") for line in self.head[:-4].decode("iso-8859-1").split("\r\n")[1:])
        return [(name.lower(), value.strip()) for name, _, value in pairs]

    def get(self, name: str) -> str | None:
        """The only value of a header, or None. Two values are a failure."""
        values = [value for key, value in self.fields if key == name.lower()]
        if len(values) > 1:
            raise AssertionError(f"{name} is there {len(values)} times: {values}")
        return values[0] if values else None


class Connection:
    """The upstream's end of one connection, for scripts."""

    def __init__(self, peer: socket.socket, upstream: Upstream, number: int) -> None:
        self._socket = peer
        self._upstream = upstream
        self._buffer = b""
        self.number = number
        """The number of the connection, from 0."""

    @property
    def socket(self) -> socket.socket:
        """The socket itself, for operations that have no method here."""
        return self._socket

    def head(self) -> bytes:
        """Read a request head up to its empty line. Raises `EOFError` at the end of the connection."""
        return self.read_until(b"\r\n\r\n")

    def request(self) -> Received:
        """Read a complete request, and record it. Raises `EOFError` at the end of the connection."""
        head = self.head()
        received = Received(head)
        length, coding = received.get("content-length"), received.get("transfer-encoding")
        if coding is not None:
            received = attrs.evolve(received, body=(chunked := self._chunked())[0], raw_body=chunked[1])
        elif length is not None:
            body = self.read_exactly(int(length))
            received = attrs.evolve(received, body=body, raw_body=body)
        self._upstream.note(received)
        return received

    def read_until(self, mark: bytes) -> bytes:
        """Read everything up to and including ``mark``."""
        while (end := self._buffer.find(mark)) < 0:
            self._more()
        data, self._buffer = self._buffer[: end + len(mark)], self._buffer[end + len(mark) :]
        return data

    def read_exactly(self, size: int) -> bytes:
        """Read ``size`` bytes."""
        while len(self._buffer) < size:
            self._more()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def read_some(self) -> bytes:
        """Read the next bytes; empty at the end."""
        if self._buffer:
            data, self._buffer = self._buffer, b""
            return data
        return self._recv()

    def send(self, data: bytes) -> None:
        """Send all of ``data``."""
        self._socket.sendall(data)

    def half_close(self) -> None:
        """Send FIN and continue reading, as ecFlow does."""
        self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with RST."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def close(self) -> None:
        """Close."""
        self._socket.close()

    def _chunked(self) -> tuple[bytes, bytes]:
        parts: list[bytes] = []
        raw: list[bytes] = []
        while True:
            line = self.read_until(b"\r\n")
            size = int(line[:-2], 16)
            raw.append(line)
            if size == 0:
                break
            data = self.read_exactly(size + 2)
            raw.append(data)
            parts.append(data[:-2])
        while True:
            line = self.read_until(b"\r\n")
            raw.append(line)
            if line == b"\r\n":
                return b"".join(parts), b"".join(raw)

    def _recv(self) -> bytes:
        data = self._socket.recv(65536)
        self._upstream.raw[self.number] += data
        return data

    def _more(self) -> None:
        data = self._recv()
        if not data:
            raise EOFError(f"the gateway closed; unread: {self._buffer[:200]!r}")
        self._buffer += data


Script = Callable[[Connection], None]


def replying(reply: bytes) -> Script:
    """A script that sends the same reply to each request, on connections that stay open."""

    def script(connection: Connection) -> None:
        while True:
            connection.request()
            connection.send(reply)

    return script


class Upstream:
    """A listening socket on 127.0.0.1 with a thread for each connection, in which ``script`` decides what happens.

    The connection is closed when the script returns. If a script fails, the test fails (`close`). It is no failure if the gateway
    closes a connection.
    """

    def __init__(self, script: Script | bytes = OK) -> None:
        self._script = replying(script) if isinstance(script, bytes) else script
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self.requests: list[Received] = []
        """The requests that `Connection.request` has read, in order."""
        self.raw: list[bytes] = []
        """All bytes that arrived, one item per connection."""
        self._queue: queue.Queue[Received] = queue.Queue()
        self._peers: set[socket.socket] = set()
        self._failures: list[BaseException] = []
        self._threads: list[threading.Thread] = []
        self._closing = False
        self._start(self._accept)

    @property
    def url(self) -> str:
        """For ``servers = …``."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """The number of connections so far."""
        return len(self.raw)

    def note(self, received: Received) -> None:
        """Record a request. Scripts that read one themselves call it."""
        self.requests.append(received)
        self._queue.put(received)

    def next(self, timeout: float = TIMEOUT) -> Received:
        """Wait for the next request that was not returned yet, and return it."""
        try:
            return self._queue.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError(f"no request reached the upstream within {timeout} s") from None

    def close(self) -> None:
        """Close everything, and raise the exception of a script that failed."""
        self._closing = True
        for sock in [self._listener, *self._peers]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads:
            thread.join(TIMEOUT)
        if self._failures:
            raise AssertionError(f"the upstream's script failed: {self._failures[0]!r}") from self._failures[0]

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._peers.add(peer)
            self.raw.append(b"")
            self._start(self._serve, peer, len(self.raw) - 1)

    def _serve(self, peer: socket.socket, number: int) -> None:
        try:
            self._script(Connection(peer, self, number))
        except (EOFError, ConnectionError):
            pass
        except BaseException as failure:
            if not self._closing:
                self._failures.append(failure)
        finally:
            peer.close()


class Process:
    """A service in its own process, which is killed at the end."""

    port: int

    def __init__(self, command: list[str], log: Path) -> None:
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    @property
    def url(self) -> str:
        """For ``servers = …``."""
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Stop the service."""
        self._process.terminate()
        try:
            self._process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _await_port(self) -> None:
        def up() -> bool:
            if self._process.poll() is not None:
                raise AssertionError(f"{self._process.args!r} ended: {self._log.read_text(errors='replace')}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
            return False

        try:
            eventually(up, "the service listens")
        except BaseException:
            self.close()
            raise


class Nginx(Process):
    """nginx with ``files`` (path below the root: content), and more ``server`` directives."""

    def __init__(self, directory: Path, files: Mapping[str, bytes], server: str = "") -> None:
        self.port = free_port()
        self.root = directory / "html"
        for name, content in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        config = directory / "nginx.conf"
        config.write_text(f"""
            daemon off;
            # root's workers stay root: other users may not be allowed to read the directory
            {"user root;" if os.getuid() == 0 else ""}
            worker_processes 1;
            pid {directory}/nginx.pid;
            error_log stderr;
            events {{}}
            http {{
                access_log off;
                client_body_temp_path {directory}/body;
                proxy_temp_path {directory}/proxy;
                fastcgi_temp_path {directory}/fastcgi;
                uwsgi_temp_path {directory}/uwsgi;
                scgi_temp_path {directory}/scgi;
                server {{
                    listen 127.0.0.1:{self.port};
                    root {self.root};
                    {server}
                }}
            }}
        """)
        super().__init__(["nginx", "-p", str(directory), "-c", str(config), "-e", "stderr"], directory / "nginx.log")
        self._await_port()


class Echo(Process):
    """The Twisted app of `tests.integration.echo_app`."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        script = Path(__file__).with_name("echo_app.py")
        super().__init__([sys.executable, str(script), str(self.port)], directory / "echo.log")
        self._await_port()


class GitServer(Process):
    """The repositories below ``root``, by `tests.integration.git_app`."""

    def __init__(self, directory: Path, root: Path) -> None:
        self.port = free_port()
        script = Path(__file__).with_name("git_app.py")
        super().__init__([sys.executable, str(script), str(self.port), str(root)], directory / "git.log")
        self._await_port()

"""Attacks on the way to the store that several machines share: what answers in its place, and who stands in between."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import gatherResults, inlineCallbacks
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from perimeter.config.site.redis_url import parse_redis_url
from perimeter.errors import StateUnavailable
from perimeter.net.contexts import ClientTLS
from perimeter.redis.client import RedisClient
from tests.integration.directories import Authority
from tests.integration.ldapkit import shared
from tests.integration.netkit import identity, pem
from tests.integration.redispeer import RedisPeer

HELLO = b"%1\r\n+mode\r\n+sentinel\r\n"
SENTINEL = b"%%4\r\n+flags\r\n+master\r\n+ip\r\n$9\r\n127.0.0.1\r\n+port\r\n+%d\r\n+config-epoch\r\n+1\r\n"


class Impostor:
    """A listener on loopback that does with each connection what ``serve`` does, and keeps what it is sent."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.received = b""
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def _start(self, target: Callable[..., None], *arguments: Any) -> None:
        self._threads.append(threading.Thread(target=target, args=arguments, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            self._start(self._run, connection)

    def _run(self, connection: socket.socket) -> None:
        try:
            self._serve(connection)
            while data := connection.recv(65536):
                self.received += data
        except OSError:
            return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        for thread in self._threads:
            thread.join(5)


def endless(part: bytes, first: bytes = b"") -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(first)
        while True:
            connection.sendall(part)

    return serve


def answering(*parts: bytes) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        for part in parts:
            connection.recv(65536)
            connection.sendall(part)

    return serve


class Secured:
    """A server with TLS whose certificate is for ``localhost`` only."""

    def __init__(self, directory: Path) -> None:
        self.authority = Authority(directory)
        self.server = RedisPeer(directory / "redis", tls=(*self.authority.issue("localhost"), self.authority.certificate))

    def kill(self) -> None:
        self.server.kill()


class RedisAttackTest(TestCase):
    def impostor(self, serve: Callable[[socket.socket], None]) -> Impostor:
        made = Impostor(serve)
        self.addCleanup(made.close)
        return made

    @inlineCallbacks
    def refused(self, url: str, words: str, timeout: float = 0.6, **options: Any) -> Any:
        """A call fails in time, and the reason is known in these words, without the password."""
        client = RedisClient(reactor, parse_redis_url(url), timeout=timeout, **options)
        self.addCleanup(client.stop)
        client.start()
        began = reactor.seconds()
        failure = yield self.assertFailure(client.call("GET", "perimeter:a"), StateUnavailable)
        self.assertLess(reactor.seconds() - began, 2 * timeout)
        # the attempt has the same time as the call that waits for it, and began a moment later
        while client.problem == "Redis: not connected yet":
            yield deferLater(reactor, 0.02)
        self.assertIn(words, client.problem)
        self.assertNotIn("hunter2", failure.detail + client.problem)
        self.assertEqual("", client.run_id)
        yield client.stop()

    @inlineCallbacks
    def test_attack_172_server_that_sends_without_end(self) -> Any:
        """Lengths that reserve memory, endless lines, endless strings, what is no reply: dropped in time."""
        refused = []
        for serve, words in (
            (answering(b"*4294967295\r\n" * 4), "a reply that is too large"),
            (answering(b"*4294967295\r\n*4294967295\r\n"), "a reply that is too large"),
            (endless(b"a" * 65536, b"+"), "a line that is too long"),
            (endless(b"$65536\r\n" + b"a" * 65536 + b"\r\n", b"*200000\r\n"), "a reply that is too large"),
            (endless(b"*1\r\n" * 1000), "arrays in arrays"),
            (answering(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "no reply of Redis"),
            (answering(HELLO, HELLO * 100), "127.0.0.1"),
        ):
            impostor = self.impostor(serve)
            refused.append(self.refused(f"redis://:hunter2@127.0.0.1:{impostor.port}", words, timeout=1.0))
        yield gatherResults(refused)

    @inlineCallbacks
    def test_attack_172_server_that_is_slow(self) -> Any:
        """A byte now and then moves no deadline."""

        def drip(connection: socket.socket) -> None:
            connection.recv(65536)
            pause = threading.Event()
            while True:
                connection.sendall(b"+")
                pause.wait(0.05)

        yield self.refused(f"redis://:hunter2@127.0.0.1:{self.impostor(drip).port}", "did not answer in time")

    @inlineCallbacks
    def test_attack_173_certificate_of_another_name(self) -> Any:
        """A real server, with a good certificate of the right CA that is for another name, gets no password."""
        secured: Secured = shared(Secured)
        tls = ClientTLS("redis", secured.authority.certificate, alpn=())
        client = RedisClient(reactor, parse_redis_url(secured.server.url(host="localhost")), tls=tls)
        self.addCleanup(client.stop)
        client.start()
        self.assertEqual(b"PONG", (yield client.call("PING")))
        yield self.refused(secured.server.url(password="hunter2"), "its certificate is for another name", tls=tls)

    @inlineCallbacks
    def test_attack_173_certificate_of_another_authority(self) -> Any:
        """The same name, from a CA that is not ``redis_ca``; and a server without TLS."""
        secured: Secured = shared(Secured)
        other = Path(self.mktemp()).absolute()
        other.parent.mkdir(parents=True, exist_ok=True)
        other.write_bytes(pem(identity("other CA", ca=True).chain[0]))
        url = secured.server.url(password="hunter2", host="localhost")
        yield self.refused(url, "not from a trusted CA: set redis_ca", tls=ClientTLS("redis", other, alpn=()))
        plain = self.impostor(endless(b"+OK\r\n"))
        tls = ClientTLS("redis", secured.authority.certificate, alpn=())
        yield self.refused(f"rediss://:hunter2@localhost:{plain.port}", "it does not speak TLS on this port", tls=tls)
        self.assertNotIn(b"hunter2", plain.received)

    @inlineCallbacks
    def test_attack_174_sentinel_that_names_another_server(self) -> Any:
        """What is behind the port that it names is asked for nothing but who it is: it is no Redis, or no primary."""
        other = self.impostor(answering(b"SSH-2.0-OpenSSH_9.2\r\n"))
        lying = self.impostor(answering(HELLO, SENTINEL % other.port))
        url = f"redis+sentinel://127.0.0.1:{lying.port}/perimeter"
        yield self.refused(url, f"127.0.0.1:{other.port}: it sent what is no reply of Redis")
        self.assertNotIn(b"perimeter:a", other.received)

    @inlineCallbacks
    def test_attack_174_sentinel_in_plain_text_that_names_another_server(self) -> Any:
        """With TLS, what it names has to show a certificate for the host that it names, before it gets the password."""
        secured: Secured = shared(Secured)
        tls = ClientTLS("redis", secured.authority.certificate, alpn=())
        lying = self.impostor(answering(HELLO, SENTINEL % secured.server.port))
        url = f"rediss+sentinel://:hunter2@localhost:{lying.port}/perimeter"
        yield self.refused(url, "no Sentinel answers", tls=tls)
        self.assertNotIn(b"hunter2", lying.received)

"""Drives the gateway of one checkout in memory. This is a separate program: it imports only Twisted and the checkout.

The gateway is started as twistd starts it: from a configuration file, through the plugin ``perimeter``, on the reactor that it
chooses. One client and one upstream connect to it over the loopback interface. After that the sockets are not used: the ``write``
of both transports of the gateway only counts bytes, and input is passed to ``protocol.dataReceived``, as the transports do. So a
request passes everything between the two transports: parser, gate, proxy, pool, answer, and the audit line, which is written to a
real file.

Nothing here names a module or class of the gateway, so that older and newer checkouts can be driven. It depends on the name of
the plugin, on the configuration, ``GET /token``, and on Twisted's interfaces: a port with ``getHost``, and transports with
``getPeer``, ``write`` and ``protocol``.

It is run as ``child.py CHECKOUT CORE`` in a directory with ``site.ini``, in which ``UPSTREAM`` stands for a port. Its first line
of output names the scenarios. Each line of input is ``SCENARIO COUNT``; the answer is a line of JSON with the nanoseconds of CPU
that COUNT requests took. It ends with its input.
"""

from __future__ import annotations

import base64
import gc
import itertools
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.application.service import IServiceMaker
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, ITCPTransport
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import deferLater
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.plugin import getPlugins

_TOKENS = 192
"""Number of tokens that ``new-token`` uses in turn: many more than the gateway caches, so that none is still cached."""
_USER = b"someuser:somesecret"
_PATIENCE = 20.0
"""Seconds that the child waits for the start, or for an answer."""

_BODY = b'{"status":"active","node":"/suite/family/task","state":"queued","try":12}'
_QUARTER = b"0123456789abcdef" * 1024
_HEAD = b"HTTP/1.1 200 OK\r\nServer: service\r\nDate: Fri, 27 Nov 2026 04:00:00 GMT\r\nContent-Type: application/json\r\n"
_CHUNK = b"%x\r\n%b\r\n" % (len(_BODY), _BODY)
SMALL = (_HEAD + b"Content-Length: %d\r\n\r\n" % len(_BODY) + _BODY,)
CHUNKED = (_HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + _CHUNK + _CHUNK + b"0\r\n\r\n",)
LARGE = (_HEAD + b"Content-Length: %d\r\n\r\n" % (4 * len(_QUARTER)) + _QUARTER, *[_QUARTER] * 3)
"""Answers of the upstream; each part is one read."""


class Traffic:
    """The requests of each scenario, with the upstream's answer. Requests that differ have not been sent before."""

    def __init__(self, tokens: Sequence[bytes], session: bytes) -> None:
        self._token = tokens[0]
        in_turn, numbers = itertools.cycle(tokens[1:]), itertools.count(1)
        same, anonymous = self._request(), self._request(token=b"")
        self._kinds: dict[str, tuple[Callable[[], bytes], Sequence[bytes], bytes]] = {
            "same-head": (lambda: same, SMALL, b"200"),
            "other-target": (lambda: self._request(b"/small?at=%08d" % next(numbers)), SMALL, b"200"),
            "other-field": (lambda: self._request(number=next(numbers)), SMALL, b"200"),
            "new-token": (lambda: self._request(token=next(in_turn)), SMALL, b"200"),
            "unknown-token": (lambda: self._request(token=b"pmt_%043d" % next(numbers)), (), b"401"),
            "no-credentials": (lambda: anonymous, (), b"401"),
            "chunked": (lambda: same, CHUNKED, b"200"),
            "64k-in-four": (lambda: same, LARGE, b"200"),
        }
        if session:
            cookie = b"Cookie: %b\r\n" % session
            again = self._request(credential=cookie)
            self._kinds["by-session"] = (lambda: again, SMALL, b"200")
            self._kinds["session-other-field"] = (lambda: self._request(number=next(numbers), credential=cookie), SMALL, b"200")
        self.scenarios = tuple(self._kinds)

    def of(self, scenario: str, count: int) -> tuple[list[bytes], Sequence[bytes], bytes]:
        """``count`` requests, the parts of the upstream's answer to each, and the status that the client must get."""
        make, answer, status = self._kinds[scenario]
        return [make() for _ in range(count)], answer, status

    def _request(
        self, target: bytes = b"/small", number: int = 0, token: bytes | None = None, credential: bytes | None = None
    ) -> bytes:
        """A request with a token, or with the header line ``credential`` in its place."""
        token = self._token if token is None else token
        if credential is None:
            credential = b"Authorization: Bearer %b\r\n" % token if token else b""
        return (
            b"GET /v1/ecflow%b HTTP/1.1\r\nHost: gateway.example.int\r\nUser-Agent: client/1.0\r\nAccept: application/json\r\n"
            b"Accept-Encoding: gzip\r\nX-Request-Id: %032x\r\n%b\r\n" % (target, number, credential)
        )


class Service(Protocol):
    """The upstream on its real connection: it sends the small answer to every request."""

    def dataReceived(self, data: bytes) -> None:
        """A request, in one read because it is small."""
        assert self.transport is not None
        self.transport.write(SMALL[0])


class Client(Protocol):
    """A client on its real connection; ``got`` collects what it receives."""

    def __init__(self) -> None:
        self.got = b""

    def dataReceived(self, data: bytes) -> None:
        """A part of an answer."""
        self.got += data


class Wire:
    """A transport of the gateway, disconnected from its socket. ``taken`` counts the bytes written."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.taken = 0
        transport.write = self._write

    def _write(self, data: bytes) -> None:
        self.taken += len(data)

    def receive(self, data: bytes) -> None:
        """``data`` arrives from the other side."""
        self._transport.protocol.dataReceived(data)


class Bench:
    """The gateway between its two wires. ``service`` is the port of the upstream."""

    def __init__(self, reactor: Any, service: int) -> None:
        self._reactor = reactor
        self._service = service
        self._client: Any = Client()
        self._audit = Path("access.log")

    async def start(self) -> None:
        """Connect, get tokens, let the gateway connect to the upstream, then disconnect both transports from their sockets."""
        factory = ClientFactory()
        factory.protocol = lambda: self._client
        gateway = await self._until(self._port)
        self._reactor.connectSSL("127.0.0.1", gateway.getHost().port, factory, CertificateOptions(verify=False))
        await self._until(lambda: self._client.connected)
        ask = b"GET /token HTTP/1.1\r\nHost: gateway.example.int\r\nAuthorization: Basic %b\r\n\r\n" % base64.b64encode(_USER)
        tokens = [json.loads(await self._ask(ask))["access_token"].encode() for _ in range(_TOKENS)]
        self.traffic = Traffic(tokens, await self._sign_in())
        (request,), _, _ = self.traffic.of("same-head", 1)
        await self._ask(request)
        own = self._client.transport.getHost().port
        self._near = Wire(self._transport(own))
        self._far = Wire(self._transport(self._service))

    def measure(self, scenario: str, count: int) -> int:
        """Nanoseconds of CPU for ``count`` requests. Raises AssertionError if an answer is not as expected."""
        requests, answer, status = self.traffic.of(scenario, count + 1)
        # the first answer shows the length of an answer
        start = self._near.taken
        self._send(requests[:1], answer, 1)
        self._turn()
        size = self._near.taken - start
        os.truncate(self._audit, 0)
        gc.collect()
        gc.disable()
        begin = time.process_time_ns()
        taken = self._send(requests[1:], answer, size)
        took = time.process_time_ns() - begin
        gc.enable()
        self._turn()
        lines = self._audit.read_bytes().splitlines()
        assert all(b'" %b ' % status in line for line in lines), f"{scenario}: the audit log says {lines[0]!r}"
        assert len(lines) == count, f"{scenario}: {len(lines)} audit lines for {count} requests"
        assert taken == size * count, f"{scenario}: {taken} bytes for {count} answers of {size} bytes"
        return took

    def _send(self, requests: Sequence[bytes], answer: Sequence[bytes], size: int) -> int:
        """Send each request when the one before is answered with ``size`` bytes. Returns how many bytes the client got."""
        near, far = self._near, self._far
        start = near.taken
        for request in requests:
            forwarded, due = far.taken, near.taken + size
            near.receive(request)
            if answer:
                if far.taken == forwarded:
                    self._turn_until(far, forwarded + 1)
                for part in answer:
                    far.receive(part)
            if near.taken < due:
                self._turn_until(near, due)
        return near.taken - start

    def _turn(self) -> None:
        self._reactor.runUntilCurrent()
        self._reactor.doIteration(0)

    def _turn_until(self, wire: Wire, taken: int) -> None:
        """Let the reactor turn: a gateway may answer at the end of a turn, or after work in a thread."""
        end = time.monotonic() + _PATIENCE
        while wire.taken < taken:
            self._turn()
            assert time.monotonic() < end, "a request was not answered"

    async def _until(self, found: Callable[[], Any]) -> Any:
        """Wait until ``found`` returns a true value, and return it. Raises AssertionError if that takes too long."""
        end = time.monotonic() + _PATIENCE
        while not (something := found()):
            assert time.monotonic() < end, "the gateway did not start, or did not answer"
            await deferLater(self._reactor, 0.001)
        return something

    async def _ask(self, request: bytes) -> bytes:
        """The body of the answer to a request over the real connection. Raises AssertionError if its status is not 200."""
        client = self._client
        client.got = b""
        client.transport.write(request)
        head, body = await self._until(lambda: _answer(client.got))
        assert head.startswith(b"HTTP/1.1 200 "), client.got
        return bytes(body)

    async def _sign_in(self) -> bytes:
        """The cookie of a session, name and value; nothing if this gateway has no login page."""
        client, form = self._client, b"username=%b&password=%b" % tuple(_USER.split(b":"))
        client.got = b""
        client.transport.write(
            b"POST /.perimeter/login HTTP/1.1\r\nHost: gateway.example.int\r\nAccept: */*\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%b" % (len(form), form)
        )
        head, _ = await self._until(lambda: _answer(client.got))
        fields = (line for line in head.split(b"\r\n") if line.lower().startswith(b"set-cookie: __host-perimeter="))
        return next((field.split(b" ")[1].rstrip(b";") for field in fields), b"")

    def _port(self) -> Any:
        """The port on which the gateway listens, or None."""
        ports = [one for one in self._reactor.getReaders() if IListeningPort.providedBy(one)]
        return next((one for one in ports if getattr(one.getHost(), "port", self._service) != self._service), None)

    def _transport(self, peer: int) -> Any:
        """The transport whose other side has the port ``peer``."""
        connections = [one for one in self._reactor.getReaders() if ITCPTransport.providedBy(one)]
        return next(one for one in connections if one.getPeer().port == peer)


def _answer(data: bytes) -> tuple[bytes, bytes] | None:
    """Head and body of an answer with a Content-Length, if it is complete."""
    head, end, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    return (head, body) if end and len(body) == length else None


class Orders:
    """Reads orders, and writes the results to ``answers``, a separate descriptor, because other code may print too."""

    def __init__(self, reactor: Any, bench: Bench, answers: int) -> None:
        self._reactor = reactor
        self._bench = bench
        self._answers = answers

    async def begin(self) -> None:
        """Start the measurement, then read orders."""
        try:
            await self._bench.start()
        except Exception as problem:
            self._print(error=f"{type(problem).__name__}: {problem}")
            os._exit(1)
        self._print(scenarios=self._bench.traffic.scenarios)
        self._next()

    def _next(self) -> None:
        line = sys.stdin.readline()
        if not line:
            os._exit(0)
        scenario, count = line.split()
        try:
            self._print(ns=self._bench.measure(scenario, int(count)))
        except Exception as problem:
            self._print(error=f"{type(problem).__name__}: {problem}")
        # between two orders the reactor runs, so that the gateway can do its periodic work
        self._reactor.callLater(0, self._next)

    def _print(self, **answer: object) -> None:
        os.write(self._answers, json.dumps(answer).encode() + b"\n")


def main(checkout: str, core: str) -> None:
    """Run the gateway of the checkout, and measure the scenarios that the orders name."""
    os.sched_setaffinity(0, {int(core)})
    answers = os.dup(1)
    os.dup2(2, 1)
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    port = listening.getsockname()[1]
    site = Path("site.ini")
    site.write_text(site.read_text().replace("UPSTREAM", str(port)))
    maker: Any = next(one for one in getPlugins(IServiceMaker) if one.tapname == "perimeter")
    options = maker.options()
    options.parseOptions(["--config", str(site)])
    service = maker.makeService(options)
    source = Path(sys.modules["perimeter"].__file__ or "")
    assert source.is_relative_to(checkout), f"{source} is not of {checkout}"
    # only now, because the gateway chooses the reactor
    from twisted.internet import reactor as chosen

    reactor: Any = chosen
    reactor.adoptStreamPort(listening.fileno(), socket.AF_INET, Factory.forProtocol(Service))
    service.privilegedStartService()
    service.startService()
    orders = Orders(reactor, Bench(reactor, port), answers)
    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(orders.begin()))
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])

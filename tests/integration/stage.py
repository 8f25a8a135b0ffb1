"""A gateway that all tests of a class share, for classes with many small tests of the same configuration.

trial has no class fixtures: the first test starts the gateway and its upstreams, and the end of the interpreter stops them. The
log is checked after every test, so that an error is reported by the test that caused it. Other tests check how a gateway stops.
"""

from __future__ import annotations

import atexit
import contextlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from tests.integration.harness import TROUBLE, Gateway, GatewayCase
from tests.integration.upstreams import Connection, Received, Script, Upstream
from tests.integration.wire import Response, Wire


def answering(connection: Connection) -> None:
    """A script that answers each request with the number of its connection, and keeps the connection open."""
    while True:
        connection.request()
        body = b"%d" % connection.number
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


class Stage:
    """A gateway, an upstream that records and answers everything, and an upstream that runs the script of the current test.

    The second one serves one exchange per connection, so that no test gets a connection of another test.
    """

    def __init__(self, config: str, files: Mapping[str, str | bytes]) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="perimeter-test-"))
        self.service = Upstream(answering)
        self.scripted = Upstream(self._run_script)
        self.script: Script = answering
        marked = config.replace("<service>", self.service.url).replace("<scripted>", self.scripted.url)
        marked = marked.replace("<directory>", str(self._directory))
        self.gateway = Gateway(self._directory, marked, files)
        atexit.register(self._close)
        self.gateway.start()

    def _run_script(self, connection: Connection) -> None:
        self.script(connection)

    def _close(self) -> None:
        self.gateway.kill()
        for upstream in (self.service, self.scripted):
            with contextlib.suppress(AssertionError):
                upstream.close()
        shutil.rmtree(self._directory, ignore_errors=True)


class StageCase(GatewayCase):
    """Tests on one gateway, configured by ``CONFIG`` and ``FILES``.

    In ``CONFIG``, ``<service>`` and ``<scripted>`` are the URLs of its upstreams, and ``<directory>`` is its directory.
    """

    CONFIG: ClassVar[str]
    FILES: ClassVar[Mapping[str, str | bytes]]

    def setUp(self) -> None:
        """Use the class's gateway, or start it."""
        cls = type(self)
        stage: Stage | None = cls.__dict__.get("_stage")
        if stage is None:
            stage = Stage(self.CONFIG, self.FILES)
            cls._stage = stage  # type: ignore[attr-defined]
        self.stage = stage
        self.served = stage.gateway
        self.service = stage.service
        log = len(self.served.log)
        self.addCleanup(self._look_at, log)

    def _look_at(self, log: int) -> None:
        new = self.served.log[log:]
        self.assertIsNone(TROUBLE.search(new), f"trouble in the gateway's log:\n{new}")
        self.assertEqual(self.stage.scripted._failures, [], "the upstream's script failed")
        self.assertIsNone(self.served.process.poll(), "the gateway is gone")

    def dial(self, name: str = "http") -> Wire:
        """A connection to the gateway, closed when the test is over."""
        return self.connect(self.served, name)

    def play(self, script: Script) -> Upstream:
        """The scripted upstream runs this script from now on."""
        self.stage.script = script
        return self.stage.scripted

    # -- complete exchanges

    def raw(self, request: bytes, name: str = "http") -> Response:
        """Send ``request`` on a new connection, and read one response."""
        with self.served.connect(name) as wire:
            return wire.send(request).response(request.partition(b" ")[0].decode("iso-8859-1"))

    def forwarded(self, request: bytes, name: str = "http") -> Received:
        """Send ``request``, check that the answer is 200, and return the request that the upstream got."""
        before = len(self.service.requests)
        with self.served.connect(name) as wire:
            response = wire.send(request).response(request.partition(b" ")[0].decode("iso-8859-1"))
        self.assertEqual(response.status, 200, (request, response))
        self.assertEqual(len(self.service.requests), before + 1, request)
        return self.service.requests[-1]

    def refused(self, request: bytes, status: int = 400, *, closes: bool = True, name: str = "http") -> Response:
        """Check that ``request`` is answered with ``status`` and no byte reaches an upstream. ``closes``: the connection ends."""
        before = [*self.service.raw], [*self.stage.scripted.raw]
        with self.served.connect(name) as wire:
            response = wire.send(request).response(request.partition(b" ")[0].decode("iso-8859-1"))
            self.assertEqual(response.status, status, (request, response))
            if closes:
                self.assertEqual(wire.read_all(), b"", request)
                self.assertEqual(response.get("connection"), "close", request)
        # anything sent upstream would have been sent before this request
        with self.served.connect(name) as wire:
            self.assertEqual(wire.get("/sentinel", host="sentinel.test").status, 200)
        self.assertIn("/sentinel", self.service.requests.pop().line)
        grown = [raw[len(old) :] for raw, old in zip(self.service.raw, before[0], strict=False)]
        grown += self.service.raw[len(before[0]) :]
        arrived = b"".join(grown)
        self.assertTrue(arrived.startswith(b"GET /sentinel HTTP/1.1\r\n"), (request, arrived))
        self.assertEqual(arrived.count(b"\r\n\r\n"), 1, (request, arrived))
        self.assertEqual(self.stage.scripted.raw, before[1], request)
        return response

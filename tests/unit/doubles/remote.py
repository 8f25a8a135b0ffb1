"""Authenticators that query a remote service, built from the text of their section, in the reactor of the tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from zope.interface import directlyProvides, providedBy

from perimeter.auth.registry import authenticator_factories, provider_factories
from perimeter.config.language.references import References
from perimeter.config.language.scanner import scan
from perimeter.config.language.section import Section
from perimeter.errors import Problem
from perimeter.model import AuthenticationRequest, BearerCredentials, Principal
from perimeter.offload import Offload
from perimeter.plugin.services import AuthServices
from tests.integration.upstreams import OK, Connection, Script, Upstream

REQUEST = AuthenticationRequest("192.0.2.1")


def answering(status: int, body: bytes, *fields: bytes) -> Script:
    """A script that answers every request with this."""
    lines = b"".join(field + b"\r\n" for field in fields)
    reply = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n%b\r\n%b" % (status, len(body), lines, body)

    def script(connection: Connection) -> None:
        while True:
            try:
                connection.request()
            except EOFError:
                return
            connection.send(reply)

    return script


class MovedReactor:
    """The reactor, with a clock that the test moves on; timers and sockets are the reactor's."""

    def __init__(self) -> None:
        self._ahead = 0.0
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)

    def seconds(self) -> float:
        return float(reactor.seconds()) + self._ahead  # type: ignore[attr-defined]

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass at once."""
        self._ahead += seconds


class RemoteCase(TestCase):
    """Provides the services of a gateway, and checks that no connection is left at the end."""

    def setUp(self) -> None:
        self.offload = Offload(reactor)
        self.offload.start()
        self.time = MovedReactor()
        self.services = AuthServices(self.time, self.offload)  # type: ignore[arg-type]

    async def tearDown(self) -> None:
        # a connection that was cut returns to its pool or disappears only in the next turn of the reactor
        await deferLater(reactor, 0.02)
        for client in self.services.web._clients.values():
            await client.close()
        stopped: Any = self.offload.stop()
        if isinstance(stopped, Deferred):
            await stopped
        await deferLater(reactor, 0.02)

    def server(self, script: Script | bytes = OK) -> Upstream:
        server = Upstream(script)
        self.addCleanup(server.close)
        return server

    def build(self, kind: str, text: str, realm: str = "elsewhere") -> Any:
        """The authenticator of a section that must be valid."""
        settings, problems = self.parse(kind, text)
        self.assertEqual(problems, [])
        return authenticator_factories()[kind].build("weather", realm, settings, self.services)

    def build_provider(self, kind: str, text: str, realm: str = "corp") -> Any:
        """The provider ``corp`` of a section that must be valid; ``text`` are the options of its kind."""
        settings, problems = self.parse(kind, text, provider_factories())
        self.assertEqual(problems, [])
        return provider_factories()[kind].build("corp", realm, settings, self.services)

    def parse(self, kind: str, text: str, factories: Any = None) -> tuple[Any, list[str]]:
        """The values of the section's own options, and their errors; ``factories`` replace those of authenticators."""
        directory = Path(self.mktemp()).absolute()
        (scanned,), faults = scan(f"[authenticator weather]\n{text}\n")
        self.assertEqual(faults, [])
        problems: list[Problem] = []
        section = Section(scanned, "site.ini", directory, References({}, directory), problems)
        settings = (factories or authenticator_factories())[kind].parse(section)
        section.finish()
        return settings, [str(problem) for problem in problems]

    def ask(self, authenticator: Any, token: str, request: AuthenticationRequest = REQUEST) -> Deferred[Principal | None]:
        return ensureDeferred(authenticator.authenticate(BearerCredentials(token), request))

    async def until(self, fact: Callable[[], object], what: str) -> None:
        """Return once ``fact()`` is true; something outside of this process makes it true."""
        for _ in range(1000):
            if fact():
                return
            await deferLater(reactor, 0.01)
        raise AssertionError(f"not within 10 s: {what}")

    async def refusal(self, asked: Callable[[], Deferred[Any]], *kinds: type[Exception]) -> Exception:
        """The exception of ``asked()``, whose class must be one of ``kinds`` and no subclass of them."""
        try:
            found = await asked()
        except Exception as error:
            self.assertIn(type(error), kinds)
            return error
        raise AssertionError(f"{found!r} instead of {kinds}")

"""The worker without the daemon, on sockets that it gets."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial import unittest

from perimeter.auth.registry import installed_kinds
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.listener import ListenerSettings
from perimeter.config.site.load import load_site
from perimeter.errors import StartupError
from perimeter.net.binding import listening_socket
from perimeter.run.worker import Worker

SITE = """\
[perimeter]
state_dir = var
state = memory
[listener {name}]
interface = 127.0.0.1
port = {port}
[upstream sample]
servers = sample:
[route all]
path = /
upstream = sample
auth = none
"""


class Inherited:
    """The listening sockets of another process, by address."""

    def __init__(self) -> None:
        self.sockets: dict[tuple[str, int], socket.socket] = {}
        self.asked: list[str] = []

    def socket_for(self, settings: ListenerSettings, present: Iterable[socket.socket]) -> socket.socket:
        self.asked.append(settings.name)
        found = self.sockets.get((settings.interface, settings.port))
        if found is None:
            raise StartupError(f"listener {settings.name}: no socket for port {settings.port} was handed over")
        return found.dup()


def status(port: int) -> int:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n")
        answer = b""
        while data := connection.recv(65536):
            answer += data
    return int(answer.split()[1]) if answer else 0


class InheritedTests(unittest.TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.sockets = Inherited()
        self.listening = listening_socket("127.0.0.1", 0)
        self.addCleanup(self.listening.close)
        self.port = self.listening.getsockname()[1]
        self.sockets.sockets["127.0.0.1", self.port] = self.listening

    def reader(self, name: str = "first", port: int = 0, replace: tuple[str, str] = ("", "")) -> Any:
        file = self.directory / "site.ini"

        def read() -> SiteConfig:
            text = SITE.format(name=name, port=port or self.port)
            file.write_text(text.replace(*replace) if replace[0] else text)
            return load_site(file, kinds=installed_kinds())

        return read

    def started(self) -> Worker:
        worker = Worker(reactor, self.reader()().limits, self.sockets)
        worker.put_in_force(worker.prepare_now(self.reader()))
        worker.start()
        return worker

    def get(self) -> Deferred[int]:
        return deferToThread(status, self.port)

    async def test_it_serves_on_a_socket_that_it_did_not_bind(self) -> None:
        worker = self.started()
        self.assertEqual(await self.get(), 200)
        worker.put_in_force(await worker.prepare(self.reader("renamed", replace=("path = /", "path = /elsewhere"))))
        self.assertEqual(await self.get(), 404)
        self.assertEqual(self.sockets.asked, ["first"], "one that is renamed keeps its socket")
        with self.assertRaisesRegex(StartupError, "listener more: no socket for port 1 was handed over"):
            worker.put_in_force(await worker.prepare(self.reader("more", 1)))
        self.assertEqual(await self.get(), 404)
        await worker.stop()
        # its owner keeps the socket open: clients wait for the next worker
        waiting = self.get()
        again = self.started()
        self.assertEqual(await waiting, 200)
        await again.stop()

    async def test_two_workers_share_a_socket(self) -> None:
        one, two = self.started(), self.started()
        self.assertEqual([await self.get() for _ in range(5)], [200] * 5)
        await one.stop()
        self.assertEqual([await self.get() for _ in range(5)], [200] * 5)
        await two.stop()

"""The benchmark's counts of connections: those of each process to one port."""

from __future__ import annotations

import os
import socket

from twisted.trial.unittest import SynchronousTestCase

from bench.scenarios.workers import connections


class ConnectionsTests(SynchronousTestCase):
    def test_accepted_connections_of_a_port(self) -> None:
        listening, other = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))
        accepted = []
        for server in (listening, listening, other):
            client = socket.create_connection(server.getsockname())
            accepted += [client, server.accept()[0]]
        waiting = socket.create_connection(listening.getsockname())
        for one in (listening, other, waiting, *accepted):
            self.addCleanup(one.close)
        self.assertEqual(connections([os.getpid()], listening.getsockname()[1]), {os.getpid(): 2})

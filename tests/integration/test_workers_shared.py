"""What the workers of a real gateway share: connections, their limits, and the audit log."""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from bench.scenarios.workers import connections
from tests.integration.harness import USERS, Gateway, GatewayCase, eventually, site
from tests.integration.test_workers import workers

ROUTE = """
[route files]
path = /
static = html
auth = none
"""
FULL = 300_000
"""Bytes of the largest file: more than the state's."""
GET = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"


class SharingTests(GatewayCase):
    def setUp(self) -> None:
        super().setUp()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 4096 if hard == resource.RLIM_INFINITY else min(hard, 4096)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))

    def fleet(self, count: int, *, limits: str = "", zone: str = "UTC", audit: str = "") -> Gateway:
        text = site(ROUTE, perimeter=f"workers = {count}", limits=limits) + audit
        return self.gateway(text, {**USERS, "html/index.html": "x"}, {"TZ": zone})

    def open(self, gateway: Gateway) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", gateway["http"]), timeout=20)
        self.addCleanup(connection.close)
        return connection

    def held(self, gateway: Gateway) -> dict[int, int]:
        """How many connections each worker has, by its process."""
        return connections([one.pid for one in workers(gateway)], gateway["http"])

    def test_lasting_connections_are_spread(self) -> None:
        gateway = self.fleet(4)
        for number in range(1000):
            self.open(gateway).sendall(GET % number)
        eventually(lambda: sum(self.held(gateway).values()) == 1000, "all connections are accepted")
        held = self.held(gateway)
        self.assertTrue(all(212.5 <= one <= 287.5 for one in held.values()), held)

    def test_attack_85_stopped_worker_keeps_no_connection_waiting(self) -> None:
        gateway = self.fleet(2)
        stopped = workers(gateway)[0].pid
        os.kill(stopped, signal.SIGSTOP)
        try:
            began = time.monotonic()
            for number in range(30):
                connection = self.open(gateway)
                connection.sendall(GET % number)
                self.assertTrue(connection.recv(100).startswith(b"HTTP/1.1 404"))
            self.assertLess(time.monotonic() - began, 4.0)
        finally:
            os.kill(stopped, signal.SIGCONT)

    def test_attack_86_limits_of_connections_over_workers(self) -> None:
        """All connections: one limit. From one address: a part in each of the two, 13 of 16.

        Silent connections are closed to make room, perhaps one more than the next clients need: those that come find it.
        """
        for limits, least, most in (("connections = 16", 16, 16), ("connections_per_address = 16", 16, 26)):
            gateway = self.fleet(2, limits=limits)
            answers = Counter(self.answer(connection) for connection in [self.open(gateway) for _ in range(60)])
            self.assertEqual(set(answers), {b"HTTP/1.1 404", b""}, limits)
            # one that was refused a moment ago may still be open
            eventually(lambda: sum(self.held(gateway).values()) <= most, f"{limits}: no more")  # noqa: B023
            eventually(lambda: self.filled(gateway, least), f"{limits}: as many as that")  # noqa: B023
            eventually(lambda: least <= sum(self.held(gateway).values()) <= most, f"{limits}: still no more")  # noqa: B023

    def filled(self, gateway: Gateway, least: int) -> bool:
        """Whether there are ``least`` connections; if not, one more client comes."""
        if sum(self.held(gateway).values()) >= least:
            return True
        self.answer(self.open(gateway))
        return False

    def answer(self, connection: socket.socket) -> bytes:
        """The start of the answer to a request; nothing if the connection was closed."""
        try:
            connection.sendall(GET % 1)
            return connection.recv(12)
        except ConnectionError:
            return b""

    def test_audit_log_that_was_moved_away_is_reopened_by_all(self) -> None:
        gateway = self.fleet(2)
        log = gateway.directory / "access.log"
        log.rename(gateway.directory / "moved")
        gateway.signal(signal.SIGUSR1)
        eventually(log.exists, "the log is there again")
        eventually(lambda: all(_has_open(one.pid, log) for one in workers(gateway)), "both workers use it")

    def test_attack_87_full_disk_hides_no_line(self) -> None:
        """The file may not become larger for a while: each worker leaves a part of a line, and answers 503 until it may."""
        gateway = self.fleet(2)
        processes = [one.pid for one in workers(gateway)]
        for pid in processes:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (FULL, resource.RLIM_INFINITY))
        answered, refused = [], 0
        for number in range(600):
            with self.connect(gateway, "http") as wire:
                status = wire.get(f"/{number}?{'x' * 3000}").status
            if status == 404:
                answered.append(number)
            else:
                self.assertEqual(status, 503)
                refused += 1
            if refused > 40:
                break
        self.assertGreater(refused, 40)
        for pid in processes:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

        def works() -> bool:
            with self.connect(gateway, "http") as wire:
                return wire.get("/again").status == 404

        eventually(lambda: all(works() for _ in range(8)), "both workers answer again")
        lines = gateway.audit()
        whole = [match for line in lines if (match := re.fullmatch(r'127\.0\.0\.1 .*"GET /(\w+)\S* HTTP/1.1" \d+ \d+', line))]
        self.assertEqual({str(one) for one in answered} - {match[1] for match in whole}, set())
        self.assertIn(len(lines) - len(whole), (1, 2), "parts of lines")

    def test_every_answer_has_a_line_in_the_file_of_its_day(self) -> None:
        """Four workers are asked without a pause over midnight, in a zone whose midnight comes soon."""
        midnight = int(time.time()) + 30
        ahead = -midnight % 86400
        zone = f"MOVED-{ahead // 3600:02d}:{ahead // 60 % 60:02d}:{ahead % 60:02d}"
        gateway = self.fleet(4, zone=zone)
        self.assertLess(time.time(), midnight - 1, "the start took too long")
        time.sleep(max(0.0, midnight - 2 - time.time()))

        def ask(client: int) -> int:
            count = 0
            while time.time() < midnight + 2:
                with socket.create_connection(("127.0.0.1", gateway["http"]), timeout=20) as connection:
                    for _ in range(20):
                        connection.sendall(GET % (client * 1_000_000 + count))
                        answer = b""
                        while not answer.endswith(b"}"):
                            received = connection.recv(65536)
                            self.assertTrue(received, answer)
                            answer += received
                        count += 1
            return count

        with ThreadPoolExecutor(4) as clients:
            answered = list(clients.map(ask, range(4)))
        wanted = sorted(client * 1_000_000 + number for client in range(4) for number in range(answered[client]))
        eventually(lambda: len(self._lines(gateway)) == len(wanted), "all lines")
        lines = self._lines(gateway)
        self.assertEqual(sorted(number for _, number, _ in lines), wanted)
        self.assertEqual({name for name, _, _ in lines}, {"access.log", f"access.log.{self._day(midnight + ahead - 1)}"})
        for name, number, local in lines:
            moment = local - ahead % 60  # the log shows the hours and minutes of the zone
            if name == "access.log":
                self.assertGreaterEqual(moment, midnight - 1, number)  # the time is that of the request, in whole seconds
            else:
                self.assertLess(moment, midnight, number)

    def _day(self, moment: float) -> str:
        return time.strftime("%Y-%m-%d", time.gmtime(moment))

    def _lines(self, gateway: Gateway) -> list[tuple[str, int, float]]:
        """File, number and time of each line; all are whole."""
        found = []
        for path in gateway.directory.glob("access.log*"):
            if path.suffix != ".lock":
                for line in path.read_text().splitlines():
                    match = re.fullmatch(r'127\.0\.0\.1 .*\[([^]]+)\] "GET /(\d+) HTTP/1.1" 404 .*', line)
                    assert match is not None, line
                    found.append((path.name, int(match[2]), datetime.strptime(match[1], "%d/%b/%Y:%H:%M:%S %z").timestamp()))
        return found


def _has_open(pid: int, path: object) -> bool:
    return any(os.readlink(f"/proc/{pid}/fd/{one}") == str(path) for one in os.listdir(f"/proc/{pid}/fd"))

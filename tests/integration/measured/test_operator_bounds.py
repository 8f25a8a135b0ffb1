"""What the operator's page may cost others: viewers and searches of the audit log, beside requests whose time is measured."""

from __future__ import annotations

import contextlib
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import requests

from tests.integration import test_operator_page
from tests.integration.ports import eventually
from tests.integration.visitor import Visitor


class BoundTests(test_operator_page.OperatorPageCase):
    def slowest(self, seconds: int) -> float:
        """The 99th percentile of requests of others (milliseconds), measured by another process for some seconds."""
        self.need("wrk")
        url = f"https://127.0.0.1:{self.served['https']}/open"
        done = subprocess.run(
            ["wrk", "-t1", "-c1", f"-d{seconds}s", "--latency", url], capture_output=True, text=True, timeout=60, check=True
        )
        found = re.search(r"99%\s+([\d.]+)(us|ms|s)", done.stdout)
        assert found is not None, done.stdout
        return float(found[1]) * {"us": 0.001, "ms": 1, "s": 1000}[found[2]]

    def check_speed(self, during: Callable[[], AbstractContextManager[None]]) -> None:
        """Others are served as fast as before within ``during``.

        Measured in turns, the best of each: other processes of the machine disturb some of them, but a gateway that does
        something for 100 ms at a time disturbs all.
        """
        before, meanwhile = [], []
        for _ in range(2):
            before.append(self.slowest(2))
            with during():
                meanwhile.append(self.slowest(3))
        self.assertLess(min(meanwhile), max(20, 2 * min(before)), f"before: {before}, during: {meanwhile}")

    def test_attack_79_viewers_that_read_nothing(self) -> None:
        """Twenty of them at most, they cost no memory, and others are served as before."""
        visitor = self.signed_in()
        self.check_speed(lambda: self.twenty_viewers(visitor))

    @contextlib.contextmanager
    def twenty_viewers(self, visitor: Visitor) -> Iterator[None]:
        """The stream has no room while they are there, and afterwards it has."""
        viewers = [self.listen(visitor) for _ in range(20)]
        refused = requests.get(
            visitor.origin + self.stream(visitor),
            headers={"Cookie": f"__Host-perimeter={visitor.cookie}"},
            verify=False,
            timeout=10,
        )
        self.assertEqual(refused.status_code, 503)
        memory = self.served.memory()
        yield
        self.assertLess(self.served.memory() - memory, 16 * 1024 * 1024)
        for wire in viewers:
            wire.close()
        eventually(lambda: self.listen_again(visitor), "a viewer has room again")

    def listen_again(self, visitor: Visitor) -> bool:
        wire = self.served.connect()
        try:
            fields = f"Host: 127.0.0.1:{self.served['https']}\r\nCookie: __Host-perimeter={visitor.cookie}\r\n\r\n"
            wire.send(f"GET {self.stream(visitor)} HTTP/1.1\r\n{fields}".encode())
            return wire.read_until(b"\r\n").startswith(b"HTTP/1.1 200")
        finally:
            wire.close()

    def test_attack_79_audit_search_in_a_loop(self) -> None:
        self.check_searches(1, {200})

    def test_attack_79_audit_searches_of_three_clients(self) -> None:
        self.check_searches(3, {200, 503})

    def check_searches(self, clients: int, statuses: set[int]) -> None:
        """So many clients search without rest, and get these statuses."""
        visitor = self.signed_in()
        line = self.served.audit()[0]
        log = self.served.directory / "access.log"
        Path(f"{log}.2020-01-01").write_text(f"{line}\n" * (80 * 1024 * 1024 // len(line)))
        self.check_speed(lambda: self.searching(visitor, clients, statuses))

    @contextlib.contextmanager
    def searching(self, visitor: Visitor, clients: int, statuses: set[int]) -> Iterator[None]:
        over = threading.Event()
        answers: list[int] = []

        def search() -> None:
            while not over.is_set():
                answers.append(visitor.navigate(f"{test_operator_page.PAGE}/audit?search=1&user=nobody").status_code)

        searchers = [threading.Thread(target=search) for _ in range(clients)]
        began = time.monotonic()
        for searcher in searchers:
            searcher.start()
        try:
            yield
        finally:
            over.set()
            for searcher in searchers:
                searcher.join()
        self.assertEqual(set(answers), statuses)
        self.assertLessEqual(answers.count(200), time.monotonic() - began + 1)

"""The figures of a gateway with several workers: metrics, status and the operator page, whichever worker answers."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psutil

from perimeter.run.asking import ask
from perimeter.workers.gathered import SLOW
from tests.integration.fleet import await_serving, workers
from tests.integration.harness import USERS, Gateway, GatewayCase, site
from tests.integration.ports import eventually
from tests.integration.wire import Wire, basic
from tests.unit.doubles.figures import Figures, read

JSON = "Content-Type: application/json"
ALICE, WRONG = basic("alice", "secret"), basic("alice", "wrong")

ROUTES = """
[upstream service]
servers = {url}

[route open]
path = /open
upstream = service
auth = none

[route private]
path = /
upstream = service
"""

METRICS = """
[listener figures]
port = @figures@
serve = metrics

[listener tokens]
port = @tokens@
interface = 127.0.0.1
serve = tokens
"""


class FiguresCase(GatewayCase):
    def fleet(self, count: int) -> Gateway:
        """A running gateway with so many workers."""
        self.text = site(ROUTES.format(url=self.upstream().url), extra=METRICS, perimeter=f"workers = {count}")
        return self.gateway(self.text, USERS)

    def lasting(self, gateway: Gateway, count: int) -> list[Wire]:
        """Connections that stay open: every worker gets some of them."""
        found = [self.connect(gateway, "http") for _ in range(count)]
        for wire in found:
            self.assertEqual(wire.get("/open").status, 200)
        return found

    def scrape(self, gateway: Gateway) -> Figures:
        wire = gateway.connect("figures")
        try:
            response = wire.get("/metrics")
            self.assertEqual(response.status, 200, response.body)
            return read(response.body)
        finally:
            wire.close()

    def status(self, gateway: Gateway) -> Mapping[str, Any]:
        return ask(gateway.directory / "state", {"command": "status"})

    @contextmanager
    def stopped(self, process: psutil.Process) -> Iterator[None]:
        """A block in which the process does not run."""
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def assert_no_less(self, before: Figures, after: Figures) -> None:
        """No counter and no part of a histogram went back, except those of one worker alone."""
        for (name, labels), value in before.samples.items():
            if name.endswith(("_total", "_count", "_sum", "_bucket")) and not name.startswith("perimeter_worker_"):
                self.assertGreaterEqual(after.samples[name, labels], value, (name, labels))


class MetricsTests(FiguresCase):
    def test_figures_are_the_requests_that_were_sent(self) -> None:
        gateway = self.fleet(3)
        connections = self.lasting(gateway, 30)
        for number, wire in enumerate(connections):
            for _ in range(number % 4):
                self.assertEqual(wire.get("/open").status, 200)
            self.assertEqual(wire.get("/private", ALICE).status, 200)
            self.assertEqual(wire.get("/private").status, 401)
        for _ in range(10):  # whichever worker answers
            figures = self.scrape(gateway)
            requests = "perimeter_requests_total"
            self.assertEqual(figures(requests, listener="http", route="open", status="200"), 30 + sum(n % 4 for n in range(30)))
            self.assertEqual(figures(requests, listener="http", route="private", status="200"), 30)
            self.assertEqual(figures(requests, listener="http", route="private", status="401"), 30)
            self.assertEqual(figures("perimeter_request_duration_seconds_count", listener="http", route="private"), 60)
            self.assertEqual(figures("auth_requests_total", result="success", realm="local"), 30)
            self.assertEqual(figures("perimeter_connections", listener="http"), 30)
            self.assertEqual([figures("perimeter_worker_slow", slot=slot) for slot in "012"], [0, 0, 0])
            self.assertEqual([figures("perimeter_worker_serving", slot=slot) for slot in "012"], [1, 1, 1])
        attempts = figures.total("auth_provider_attempts_total", result="success")
        self.assertTrue(1 <= attempts <= 3, f"{attempts}: each worker remembers a password by itself")
        spread = [figures("perimeter_worker_connections", slot=slot) or 0 for slot in "012"]
        self.assertGreaterEqual(sum(spread), 30)
        self.assertLess(max(spread), 30, "one worker has them all")

    def test_attack_92_no_sum_goes_back_when_workers_are_killed(self) -> None:
        gateway = self.fleet(2)
        for number in range(3):
            wires = self.lasting(gateway, 12)
            for wire in wires:
                wire.get("/private", WRONG if number else ALICE)
            before = self.scrape(gateway)
            for wire in wires:
                wire.close()
            victim = workers(gateway)[number % 2]
            victim.send_signal(signal.SIGKILL)
            after = self.scrape(gateway)
            self.assert_no_less(before, after)
            eventually(lambda gone=victim.pid: not psutil.pid_exists(gone), "the end of a worker")
            eventually(lambda: self.scrape(gateway).total("perimeter_worker_serving") == 2, "service")
            self.assert_no_less(after, self.scrape(gateway))
        figures, started = self.scrape(gateway), psutil.Process(gateway.pid).create_time()
        self.assertGreater(self.status(gateway)["uptime"], time.time() - started - 5, "that of the gateway, not of a worker")
        self.assertEqual(figures.total("perimeter_requests_total", listener="http", route="open"), 36)
        self.assertEqual(figures.total("perimeter_worker_restarts_total"), 3)

    def test_connections_of_workers_that_finish_their_requests_are_shown(self) -> None:
        gateway = self.fleet(3)
        await_serving(gateway, 3)
        busy = self.lasting(gateway, 9)
        for wire in busy:
            wire.send(b"POST /open HTTP/1.1\r\nHost: gw\r\nContent-Length: 2\r\n\r\n")
        eventually(lambda: self.scrape(gateway)("perimeter_requests_in_flight", listener="http") == 9, "nine requests")
        gateway.configure(self.text.replace("workers = 3", "workers = 1"))
        gateway.reload()
        eventually(lambda: self.scrape(gateway).total("perimeter_worker_serving") == 1, "one worker")
        figures = self.scrape(gateway)
        self.assertEqual(figures("perimeter_requests_in_flight", listener="http"), 9)
        self.assertEqual(figures.total("perimeter_worker_slow"), 0)
        for wire in busy:
            self.assertEqual(wire.send(b"ab").response().status, 200)

    def test_workers_that_end_in_order_take_nothing_away(self) -> None:
        gateway = self.fleet(3)
        wires = self.lasting(gateway, 15)
        gateway.configure(self.text.replace("workers = 3", "workers = 1"))
        gateway.reload()
        for wire in wires:
            wire.close()
        eventually(lambda: len(workers(gateway)) == 1, "the end of two workers")
        figures = self.scrape(gateway)
        self.assertEqual(figures("perimeter_requests_total", listener="http", route="open", status="200"), 15)
        self.assertEqual(figures("perimeter_config_reloads_total", result="success"), 1)

    def test_attack_92_no_sum_goes_back_over_an_upgrade(self) -> None:
        gateway = self.fleet(2)
        await_serving(gateway, 2)
        wires = self.lasting(gateway, 12)
        before, old = self.scrape(gateway), {process.pid for process in workers(gateway)}
        uptime = self.status(gateway)["uptime"]
        gateway.signal(signal.SIGUSR2)
        seen = before
        while old & {process.pid for process in workers(gateway)}:
            for wire in wires:
                wire.close()
            # a scrape that is under way when the manager executes the new program gets no sums, and says so
            wire = gateway.connect("figures")
            response = wire.get("/metrics")
            wire.close()
            if response.status == 503:
                continue
            figures = read(response.body)
            self.assert_no_less(seen, figures)
            seen = figures
        await_serving(gateway, 2)
        figures = self.scrape(gateway)
        self.assert_no_less(seen, figures)
        self.assertEqual(figures("perimeter_requests_total", listener="http", route="open", status="200"), 12)
        self.assertGreaterEqual(self.status(gateway)["uptime"], uptime)

    def test_without_the_manager_there_are_no_metrics_and_service_goes_on(self) -> None:
        gateway = self.fleet(2)
        await_serving(gateway, 2)
        with self.stopped(psutil.Process(gateway.pid)):
            wire = self.connect(gateway, "figures")
            began = time.monotonic()
            self.assertEqual(wire.get("/metrics").status, 503)
            self.assertLess(time.monotonic() - began, SLOW + 1.5)
            self.assertEqual(self.connect(gateway, "http").get("/open").status, 200)
        self.assertEqual(self.scrape(gateway).total("perimeter_worker_serving"), 2)


class StatusTests(FiguresCase):
    def test_status_is_that_of_all_workers(self) -> None:
        gateway = self.fleet(2)
        self.lasting(gateway, 10)
        eventually(lambda: self.connect(gateway, "http").get("/private", WRONG).status == 429, "the throttle")
        found = self.status(gateway)
        connections = {one["name"]: one["connections"] for one in found["listeners"]}
        self.assertEqual(connections["http"], sum(found["requests"].values()), "each had one request")
        self.assertEqual(found["pid"], gateway.pid)
        self.assertEqual([one["slot"] for one in found["workers"]], [0, 1])
        self.assertEqual({one["pid"] for one in found["workers"]}, {one.pid for one in workers(gateway)})
        self.assertEqual([one["state"] for one in found["workers"]], ["serving"] * 2)
        self.assertEqual(found["requests"]["2xx"], 10)
        (waiting,) = [one for one in found["waiting"] if one["kind"] == "name"]
        self.assertEqual((waiting["value"], waiting["wrong_passwords"]), ("alice", found["requests"]["4xx"] - 1))

    def test_one_refused_reload_is_counted_once_and_shown(self) -> None:
        gateway = self.fleet(2)
        gateway.configure(self.text + "\n[route broken]\n")
        gateway.reload()
        figures = self.scrape(gateway)
        self.assertEqual(figures("perimeter_config_reloads_total", result="error"), 1)
        self.assertEqual(figures("perimeter_config_last_reload_successful"), 0)
        self.assertIn("reload", [one["subject"] for one in self.status(gateway)["problems"]])
        for process in workers(gateway):  # those that come after them know it, too
            process.send_signal(signal.SIGKILL)
            eventually(lambda gone=process.pid: not psutil.pid_exists(gone), "the end of a worker")
            eventually(lambda: self.scrape(gateway).total("perimeter_worker_serving") == 2, "service")
        status = self.status(gateway)
        self.assertIn("broken", status["last_reload"]["refused"])
        self.assertEqual(self.scrape(gateway)("perimeter_config_last_reload_successful"), 0)
        gateway.configure(self.text)
        gateway.reload()
        figures = self.scrape(gateway)
        self.assertEqual([figures("perimeter_config_reloads_total", result=result) for result in ("success", "error")], [1, 1])
        self.assertEqual(figures("perimeter_config_last_reload_successful"), 1)


class AnyWorkerTests(FiguresCase):
    """What the operator does is right whichever worker is asked: the worker that was asked before is killed in between."""

    def lose_first(self, gateway: Gateway) -> None:
        """The worker that answers the operator ends; another one does from now on."""
        first = ask(gateway.directory / "state", {"command": "status", "brief": True})["workers"][0]["pid"]
        psutil.Process(first).send_signal(signal.SIGKILL)
        eventually(lambda: not psutil.pid_exists(first), "the end of a worker")

    def test_tokens(self) -> None:
        gateway = self.fleet(2)
        made = [
            json.loads(
                self.connect(gateway, "tokens").get("/tokens", ALICE, JSON, method="POST", body=b'{"name": "t%d"}' % n).body
            )
            for n in range(6)
        ]
        state = gateway.directory / "state"
        listed = ask(state, {"command": "tokens"})["tokens"]
        self.assertEqual({one["name"] for one in listed}, {f"t{n}" for n in range(6)})
        self.lose_first(gateway)
        self.assertEqual(ask(state, {"command": "tokens"})["tokens"], listed)
        ask(state, {"command": "revoke", "ids": [listed[0]["id"]]})
        gone = next(one["token"] for one in made if one["id"] == listed[0]["id"])
        for _ in range(10):
            self.assertEqual(self.connect(gateway, "http").get("/private", f"Authorization: Bearer {gone}").status, 401)

    def test_unban(self) -> None:
        gateway = self.fleet(2)
        state = gateway.directory / "state"
        eventually(lambda: self.connect(gateway, "http").get("/private", WRONG).status == 429, "the throttle")
        self.lose_first(gateway)
        self.assertEqual(len(ask(state, {"command": "unban", "what": "alice"})["released"]), 1)
        for _ in range(10):
            self.assertEqual(self.connect(gateway, "http").get("/private", ALICE).status, 200)

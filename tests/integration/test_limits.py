"""Limits of routes, with a real gateway and real services: in one process, and over several workers."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from typing import ClassVar

from tests.integration.each_worker import ALICE, BOB, EachWorkerCase, worker_processes
from tests.integration.harness import USERS, site
from tests.integration.ports import eventually
from tests.integration.stage import StageCase
from tests.integration.test_operator import Ran
from tests.integration.upstreams import OK, Connection
from tests.integration.wire import Wire

ROUTES = """
[upstream app]
servers = <service>

[upstream slow]
servers = <scripted>

[upstream busy]
servers = <scripted>
max_requests = 2
fair = yes
queue_timeout = 20s

[route user]
path = /user
upstream = app
rate = 2/h per user

[route address]
path = /address
upstream = app
rate = 3/m per address burst 2

[route flight]
path = /flight
upstream = slow
in_flight = 1 per user

[route body]
path = /body
upstream = app
body_rate = 100KiB/s per user burst 100KiB

[route time]
path = /time
upstream = slow
request_timeout = 1s

[route fair]
path = /fair
upstream = busy

[route free]
path = /
upstream = app
auth = none

[listener figures]
port = @figures@
serve = metrics
"""


class LimitCase(StageCase):
    CONFIG: ClassVar[str] = site(ROUTES).replace("[audit]", "[audit]\nformat = json")
    FILES = USERS

    def connect_once(self) -> Wire:
        return self.connect(self.served, "http")


class LimitTests(LimitCase):
    def test_a_user_who_sends_too_many_requests(self) -> None:
        wire = self.connect_once()
        first = wire.get("/user", ALICE)
        self.assertEqual((first.status, first.get("ratelimit")), (200, '"2/h per user";r=1;t=1800'))
        self.assertEqual(wire.get("/user", ALICE).status, 200)
        response = wire.get("/user", ALICE)
        self.assertEqual((response.status, response.get("retry-after")), (429, "1800"))
        self.assertEqual(response.get("ratelimit-policy"), '"2/h per user";q=2;w=3600')
        self.assertEqual(response.get("ratelimit"), '"2/h per user";r=0;t=1800')
        self.assertEqual(wire.get("/user", BOB).status, 200)
        self.assertEqual(wire.get("/").status, 200)

    def test_attack_139_an_address_that_guesses_passwords(self) -> None:
        wire = self.connect_once()
        guesses = [wire.get("/address", "Authorization: Bearer x").status for _ in range(4)]
        self.assertEqual(guesses, [401, 401, 429, 429])
        self.assertEqual(wire.get("/address", ALICE).status, 429)

    def test_requests_at_a_time(self) -> None:
        go = threading.Event()

        def script(connection: Connection) -> None:
            connection.request()
            go.wait(20)
            connection.send(OK)

        self.stage.script = script
        first = self.connect_once().send(f"GET /flight HTTP/1.1\r\nHost: a\r\n{ALICE}\r\n\r\n".encode())
        self.stage.scripted.next()
        other = self.connect_once()
        response = other.get("/flight", ALICE)
        self.assertEqual((response.status, response.get("retry-after")), (429, "1"))
        go.set()
        self.assertEqual(first.response().status, 200)
        self.assertEqual(other.get("/flight", ALICE).status, 200)

    def test_the_time_of_a_request(self) -> None:
        def script(connection: Connection) -> None:
            connection.request()
            if not connection.read_some():
                raise EOFError

        self.stage.script = script
        began = time.monotonic()
        self.assertEqual(self.connect_once().get("/time", ALICE).status, 504)
        self.assertLess(time.monotonic() - began, 5)
        slow = self.connect_once().send(f"POST /time HTTP/1.1\r\nHost: a\r\n{ALICE}\r\nContent-Length: 9\r\n\r\nx".encode())
        self.assertEqual(slow.response("POST").status, 408)

    def test_attack_138_a_user_does_not_take_all_places_of_a_service(self) -> None:
        go = threading.Event()

        def script(connection: Connection) -> None:
            connection.request()
            go.wait(20)
            connection.send(OK)

        self.stage.script = script
        wires = [self.connect_once().send(f"GET /fair HTTP/1.1\r\nHost: a\r\n{ALICE}\r\n\r\n".encode()) for _ in range(3)]
        self.stage.scripted.next()
        bob = self.connect_once().send(f"GET /fair HTTP/1.1\r\nHost: a\r\n{BOB}\r\n\r\n".encode())
        self.stage.scripted.next()
        go.set()
        self.assertEqual([wire.response().status for wire in (bob, *wires)], [200] * 4)

    def test_what_the_operator_sees(self) -> None:
        wire = self.connect_once()
        while wire.get("/user", ALICE).status != 429:
            pass
        self.assertTrue(any(json.loads(line)["reason"] == "rate_exceeded" for line in self.served.audit()))
        figures = self.connect(self.served, "figures").get("/metrics").text
        self.assertRegex(figures, r'perimeter_limited_total\{limit="rate 2/h per user",route="user"\} [1-9]')
        self.assertRegex(Ran("status", "-c", str(self.served.config)).output, r"user +rate 2/h per user +[1-9]")
        self.assertIn("within rate 2/h per user", Ran("check", "-c", str(self.served.config)).output)
        explained = Ran("explain", "-c", str(self.served.config), "GET", "/user").output
        self.assertIn("rate 2/h per user", explained)


class WorkerTests(EachWorkerCase):
    """What clients use over all workers."""

    count = 2
    extra = """
[route counted]
path = /counted
upstream = service
rate = 10/h per user
in_flight = 3 per route
"""

    def setUp(self) -> None:
        self.hold = threading.Event()
        self.hold.set()
        self.got = 0
        super().setUp()

    def answer(self, connection: Connection) -> None:
        while True:
            try:
                received = connection.request()
            except EOFError:
                return
            if "/counted" in received.line:
                self.got += 1
                self.hold.wait(20)
            connection.send(OK)

    def begin(self, slot: int) -> Wire:
        """A request to the worker of ``slot`` that the service has got and does not answer yet."""
        before = self.got
        wire = self.wires.pop(slot).send(f"GET /counted HTTP/1.1\r\nHost: a\r\n{BOB}\r\n\r\n".encode())
        eventually(lambda: self.got > before, "the service has the request")
        return wire

    def test_workers_count_together_and_a_reload_keeps_the_counts(self) -> None:
        statuses = [self.ask(number % 2, "/counted", ALICE).status for number in range(12)]
        self.assertEqual(statuses, [200] * 10 + [429] * 2)
        self.assertEqual(self.ask(0, "/counted", BOB).status, 200)
        self.served.signal(signal.SIGHUP)
        self.served.await_notification("READY=1")
        self.reach_all()
        self.assertEqual([self.ask(slot, "/counted", ALICE).status for slot in (0, 1)], [429, 429])
        limited = {
            (one["route"], one["limit"]): one["refused"] for one in json.loads(self.command("status", "--json"))["limited"]
        }
        self.assertEqual(limited, {("counted", "rate 10/h per user"): 4, ("counted", "in_flight 3 per route"): 0})

    def test_attack_136_requests_in_flight_over_workers_and_of_a_worker_that_is_killed(self) -> None:
        first = self.begin_three()
        os.kill(worker_processes(self.served)[1].pid, signal.SIGKILL)
        eventually(self.restarted, "another worker serves")
        self.hold.set()
        self.assertEqual(first[0].response().status, 200)
        second = self.begin_three()
        self.hold.set()
        self.assertEqual([wire.response().status for wire in second], [200] * 3)

    def restarted(self) -> bool:
        workers = json.loads(Ran("status", "--json", "-c", str(self.served.config)).output)["workers"]
        return [(one["restarts"], one["state"]) for one in workers] == [(0, "serving"), (1, "serving")]

    def begin_three(self) -> list[Wire]:
        """Three requests that are not answered yet: one to the first worker, and two to the second."""
        self.hold.clear()
        found = []
        for slot in (0, 1, 1):
            self.reach_all()
            found.append(self.begin(slot))
        self.reach_all()
        self.assertEqual([self.ask(slot, "/counted", BOB).status for slot in (0, 1)], [429, 429])
        return found

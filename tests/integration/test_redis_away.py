"""What each request gets while Redis is away: the table of docs/how-to/redis-away.md, with a real Redis."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Mapping
from math import inf
from pathlib import Path

from perimeter.web.html.cookies import SESSION
from tests.integration.cluster import ALICE, LISTENERS, Cluster, ClusterCase
from tests.integration.ports import eventually
from tests.integration.visitor import Visitor
from tests.integration.wire import bearer

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "redis-away.md"
LIMIT = 4.0
REFUSES, SPARES = "one", "two"

ROUTES = """
[upstream app]
servers = <app>

[route open]
path = /open
upstream = app
auth = none

[route app]
path = /
upstream = app
browser_login = yes
"""

_ASKED = ("X-Original-URI: /x", "X-Original-Method: GET")

EXTRA = f"""{LISTENERS}
[listener https]
port = @https@
interface = 127.0.0.1
tls = yes

[token]
lifetime = 15m
extended_lifetime = 1h
"""


def promised() -> Mapping[str, tuple[int, int, int]]:
    """The statuses of each request: in the limit, after it, and after it with ``stale = jwt``."""
    rows = re.findall(r"^\| (.+) \| (\d+) \| (\d+) \| (\d+) \|$", PAGE.read_text(), re.MULTILINE)
    return {request: (int(first), int(second), int(third)) for request, first, second, third in rows}


class Client:
    """What a client has got from the gateway ``name`` before Redis was away."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._cluster, self._name = cluster, name
        gateway = cluster.gateways[name]
        self.short = cluster.access_token(name)
        extended = cluster.ask(name, "/extendedtoken", ALICE)
        self.long = str(json.loads(extended.body)["access_token"])
        self.kept, self.ended = cluster.made(name), cluster.made(name)
        certificate = gateway.directory / "state" / "selfsigned.crt"
        self.visitor, self.other, self.stranger = (self._visitor(certificate) for _ in range(3))
        self.visitor.sign_in("alice", "secret")
        self.other.sign_in("alice", "secret")
        self.out = self.other.form("/.perimeter/logout", "logout")
        self.sign_in = self.stranger.form("/.perimeter/login", "login")
        self.cookie = self.visitor.cookie

    def _visitor(self, certificate: Path) -> Visitor:
        return Visitor(f"https://127.0.0.1:{self._cluster.gateways[self._name]['https']}", certificate)

    def close(self) -> None:
        for visitor in (self.visitor, self.other, self.stranger):
            visitor.close()

    def requests(self) -> Mapping[str, Callable[[], int]]:
        """What gives the status of each request of the table."""
        cluster, name = self._cluster, self._name

        def ask(target: str, *fields: str, method: str = "GET", body: bytes = b"") -> Callable[[], int]:
            return lambda: cluster.ask(name, target, *fields, method=method, body=body).status

        form = {**self.sign_in.fields, "username": "alice", "password": "secret"}
        made = (ALICE, "Content-Type: application/json")
        return {
            "a route that asks for no user": ask("/open"),
            "a password": ask("/x", ALICE),
            "an access token that lives for 15 minutes at most": ask("/x", bearer(self.short)),
            "an access token that lives longer": ask("/x", bearer(self.long)),
            "an API token that this machine has in memory": ask("/x", bearer(self.kept["token"])),
            "an API token that this machine does not have in memory": ask("/x", bearer(f"perimeter_{'A' * 43}")),
            "a session that this machine has in memory": lambda: self.visitor.navigate("/x").status_code,
            "a session that this machine does not have in memory": lambda: (
                self.stranger.get("/x", Cookie=f"{SESSION.decode()}={'A' * 43}").status_code
            ),
            "a new access token (`/token`) for a password": ask("/token", ALICE),
            "a new API token (`POST /tokens`)": ask("/tokens", *made, method="POST", body=b'{"name": "new"}'),
            "the end of an API token (`DELETE /token/ID`)": ask(f"/token/{self.ended['id']}", ALICE, method="DELETE"),
            "the sign-in page": lambda: self.stranger.navigate("/.perimeter/login").status_code,
            "a sign-in": lambda: self.stranger.post("/.perimeter/login", form).status_code,
            "a sign-out": lambda: self.other.post("/.perimeter/logout", self.out.fields).status_code,
            "forward-auth about a request with an access token that lives longer": ask(
                "/authenticate", bearer(self.long), *_ASKED
            ),
            "`/health`": ask("/health"),
        }

    def statuses(self, until: float = inf) -> Mapping[str, int]:
        """The status of each request of the table that was answered before ``until`` (monotonic seconds)."""
        found = {request: (ask(), time.monotonic()) for request, ask in self.requests().items()}
        return {request: status for request, (status, at) in found.items() if at < until}


class RedisAwayTests(ClusterCase):
    @classmethod
    def start_cluster(cls) -> Cluster:
        """Two gateways: the second one spares short access tokens."""
        perimeter = f"stale_limit = {LIMIT:g}s\nredis_timeout = 300ms\ntrusted_proxies = 127.0.0.1\n"
        return Cluster((REFUSES, SPARES), perimeter=perimeter, own={SPARES: "stale = jwt\n"}, routes=ROUTES, extra=EXTRA)

    def setUp(self) -> None:
        super().setUp()
        self.cluster.await_serving()

    def client(self, name: str) -> Client:
        client = Client(self.cluster, name)
        self.addCleanup(client.close)
        return client

    def await_stale(self, name: str, client: Client) -> None:
        token = client.kept["token"]
        eventually(lambda: self.cluster.status(name, token) == 503, f"the state of {name} is stale", 3 * LIMIT)

    def test_attack_188_each_request_gets_what_the_page_promises(self) -> None:
        table, clients = promised(), [self.client(name) for name in (REFUSES, SPARES)]
        self.assertEqual(list(table), list(clients[0].requests()))
        away = time.monotonic()
        self.cluster.redis.kill()
        self.addCleanup(self._start)
        found = clients[0].statuses(away + LIMIT / 2)
        self.assertEqual(found, {request: table[request][0] for request in found})
        self.assertIn("a password", found)
        for client, name in zip(clients, (REFUSES, SPARES), strict=True):
            self.await_stale(name, client)
        for at, client in enumerate(clients):
            self.assertEqual(client.statuses(), {request: statuses[at + 1] for request, statuses in table.items()})
            self.assertEqual(client.visitor.cookie, client.cookie)
        self.check_a_start_without_redis(clients[1])
        self._start()
        for client, name in zip(clients, (REFUSES, SPARES), strict=True):
            self.assertEqual(client.visitor.navigate("/x").status_code, 200, "with the same cookie")
            self.assertEqual(self.cluster.status(name, client.kept["token"]), 200)
            self.assertEqual(client.stranger.sign_in("alice", "secret").status_code, 303)
            for other in (REFUSES, SPARES):  # what was ended while Redis was away
                token = client.ended["token"]
                eventually(lambda other=other, token=token: self.cluster.status(other, token) == 401, "the token has ended", 10)

    def check_a_start_without_redis(self, client: Client) -> None:
        """It is ready, and what needs the state gets 503."""
        gateway = self.cluster.gateways[SPARES]
        gateway.stop()
        gateway.launch()
        gateway.await_notification("READY=1", 20)
        self.assertEqual(self.cluster.ask(SPARES, "/x", ALICE).status, 200)
        self.assertEqual(self.cluster.status(SPARES, client.kept["token"]), 503)
        self.assertEqual(client.visitor.navigate("/x").status_code, 503)
        self.assertEqual(client.visitor.cookie, client.cookie)

    def test_attack_188_a_redis_that_hangs_holds_up_no_other_request(self) -> None:
        redis, made_up = self.cluster.redis, bearer(f"perimeter_{'B' * 43}")
        kept = self.cluster.made(REFUSES)["token"]
        redis.freeze()
        self.addCleanup(redis.thaw)
        with self.cluster.gateways[REFUSES].connect("http") as waiting:
            waiting.send(f"GET /x HTTP/1.1\r\nHost: gw\r\n{made_up}\r\n\r\n".encode())
            for headers in ((), (ALICE,), (bearer(kept),)):
                self.assertEqual(self.cluster.ask(REFUSES, "/x" if headers else "/open", *headers).status, 200)
            self.assertEqual(waiting.response().status, 503)
        redis.thaw()
        eventually(lambda: self.cluster.ask(REFUSES, "/x", made_up).status == 401, "the token is known to be none", 10)

    def test_attack_186_a_machine_that_was_stopped_does_not_go_on_with_what_it_remembers(self) -> None:
        kept = self.cluster.made(REFUSES)
        process = self.cluster.gateways[SPARES].pid
        with self.cluster.gateways[SPARES].connect("http") as wire:
            self.assertEqual(wire.get("/x", bearer(kept["token"])).status, 200)
            os.kill(process, signal.SIGSTOP)
            try:
                self.assertEqual(self.cluster.ended(REFUSES, kept["id"]), 204)
                wire.send(f"GET /x HTTP/1.1\r\nHost: gw\r\n{bearer(kept['token'])}\r\n\r\n".encode())
                time.sleep(LIMIT + 0.5)
            finally:
                os.kill(process, signal.SIGCONT)
            self.assertIn(wire.response().status, (401, 503))

    def _start(self) -> None:
        redis = self.cluster.redis
        if redis._process is None:
            redis.start()
        self.cluster.await_serving()

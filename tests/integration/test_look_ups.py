"""Tokens and sessions that are not in memory: they are looked up, in ``state.db`` or in Redis."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from tests.integration.cluster import ALICE, BOB, LISTENERS, ROUTES, USERS, Cluster, ClusterCase
from tests.integration.fleet import asked
from tests.integration.harness import GatewayCase, site
from tests.integration.ports import eventually
from tests.integration.stage import answering
from tests.integration.wire import bearer


class SqliteTests(GatewayCase):
    """Two workers that keep no token in memory at the start."""

    def setUp(self) -> None:
        app = self.upstream(answering)
        config = site(ROUTES.replace("<app>", app.url), extra=LISTENERS, perimeter="workers = 2\nwhole_up_to = 0\n")
        self.served = self.gateway(config, USERS)

    def ask(self, target: str, *headers: str, method: str = "GET", body: bytes = b"") -> Any:
        with self.served.connect("http") as wire:
            return wire.get(target, *headers, method=method, body=body)

    def made(self, *credentials: str) -> dict[str, Any]:
        body = json.dumps({"name": "ci"}).encode()
        response = self.ask("/tokens", *(credentials or (ALICE,)), "Content-Type: application/json", method="POST", body=body)
        self.assertEqual(response.status, 201)
        return dict(json.loads(response.body))

    def statuses(self, token: str) -> set[int]:
        """The statuses of as many connections as surely meet both workers."""
        return {self.ask("/x", bearer(token)).status for _ in range(12)}

    def test_tokens_of_an_earlier_process(self) -> None:
        made, bobs = [self.made() for _ in range(3)], self.made(BOB)
        self.served.stop()
        self.served.start()
        self.assertEqual([self.statuses(one["token"]) for one in made], [{200}] * 3)
        listed = json.loads(self.ask("/tokens", ALICE).body)["tokens"]
        self.assertEqual([one["id"] for one in listed], [one["id"] for one in made])
        every = asked(self.served, command="tokens", user=None, realm=None, passing=False, first=0)["tokens"]
        self.assertEqual([one["id"] for one in every], [one["id"] for one in (*made, bobs)])
        self.assertEqual(self.ask(f"/token/{made[0]['id']}", ALICE, method="DELETE").status, 204)
        self.assertEqual(self.statuses(made[0]["token"]), {401})
        asked(self.served, command="revoke", ids=[made[1]["id"]], user="bob", realm="local", token=None)
        self.assertEqual([self.statuses(one["token"]) for one in (made[1], bobs)], [{401}] * 2)
        self.assertEqual(self.statuses(made[2]["token"]), {200})

    def test_attack_41_a_token_is_unavailable_and_not_wrong_while_the_database_cannot_be_read(self) -> None:
        token = self.made()["token"]
        self.served.stop()
        self.served.start()
        path = self.served.directory / "state" / "state.db"
        with sqlite3.connect(path) as other:  # a row that no version has written
            other.execute("UPDATE api_token SET owner = 'x'")
        response = self.ask("/x", bearer(token))
        self.assertEqual((response.status, bool(response.get("retry-after"))), (503, True))


class RedisTests(ClusterCase):
    @classmethod
    def start_cluster(cls) -> Cluster:
        return Cluster(perimeter="redis_timeout = 500ms\n")

    def test_attack_175_what_was_removed_while_redis_was_away_stays_removed_after_a_restart(self) -> None:
        cluster, made = self.cluster, self.cluster.made("one")
        self.assertEqual(cluster.status("one", made["token"]), 200)
        cluster.redis.freeze()
        self.addCleanup(cluster.redis.thaw)
        self.assertEqual(cluster.ended("one", made["id"]), 503)
        self.assertEqual(cluster.status("one", made["token"]), 503, "it has ended here, and Redis cannot be asked")
        one = cluster.gateways["one"]
        one.kill()
        one.launch()
        cluster.redis.thaw()
        found = set[int]()

        def refused() -> bool:
            try:
                status = cluster.status("one", made["token"])
            except ConnectionError:
                return False
            found.add(status)
            return status == 401

        eventually(refused, "the token is refused", 15)
        self.assertNotIn(200, found)
        eventually(lambda: cluster.status("two", made["token"]) == 401, "the other machine has heard it")

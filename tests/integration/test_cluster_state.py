"""Two gateways with one state: what one of them gives or takes away holds at the other one."""

from __future__ import annotations

import time

from tests.integration.cluster import BOB, Cluster, ClusterCase
from tests.integration.fleet import asked


class TokenTests(ClusterCase):
    def test_a_token_made_at_one_gateway_is_good_at_the_other_at_once(self) -> None:
        token = self.cluster.made("one")["token"]
        self.assertEqual(self.cluster.status("two", token), 200)
        self.assertEqual(self.cluster.status("one", token), 200)

    def test_a_token_that_is_removed_at_one_gateway_is_refused_by_the_other_within_a_second(self) -> None:
        made = self.cluster.made("one")
        self.assertEqual(self.cluster.status("one", made["token"]), 200)
        self.assertEqual(self.cluster.status("two", made["token"]), 200)
        self.assertEqual(self.cluster.ended("two", made["id"]), 204)
        answered = time.monotonic()
        while self.cluster.status("one", made["token"]) == 200:
            self.assertLess(time.monotonic() - answered, 1.0)
        self.assertEqual(self.cluster.status("one", made["token"]), 401)
        self.assertEqual(self.cluster.status("two", made["token"]), 401)


class WorkerTests(ClusterCase):
    """Two machines with two workers each."""

    @classmethod
    def start_cluster(cls) -> Cluster:
        return Cluster(perimeter="workers = 2\n")

    def statuses(self, name: str, token: str) -> set[int]:
        """The statuses of as many connections as surely meet both workers."""
        return {self.cluster.status(name, token) for _ in range(12)}

    def test_what_one_worker_gives_and_takes_away_holds_in_all_workers_of_all_machines(self) -> None:
        for _ in range(3):
            made = self.cluster.made("one")
            for name in ("one", "two"):
                self.assertEqual(self.statuses(name, made["token"]), {200})
            self.assertEqual(self.cluster.ended("two", made["id"]), 204)
            time.sleep(0.3)  # less than the second that it may take
            for name in ("one", "two"):
                self.assertEqual(self.statuses(name, made["token"]), {401})

    def test_all_tokens_of_a_user_end_in_all_workers(self) -> None:
        access, made = self.cluster.access_token("one", BOB), self.cluster.made("two", BOB)
        self.assertEqual(self.statuses("one", access), {200})
        command = {"command": "revoke", "ids": [], "user": "bob", "realm": "local", "token": None}
        asked(self.cluster.gateways["two"], **command)
        time.sleep(0.3)
        for name in ("one", "two"):
            self.assertEqual(self.statuses(name, access) | self.statuses(name, made["token"]), {401})

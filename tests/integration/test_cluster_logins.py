"""Two gateways with one state: their signing keys, and the wrong passwords that both of them count."""

from __future__ import annotations

import json
from typing import Any

from tests.integration.cluster import ALICE, BOB, LISTENERS, Cluster, ClusterCase
from tests.integration.ports import eventually
from tests.integration.test_operator import Ran
from tests.integration.wire import basic

EXTRA = f"""{LISTENERS}
[authentication]
lockout_after = 4
lockout_after_address = 0
remember_password = 0
"""


class LoginTests(ClusterCase):
    @classmethod
    def start_cluster(cls) -> Cluster:
        cluster = Cluster(extra=EXTRA)
        cluster.await_serving()
        return cluster

    def keys(self, name: str) -> list[Any]:
        """The public keys that the gateway ``name`` publishes."""
        return list(json.loads(self.cluster.ask(name, "/.well-known/jwks.json").body)["keys"])

    def run_command(self, name: str, *words: str) -> Ran:
        gateway = self.cluster.gateways[name]
        return Ran(*words, "-c", str(gateway.config))

    # -- keys

    def test_each_gateway_verifies_what_the_other_one_has_signed(self) -> None:
        self.assertEqual(self.keys("one"), self.keys("two"))
        for maker in self.cluster.gateways:
            token = self.cluster.access_token(maker)
            self.assertEqual([self.cluster.status(name, token) for name in self.cluster.gateways], [200, 200])

    def test_a_rotation_at_one_gateway_holds_at_the_other_before_the_key_signs(self) -> None:
        before = self.cluster.access_token("one")
        for _ in range(2):  # the second one signs with a key that is a moment old
            ran = self.run_command("one", "keys", "rotate", "--json")
            self.assertEqual(ran.status, 0, ran.output)
            token = self.cluster.access_token("one")
            self.assertEqual(self.cluster.status("two", token), 200)
        self.assertEqual(self.cluster.status("two", before), 200)
        eventually(lambda: self.keys("one") == self.keys("two"), "both publish the same keys", 2)
        self.assertEqual(self.keys("two")[0]["kid"], json.loads(ran.output)["kid"])

    def test_attack_193_keys_that_are_discarded_at_one_gateway_are_refused_by_the_other(self) -> None:
        before = self.cluster.access_token("two")
        self.assertEqual(self.cluster.status("two", before), 200)
        self.assertEqual(self.run_command("one", "keys", "rotate", "--discard").status, 0)
        eventually(lambda: self.cluster.status("two", before) == 401, "the other gateway refuses it", 1)
        self.assertEqual(self.cluster.status("two", self.cluster.access_token("one")), 200)

    # -- wrong passwords

    def guess(self, name: str, credentials: str = basic("alice", "wrong")) -> int:
        return self.cluster.ask(name, "/x", credentials).status

    def test_attack_190_a_guesser_who_changes_machines_is_locked_out(self) -> None:
        self.assertEqual([self.guess(name) for name in ("one", "two", "one", "two")], [401] * 4)
        statuses: list[int] = []
        while statuses[-2:] != [429, 429]:  # at once, unless the first lockouts, of 1 and 2 s, have passed meanwhile
            statuses += [self.guess(name) for name in ("one", "two")]
            self.assertLess(statuses.count(401), 4, "each machine allows its own")
        self.assertEqual(self.guess("two", ALICE), 429, "the right one too")
        self.assertEqual(self.guess("one", BOB), 200)
        ran = self.run_command("two", "unban", "alice")
        self.assertEqual(ran.status, 0, ran.output)
        self.assertEqual([self.guess(name, ALICE) for name in ("one", "two")], [200, 200])

    def test_the_operator_of_any_machine_lets_a_user_in_again(self) -> None:
        self.assertEqual([self.guess("one") for _ in range(5)], [401] * 4 + [429])
        ran = self.run_command("two", "unban", "alice")  # a gateway that has not seen any of it
        self.assertEqual(ran.status, 0, ran.output)
        self.assertIn("name 'alice' of realm local may try again", ran.output)
        answer = self.cluster.ask("one", "/x", ALICE)
        self.assertEqual(answer.status, 200, self.cluster.gateways["one"].log[-1500:])

    def test_attack_190_without_the_engine_a_machine_allows_a_quarter(self) -> None:
        self.cluster.redis.freeze()
        try:
            self.assertEqual([self.guess("one", basic("bob", "wrong")) for _ in range(2)], [401, 429])
        finally:
            self.cluster.redis.thaw()
        self.cluster.await_serving()
        self.assertEqual(self.guess("two", BOB), 200, "the others have not heard of it")

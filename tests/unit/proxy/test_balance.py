"""The choice of a server: methods, weights, backups, and what health and limits change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial import unittest

from perimeter.config.site.balancing import Balance, HashOf, Method
from perimeter.config.site.server import ServerSettings
from perimeter.proxy.balance import FREE_OF_BALANCE, BalancedServer, Balancer
from perimeter.proxy.health import HealthRules, ServerHealth

ROUND_ROBIN = Balance()
LEAST = Balance(Method.LEAST_CONNECTIONS)
HASH = Balance(Method.HASH, HashOf.ADDRESS)
RULES = HealthRules()


class BalancerTests(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)

    def servers(self, *weights: int, backups: int = 0, rules: HealthRules = RULES) -> list[BalancedServer]:
        """One server for each weight, named a, b, c and so on; the last ``backups`` of them are backups."""
        return [
            BalancedServer(
                ServerSettings("http", "abcdefghij"[at], 80, weight, at >= len(weights) - backups),
                ServerHealth(rules, self.clock.seconds),
            )
            for at, weight in enumerate(weights)
        ]

    def balancer(
        self, servers: Sequence[BalancedServer], balance: Balance = ROUND_ROBIN, limit: int | None = None
    ) -> Balancer[BalancedServer]:
        return Balancer(servers, balance, limit)

    def choices(self, balancer: Balancer[BalancedServer], count: int, *, keep: bool = False) -> str:
        """The names of the servers of ``count`` requests, which stay under way if ``keep``."""
        found = ""
        for _ in range(count):
            server = balancer.choose()
            assert server is not None
            server.active += keep
            found += server.settings.host
        return found

    # -- round-robin

    def test_in_turn(self) -> None:
        self.assertEqual(self.choices(self.balancer(self.servers(1, 1, 1)), 7), "abcabca")

    def test_weights_are_spread_over_a_round(self) -> None:
        """As in nginx: the heavy server does not get all of its requests in a row."""
        self.assertEqual(self.choices(self.balancer(self.servers(5, 1, 1)), 14), "aabacaa" * 2)

    @given(st.lists(st.integers(1, 20), min_size=2, max_size=6))
    def test_a_round_has_each_server_as_often_as_its_weight(self, weights: list[int]) -> None:
        found = Counter(self.choices(self.balancer(self.servers(*weights)), sum(weights)))
        self.assertEqual([found["abcdefghij"[at]] for at in range(len(weights))], weights)

    # -- least connections

    def test_least_connections(self) -> None:
        servers = self.servers(1, 1, 1)
        servers[0].active, servers[1].active, servers[2].active = 3, 1, 2
        self.assertEqual(self.choices(self.balancer(servers, LEAST), 3, keep=True), "bbc")

    def test_equal_ones_take_turns(self) -> None:
        self.assertEqual(self.choices(self.balancer(self.servers(1, 1, 1), LEAST), 6), "abcabc")

    def test_a_heavy_server_has_more_at_a_time(self) -> None:
        servers = self.servers(3, 1)
        found = self.choices(self.balancer(servers, LEAST), 40, keep=True)
        self.assertEqual((found.count("a"), found.count("b")), (30, 10))

    # -- hash

    def by_hash(self, servers: Sequence[BalancedServer], keys: int = 3000) -> dict[int, str]:
        balancer = self.balancer(servers, HASH)
        found = {}
        for key in range(keys):
            server = balancer.choose(str(key).encode())
            assert server is not None
            found[key] = server.settings.host
        return found

    def test_a_key_has_always_the_same_server(self) -> None:
        self.assertEqual(self.by_hash(self.servers(1, 1, 1)), self.by_hash(self.servers(1, 1, 1)))

    def test_keys_are_spread_by_weight(self) -> None:
        counts = Counter(self.by_hash(self.servers(1, 1, 4)).values())
        for host, part in (("a", 500), ("b", 500), ("c", 2000)):
            self.assertApproximates(counts[host], part, 90)

    def test_only_the_keys_of_a_server_that_goes_move(self) -> None:
        before = self.by_hash(self.servers(1, 1, 1, 1))
        after = self.by_hash(self.servers(1, 1, 1))
        moved = Counter(after[key] for key in before if before[key] == "d")
        self.assertEqual([key for key in before if before[key] != "d" and before[key] != after[key]], [])
        for host in "abc":
            self.assertApproximates(moved[host], 250, 60)

    def test_attack_96_a_client_that_chooses_the_hash_does_not_load_one_server_alone(self) -> None:
        servers = self.servers(1, 1, 1, 1)
        balancer = self.balancer(servers, HASH)
        for _ in range(400):
            server = balancer.choose(b"the same key")
            assert server is not None
            server.active += 1
        self.assertLessEqual(max(server.active for server in servers), 201)
        for server in servers:
            server.active = 0
        for _ in range(FREE_OF_BALANCE):  # a few of them stay together
            server = balancer.choose(b"the same key")
            assert server is not None
            server.active += 1
        self.assertEqual(sorted(server.active for server in servers), [0, 0, 0, FREE_OF_BALANCE])

    # -- limit, backups, health

    def test_a_full_server_gets_nothing(self) -> None:
        for balance in (ROUND_ROBIN, LEAST, HASH):
            servers = self.servers(1, 1)
            balancer = self.balancer(servers, balance, limit=2)
            self.assertEqual(sorted(self.choices(balancer, 4, keep=True)), list("aabb"))
            self.assertEqual((balancer.choose(), balancer.has_room()), (None, False))
            self.assertEqual(len(balancer.tier()), 2)
            servers[1].active = 1
            self.assertTrue(balancer.has_room())
            self.assertEqual(self.choices(balancer, 1), "b")

    def test_a_backup_is_for_when_no_other_can_be_used(self) -> None:
        servers = self.servers(1, 1, 1, backups=1)
        balancer = self.balancer(servers)
        self.assertEqual(self.choices(balancer, 4), "abab")
        servers[0].health.unreachable("refused")
        self.assertEqual(self.choices(balancer, 2), "bb")
        servers[1].health.unreachable("refused")
        self.assertEqual(self.choices(balancer, 2), "cc")

    def test_a_backup_takes_nothing_because_the_others_are_full(self) -> None:
        balancer = self.balancer(self.servers(1, 1, backups=1), limit=1)
        self.assertEqual(self.choices(balancer, 1, keep=True), "a")
        self.assertIsNone(balancer.choose())
        self.assertFalse(balancer.has_room())

    def test_servers_that_rest_are_tried_if_all_rest(self) -> None:
        servers = self.servers(1, 1, 1, backups=1)
        for server in servers:
            server.health.unreachable("refused")
        self.assertEqual(self.choices(self.balancer(servers), 4), "abab")

    def test_a_server_that_fails_its_checks_is_never_used(self) -> None:
        servers = self.servers(1, 1, rules=HealthRules(fall=1))
        balancer = self.balancer(servers)
        servers[0].health.checked("it answered 500")
        self.assertEqual(self.choices(balancer, 3), "bbb")
        servers[1].health.checked("it answered 500")
        self.assertEqual((balancer.choose(), balancer.tier(), balancer.has_room()), (None, [], False))

    def test_tried_servers_are_left_out(self) -> None:
        servers = self.servers(1, 1)
        balancer = self.balancer(servers)
        self.assertIs(balancer.choose(tried=servers[:1]), servers[1])
        self.assertIsNone(balancer.choose(tried=servers))

    def test_slow_start(self) -> None:
        servers = self.servers(1, 1, rules=HealthRules(slow_start=10.0))
        balancer = self.balancer(servers)
        servers[0].health.begin_slowly()
        shares = []
        for _ in range(3):
            found = self.choices(balancer, 110)
            shares.append(found.count("a"))
            self.clock.advance(5)
        self.assertEqual(shares[0], 10)  # 0.1 of 1.1
        self.assertApproximates(shares[1], 37, 2)  # 0.5 of 1.5
        self.assertApproximates(shares[2], 55, 2)

    def test_slow_start_counts_for_every_method(self) -> None:
        for balance in (LEAST, HASH):
            servers = self.servers(1, 1, rules=HealthRules(slow_start=10.0))
            servers[0].health.begin_slowly()
            balancer = self.balancer(servers, balance)
            found = Counter(
                chosen.settings.host
                for key in range(1000)
                if (chosen := balancer.choose(str(key).encode())) is not None and self.count(chosen, balance)
            )
            self.assertApproximates(found["a"], 91, 30)

    def count(self, server: BalancedServer, balance: Balance) -> bool:
        server.active += balance is LEAST
        return True

    def test_the_floor_counts_servers_of_the_same_kind(self) -> None:
        servers = self.servers(1, 1, 1, 1, backups=2)
        balancer = self.balancer(servers)
        self.assertTrue(balancer.may_eject(servers[0], 0.5))
        servers[0].health.eject("bad")
        self.assertFalse(balancer.may_eject(servers[1], 0.0), "the last one")
        self.assertTrue(balancer.may_eject(servers[2], 0.5))
        self.assertFalse(balancer.may_eject(servers[2], 0.51))

"""How old the state of a machine is, over a real Redis: what makes it stale, and what it knows when it is fresh again."""

from __future__ import annotations

import time

from twisted.internet import reactor
from twisted.internet.task import deferLater

from perimeter.cluster import follower as follower_module
from perimeter.cluster.state import ClusterState
from perimeter.errors import NotWritten, StateUnavailable
from perimeter.model import Grant
from perimeter.tokens.stored import TOKENS
from tests.integration.clusternodes import NodesCase, until


def grant(name: str) -> Grant:
    return Grant(name, time.time(), time.time() + 3600)


def revoked(state: ClusterState, one: Grant) -> bool:
    return state.view(TOKENS).revoked(one, "local", "bob")


class StaleTests(NodesCase):
    async def pair(self) -> list[ClusterState]:
        """Two machines that are stale after half a second, and hear of each other all the time."""
        self.patch(follower_module, "_BLOCK", 50)
        nodes = await self.nodes("a", "b")
        for node in nodes:
            node.freshness.allow(0.5, 0.0)
        await until(lambda: all(node.freshness.silent < 0.3 for node in nodes))
        return nodes

    async def test_attack_186_a_machine_that_follows_no_more_becomes_stale_though_redis_answers(self) -> None:
        a, b = await self.pair()
        b._turns.stop()
        await b._follower.stop()
        gone = grant("gone")
        await a.view(TOKENS).revoke(gone)
        await until(lambda: b.stale, 5.0)
        self.assertFalse(a.stale)
        self.assertFalse(revoked(b, gone))
        for asked in (b.find("tokens", ("id", "x")), b.claim(b"x" * 32, time.time() + 60), b.catch_up()):
            await self.assertFailure(asked, StateUnavailable)
        b._turns.start(1.0)
        await until(lambda: not b.stale, 5.0)
        self.assertTrue(revoked(b, gone), "it is fresh once it has everything")

    async def test_attack_188_what_a_stale_machine_takes_away_is_known_to_all_when_redis_answers(self) -> None:
        a, b = await self.pair()
        self.redis.freeze()
        self.addCleanup(self.redis.thaw)
        await until(lambda: a.stale and b.stale, 5.0)
        gone = grant("gone")
        await self.assertFailure(a.view(TOKENS).revoke(gone), NotWritten)
        self.assertTrue(revoked(a, gone))
        self.redis.thaw()
        await until(lambda: not a.stale and not b.stale)
        await until(lambda: revoked(b, gone))

    async def test_attack_186_answers_without_an_entry_keep_no_machine_fresh(self) -> None:
        self.patch(follower_module, "HEARTBEAT", 1000.0)
        self.patch(follower_module, "_BLOCK", 50)
        a, b = await self.nodes("a", "b")
        before = min(node.freshness.silent for node in (a, b))
        await deferLater(reactor, 0.5)
        self.assertGreater(min(node.freshness.silent for node in (a, b)), before + 0.4)

    async def test_attack_187_a_machine_with_another_time_hears_nothing_that_counts(self) -> None:
        a, b = await self.pair()
        self.assertFalse(b.grow_old())
        b.engine.client._link.offset = 2.5
        self.assertTrue(b.grow_old())
        self.assertTrue(b.stale)
        self.assertFalse(a.stale)
        self.assertIn("2.5 s behind", b.problem())
        await until(lambda: not b.grow_old() and not b.stale, 5.0)  # the next look at the clock of Redis finds it right

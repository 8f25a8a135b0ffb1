"""Machines with one state over a real Redis: what is written by one, heard by the others, and survives the loss of Redis."""

from __future__ import annotations

import time

from perimeter.cluster import base as base_module
from perimeter.cluster import follower as follower_module
from perimeter.cluster.state import ClusterState
from perimeter.errors import StateUnavailable
from perimeter.model import Grant
from perimeter.providers.pins import PINS, Pin, ReleasedName
from perimeter.state.once import ONCE
from perimeter.tokens.stored import TOKENS
from tests.integration.clusternodes import NodesCase, until


def pin(name: str = "bob", subject: str = "s") -> Pin:
    return Pin("local", name, "https://issuer", subject, 1.0)


def grant(name: str = "jti") -> Grant:
    return Grant(name, time.time(), time.time() + 3600)


def names(state: ClusterState) -> list[str]:
    return [one.username for one in state.view(PINS).all()]


def revoked(state: ClusterState, one: Grant) -> bool:
    return state.view(TOKENS).revoked(one, "local", "bob")


class LogTests(NodesCase):
    async def test_what_one_adds_is_known_to_the_others_when_they_ask(self) -> None:
        a, b = await self.nodes("a", "b")
        await a.add(pin())
        self.assertEqual(names(a), ["bob"])
        await b.catch_up()
        self.assertEqual(names(b), ["bob"])

    async def test_a_removal_is_in_force_on_all_machines_soon_after_it_is_answered(self) -> None:
        a, b = await self.nodes("a", "b")
        gone = grant()
        self.assertFalse(revoked(b, gone))
        await a.view(TOKENS).revoke(gone)
        answered = time.monotonic()
        await until(lambda: revoked(b, gone), 1.0)
        self.assertLess(time.monotonic() - answered, 0.5)
        self.assertTrue(revoked(a, gone))

    async def test_callers_that_come_together_share_two_questions(self) -> None:
        (a,) = await self.nodes("a")
        before = self.calls()
        for asked in [a.catch_up() for _ in range(100)]:
            await asked
        self.assertLessEqual(self.calls() - before, 2)

    def calls(self) -> int:
        """How often the end of the log was asked for."""
        statistics = self.redis.ask("INFO", "commandstats").decode()
        line = next((line for line in statistics.splitlines() if line.startswith("cmdstat_xinfo|stream:")), "calls=0,")
        return int(line.partition("calls=")[2].partition(",")[0])

    async def test_a_machine_that_comes_later_has_everything(self) -> None:
        (a,) = await self.nodes("a")
        gone = grant()
        await a.add(pin())
        await a.add(pin("eve"))
        await a.remove(ReleasedName("local", "eve"))
        await a.view(TOKENS).revoke(gone)
        (b,) = await self.nodes("b")
        self.assertEqual((names(b), revoked(b, gone)), (["bob"], True))

    async def test_a_machine_that_was_away_goes_on_where_it_was(self) -> None:
        a, b = await self.nodes("a", "b")
        await b.stop()
        await a.add(pin())
        (b,) = await self.nodes("b")
        self.assertEqual(names(b), ["bob"])

    async def test_a_base_is_made_after_some_entries_and_the_log_before_the_last_one_is_cut(self) -> None:
        self.patch(base_module, "EVERY", 200)
        self.patch(base_module, "_SLICE", 7)
        self.patch(follower_module, "HEARTBEAT", 0.05)
        self.patch(follower_module, "_BLOCK", 50)
        (a,) = await self.nodes("a")
        await a.add(pin("first"))
        gone = grant("first")
        await a.view(TOKENS).revoke(gone)
        for round in range(3):
            for asked in [a.view(TOKENS).revoke(grant(f"{round}-{number}")) for number in range(210)]:
                await asked
            before = self.redis.ask("GET", "perimeter:base")
            await until(lambda before=before: self.redis.ask("GET", "perimeter:base") != before)
        await until(lambda: self.entries() < 600)
        (b,) = await self.nodes("b")
        self.assertEqual((names(b), revoked(b, gone), revoked(b, grant("2-209"))), (["first"], True, True))

    async def test_a_machine_that_has_missed_the_end_of_the_log_loads_the_base(self) -> None:
        a, b = await self.nodes("a", "b")
        mine = grant("mine")
        await b.view(TOKENS).revoke(mine)
        await a.add(pin("eve"))
        await b.catch_up()
        await b.stop()
        await a.remove(ReleasedName("local", "eve"))
        await a.add(pin())
        self.patch(base_module, "EVERY", 1)
        self.patch(follower_module, "HEARTBEAT", 0.05)
        self.patch(follower_module, "_BLOCK", 50)
        for _ in range(2):
            before = self.redis.ask("GET", "perimeter:base")
            await a.view(TOKENS).revoke(grant("more"))
            await until(lambda before=before: self.redis.ask("GET", "perimeter:base") != before)
        self.redis.ask("XTRIM", "perimeter:log", "MINID", self.redis.ask("XINFO", "STREAM", "perimeter:log")[7])
        (b,) = await self.nodes("b")
        self.assertEqual((names(b), revoked(b, mine)), (["bob"], True))


class OnceTests(NodesCase):
    async def test_of_claims_on_two_machines_one_succeeds(self) -> None:
        a, b = await self.nodes("a", "b")
        asked = [node.claim(b"%032d" % number, time.time() + 60) for number in range(20) for node in (a, b)]
        results = [await one for one in asked]
        self.assertEqual(sum(results), 20)
        self.assertTrue(all(first != second for first, second in zip(results[::2], results[1::2], strict=True)))

    async def test_a_claim_ends(self) -> None:
        (a,) = await self.nodes("a")
        once = a.view(ONCE)
        self.assertTrue(await once.claim(b"x", time.time() + 0.1))
        self.assertFalse(await once.claim(b"x", time.time() + 60))
        await until(lambda: not self.redis.ask("KEYS", "perimeter:once:*"))
        self.assertTrue(await once.claim(b"x", time.time() + 60))

    async def test_nothing_can_be_claimed_in_a_redis_without_the_contents_of_the_machine(self) -> None:
        (a,) = await self.nodes("a")
        self.redis.ask("DEL", "perimeter:origin")
        await self.assertFailure(a.claim(b"x" * 32, time.time() + 60), StateUnavailable)


class LossTests(NodesCase):
    async def test_a_removal_while_redis_is_away_is_in_force_here_and_on_the_others_when_it_is_back(self) -> None:
        a, b = await self.nodes("a", "b")
        self.redis.ask("SAVE")
        self.redis.kill()
        gone = grant()
        await self.assertFailure(a.view(TOKENS).revoke(gone), StateUnavailable)
        self.assertTrue(revoked(a, gone))
        self.assertFalse(revoked(b, gone))
        self.redis.start()
        await until(lambda: revoked(b, gone))

    async def test_a_removal_while_redis_is_away_survives_the_end_of_the_machine(self) -> None:
        a, b = await self.nodes("a", "b")
        self.redis.ask("SAVE")
        self.redis.kill()
        gone = grant()
        await self.assertFailure(a.view(TOKENS).revoke(gone), StateUnavailable)
        await a.stop()
        self.redis.start()
        self.assertFalse(revoked(b, gone))
        a = self.node("a")
        self.assertTrue(revoked(a, gone))
        await until(lambda: revoked(b, gone))

    async def test_a_removal_that_a_failover_has_lost_is_added_again(self) -> None:
        a, b = await self.nodes("a", "b")
        self.redis.ask("SAVE")
        await b.stop()
        gone = grant()
        await a.view(TOKENS).revoke(gone)
        before = self.entries()
        self.redis.kill()  # what was written since SAVE is lost
        self.redis.start()
        self.assertLess(self.entries(), before)
        (b,) = await self.nodes("b")
        await until(lambda: revoked(b, gone))
        self.assertTrue(revoked(a, gone))

    async def test_a_removal_of_another_machine_that_redis_has_lost_stays_in_force_where_it_was_heard(self) -> None:
        a, b = await self.nodes("a", "b")
        self.redis.ask("SAVE")
        gone = grant()
        await a.view(TOKENS).revoke(gone)
        await until(lambda: revoked(b, gone))
        await a.stop()
        before = self.entries()
        self.redis.kill()
        self.redis.start()
        self.assertLess(self.entries(), before)
        heard = b.heard_at
        await until(lambda: b.heard_at > heard)
        self.assertTrue(revoked(b, gone))
        self.assertFalse(b.problem())

    async def test_what_is_added_while_redis_is_away_fails_and_is_not_in_force(self) -> None:
        (a,) = await self.nodes("a")
        self.redis.kill()
        await self.assertFailure(a.add(pin()), StateUnavailable)
        await self.assertFailure(a.catch_up(), StateUnavailable)
        await self.assertFailure(a.claim(b"x" * 32, time.time() + 60), StateUnavailable)
        self.assertEqual(names(a), [])
        self.assertTrue(a.problem())

    async def test_a_redis_that_has_lost_everything_gets_what_a_machine_has(self) -> None:
        (a,) = await self.nodes("a")
        gone = grant()
        await a.add(pin())
        await a.view(TOKENS).revoke(gone)
        self.redis.kill()
        for path in self.redis.directory.glob("*.rdb"):
            path.unlink()
        self.redis.start()
        self.assertEqual(self.redis.ask("DBSIZE"), 0)
        await until(lambda: self.redis.ask("GET", "perimeter:origin"))
        heard = a.heard_at
        await until(lambda: a.heard_at > heard)
        self.assertEqual((names(a), revoked(a, gone)), (["bob"], True))
        (b,) = await self.nodes("b")
        self.assertEqual((names(b), revoked(b, gone)), (["bob"], True))

    async def test_a_machine_without_history_leaves_an_empty_redis_to_those_that_have_some(self) -> None:
        (a,) = await self.nodes("a")
        await a.add(pin())
        await a.stop()
        self.redis.ask("FLUSHALL")
        self.patch(follower_module, "NEW", 0.5)
        b = self.node("b")
        await until(lambda: b.engine.client.run_id)
        (a,) = await self.nodes("a")
        await until(lambda: b.heard_at)
        self.assertEqual((names(a), names(b)), (["bob"], ["bob"]))

    async def test_what_was_removed_is_forgotten_only_when_it_is_safe(self) -> None:
        self.patch(follower_module, "SAFE", 0.3)
        (a,) = await self.nodes("a")
        await a.view(TOKENS).revoke(grant())
        self.assertEqual(len(a.followed.owed), 1)
        await until(lambda: not a.followed.owed)

    async def test_a_machine_of_another_cluster_is_not_taken_in(self) -> None:
        (a,) = await self.nodes("a")
        await a.add(pin())
        self.redis.ask("SET", "perimeter:origin", "another")
        await until(lambda: "contents of other machines" in a.problem(), 15)
        self.assertEqual(names(a), ["bob"])

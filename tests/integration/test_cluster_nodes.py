"""Machines with one state over a real Redis: what is written by one, heard by the others, and survives the loss of Redis."""

from __future__ import annotations

import contextlib
import time
from math import inf
from pathlib import Path

import attrs

from perimeter.cluster import base as base_module
from perimeter.cluster import follower as follower_module
from perimeter.cluster import records as records_module
from perimeter.cluster.names import index_of, list_of
from perimeter.cluster.state import ClusterState
from perimeter.errors import StateUnavailable
from perimeter.model import Grant, Principal
from perimeter.providers.pins import PINS, Pin, ReleasedName
from perimeter.redis import framing
from perimeter.sessions.session import EndedSession, Origin, Renewal, Renewed, Seen, Session, Vouched
from perimeter.sessions.session import mint as mint_session
from perimeter.state.once import ONCE
from perimeter.state.page import Page
from perimeter.tokens.api_token import ApiToken, mint
from perimeter.tokens.stored import TOKENS
from tests.integration.clusternodes import NodesCase, hears, until
from tests.integration.redispeer import SentinelSet


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

    async def test_a_reply_that_is_too_long_is_read_in_parts(self) -> None:
        a, b = await self.nodes("a", "b")
        await b.stop()
        for number in range(30):
            await a.add(pin(f"user-{number}"))
        self.patch(framing, "MOST_BYTES", 2500)
        (b,) = await self.nodes("b")
        self.assertEqual(len(names(b)), 30)

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
        await hears(b)
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
        await hears(a)
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
        await until(lambda: not b.stale)
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


def made(number: int = 0, username: str = "bob", expires: float = inf) -> ApiToken:
    owner = Principal(username, "local", ("admin",), "users")
    return mint(f"ci-{number}", owner, time.time(), expires)[1]


def session(username: str = "bob", parent: str = "") -> Session:
    owner = Principal(username, "local", ("admin",), "users")
    now = time.time()
    vouched = Vouched("corp", "https://issuer", "subject", "sid")
    return mint_session(owner, now, now + 3600, 600.0, (("password", now),), "::1", "agent", Origin(parent, vouched))[1]


class RecordTests(NodesCase):
    async def found(self, node: ClusterState, kind: str, *key: str) -> list[str]:
        """The ids of the records with ``key``."""
        return sorted(one.id for one in await node.find(kind, key) if isinstance(one, ApiToken | Session))

    async def test_a_record_is_found_by_each_of_its_keys_on_each_machine_and_is_in_no_log(self) -> None:
        a, b = await self.nodes("a", "b")
        before, kept, other = self.entries(), made(), made(1, "eve")
        await a.add(kept)
        await a.add(other)
        for node in (a, b):
            for key in (("digest", kept.digest.hex()), ("id", kept.id), ("owner", "local", "bob")):
                self.assertEqual(await self.found(node, "tokens", *key), [kept.id])
            for key in (("digest", "00" * 32), ("id", "unknown"), ("owner", "local", "nobody"), ("owner", "other", "bob")):
                self.assertEqual(await self.found(node, "tokens", *key), [])
        one = session()
        await a.add(one)
        child = session(parent=one.id)
        await b.add(child)
        both = sorted((one.id, child.id))
        self.assertEqual(await self.found(a, "sessions", "parent", one.id), [child.id])
        for key in (("sub", "corp", "subject"), ("sid", "corp", "sid"), ("owner", "local", "bob")):
            self.assertEqual(await self.found(a, "sessions", *key), both)
        self.assertEqual((self.entries(), list(b.view(TOKENS).owned("local", "bob"))), (before, []))

    async def test_a_record_ends_with_all_its_keys_at_its_time(self) -> None:
        (a,) = await self.nodes("a")
        await a.add(made(expires=time.time() + 0.3))
        self.assertEqual(len(self.redis.ask("KEYS", "perimeter:record:*")), 1)
        await until(lambda: not self.redis.ask("KEYS", "perimeter:[ri][en]*:*:*"))
        await a.add(made(expires=time.time() - 1))
        self.assertEqual(self.redis.ask("KEYS", "perimeter:record:*"), [])

    async def test_an_index_stays_as_long_as_its_longest_record_and_forgets_the_others(self) -> None:
        (a,) = await self.nodes("a")
        short, long = made(1, expires=time.time() + 0.3), made(2, expires=time.time() + 3600)
        await a.add(long)
        await a.add(short)
        (index,) = self.redis.ask("KEYS", "perimeter:index:tokens:owner:*")
        self.assertGreater(self.redis.ask("PTTL", index), 3_000_000)
        await until(lambda: time.time() > short.expires)
        self.assertEqual(await self.found(a, "tokens", "owner", "local", "bob"), [long.id])
        await a.add(made(3))
        self.assertEqual((self.redis.ask("ZCARD", index), self.redis.ask("PTTL", index)), (2, -1))

    async def test_all_tokens_of_a_user_end_however_many_there_are(self) -> None:
        self.patch(records_module, "_PAGE", 7)
        self.patch(records_module, "_AT_ONCE", 5)
        a, b = await self.nodes("a", "b")
        for adding in [a.add(made(number)) for number in range(40)]:
            await adding
        other = made(0, "eve")
        await a.add(other)
        self.assertEqual(len(await self.found(b, "tokens", "owner", "local", "bob")), 40)
        await b.view(TOKENS).revoke_user("local", "bob")
        self.assertEqual(await self.found(a, "tokens", "owner", "local", "bob"), [])
        self.assertEqual(len(self.redis.ask("KEYS", "perimeter:record:*")), 1)
        self.assertEqual(await self.found(a, "tokens", "id", other.id), [other.id])

    async def test_a_session_ends_with_its_children(self) -> None:
        a, b = await self.nodes("a", "b")
        one = session()
        await a.add(one)
        await a.add(session(parent=one.id))
        await b.remove(EndedSession(one.id))
        self.assertEqual(self.redis.ask("KEYS", "perimeter:record:*"), [])
        await a.add(session(parent=one.id))
        self.assertEqual(self.redis.ask("KEYS", "perimeter:record:*"), [], "its parent has ended")

    async def test_uses_of_a_session_only_grow(self) -> None:
        a, b = await self.nodes("a", "b")
        one = session()
        await a.add(one)
        for node, at, gap in ((a, 2e9, 5.0), (b, 1e9, 7.0), (a, 1.5e9, 1.0)):
            await node.add(Seen(((one.id, at, gap), ("unknown", at, gap))))
        self.assertEqual(list(await b.find("sessions", ("id", one.id))), [one, Seen(((one.id, 2e9, 7.0),))])

    async def test_a_renewal_alters_a_session_that_exists(self) -> None:
        a, b = await self.nodes("a", "b")
        one = session()
        await a.add(one)
        assert one.vouched is not None
        owner = attrs.evolve(one.owner, roles=("other",))
        renewed = Renewed(one.id, owner, one.vouched, b"new", Renewal(5.0))
        await b.add(renewed)
        (found,) = await a.find("sessions", ("id", one.id))
        self.assertEqual(found, renewed.applied(one))
        await a.remove(EndedSession(one.id))
        await b.add(renewed)
        self.assertEqual(self.redis.ask("KEYS", "perimeter:record:*"), [])


class SessionAttackTests(NodesCase):
    """182 to 185: a state that machines share."""

    async def test_attack_182_what_redis_was_made_to_say_is_not_believed(self) -> None:
        """Who can write to Redis, but has no cluster secret, makes no token and no session; a damaged one is not "absent"."""
        a, b = await self.nodes("a", "b")
        kept, other = made(), made(1, "eve")
        await a.add(kept)
        await a.add(other)
        mine, theirs = (f"perimeter:record:tokens:{one.digest.hex()}" for one in (kept, other))
        value = self.redis.ask("GET", mine)
        forged = value[:-3] + bytes([value[-3] ^ 1]) + value[-2:]
        for wrong in (forged, self.redis.ask("GET", theirs), value[:16], b"", b"x" * 1000):
            self.redis.ask("SET", mine, wrong)
            for key in (("digest", kept.digest.hex()), ("id", kept.id), ("owner", "local", "bob")):
                await self.assertFailure(b.find("tokens", key), StateUnavailable)
        self.redis.ask("SET", mine, value)
        self.redis.ask("SET", index_of("tokens", ("id", kept.id)), other.digest.hex())
        await self.assertFailure(b.find("tokens", ("id", kept.id)), StateUnavailable)

    async def test_attack_183_an_entry_of_the_log_that_nobody_has_sealed(self) -> None:
        """It is not put in force, and the machine says that it does not know what was revoked."""
        a, b = await self.nodes("a", "b")
        self.redis.ask("XADD", "perimeter:log", "*", "e", b"x" * 16 + b'["0",[["provider_name","[]"]]]')
        await until(lambda: "a value in Redis is not used" in a.problem())
        await self.assertFailure(a.add(pin()), StateUnavailable)
        self.assertEqual((names(a), names(b)), ([], []))

    async def test_attack_184_a_record_that_was_on_its_way_while_its_user_was_revoked(self) -> None:
        """It comes to Redis after everything of the user was deleted there; it is deleted once more, and good nowhere."""
        self.patch(follower_module, "SAFE", 0.5)
        a, b = await self.nodes("a", "b")
        late = made()
        await b.view(TOKENS).revoke_user("local", "bob")
        await a.catch_up()
        await a.engine.keep(late)
        self.assertEqual(a.view(TOKENS).find(late.digest), None)
        await until(lambda: not self.redis.ask("KEYS", "perimeter:record:*"))

    async def test_attack_185_a_session_that_ends_while_it_is_altered(self) -> None:
        """Of a hundred sessions that end on one machine while the other one writes their uses and renewals, none is left."""
        a, b = await self.nodes("a", "b")
        some = [session() for _ in range(100)]
        for adding in [a.add(one) for one in some]:
            await adding
        assert some[0].vouched is not None
        work = []
        for one in some:
            work.append(b.add(Seen(((one.id, 2e9, 7.0),))))
            work.append(a.remove(EndedSession(one.id)))
            work.append(b.add(Renewed(one.id, one.owner, some[0].vouched, b"new", Renewal(5.0))))
        for one in work:
            await one
        self.assertEqual(self.redis.ask("KEYS", "perimeter:record:*"), [])
        self.assertEqual(self.redis.ask("KEYS", "perimeter:index:*"), [])


class ListTests(NodesCase):
    async def ids(self, node: ClusterState, kind: str, page: Page) -> list[str]:
        return [one.id for one in await node.find(kind, page.key) if isinstance(one, ApiToken | Session)]

    async def test_pages_of_tokens(self) -> None:
        self.patch(records_module, "_PAGE", 2)
        a, b = await self.nodes("a", "b")
        bobs, eves = [made(number) for number in range(5)], [made(number, "eve") for number in range(2)]
        passing = mint("", bobs[0].owner, 1.0, inf, passing=True)[1]
        for one in (*bobs, *eves, passing):
            await a.add(one)
        every, now = [one.id for one in (*bobs, *eves)], time.time()
        self.assertEqual(await self.ids(b, "tokens", Page(now, 100)), every)
        self.assertEqual(await self.ids(b, "tokens", Page(now, 3, 2)), every[2:5])
        self.assertEqual(await self.ids(b, "tokens", Page(now, 3, latest=True)), every[:-4:-1])
        self.assertEqual(await self.ids(b, "tokens", Page(now, 100, realm="other")), [])
        self.assertEqual(await self.ids(b, "tokens", Page(now, 1, realm="local")), every[:1])
        self.assertEqual(await self.ids(b, "tokens", Page(now, 3, 1, "bob", "local")), every[1:4])
        self.assertEqual(await self.ids(b, "tokens", Page(now, 9, user="eve", latest=True)), [eves[1].id, eves[0].id])
        self.assertEqual(await self.ids(b, "tokens", Page(now, 2, 0, passing=True)), [passing.id, every[0]])
        self.assertEqual(await self.ids(b, "tokens", Page(now, 2, 1, passing=True)), every[:2])
        self.assertEqual(await self.ids(b, "tokens", Page(now, 9, 0, "bob", "local", True)), [passing.id, *every[:5]])
        await b.view(TOKENS).remove(bobs[1])
        self.assertEqual(await self.ids(a, "tokens", Page(now, 2, 1)), every[2:4])
        digest = bobs[2].digest.hex()
        self.redis.ask("DEL", f"perimeter:record:tokens:{digest}")  # as if it had ended
        self.assertEqual(await self.ids(a, "tokens", Page(now, 2, 1)), every[3:5])

    async def test_pages_of_sessions_have_those_that_came_from_others_with_them(self) -> None:
        (a,) = await self.nodes("a")
        one, other = session(), session("eve")
        child = session(parent=one.id)
        for each in (one, other, child):
            await a.add(each)
        now = time.time()
        self.assertEqual(await self.ids(a, "sessions", Page(now, 1)), [one.id, child.id])
        self.assertEqual(await self.ids(a, "sessions", Page(now, 1, latest=True)), [other.id])
        self.assertEqual(await self.ids(a, "sessions", Page(now, 9, user="bob")), [one.id, child.id])

    async def test_a_list_forgets_what_has_ended(self) -> None:
        (a,) = await self.nodes("a")
        for number in range(20):
            await a.add(made(number, expires=time.time() + 0.2))
        await until(lambda: not self.redis.ask("KEYS", "perimeter:record:*"))
        for number in range(20):
            await a.add(made(number))
        self.assertLess(self.redis.ask("ZCARD", list_of("tokens", "", passing=False)), 30)


class FailoverTests(NodesCase):
    """A primary with a replica that Sentinels watch."""

    async def test_what_was_removed_before_a_failover_stays_removed_and_what_was_claimed_stays_claimed(self) -> None:
        servers = SentinelSet(Path(self.mktemp()).resolve(), replicas=2, sentinels=3)
        self.addCleanup(servers.close)
        a, b = await self.nodes("a", "b", url=servers.url())
        gone, kept = [grant(f"jti-{number}") for number in range(20)], made()
        await a.add(kept)
        for one in gone[:10]:
            await a.view(TOKENS).revoke(one)
        self.assertTrue(await a.claim(b"x" * 32, time.time() + 600))
        servers.primary().kill()
        for one in gone[10:]:
            with contextlib.suppress(StateUnavailable):
                await a.view(TOKENS).revoke(one)
        await until(lambda: all(revoked(b, one) for one in gone), 20)
        self.assertTrue(all(revoked(a, one) for one in gone))
        await hears(a)
        self.assertFalse(await b.claim(b"x" * 32, time.time() + 600))
        self.assertEqual([one.id for one in await b.find("tokens", ("digest", kept.digest.hex()))], [kept.id])

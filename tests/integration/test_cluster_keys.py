"""The signing keys of several machines on a real Redis server."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from perimeter.cluster.keys import KEY, LEASE, SharedKeys
from perimeter.cluster.leases import Clocks, Leases
from perimeter.config.site.token import Algorithm, TokenSettings
from perimeter.errors import StartupError, StateUnavailable
from perimeter.offload import Offload
from perimeter.secrets_key import SecretsKey
from perimeter.tokens.key_file import KeySet
from perimeter.tokens.keyring import Keyring
from perimeter.tokens.rotation import PATIENCE
from tests.integration.test_cluster_leases import EngineCase

HS256 = TokenSettings(algorithm=Algorithm.HS256, secret="s" * 64)


class Wall:
    """The time of day, which a test moves."""

    moved = 0.0

    def seconds(self) -> float:
        return time.time() + self.moved


class Machine:
    """A machine with a copy of the keys, in a state directory of its own."""

    def __init__(self, case: KeysTests, name: str, secret: SecretsKey, settings: TokenSettings) -> None:
        self.directory = Path(case.mktemp()) / name
        self.directory.mkdir(0o700, parents=True)
        self.keyring = Keyring.open(self.directory, settings, case.wall, shared=True)
        redis = case.client()
        self.announced: list[tuple[int, int]] = []
        self.keys = SharedKeys(redis, secret, Leases(redis, Clocks(reactor)), self.keyring, case.threads, self.announce)

    def announce(self, epoch: int, number: int) -> None:
        self.announced.append((epoch, number))

    @property
    def kids(self) -> list[str]:
        return [entry.jwk.kid for entry in self.keyring.entries]

    @property
    def signs(self) -> str:
        return self.keyring.signing_key.kid

    def copy(self) -> KeySet | None:
        return self.keyring._file.read()


class KeysTests(EngineCase):
    def setUp(self) -> None:
        super().setUp()
        self.server.ask("FLUSHALL")
        self.wall = Wall()
        self.threads = Offload(reactor, threads=4, queue=16)
        self.threads.start()
        self.addCleanup(self.threads.stop)
        self.secret = SecretsKey(b"s" * 32)

    def machine(self, name: str = "one", secret: SecretsKey | None = None, settings: TokenSettings | None = None) -> Machine:
        return Machine(self, name, secret or self.secret, settings or TokenSettings())

    async def refused(self, work: Any, error: type[Exception] = StateUnavailable) -> str:
        try:
            await work
        except error as found:
            return str(found)
        raise AssertionError("it was not refused")

    def same(self, *machines: Machine) -> None:
        for one in machines:
            self.assertEqual(one.keyring.entries, machines[0].keyring.entries)
            self.assertEqual(one.copy(), machines[0].copy())

    async def test_machines_that_start_together_have_the_same_keys(self) -> None:
        machines = [self.machine(str(number)) for number in range(4)]
        for one in machines:
            self.assertRaises(StateUnavailable, lambda one=one: one.keyring.signing_key)
        await gatherResults([Deferred.fromCoroutine(one.keys.exchange()) for one in machines])
        self.same(*machines)
        self.assertEqual(len(machines[0].kids), 2)
        self.assertEqual(sum(len(one.announced) for one in machines), 1, "one has made them")
        self.assertFalse(await machines[0].keys.exchange(), "nothing is new")
        self.assertEqual(sum(len(one.announced) for one in machines), 1)

    async def test_attack_193_the_engine_shows_no_key(self) -> None:
        one = self.machine()
        await one.keys.exchange()
        text = b"".join(self.server.ask("HGETALL", KEY))
        signing = one.keyring.entries[0].jwk.members(private=True)
        for member in ("d", "x"):
            self.assertNotIn(signing[member].encode(), text)
        self.assertIn(b"0.1", text)

    async def test_a_rotation_is_on_the_engine_before_its_key_signs(self) -> None:
        one, two = self.machine("one"), self.machine("two")
        for machine in (one, two):
            await machine.keys.exchange()
        first, following = one.kids
        put = one.keys._put

        async def put_and_look(*arguments: Any) -> bool:
            self.assertEqual(one.signs, first, "not in use yet")
            done = await put(*arguments)
            self.assertTrue(await two.keys.exchange())
            self.assertEqual((one.signs, two.signs), (first, following))
            return done

        self.patch(one.keys, "_put", put_and_look)
        await one.keys.rotate()
        self.assertEqual(one.signs, following)
        self.same(one, two)
        self.assertIsNotNone(two.keyring.verification_key(first), "what it has signed is still verified")

    async def test_one_machine_rotates_when_it_is_due(self) -> None:
        machines = [self.machine(str(number)) for number in range(3)]
        for one in machines:
            await one.keys.rotate_if_due()
        first, following = machines[0].kids
        self.wall.moved = TokenSettings().key_lifetime + 1
        await gatherResults([Deferred.fromCoroutine(one.keys.rotate_if_due()) for one in machines])
        for one in machines:
            await one.keys.exchange()
        self.same(*machines)
        self.assertEqual(machines[0].signs, following)
        self.assertEqual(sum(len(one.announced) for one in machines), 2, "made once, and rotated once")
        self.assertEqual(self.server.ask("EXISTS", f"perimeter:lease:{LEASE}"), 0)
        self.assertEqual(await machines[0].keys.rotate_if_due(), False)
        self.assertIn(first, machines[0].kids)

    async def test_what_a_failover_has_lost_is_put_there_again(self) -> None:
        one, two = self.machine("one"), self.machine("two")
        for machine in (one, two):
            await machine.keys.exchange()
        before = self.server.ask("HGETALL", KEY)
        await one.keys.rotate()
        self.server.ask("DEL", KEY)
        self.server.ask("HSET", KEY, *before)
        self.assertFalse(await one.keys.exchange())
        self.assertTrue(await two.keys.exchange())
        self.same(one, two)
        self.server.ask("FLUSHALL")
        await two.keys.exchange()
        self.assertFalse(await one.keys.exchange())
        self.same(one, two)

    async def test_attack_193_keys_that_were_discarded_do_not_come_back(self) -> None:
        one, two, three = (self.machine(name) for name in ("one", "two", "three"))
        for machine in (one, two, three):
            await machine.keys.exchange()
        stolen, before = one.kids, self.server.ask("HGETALL", KEY)
        await one.keys.rotate(discard=True)
        self.server.ask("DEL", KEY)
        self.server.ask("HSET", KEY, *before)  # a failover has lost it, and another machine rotates meanwhile, twice
        await two.keys.rotate()
        await two.keys.rotate()
        for machine in (one, two, three):
            await machine.keys.exchange()
        self.same(one, two, three)
        self.assertEqual(set(stolen) & set(one.kids), set())

    async def test_a_machine_that_joins_brings_its_keys(self) -> None:
        alone = Path(self.mktemp())
        before = Keyring.open(alone, TokenSettings(), self.wall)
        one, two = self.machine("one"), self.machine("two")
        await one.keys.exchange()
        (two.directory / "keyring.json").write_bytes((alone / "keyring.json").read_bytes())
        (two.directory / "keyring.json").chmod(0o600)
        await two.keys.exchange()
        await one.keys.exchange()
        self.same(one, two)
        self.assertEqual(len(one.kids), 3)
        self.assertIsNotNone(one.keyring.verification_key(before.signing_key.kid))
        self.assertNotEqual(one.signs, before.signing_key.kid)

    async def test_the_first_machine_keeps_its_keys(self) -> None:
        one = self.machine("one")
        Keyring.open(one.directory, TokenSettings(), self.wall)
        await one.keys.exchange()
        two = self.machine("two")
        await two.keys.exchange()
        self.same(one, two)
        self.assertEqual(len(one.kids), 2)

    async def test_attack_193_what_cannot_be_read_is_neither_used_nor_replaced(self) -> None:
        one = self.machine("one")
        await one.keys.exchange()
        good = self.server.ask("HGETALL", KEY)
        sealed, keys = good[good.index(b"sealed") + 1], one.kids
        for member, value in (
            ("sealed", sealed[:-1] + bytes([sealed[-1] ^ 1])),
            ("sealed", b""),
            ("sealed", b"x" * (1024 * 1024 + 1)),
            ("order", b"0.2"),
            ("order", b"9999.0"),
        ):
            self.server.ask("HSET", KEY, *good)
            self.server.ask("HSET", KEY, member, value)
            changed = self.server.ask("HGETALL", KEY)
            for work in (one.keys.exchange(), one.keys.rotate(), self.machine("two").keys.exchange()):
                await self.refused(work)
            self.assertEqual(self.server.ask("HMGET", KEY, "order", "sealed"), _members(changed))
            self.assertEqual(one.kids, keys)
        self.server.ask("DEL", KEY)
        self.server.ask("HSET", KEY, "order", "0.1")
        await self.refused(one.keys.exchange())

    async def test_a_machine_with_another_cluster_secret(self) -> None:
        await self.machine("one").keys.exchange()
        said = await self.refused(self.machine("two", SecretsKey(b"t" * 32)).keys.exchange())
        self.assertIn("cluster_secret", said)

    async def test_while_the_cluster_secret_is_replaced(self) -> None:
        one, two = self.machine("one"), self.machine("two", SecretsKey(b"t" * 32, b"s" * 32))
        await one.keys.exchange()
        await two.keys.exchange()
        self.same(one, two)
        await two.keys.rotate()
        await self.machine("three", SecretsKey(b"t" * 32)).keys.exchange()

    async def test_attack_193_a_line_of_the_cluster_secret_that_is_replaced_is_not_needed_any_more(self) -> None:
        old, both = SecretsKey(b"s" * 32), SecretsKey(b"t" * 32, b"s" * 32)
        one = self.machine("one", old)
        await one.keys.rotate_if_due()
        two = self.machine("two", both)
        self.server.ask("HSET", KEY, "fence", str(int((time.time() - 590) * 1e6)))
        await two.keys.rotate_if_due()
        self.assertEqual(two.copy(), one.copy(), "other machines may have the old line first still")
        self.server.ask("HSET", KEY, "fence", str(int((time.time() - 600) * 1e6)))
        self.assertFalse(await two.keys.rotate_if_due(), "the keys are the same")
        three = self.machine("three", SecretsKey(b"t" * 32))
        await three.keys.exchange()
        self.same(two, three)
        self.assertEqual(three.signs, one.signs)
        before = self.server.ask("HGETALL", KEY)
        await two.keys.rotate_if_due()
        self.assertEqual(self.server.ask("HGETALL", KEY), before, "once")

    async def test_a_rotation_without_the_lease(self) -> None:
        one = self.machine("one")
        await one.keys.exchange()
        first = one.signs
        self.server.ask("SET", f"perimeter:lease:{LEASE}", "another")
        self.assertIn("another machine", await self.refused(one.keys.rotate()))
        self.wall.moved = TokenSettings().key_lifetime + 1
        self.assertFalse(await one.keys.rotate_if_due())
        self.assertEqual(one.signs, first)

    async def test_attack_192_a_rotation_that_was_paused_changes_nothing(self) -> None:
        one, two = self.machine("one"), self.machine("two")
        for machine in (one, two):
            await machine.keys.exchange()
        lease = await one.keys._leases.take(LEASE)
        assert lease is not None
        self.server.ask("DEL", f"perimeter:lease:{LEASE}")  # it is over, and the process does not know
        await two.keys.rotate()
        await one.keys.exchange()
        before = one.copy()
        assert before is not None
        self.assertFalse(await one.keys._put(before, one.keyring.rotated(before, force=True), lease.fence))
        lease.release()
        await one.keys.exchange()
        self.same(one, two)
        await one.keys.rotate()
        await two.keys.exchange()
        self.same(one, two)

    async def test_the_engine_is_away(self) -> None:
        one = self.machine("one")
        await one.keys.exchange()
        self.server.freeze()
        try:
            await self.refused(one.keys.exchange())
        finally:
            self.server.thaw()
        self.assertEqual(one.signs, one.kids[0])
        again = Keyring.open(one.directory, TokenSettings(), self.wall, shared=True)
        self.assertEqual(again.signing_key.kid, one.signs, "its own copy")

    async def test_another_algorithm_waits_until_all_machines_have_the_configuration(self) -> None:
        one, two = self.machine("one"), self.machine("two", settings=TokenSettings(algorithm=Algorithm.RS256))
        for machine in (one, two):
            await machine.keys.rotate_if_due()
        self.same(one, two)
        self.wall.moved = PATIENCE - 10
        self.assertFalse(await two.keys.rotate_if_due())
        self.wall.moved = PATIENCE
        self.assertTrue(await two.keys.rotate_if_due())
        self.assertEqual(two.keyring.signing_key.algorithm, "RS256")

    async def test_with_a_secret_in_the_configuration_there_are_no_keys(self) -> None:
        one = self.machine("one", settings=HS256)
        self.assertFalse(await one.keys.rotate_if_due())
        self.assertEqual((one.kids, self.server.ask("EXISTS", KEY)), ([], 0))
        self.assertIn("HS256", await self.refused(one.keys.rotate(), StartupError))
        self.assertEqual(attrs.asdict(one.keyring.signing_key)["algorithm"], "HS256")


def _members(reply: list[bytes]) -> list[bytes]:
    found = dict(zip(reply[::2], reply[1::2], strict=True))
    return [found[b"order"], found[b"sealed"]]

"""The signing keys of all machines: races, faults and leases, on an engine in memory. The integration tests have a real one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import TestCase

from perimeter.cluster import keys as keys_module
from perimeter.cluster.keys import KEY, SharedKeys
from perimeter.config.site.token import TokenSettings
from perimeter.errors import StateUnavailable, Unavailable
from perimeter.redis.script import Script
from perimeter.secrets_key import SecretsKey
from perimeter.tokens.keyring import Keyring
from tests.unit.doubles.auth import ImmediateThreads, ThreadClock, offload_with
from tests.unit.doubles.tokens_site import NOW

OLD, NEW = b"o" * 32, b"n" * 32


class Document:
    """The document of an engine, as `SharedKeys` reads and writes it. ``before_put`` is called before each put."""

    def __init__(self) -> None:
        self.members: dict[str, bytes] = {}
        self.puts = 0
        self.down = False
        self.before_put: Callable[[], None] = lambda: None

    def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Any]) -> Deferred[Any]:
        assert list(keys) == [KEY]
        if self.down:
            return fail(StateUnavailable("Redis does not answer"))
        if not arguments:
            return succeed([self.members.get(name) for name in ("order", "sealed", "under", "fence")])
        self.before_put()
        expected, order, sealed, under, fence = arguments
        if self.members.get("order", b"") != expected or 0 < fence < int(self.members.get("fence", b"0")):
            return succeed(0)
        self.puts += 1
        self.members.update(order=order, sealed=sealed, under=under, **({"fence": b"%d" % fence} if fence else {}))
        return succeed(1)


@attrs.define
class OneLease:
    """A lease, and what gives it: ``taken`` while another machine has it."""

    fence: int = int(NOW * 1e6)
    held: bool = True
    taken: bool = False
    log: list[str] = attrs.field(factory=list)

    async def take(self, name: str) -> Any:
        self.log.append(name)
        return None if self.taken else self

    def __enter__(self) -> OneLease:
        return self

    def __exit__(self, *_: object) -> None:
        self.log.append("released")


class KeysTests(TestCase):
    def setUp(self) -> None:
        self.clock = ThreadClock()
        self.clock.advance(NOW)
        self.document = Document()
        self.lease = OneLease()
        self.announced: list[tuple[int, int]] = []
        self.keyring, self.keys = self.machine("one")

    def machine(self, name: str, *secrets: bytes) -> tuple[Keyring, SharedKeys]:
        directory = Path(self.mktemp()).absolute() / name
        keyring = Keyring.open(directory, TokenSettings(), self.clock, shared=True)
        threads = offload_with(ImmediateThreads(), self.clock, count=1)
        secret = SecretsKey(*(secrets or (OLD,)))
        keys = SharedKeys(self.document, secret, self.lease, keyring, threads, lambda *order: self.announced.append(order))
        return keyring, keys

    def done(self, work: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(work))

    def failed(self, work: Any) -> str:
        failure = self.failureResultOf(Deferred.fromCoroutine(work), Unavailable)
        return str(failure.value)

    def test_the_first_keys(self) -> None:
        self.assertTrue(self.done(self.keys.exchange()))
        self.assertEqual((self.announced, self.document.members["order"], self.lease.log), ([(0, 1)], b"0.1", []))
        self.assertFalse(self.done(self.keys.exchange()))
        self.assertEqual((self.document.puts, len(self.keyring.entries)), (1, 2))

    def test_nothing_is_rotated_before_it_is_due(self) -> None:
        self.assertTrue(self.done(self.keys.rotate_if_due()))
        self.assertFalse(self.done(self.keys.rotate_if_due()))
        self.assertEqual(self.lease.log, [])

    def test_a_rotation_that_is_due(self) -> None:
        self.done(self.keys.exchange())
        self.clock.advance(TokenSettings().key_lifetime)
        self.lease.taken = True
        self.assertFalse(self.done(self.keys.rotate_if_due()))
        self.assertEqual((self.lease.log, self.document.puts), (["keyring"], 1))
        self.lease.taken = False
        following = self.keyring.entries[1].jwk.kid
        self.assertTrue(self.done(self.keys.rotate_if_due()))
        self.assertEqual((self.keyring.signing_key.kid, self.lease.log[1:]), (following, ["keyring", "released"]))
        self.assertEqual(self.document.members["fence"], b"%d" % self.lease.fence)
        self.assertEqual(self.announced, [(0, 1), (0, 2)])

    def test_another_machine_was_faster(self) -> None:
        other, others = self.machine("two")

        def exchange() -> None:
            self.document.before_put = lambda: None
            self.done(others.exchange())

        self.document.before_put = exchange
        self.done(self.keys.exchange())
        self.assertEqual(self.keyring.entries, other.entries)
        self.assertEqual(self.document.puts, 1)

    def test_other_machines_are_always_faster(self) -> None:
        self.done(self.keys.exchange())
        orders = iter(range(10, 99))

        def change() -> None:
            self.document.members["order"] = b"0.%d" % next(orders)

        self.document.before_put = change
        keys = keys_module.KeySet(self.keyring.entries, 0, 9)
        self.keyring.adopt(keys)
        self.document.members.clear()
        self.assertIn("all the time", self._races(self.keys.exchange()))

    def _races(self, work: Any) -> str:
        def put(*arguments: Any) -> Deferred[bool]:
            return succeed(False)

        self.patch(self.keys, "_put", put)
        return self.failed(work)

    def test_a_rotation_that_never_comes_through(self) -> None:
        self.done(self.keys.exchange())
        self.assertIn("meanwhile", self._races(self.keys.rotate()))
        self.assertEqual(self.lease.log, ["keyring", "released"])

    def test_without_the_lease_any_more(self) -> None:
        self.done(self.keys.exchange())
        self.lease.held = False
        self.assertIn("meanwhile", self.failed(self.keys.rotate()))
        self.assertEqual((self.document.puts, self.lease.log), (1, ["keyring", "released"]))

    def test_the_operator_has_to_wait_for_another_machine(self) -> None:
        self.lease.taken = True
        self.assertIn("another machine replaces", self.failed(self.keys.rotate()))

    def test_discarded(self) -> None:
        self.done(self.keys.exchange())
        before = {entry.jwk.kid for entry in self.keyring.entries}
        self.done(self.keys.rotate(discard=True))
        self.assertFalse(before & {entry.jwk.kid for entry in self.keyring.entries})
        self.assertEqual(self.announced, [(0, 1), (1, 2)])

    def test_the_engine_is_away(self) -> None:
        self.done(self.keys.exchange())
        self.document.down = True
        for work in (self.keys.exchange(), self.keys.rotate_if_due()):
            self.assertIn("does not answer", self.failed(work))
        self.assertEqual(len(self.keyring.entries), 2)

    def test_a_put_of_which_the_answer_was_lost(self) -> None:
        self.done(self.keys.exchange())

        def lose() -> None:
            self.document.before_put = lambda: None
            run = self.document.run

            def lost(*arguments: Any) -> Deferred[Any]:
                self.document.run = run  # type: ignore[method-assign]
                run(*arguments)
                return fail(StateUnavailable("the connection was lost"))

            self.document.run = lost  # type: ignore[method-assign]

        exchange = self.keys._exchange

        async def then_lose() -> Any:
            found = await exchange()
            lose()
            return found

        self.patch(self.keys, "_exchange", then_lose)
        before = self.keyring.signing_key.kid
        self.failed(self.keys.rotate())
        self.assertEqual(self.keyring.signing_key.kid, before, "not in use before it is known to be on the engine")
        self.patch(self.keys, "_exchange", exchange)
        self.assertTrue(self.done(self.keys.exchange()))
        self.assertNotEqual(self.keyring.signing_key.kid, before)
        self.assertEqual(self.document.puts, 2)

    def test_what_cannot_be_read(self) -> None:
        self.done(self.keys.exchange())
        good = dict(self.document.members)
        sealed = SecretsKey(OLD)
        for members in (
            {"sealed": None},
            {"order": None},
            {"sealed": b"x" * (1024 * 1024 + 1)},
            {"order": b"0.2"},
            {"sealed": sealed.seal(b"{}", "signing keys of the site")},
            {"sealed": sealed.seal(b"x", "signing keys of the site")},
            {"sealed": sealed.seal(b'{"version":1,"keys":[]}', "another purpose")},
        ):
            self.document.members = {**good, **members}  # type: ignore[dict-item]
            for keys in (self.keys, self.machine("new")[1]):
                self.failed(keys.exchange())
        self.assertEqual(self.document.puts, 1)
        self.document.members = good
        self.assertFalse(self.done(self.keys.exchange()))

    def test_sealed_anew_under_the_first_line(self) -> None:
        self.done(self.keys.rotate())
        keyring, keys = self.machine("two", NEW, OLD)
        for seconds, puts in ((599.75, 2), (600, 3), (600, 3)):
            self.lease.fence = int((NOW + seconds) * 1e6)
            self.done(keys.rotate_if_due())
            self.assertEqual((self.document.puts, keyring.entries), (puts, self.keyring.entries))
        third, thirds = self.machine("three", NEW)
        self.assertTrue(self.done(thirds.exchange()))
        self.assertEqual(third.entries, self.keyring.entries)

    def test_sealed_before_there_was_a_fence(self) -> None:
        self.done(self.keys.exchange())
        for fence in (None, b"x"):
            _, keys = self.machine("two", NEW, OLD)
            self.document.members = {name: one for name, one in self.document.members.items() if name != "fence"}
            if fence is not None:
                self.document.members.update(fence=fence, under=b"another")
            self.patch(keys, "_put", lambda *_: succeed(True))
            self.done(keys.rotate_if_due())
        self.assertEqual(self.lease.log, ["keyring", "released"] * 2)

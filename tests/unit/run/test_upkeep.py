"""What follows from a revocation, in this worker and in the others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, succeed

from perimeter.acme.pending import Pending
from perimeter.auth.chain.chain import AuthenticatorChain
from perimeter.model import Principal
from perimeter.offload import Offload
from perimeter.run.upkeep import Upkeep
from perimeter.state.freshness import Freshness
from perimeter.state.state import State
from perimeter.tokens.revocation import RevokedGrant, RevokedUser
from perimeter.tokens.stored import TOKENS
from tests.unit.doubles.auth import ImmediateThreads
from tests.unit.run.test_state_peers import WorkersCase

ALICE = Principal("alice", "local")


class Keys:
    """Of a keyring that never changes by itself; counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.changed: Any = None

    def refresh(self) -> Deferred[None]:
        self.asked.append("refresh")
        return succeed(None)

    def announced(self) -> None:
        """No other machine has keys."""

    def rotate_if_due(self) -> Deferred[None]:
        self.asked.append("rotate")
        return succeed(None)


class UpkeepTests(WorkersCase):
    def setUp(self) -> None:
        super().setUp()
        self.workers = [self.worker(number) for number in range(2)]
        self.keys_changed = 0
        self.assemblies = [self.assembly(one.state) for one in self.workers]
        self.upkeeps = []
        for assembly in self.assemblies:
            runtime: Any = SimpleNamespace(
                reactor=self.clock,
                place=None,
                offload=Offload(self.clock, 1, pool=ImmediateThreads()),
                states=SimpleNamespace(keep=lambda state: succeed(None)),
                challenges=Pending(),
            )
            upkeep = Upkeep(runtime, lambda: ())
            self.upkeeps.append(upkeep)
            self.addCleanup(upkeep.stop)
            upkeep.look_after(assembly)

    def assembly(self, state: State) -> Any:
        def keys_changed() -> None:
            self.keys_changed += 1

        sessions = SimpleNamespace(doubts=0, keep_uses=lambda: succeed(None), keep_all_uses=lambda: succeed(None))
        return SimpleNamespace(
            state=state,
            tokens=state.view(TOKENS),
            sessions=sessions,
            chain=AuthenticatorChain((), 5.0, 60.0, self.clock),
            keys=Keys(),
            keys_changed=keys_changed,
            config=SimpleNamespace(authentication=SimpleNamespace(remember_password=60.0), listeners=()),
            gates={},
            gate_of_routes=None,
            identifier=None,
            still_good=lambda principal, since: True,
        )

    def remembered(self) -> list[bool]:
        """Whether each worker remembers the password of the user."""
        return [assembly.chain.lookup_basic(b"Basic x") is not None for assembly in self.assemblies]

    def remember(self) -> None:
        for assembly in self.assemblies:
            memory = assembly.chain._memory
            memory.keep(memory.digest(b"\0\0\0\0Basic x"), ALICE, memory.begin())

    def test_attack_88_remembered_passwords_do_not_count_once_a_revocation_is_answered(self) -> None:
        self.clock.advance(10_000)
        self.remember()
        self.assertEqual(self.remembered(), [True, True])
        answered: list[Any] = []
        self.workers[0].state.remove(RevokedUser("local", "alice", self.clock.seconds())).addCallback(answered.append)
        self.turn()
        self.assertEqual((answered, self.remembered()), ([None], [False, False]))
        self.clock.advance(0.1)
        self.remember()
        self.assertEqual(self.remembered(), [True, True], "verified again")

    def test_attack_178_what_is_open_is_judged_again_after_an_end_that_may_have_been_missed(self) -> None:
        judged: list[int] = []
        self.patch(self.upkeeps[0]._reviewer, "everything", lambda: judged.append(1))
        for doubts, seen in ((0, 0), (1, 1), (1, 1), (2, 2)):
            self.assemblies[0].sessions.doubts = doubts
            self.upkeeps[0]._revoked()
            self.clock.advance(0.1)
            self.assertEqual(len(judged), seen)

    def test_attack_186_what_is_open_is_judged_again_when_the_state_becomes_stale(self) -> None:
        upkeep, state = self.upkeeps[0], self.workers[0].state
        state.freshness = heard = Freshness("redis", 60.0, clock=self.clock.seconds)
        heard.compared(0.0)
        heard.heard()
        state.grow_old()
        rounds = upkeep._reviewer._round
        upkeep.start()
        self.clock.pump([1.0] * 60)
        self.assertEqual(upkeep._reviewer._round, rounds)
        self.clock.pump([1.0] * 2)
        self.assertEqual(upkeep._reviewer._round, rounds + 1)
        upkeep.stop()

    def test_the_passwords_of_others_stay(self) -> None:
        self.clock.advance(10_000)
        self.remember()
        self.workers[0].state.remove(RevokedUser("local", "bob", self.clock.seconds()))
        self.workers[0].state.remove(RevokedGrant("jti", 90000.0))
        self.turn()
        self.assertEqual(self.remembered(), [True, True])
        self.clock.advance(0.1)
        self.assertEqual(self.remembered(), [True, True])

    def test_the_file_of_the_keys_is_looked_at_each_second(self) -> None:
        upkeep, keys = self.upkeeps[0], self.assemblies[0].keys
        upkeep.start()
        self.clock.pump([1.0] * 5)
        self.assertEqual(sorted(keys.asked), ["refresh"] * 5 + ["rotate"])
        keys.changed()
        self.assertEqual(self.keys_changed, 1)
        upkeep.look_after(None)
        self.clock.pump([1.0] * 5)
        self.assertEqual(len(keys.asked), 6)
        keys.changed()
        self.assertEqual(self.keys_changed, 1)

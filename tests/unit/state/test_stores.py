"""Which store a configuration names, and that a reload keeps the state if its place does not change."""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import Any

import attrs
from twisted.trial.unittest import TestCase

from perimeter.config.site.perimeter import PerimeterSettings, Stale, StateKind
from perimeter.errors import StartupError
from perimeter.model import Principal
from perimeter.offload import Offload
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.state import stores as stores_module
from perimeter.state.freshness import Freshness
from perimeter.state.memory import MemoryStore
from perimeter.state.sqlite import SqliteStore
from perimeter.state.state import State
from perimeter.state.stores import States
from perimeter.tokens.api_token import mint
from perimeter.tokens.stored import TOKENS
from tests.unit.doubles.auth import ImmediateThreads, ThreadClock

TOKEN = mint("ci", Principal("alice", "local"), 0.0, inf)[1]


class Store(SqliteStore):
    """Counts how often it was closed."""

    closed = 0

    def close(self) -> None:
        type(self).closed += 1
        super().close()


class StatesTests(TestCase):
    def setUp(self) -> None:
        Store.closed = 0
        self.patch(stores_module, "SqliteStore", Store)
        self.clock = ThreadClock()
        self.patch(stores_module, "State", self.immediate)
        self.states = States(self.clock, STATE_KINDS)
        self.directories = [Path(self.mktemp()) for _ in range(2)]
        for directory in self.directories:
            directory.mkdir(mode=0o700)
        self.addCleanup(lambda: self.states.keep(None))

    def immediate(self, store: Any, kinds: Any, reactor: Any) -> State:
        return State(store, kinds, reactor, Offload(self.clock, threads=1, pool=ImmediateThreads()))

    def settings(self, state: str = "sqlite", directory: int = 0) -> PerimeterSettings:
        return PerimeterSettings(state=state, state_dir=self.directories[directory])

    def written(self, directory: int = 0) -> None:
        store = SqliteStore(self.directories[directory], STATE_KINDS)
        store.write([TOKEN])
        store.close()

    def test_what_the_store_has_is_in_force_once_it_is_adopted(self) -> None:
        self.written()
        opened = self.states.open(self.settings())
        self.assertIsNone(opened.state.view(TOKENS).find(TOKEN.digest))
        state = self.states.adopt(opened)
        self.assertIs(state, opened.state)
        self.assertIsNotNone(state.view(TOKENS).find(TOKEN.digest))

    def test_the_state_in_use_is_opened_and_adopted_again(self) -> None:
        state = self.states.adopt(self.states.open(self.settings()))
        again = self.states.open(self.settings())
        self.assertIs(again.state, state)
        self.assertIsNone(again.loaded)
        again.discard()
        self.assertEqual(Store.closed, 0)
        self.assertIs(self.states.adopt(again), state)

    def test_each_place_and_kind_has_a_state_of_its_own(self) -> None:
        opened = [self.states.open(self.settings(*which)) for which in (("sqlite", 0), ("sqlite", 1), ("memory", 0))]
        states = [self.states.adopt(one) for one in opened]
        self.assertEqual(len(set(map(id, states))), 3)
        self.assertEqual([len(list(directory.glob("*.db"))) for directory in self.directories], [1, 1])

    def test_memory_touches_no_disk(self) -> None:
        self.states.adopt(self.states.open(self.settings("memory")))
        self.assertEqual(list(self.directories[0].iterdir()), [])

    def test_a_state_that_is_not_adopted_is_released(self) -> None:
        opened = self.states.open(self.settings())
        opened.discard()
        self.assertEqual(Store.closed, 1)
        other = self.states.open(self.settings())
        self.assertIsNot(other.state, opened.state)
        other.discard()

    def test_a_store_that_cannot_be_read_is_released(self) -> None:
        def broken(store: Store) -> None:
            raise StartupError("the state is damaged")

        self.patch(Store, "load", broken)
        self.assertRaises(StartupError, self.states.open, self.settings())
        self.assertEqual(Store.closed, 1)

    def test_a_replaced_cluster_secret_makes_no_other_state(self) -> None:
        def shared(reactor: Any, settings: PerimeterSettings, kinds: Any) -> Any:
            store = MemoryStore()
            return self.immediate(store, kinds, reactor), store

        self.states = States(self.clock, STATE_KINDS, shared=shared)

        def settings(secret: str, timeout: float = 2.0) -> PerimeterSettings:
            redis = attrs.evolve(self.settings(), state=StateKind.REDIS)
            return attrs.evolve(redis, cluster_secret=secret, redis_timeout=timeout)

        state = self.states.adopt(self.states.open(settings("a")))
        self.assertIs(self.states.open(settings("b")).state, state)
        self.assertIsNot(self.states.open(settings("b", 3.0)).state, state)

    def test_a_reload_changes_how_old_the_state_may_be(self) -> None:
        store = Store(self.directories[0], STATE_KINDS)

        def shared(reactor: Any, settings: PerimeterSettings, kinds: Any) -> tuple[State, Any]:
            state = self.immediate(store, kinds, reactor)
            state.freshness = Freshness("redis", 1.0)
            return state, store

        self.states = States(self.clock, STATE_KINDS, shared=shared)
        found = []
        for limit, stale in ((60.0, Stale.REFUSE), (90.0, Stale.JWT), (90.0, Stale.REFUSE)):
            settings = attrs.evolve(self.settings("redis"), stale_limit=limit, stale=stale)
            state = self.states.adopt(self.states.open(settings))
            found.append((state.freshness.limit, state.spared))
        self.assertEqual(found, [(60.0, 0.0), (90.0, 901.0), (90.0, 0.0)])
        self.assertEqual(len(self.states._in_use), 1)

    def test_a_state_of_one_machine_has_no_limit(self) -> None:
        state = self.states.adopt(self.states.open(attrs.evolve(self.settings(), stale_limit=5.0, stale=Stale.JWT)))
        self.assertEqual((state.freshness.limit, state.spared, state.stale), (inf, 0.0, False))

    def test_every_other_state_is_stopped(self) -> None:
        first = self.states.adopt(self.states.open(self.settings()))
        second = self.states.adopt(self.states.open(self.settings(directory=1)))
        self.successResultOf(self.states.keep(second))
        self.assertEqual(Store.closed, 1)
        self.assertIs(self.states.open(self.settings(directory=1)).state, second)
        opened = self.states.open(self.settings())
        self.assertIsNot(opened.state, first)
        opened.discard()

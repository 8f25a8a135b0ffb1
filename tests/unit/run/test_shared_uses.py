"""Uses of sessions among workers, which are all in this process."""

from __future__ import annotations

from math import inf
from typing import Any

import attrs
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from perimeter.config.site.login import LoginSettings
from perimeter.config.site.route import RouteSettings
from perimeter.config.site.route_path import plain
from perimeter.offload import Offload
from perimeter.run import shared_uses
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.run.shared_uses import INTERVAL, LONGEST, SharedUses, resolution
from perimeter.sessions.session import Session
from perimeter.sessions.stored import SESSIONS, StoredSessions
from perimeter.state.state import State
from tests.unit.doubles.auth import ImmediateThreads, ThreadClock
from tests.unit.doubles.sessions import START, RecordingStore, session
from tests.unit.workers.fleet import Fleet


@attrs.frozen
class Config:
    """The part of a `SiteConfig` that counts here."""

    login: LoginSettings = attrs.field(factory=lambda: LoginSettings(idle=300.0))
    routes: tuple[RouteSettings, ...] = ()


class SharedUsesTests(TestCase):
    def setUp(self) -> None:
        self.clock = ThreadClock()
        self.clock.advance(START)
        self.fleet = Fleet(3, self.clock)
        self.addCleanup(self.fleet.page.close)
        self.shared = [SharedUses(place, self.clock) for place in self.fleet.places]
        self.sessions = [self.stored() for _ in self.shared]
        self.session = self.begun()
        for shared, sessions in zip(self.shared, self.sessions, strict=True):
            shared.put_in_force(sessions, Config())  # type: ignore[arg-type]
            self.addCleanup(shared.stop)

    def stored(self) -> StoredSessions:
        state = State(RecordingStore(), STATE_KINDS, self.clock, Offload(self.clock, 1, pool=ImmediateThreads()))
        state.replace(state.load())
        state.start()
        return state.view(SESSIONS)

    def begun(self) -> Session:
        """A session that every worker has."""
        begun = session(idle=300.0)
        for sessions in self.sessions:
            sessions.apply(begun)
        return begun

    def use(self, worker: int, begun: Session | None = None) -> None:
        """A request by the session, now."""
        use = self.sessions[worker].grant(begun or self.session).use
        assert use is not None
        use.gap = max(use.gap, self.clock.seconds() - use.at)
        use.at = self.clock.seconds()

    def seen(self, begun: Session | None = None) -> list[float]:
        return [sessions.seen_at((begun or self.session).id) - START for sessions in self.sessions]

    def deliver(self) -> None:
        self.clock.advance(INTERVAL)
        self.fleet.deliver()

    def test_a_use_in_one_worker_keeps_the_session_in_all(self) -> None:
        for _ in range(4):
            self.clock.advance(299)
            self.use(1)
            self.deliver()
        self.assertEqual(self.seen(), [1199.0] * 3)
        self.assertEqual([sessions.ends(self.session) - START for sessions in self.sessions], [1499.0] * 3)
        self.assertEqual([sessions._index.uses[self.session.id].gap for sessions in self.sessions], [300.0] * 3)

    def test_the_others_are_not_informed_of_each_use(self) -> None:
        for _ in range(20):
            self.clock.advance(1)
            self.use(0)
            self.fleet.deliver()
        self.assertEqual(len(self.fleet.told), 2, "the first, and one after a thirtieth of idle")
        self.assertEqual(self.shared[0].resolution, 10.0)

    def test_what_the_others_have_seen_is_not_repeated(self) -> None:
        for worker in range(3):
            self.use(worker)
        self.deliver()
        told = len(self.fleet.told)
        for _ in range(50):
            self.clock.advance(1)
            self.use(0)
            self.fleet.deliver()
        self.assertTrue(all(number == 0 for number, _, _ in self.fleet.told[told:]))
        self.assertEqual(self.seen()[0], 51.0)

    def test_a_session_that_is_not_used_is_forgotten(self) -> None:
        self.use(0)
        self.deliver()
        self.assertEqual(len(self.sessions[0]._told or ()), 1)
        self.clock.advance(118)
        self.sessions[0].new_uses(1.0, 9)
        self.assertEqual(len(self.sessions[0]._told or ()), 1)
        self.clock.advance(1)
        self.assertEqual(self.sessions[0].new_uses(1.0, 9), [])
        self.assertEqual(self.sessions[0]._told, {})

    def test_a_session_that_has_ended(self) -> None:
        self.use(0)
        self.sessions[0].end(self.session)
        self.deliver()
        self.assertEqual((self.fleet.told, self.sessions[0]._told), ([], {}))

    def test_a_message_is_bounded(self) -> None:
        self.patch(shared_uses, "MOST", 2)
        several = [self.begun() for _ in range(3)]
        for one in several:
            self.use(0, one)
        for count in (2, 3, 3):
            self.deliver()
            self.assertEqual(sum(len(told["uses"]) for _, _, told in self.fleet.told), count)

    def test_a_worker_that_starts_learns_what_is_not_in_the_store_yet(self) -> None:
        self.clock.advance(50)
        self.use(0)
        learned = self.shared[2].learn()
        self.fleet.deliver()
        self.successResultOf(learned)
        self.assertEqual(self.seen(), [50.0, 0.0, 50.0])
        self.assertEqual(self.sessions[2].unkept_uses(9), [])
        self.assertEqual([id for id, *_ in self.sessions[0].unkept_uses(9)], [self.session.id])
        self.assertEqual(self.sessions[0].unkept_uses(0), [])

    def test_it_waits_a_second_at_most(self) -> None:
        learned = self.shared[2].learn()
        with capturedLogs() as logs:
            self.clock.advance(1.0)
        self.successResultOf(learned)
        self.assertEqual(len(logs), 1)

    def test_before_there_are_sessions(self) -> None:
        self.shared[0].sessions = None
        self.use(1)
        self.deliver()
        learned = self.shared[0].learn()
        self.fleet.deliver()
        self.successResultOf(learned)
        self.assertEqual(self.fleet.places[0].handlers["session_uses_so_far"]({}), [])
        self.shared[0]._tell()

    def test_the_last_uses_are_sent_at_the_end(self) -> None:
        self.use(0)
        self.deliver()
        self.clock.advance(3)
        self.use(0)
        self.shared[0].stop()
        self.fleet.deliver()
        self.assertEqual(self.seen(), [4.0] * 3)

    def test_a_single_process_remembers_nothing_of_this(self) -> None:
        sessions = self.stored()
        sessions.apply(self.session)
        sessions.grant(self.session)
        self.assertIsNone(sessions._told)
        self.assertEqual((sessions.new_uses(0.0, 9), sessions.unkept_uses(9)), ([], []))
        sessions.heard_uses([(self.session.id, START + 5, 0.0)])
        self.assertEqual(sessions.seen_at(self.session.id), START + 5)


class ResolutionTests(TestCase):
    def test_a_thirtieth_of_the_shortest_idle(self) -> None:
        def routes(*idle: float | None) -> Any:
            return tuple(RouteSettings(name=f"r{number}", path=plain("/"), idle=one) for number, one in enumerate(idle))

        for login, idles, seconds in (
            (300.0, (), 10.0),
            (300.0, (None, 60.0), 2.0),
            (0.0, (), LONGEST),
            (0.0, (inf,), LONGEST),
            (3600.0, (), 30.0),
        ):
            config: Any = Config(LoginSettings(idle=login), routes(*idles))
            self.assertEqual(resolution(config), seconds, (login, idles))

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial import unittest

from perimeter.acme import renewals
from perimeter.acme.fault import AcmeFault
from perimeter.acme.pending import Pending, Proof
from perimeter.acme.record import Record
from perimeter.acme.renewal import Wanted
from perimeter.acme.renewals import FIRST, INTERVAL, SHOW, Renewals
from perimeter.config.site.acme import AcmeSettings, certificate_file
from tests.unit.doubles.exchange_rig import FakeOffload

PROOF = Proof("http-01", "gw.example.com", "tok", "tok.thumb")
TARGET = b"/.well-known/acme-challenge/tok"


class Threads(FakeOffload):
    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass


@attrs.define
class Others:
    """The place among other workers."""

    leads: bool = True
    handlers: dict[str, Any] = attrs.field(factory=dict)
    told: list[Any] = attrs.field(factory=list)
    answer: Deferred[Any] = attrs.field(factory=lambda: succeed(()))

    def gather(self, name: str, timeout: float, **arguments: Any) -> Deferred[Any]:
        self.told.append((name, arguments))
        return self.answer


class RenewalsTests(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.pending = Pending()
        self.state = Path(self.mktemp())
        (self.state / "acme").mkdir(parents=True)
        self.threads = Threads()
        self.patch(renewals, "Offload", lambda *arguments, **options: self.threads)
        # the double of the threads is on the reactor thread already
        self.patch(renewals, "blockingCallFromThread", lambda reactor, function, *arguments: function(*arguments))
        self.attended: list[Wanted] = []
        self.replaced: list[list[Path]] = []
        self.result: Any = None

    def attend(self, one: Wanted, show: Any) -> Record | None:
        self.attended.append(one)
        if callable(self.result):
            return self.result(one, show)  # type: ignore[no-any-return]
        return None

    def renewals(self, place: Any = None) -> Renewals:
        made = Renewals(self.clock, self.pending, place, self.replaced.append, self.attend)
        self.addCleanup(made.stop)
        return made

    def config(self, *names: str) -> Any:
        listeners = [SimpleNamespace(acme_names=(name,)) for name in names]
        return SimpleNamespace(perimeter=SimpleNamespace(state_dir=self.state), listeners=listeners, acme=AcmeSettings())

    def test_looks_soon_and_then_regularly(self) -> None:
        made = self.renewals()
        made.put_in_force(self.config("a.example", "b.example"))
        self.clock.advance(FIRST * 10)
        self.assertEqual(self.attended, [], "it was not started")
        made.start()
        self.clock.advance(FIRST)
        self.assertEqual([one.names for one in self.attended], [("a.example",), ("b.example",)])
        self.clock.advance(INTERVAL - 0.1)
        self.assertEqual(len(self.attended), 2)
        self.clock.advance(0.1)
        self.assertEqual(len(self.attended), 4)
        made.stop()
        self.clock.advance(INTERVAL * 3)
        self.assertEqual(len(self.attended), 4)

    def test_nothing_runs_without_names(self) -> None:
        made = self.renewals()
        made.put_in_force(self.config())
        made.start()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_other_configuration_during_a_look(self) -> None:
        made = self.renewals()
        self.threads.by_hand = True
        made.put_in_force(self.config("a.example"))
        made.start()
        self.clock.advance(FIRST)
        made.put_in_force(self.config("b.example"))
        self.clock.advance(FIRST * 5)
        self.assertEqual(self.threads.jobs, 1, "one look at a time")
        self.threads.by_hand = False
        self.threads.step()
        self.clock.advance(FIRST)
        self.assertEqual([one.names for one in self.attended], [("a.example",), ("b.example",)])

    def test_one_worker_orders(self) -> None:
        place = Others(leads=False)
        made = self.renewals(place)
        made.put_in_force(self.config("a.example"))
        made.start()
        self.clock.advance(FIRST)
        self.assertEqual(self.attended, [])
        place.leads = True
        self.clock.advance(INTERVAL)
        self.assertEqual(len(self.attended), 1)

    def test_proofs_are_shown_by_all_workers(self) -> None:
        place = Others()
        made = self.renewals(place)
        seen: list[Any] = []

        def order(one: Wanted, show: Any) -> None:
            show([PROOF])
            seen.append(dict(self.pending.bodies))
            show([])

        self.result = order
        made.put_in_force(self.config("a.example"))
        made.start()
        self.clock.advance(FIRST)
        self.assertEqual(seen, [{TARGET: b"tok.thumb"}])
        self.assertEqual(self.pending.bodies, {})
        self.assertEqual(place.told, [(SHOW, {"proofs": [attrs.astuple(PROOF)]}), (SHOW, {"proofs": []})])
        place.handlers[SHOW]({"proofs": [list(attrs.astuple(PROOF))]})
        self.assertEqual(self.pending.bodies, {TARGET: b"tok.thumb"})

    def test_workers_that_cannot_be_told_are_a_fault(self) -> None:
        place = Others()
        made = self.renewals(place)
        faults: list[str] = []

        def order(one: Wanted, show: Any) -> None:
            self.patch(renewals, "blockingCallFromThread", refuse)
            try:
                show([PROOF])
            except AcmeFault as fault:
                faults.append(str(fault))

        def refuse(*_: Any) -> None:
            raise RuntimeError

        self.result = order
        made.put_in_force(self.config("a.example"))
        made.start()
        self.clock.advance(FIRST)
        self.assertEqual(faults, ["the other workers cannot show the proof (RuntimeError)"])

    def test_new_certificate_is_reported(self) -> None:
        made = self.renewals()
        path = certificate_file(self.state, ["a.example"])

        def order(one: Wanted, show: Any) -> Record:
            path.write_text("new")
            return Record(renew_at=1.0)

        self.result = order
        made.put_in_force(self.config("a.example"))
        made.start()
        self.clock.advance(FIRST)
        self.assertEqual(self.replaced, [[path]])
        self.result = None
        self.clock.advance(INTERVAL)
        self.assertEqual(self.replaced, [[path]])

    def test_faults_end_no_looks(self) -> None:
        made = self.renewals()

        def order(one: Wanted, show: Any) -> Record:
            if len(self.attended) == 1:
                raise AcmeFault("the disk is full")
            if len(self.attended) == 2:
                return Record(failures=1, fault="refused", try_at=1.0)
            raise RuntimeError("a bug")

        self.result = order
        made.put_in_force(self.config("a.example"))
        made.start()
        for _ in range(4):
            self.clock.advance(INTERVAL)
        self.assertEqual(len(self.attended), 4)
        self.assertGreaterEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(self.replaced, [])

"""What SQLite keeps of second factors, and their text in the log: the same as in memory."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import TestCase

from perimeter.factors.factor import (
    EnrollCode,
    Factor,
    FactorKind,
    RecoveryCodes,
    RemovedFactor,
    RenamedFactor,
    ResetFactors,
    UsedFactor,
    UsedRecoveryCode,
)
from perimeter.factors.index import FactorIndex
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.state.changes import Change
from perimeter.state.sqlite import SqliteStore

PHONE = Factor("local", "alice", FactorKind.TOTP, "1" * 16, "phone", b"\x00sealed", 10.0)
KEY = Factor("local", "alice", FactorKind.WEBAUTHN, "2" * 16, "kéy", b"sealed", 11.0, b"handle", 12.0, 7)
OTHERS = Factor("corp", "alice", FactorKind.TOTP, "3" * 16, "phone", b"sealed", 10.0)
CODES = RecoveryCodes("local", "alice", (b"a" * 32, b"b" * 32), 13.0)
ENROLL = EnrollCode("local", "bob", b"c" * 32, 99.0)

CHANGES: tuple[Change, ...] = (
    PHONE,
    KEY,
    OTHERS,
    CODES,
    ENROLL,
    UsedFactor("1" * 16, 20.0, 5),
    UsedFactor("1" * 16, 19.0, 4),
    UsedFactor("9" * 16, 19.0, 4),
    RenamedFactor("2" * 16, "new name"),
    UsedRecoveryCode("local", "alice", b"a" * 32),
    UsedRecoveryCode("local", "carol", b"a" * 32),
    RemovedFactor("2" * 16),
    RemovedFactor("2" * 16),
    RecoveryCodes("corp", "alice", (), 14.0),
    ResetFactors("local", "alice", 30.0),
    ResetFactors("local", "nobody", 30.0),
)


def contents(index: FactorIndex) -> tuple[object, ...]:
    """Everything that counts."""
    return index.by_id, index.by_handle, index.owned, index.recovery, index.enroll


class TableTests(TestCase):
    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.store = SqliteStore(directory, STATE_KINDS, lambda: 20.0)
        self.addCleanup(self.store.close)

    def loaded(self) -> FactorIndex:
        index = FactorIndex()
        for change in self.store.load()[0]["factors"]:
            index.apply(change)
        return index

    def test_each_change_does_the_same_in_memory_and_in_sqlite(self) -> None:
        index = FactorIndex()
        for change in CHANGES:
            index.apply(change)
            self.store.write([change])
            self.assertEqual(contents(self.loaded()), contents(index), change)
        self.assertEqual(list(index.by_id), ["3" * 16])
        self.assertEqual(
            (index.by_handle, index.recovery.keys(), index.enroll), ({}, {("corp", "alice")}, {("local", "bob"): ENROLL})
        )

    def test_the_log_has_the_same_changes(self) -> None:
        self.store.write(CHANGES)
        self.assertEqual(self.store.since(0), (list(CHANGES), len(CHANGES)))

    def test_what_takes_something_away(self) -> None:
        self.assertEqual([change.adds for change in CHANGES[:6]], [True, True, True, True, True, False])
        self.assertEqual([change.adds for change in CHANGES[8:12]], [True, False, False, False])
        self.assertEqual([CHANGES[at].passing for at in (0, 5, 9, 11, 14)], [False, True, True, False, False])

    def test_what_a_reset_covers(self) -> None:
        index = FactorIndex()
        index.apply(ResetFactors("local", "alice", 10.0))
        index.apply(PHONE)  # was on its way
        index.apply(RecoveryCodes("local", "alice", (b"a" * 32,), 10.0))
        self.assertEqual((index.by_id, index.recovery), ({}, {}))
        index.apply(KEY)
        index.apply(CODES)
        self.assertEqual((list(index.by_id), index.recovery), ([KEY.id], {("local", "alice"): CODES}))
        index.apply(ResetFactors("local", "alice", 9.0))
        self.assertEqual((index.by_id, index.reset), ({}, {("local", "alice"): 10.0}))
        index.forget(10.0 + 86399)
        self.assertEqual(len(index.reset), 1)
        index.forget(10.0 + 86400)
        self.assertEqual(index.reset, {})

    def test_a_code_of_the_operator_is_forgotten(self) -> None:
        self.store.write([ENROLL])
        index = self.loaded()
        for now, left in ((98.0, 1), (99.0, 0)):
            self.store.forget(now)
            index.forget(now)
            self.assertEqual((len(self.loaded().enroll), len(index.enroll)), (left, left))

    def test_a_change_twice(self) -> None:
        index = FactorIndex()
        for change in (PHONE, UsedFactor(PHONE.id, 20.0, 5), PHONE):
            index.apply(change)
        self.assertEqual(index.by_id[PHONE.id].count, 5)
        self.assertEqual(len(index.owned["local", "alice"]), 1)

"""Sessions as records: what they are found by, and what other changes do to them."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from twisted.trial.unittest import TestCase

from perimeter.model import Principal
from perimeter.sessions.records import RECORDS
from perimeter.sessions.session import EndedSession, EndedUser, EndedVouched, Renewal, Renewed, Seen, Session, Vouched
from perimeter.state.changes import Change
from perimeter.state.writer import LookupKey
from tests.unit.doubles.sessions import ALICE, START, session

THERE = Vouched("corp", "https://id.example", "alice-1", "sid-1")


class RecordTests(TestCase):
    def setUp(self) -> None:
        self.root = attrs.evolve(session(), vouched=THERE)
        self.child = attrs.evolve(session(), parent=self.root.id, vouched=attrs.evolve(THERE, sid=""))

    def test_keys(self) -> None:
        own = ("owner", "local", "alice")
        root: list[LookupKey] = [("digest", self.root.digest.hex()), ("id", self.root.id), own]
        self.assertEqual(RECORDS.keys(session_of(self.root, None)), root)
        self.assertEqual(RECORDS.keys(self.root), [*root, ("sub", "corp", "alice-1"), ("sid", "corp", "sid-1")])
        child: list[LookupKey] = [("digest", self.child.digest.hex()), ("id", self.child.id), own, ("parent", self.root.id)]
        self.assertEqual(RECORDS.keys(self.child), [*child, ("sub", "corp", "alice-1")])
        self.assertEqual(RECORDS.ends(self.root), self.root.expires)

    def test_lists_have_no_children(self) -> None:
        listed = RECORDS.listed(self.root)
        assert listed is not None
        self.assertEqual((listed.created, listed.realm, listed.username), (START, "local", "alice"))
        self.assertIsNone(RECORDS.listed(self.child))

    def after(self, change: Change, keys: Sequence[LookupKey], one: Session) -> Session | None:
        effect = RECORDS.effect(change)
        assert effect is not None
        self.assertEqual(list(effect.keys), list(keys))
        return effect.applied(one)

    def test_ends(self) -> None:
        family = (("id", self.root.id), ("parent", self.root.id))
        owner = (("owner", "local", "alice"),)
        sub, sid = (("sub", "corp", "alice-1"),), (("sid", "corp", "sid-1"),)
        for change, keys, left in (
            (EndedSession(self.root.id), family, False),
            (EndedUser("local", "alice", START, START), owner, False),
            (EndedUser("local", "alice", START - 1, START), owner, True),
            (EndedVouched("corp", "alice-1", "", START, START), sub, False),
            (EndedVouched("corp", "alice-1", "", START - 1, START), sub, True),
            (EndedVouched("corp", "", "sid-1", START - 1, START), sid, False),
            (EndedVouched("corp", "bob-1", "sid-1", START, START), sid, True),
        ):
            self.assertEqual(self.after(change, keys, self.root) is self.root, left, change)

    def test_a_renewal_and_a_use(self) -> None:
        owner = Principal("alice", "local", (), "users")
        change = Renewed(self.root.id, owner, THERE, b"new", Renewal(START + 9))
        family = (("id", self.root.id), ("parent", self.root.id))
        self.assertEqual(self.after(change, family, self.root), change.applied(self.root))
        self.assertEqual(self.after(change, family, self.child), attrs.evolve(self.child, owner=owner))
        use = Seen(((self.root.id, START + 5, 3.0), ("other", START + 9, 9.0)))
        self.assertIs(self.after(use, (("id", self.root.id), ("id", "other")), self.root), self.root)
        effect = RECORDS.effect(use)
        assert effect is not None
        assert effect.note is not None
        self.assertEqual(effect.note(self.root, None), Seen(((self.root.id, START + 5, 3.0),)))
        before = Seen(((self.root.id, START + 6, 2.0),))
        self.assertEqual(effect.note(self.root, before), Seen(((self.root.id, START + 6, 3.0),)))

    def test_other_changes_do_nothing(self) -> None:
        self.assertIsNone(RECORDS.effect(session(ALICE)))


def session_of(one: Session, vouched: Vouched | None) -> Session:
    return attrs.evolve(one, vouched=vouched)

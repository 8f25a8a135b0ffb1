"""Sessions in memory: found by each key, and not found after their end."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import TestCase

from perimeter.sessions.index import SessionIndex
from perimeter.sessions.session import EndedSession, EndedUser, Renewal, Renewed, Seen, Session, Vouched
from tests.unit.doubles.sessions import ALICE, BOB, NAMESAKE, START, session


class IndexTests(TestCase):
    def setUp(self) -> None:
        self.index = SessionIndex()

    def apply(self, *changes: Session | Seen | EndedSession | EndedUser) -> None:
        for change in changes:
            self.index.apply(change)

    def empty(self) -> bool:
        index = self.index
        return not (index.by_digest or index.by_id or index.uses or index.owned)

    def test_a_session_is_found_by_digest_id_and_owner(self) -> None:
        one, other = session(), session(BOB)
        self.apply(one, other)
        self.assertIs(self.index.by_digest[one.digest], one)
        self.assertIs(self.index.by_id[one.id], one)
        self.assertEqual(self.index.owned, {("local", "alice"): (one,), ("local", "bob"): (other,)})
        self.assertEqual((self.index.uses[one.id].at, self.index.uses[one.id].kept), (START, START))

    def test_children_end_with_their_parent(self) -> None:
        parent, other = session(idle=60.0), session()
        child = attrs.evolve(session(created=START + 1), parent=parent.id)
        orphan = attrs.evolve(session(), parent="of none")
        self.apply(parent, other, child, orphan)
        self.assertEqual(self.index.children, {parent.id: (child,)})
        self.assertNotIn(orphan.id, self.index.by_id)
        self.index.forget(START + 700)  # the parent was not used; its child has no end yet
        self.assertIn(parent.id, self.index.by_id)
        self.apply(EndedSession(parent.id))
        self.assertEqual(list(self.index.by_id.values()), [other])
        self.assertEqual(self.index.children, {})

    def test_a_renewal_is_in_force_everywhere(self) -> None:
        parent = attrs.evolve(
            session(), vouched=Vouched("corp", "https://sso", "sub-7", "a"), sealed=b"old", renewal=Renewal(1.0)
        )
        child = attrs.evolve(session(created=START + 1), parent=parent.id, sealed=b"key")
        other = session(created=START + 2)
        self.apply(parent, child, other)
        uses = dict(self.index.uses)
        self.apply(Seen(((parent.id, START + 5, 4.0),)))
        owner = attrs.evolve(ALICE, roles=("dev",))
        vouched = Vouched("corp", "https://sso", "sub-7", "a", "said")
        renewal = Renewal(2.0, True)
        self.apply(Renewed("of none", owner, vouched, b"", renewal), Renewed(parent.id, owner, vouched, b"new", renewal))
        after = attrs.evolve(parent, owner=owner, vouched=vouched, sealed=b"new", renewal=renewal)
        after_child = attrs.evolve(child, owner=owner)
        self.assertEqual(self.index.by_id, {parent.id: after, child.id: after_child, other.id: other})
        self.assertEqual(set(self.index.by_digest.values()), {after, after_child, other})
        self.assertEqual(self.index.owned, {("local", "alice"): (after, after_child, other)})
        self.assertEqual(self.index.children, {parent.id: (after_child,)})
        self.assertEqual(self.index.vouched, {("corp", "sub", "sub-7"): (after,), ("corp", "sid", "a"): (after,)})
        for id, changed in ((parent.id, True), (child.id, True), (other.id, False)):
            self.assertEqual(self.index.uses[id] is not uses[id], changed)
        use = self.index.uses[parent.id]
        self.assertEqual((use.at, use.kept, use.gap), (START + 5, START + 5, 4.0))
        self.apply(EndedSession(parent.id))
        self.assertEqual((list(self.index.by_id.values()), self.index.children, self.index.vouched), ([other], {}, {}))

    def test_a_renewal_without_a_change_of_the_owner(self) -> None:
        vouched = Vouched("corp", "https://sso", "sub-7")
        kept = attrs.evolve(session(), vouched=vouched, sealed=b"old")
        self.apply(kept)
        use = self.index.uses[kept.id]
        self.apply(Renewed(kept.id, ALICE, vouched, b"new", Renewal(2.0)))
        self.assertIs(self.index.uses[kept.id], use)
        self.assertEqual(self.index.by_id[kept.id].sealed, b"new")
        for change in ({"attributes": {"mail": "x"}}, {"scopes": {}}, {"roles": ()}):
            use = self.index.uses[kept.id]
            self.apply(Renewed(kept.id, attrs.evolve(ALICE, **change), vouched, b"new", Renewal(2.0)))
            self.assertIsNot(self.index.uses[kept.id], use)

    def test_sessions_of_a_provider(self) -> None:
        one, two = (attrs.evolve(session(), vouched=Vouched("corp", "https://sso", "sub-7", sid)) for sid in ("a", ""))
        self.apply(one, two, session())
        user, sid = ("corp", "sub", "sub-7"), ("corp", "sid", "a")
        self.assertEqual(self.index.vouched, {user: (one, two), sid: (one,)})
        self.apply(EndedSession(one.id))
        self.assertEqual(self.index.vouched, {user: (two,)})
        self.apply(EndedSession(two.id))
        self.assertEqual(self.index.vouched, {})

    def test_an_ended_session_is_found_by_nothing(self) -> None:
        one, other = session(), session()
        self.apply(one, other, EndedSession(one.id), EndedSession("of none"))
        self.assertEqual(self.index.owned, {("local", "alice"): (other,)})
        self.apply(EndedSession(other.id), EndedSession(other.id))
        self.assertTrue(self.empty())

    def test_a_change_that_is_applied_again_has_no_effect(self) -> None:
        one = session()
        self.apply(one, Seen(((one.id, START + 5, 2.0),)), one)
        self.assertEqual(self.index.owned, {("local", "alice"): (one,)})
        self.assertEqual((self.index.uses[one.id].at, self.index.uses[one.id].gap), (START + 5, 2.0))

    def test_uses_only_grow(self) -> None:
        one = session()
        self.apply(one)
        use = self.index.uses[one.id]
        use.at = START + 9
        self.apply(Seen(((one.id, START + 5, 2.0), ("of none", START, 1.0))))
        self.assertEqual((use.at, use.kept, use.gap), (START + 9, START + 5, 2.0))
        self.apply(Seen(((one.id, START + 4, 3.0),)))
        self.assertEqual((use.at, use.kept, use.gap), (START + 9, START + 5, 3.0))
        self.apply(Seen(((one.id, START + 10, 1.0),)))
        self.assertEqual((use.at, use.kept, use.gap), (START + 10, START + 10, 3.0))

    def test_attack_39_the_end_of_a_user_ends_the_sessions_from_before(self) -> None:
        old, newer, namesake, others = session(), session(created=START + 0.25), session(NAMESAKE), session(BOB)
        self.apply(old, newer, namesake, others, EndedUser("local", "alice", START, START + 9))
        self.assertEqual(list(self.index.by_id.values()), [newer, namesake, others])
        late, same, later = (session(created=START + more) for more in (-0.5, 0.0, 0.5))
        self.apply(late, same, later)
        self.assertEqual(self.index.owned[ALICE.realm, ALICE.username], (newer, later))
        self.apply(EndedUser("local", "alice", START - 5, START + 20), session(created=START))
        self.assertEqual(self.index.ended, {("local", "alice"): EndedUser("local", "alice", START, START + 20)})
        self.assertEqual(self.index.owned[ALICE.realm, ALICE.username], (newer, later))

    def test_when_a_session_ends(self) -> None:
        used, without, short = session(idle=60.0), session(idle=0.0), session(idle=60.0, expires=START + 50)
        self.apply(used, without, short)
        self.assertEqual([self.index.ends(one) for one in (used, without, short)], [START + 60, START + 43200, START + 50])
        self.index.uses[used.id].at = START + 7
        self.assertEqual(self.index.ends(used), START + 67)

    def test_what_has_ended_is_dropped(self) -> None:
        self.apply(session(expires=START + 10), EndedUser("r", "u", 1.0, START + 10))
        self.index.forget(START + 9.75)
        self.assertEqual((len(self.index.by_id), len(self.index.ended)), (1, 1))
        self.index.forget(START + 10)
        self.assertTrue(self.empty())
        self.assertEqual(self.index.ended, {})

    def test_what_is_not_used_any_more_is_dropped_after_a_while(self) -> None:
        self.apply(session(idle=60.0))
        self.index.forget(START + 659.75)
        self.assertEqual(len(self.index.by_id), 1)
        self.index.forget(START + 660)
        self.assertTrue(self.empty())

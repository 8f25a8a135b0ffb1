"""Sessions on other hosts than that of the sign-in page: how they begin, and what ends them."""

from __future__ import annotations

from typing import Any

from perimeter.errors import NoSuchSession
from perimeter.run.session_operations import end_sessions, list_sessions
from perimeter.sessions import book as book_module
from perimeter.sessions.sealing import unseal
from perimeter.sessions.session import Seen, Session
from tests.unit.doubles.sessions import ALICE, SessionCase, session


class ChildTests(SessionCase):
    """Sessions on other hosts."""

    def setUp(self) -> None:
        super().setUp()
        self.cookie, self.parent = self.begin()
        self.clock.advance(10)

    def child(self, parent: str = "", old: bytes | None = None, key: bytes = b"") -> tuple[bytes, Session]:
        work = self.book.begin_child(parent or self.parent.id, address="192.0.2.9", agent="F" * 300, old=old, key=key)
        cookie, begun = self.done(work)
        return cookie.encode(), begun

    def test_it_has_the_proofs_and_the_end_of_its_parent(self) -> None:
        cookie, child = self.child(key=b"k" * 32)
        parent = self.parent
        self.assertIs(self.book.current(cookie), child)
        self.assertEqual((child.owner, child.proved), (ALICE, parent.proved))
        self.assertEqual((child.expires, child.idle), (parent.expires, parent.idle))
        self.assertEqual((child.parent, child.created, child.address), (parent.id, parent.created + 10, "192.0.2.9"))
        self.assertEqual((len(child.agent), unseal(cookie, child.sealed)), (200, b"k" * 32))
        self.assertEqual(self.child()[1].sealed, b"")

    def test_it_is_no_sign_in_of_its_own(self) -> None:
        _, child = self.child()
        self.assertEqual(self.book.owned(ALICE), [self.parent])
        listed = self.done(list_sessions((), self.stored, None, None))["sessions"]
        self.assertEqual([one["id"] for one in listed], [self.parent.id])
        self.fails(NoSuchSession, self.book.end(ALICE, child.id))
        self.assertEqual(self.done(self.book.end_others(ALICE, self.parent.id)), 0)
        self.assertIs(self.stored.with_id(child.id), child)

    def test_a_sign_out_ends_the_parent_and_all_its_children(self) -> None:
        for which in (0, 1):
            cookie, parent = self.begin()
            self.parent = parent
            children = [self.child(), self.child()]
            self.done(self.book.end_cookie(children[0][0] if which else cookie))
            self.assertEqual([self.book.current(one) for one, _ in (*children, (cookie, parent))], [None] * 3)

    def test_the_end_of_a_child_by_an_operator_is_that_of_the_sign_in(self) -> None:
        _, child = self.child()
        self.assertEqual(self.done(end_sessions((), self.stored, [child.id], None)), {"sessions": 1})
        self.assertEqual(self.stored.all(), [])

    def test_no_child_without_a_parent_that_is_open(self) -> None:
        _, child = self.child()
        for parent in (child.id, "0" * 16):
            self.fails(NoSuchSession, self.book.begin_child(parent, address="", agent="", old=None, key=b""))
        self.clock.advance(3600)
        self.fails(NoSuchSession, self.book.begin_child(self.parent.id, address="", agent="", old=None, key=b""))

    def test_attack_39_no_child_of_a_parent_that_ends_meanwhile(self) -> None:
        real = self.stored.add

        def slow(session: Session) -> Any:
            self.done(self.stored.end(self.parent))
            return real(session)

        self.patch(self.stored, "add", slow)
        self.fails(NoSuchSession, self.book.begin_child(self.parent.id, address="", agent="", old=None, key=b""))
        self.assertEqual(self.stored.all(), [])

    def test_a_parent_that_another_process_has_begun(self) -> None:
        other = session(created=self.clock.seconds(), expires=self.parent.expires)
        self.store.others_write(other)
        self.assertEqual(self.child(other.id)[1].parent, other.id)

    def test_the_session_that_the_browser_had_ends(self) -> None:
        cookie, _ = self.child()
        _, second = self.child(old=cookie)
        self.assertEqual(self.stored.children(self.parent), [second])
        self.assertIs(self.stored.with_id(self.parent.id), self.parent)

    def test_attack_171_children_are_bounded(self) -> None:
        self.patch(book_module, "MOST_CHILDREN", 2)
        first, second, third = (self.child()[1] for _ in range(3))
        self.assertEqual(self.stored.children(self.parent), [second, third])
        self.assertIsNone(self.stored.with_id(first.id))
        self.assertIs(self.stored.with_id(self.parent.id), self.parent)

    def test_a_use_of_a_child_is_one_of_its_parent(self) -> None:
        _, child = self.child()
        self.clock.advance(3000)
        self.stored.apply(Seen(((child.id, self.clock.seconds(), 0.0),)))
        self.assertEqual(self.book.seen_at(self.parent), self.clock.seconds())
        self.assertEqual(self.stored.ends(self.parent), self.clock.seconds() + 3600)
        self.stored.apply(Seen(((self.parent.id, self.clock.seconds() + 1, 0.0),)))
        self.assertEqual(self.book.seen_at(self.parent), self.clock.seconds() + 1)
        self.assertEqual(self.stored.ends(self.parent), self.clock.seconds() + 3601)
        self.assertEqual(self.stored.ends(child), self.clock.seconds() + 3600)

"""Sessions in SQLite and in the change log: what is written is read again, and what ended is deleted."""

from __future__ import annotations

import json
import sqlite3

import attrs
from twisted.trial.unittest import TestCase

from perimeter.sessions.index import SessionIndex
from perimeter.sessions.session import EndedSession, EndedUser, EndedVouched, Renewal, Renewed, Seen, Session, Vouched
from perimeter.sessions.tables import CODECS, FORGET_AFTER, SessionTable
from perimeter.state.changes import Change
from perimeter.tokens.owners import encode_owner
from tests.unit.doubles.sessions import ALICE, BOB, NAMESAKE, START, session
from tests.unit.doubles.tables import TableCase


class TableTests(TableCase):
    TABLE = SessionTable

    def sessions(self) -> list[Change]:
        return [change for change in self.held() if isinstance(change, Session)]

    def uses(self) -> tuple[tuple[str, float, float], ...]:
        (seen,) = (change for change in self.held() if isinstance(change, Seen))
        return seen.uses

    def test_a_session_is_read_as_it_was_written(self) -> None:
        one, other = session(), session(BOB, START + 1, START + 2.5, 0.0, "é\U0001f600")
        self.write(one, other)
        self.assertEqual(self.held(), [one, other])
        for kept, found in zip((one, other), self.sessions(), strict=True):
            assert isinstance(found, Session)
            # not part of the equality of principals
            self.assertEqual(
                (found.owner.authenticator, found.owner.attributes, found.owner.scopes),
                (kept.owner.authenticator, kept.owner.attributes, kept.owner.scopes),
            )

    def test_ended_users_come_first_and_the_oldest_session_next(self) -> None:
        old, new = session(created=START), session(created=START + 1)
        user = EndedUser("corp", "bob", 3.0, 9.0)
        self.write(new, old, user)
        self.assertEqual(self.held(), [user, old, new])

    def test_sessions_of_a_user_share_their_owner(self) -> None:
        other_roles = attrs.evolve(ALICE, roles=("dev",))
        self.write(session(), session(NAMESAKE), session(created=START + 1), session(other_roles, START + 2))
        namesake, one, other, changed = (found.owner for found in self.sessions() if isinstance(found, Session))
        self.assertIs(one, other)
        self.assertEqual((namesake, one, changed), (NAMESAKE, ALICE, other_roles))

    def test_sessions_share_equal_texts(self) -> None:
        self.write(session(agent="Firefox" * 9), session(attrs.evolve(BOB, roles=ALICE.roles), agent="Firefox" * 9))
        one, other = (found for found in self.sessions() if isinstance(found, Session))
        self.assertIsNot(one.owner, other.owner)
        for first, second in ((one.agent, other.agent), (one.owner.roles, other.owner.roles), (one.proved[0][1], one.created)):
            self.assertIs(first, second)

    def test_an_ended_session_is_gone_and_the_others_stay(self) -> None:
        one, other = session(), session()
        self.write(one, other, EndedSession(one.id), EndedSession("of none"))
        self.assertEqual(self.sessions(), [other])

    def test_uses_only_grow(self) -> None:
        one, other, third = session(), session(), session()
        self.write(one, other, third, Seen(((one.id, START + 5, 2.0), (other.id, START + 7, 3.0), ("of none", START, 1.0))))
        self.write(Seen(((one.id, START + 4, 4.0), (other.id, START + 8, 1.0), (third.id, START - 1, 0.0))))
        self.assertEqual(sorted(self.uses()), sorted(((one.id, START + 5, 4.0), (other.id, START + 8, 3.0))))

    def test_a_session_of_an_earlier_version_may_have_been_unused_for_all_of_its_time(self) -> None:
        self.database = sqlite3.connect(":memory:")
        self.addCleanup(self.database.close)
        first, *later = self.table.migrations
        self.database.executescript(first)
        row = ("7", b"7", "local", "bob", encode_owner(BOB), START, START + 99, 9.0, "[]", "::1", "")
        self.database.execute("INSERT INTO session VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1800000007.5, ?, ?, ?)", row)
        for migration in later:
            self.database.executescript(migration)
        (found,) = self.sessions()
        assert isinstance(found, Session)
        self.assertIsNone(found.renewal)
        self.assertEqual(self.uses(), (("7", START + 7.5, 7.5),))

    def test_where_a_session_came_from(self) -> None:
        parent = session()
        child = attrs.evolve(session(created=START + 1), parent=parent.id)
        late = attrs.evolve(session(created=START + 2), parent="of none")
        vouched = attrs.evolve(
            session(BOB),
            vouched=Vouched("corp", "https://sso", "sub-7", "sid"),
            sealed=b"\0\xff",
            renewal=Renewal(START + 60.5, True),
        )
        self.write(parent, child, late, vouched)
        self.assertEqual(self.sessions(), [parent, child, vouched])
        self.write(EndedSession(parent.id))
        self.assertEqual(self.sessions(), [vouched])

    def test_a_renewal_changes_the_session_and_the_owner_of_its_children(self) -> None:
        parent = attrs.evolve(session(), sealed=b"old", renewal=Renewal(START + 1))
        child = attrs.evolve(session(created=START + 1), parent=parent.id, sealed=b"key")
        other = session(created=START + 2)
        owner = attrs.evolve(ALICE, roles=("dev",), attributes={"mail": "new"})
        vouched = Vouched("corp", "https://sso", "sub-7", "", "said")
        renewed = Renewed(parent.id, owner, vouched, b"new", Renewal(START + 2.5, True))
        missed = (Renewed(id, owner, vouched, b"", Renewal(1.0)) for id in ("of none", ""))
        self.write(parent, child, other, renewed, *missed)
        found = self.sessions()
        expected = attrs.evolve(parent, owner=owner, vouched=vouched, sealed=b"new", renewal=Renewal(START + 2.5, True))
        self.assertEqual(found, [expected, attrs.evolve(child, owner=owner), other])
        self.assertEqual(
            [one.owner.attributes for one in found if isinstance(one, Session)], [owner.attributes] * 2 + [ALICE.attributes]
        )

    def test_a_parent_stays_while_it_has_a_child(self) -> None:
        parent = session(idle=60.0)
        child = attrs.evolve(session(created=START + 1), parent=parent.id, idle=0.0, expires=START + 5000)
        self.write(parent, child)
        self.table.forget(self.database.execute, START + 4999)
        self.assertEqual(self.sessions(), [parent, child])
        self.table.forget(self.database.execute, START + 5000)
        self.table.forget(self.database.execute, START + 5000)
        self.assertEqual(self.sessions(), [])

    def test_attack_39_no_session_from_before_is_written_later(self) -> None:
        mine, namesake, others = session(), session(NAMESAKE), session(BOB)
        self.write(mine, namesake, others, EndedUser("local", "alice", START, START + 9))
        late, same, newer = (session(created=START + more) for more in (-0.5, 0.0, 0.25))
        self.write(late, same, newer)
        self.assertEqual(self.sessions(), [namesake, newer, others])

    def test_the_end_of_a_user_leaves_newer_sessions(self) -> None:
        old, newer = session(created=START), session(created=START + 0.25)
        self.write(old, newer, EndedUser("local", "alice", START, START + 9))
        self.assertEqual(self.sessions(), [newer])

    def of_provider(self, subject: str, sid: str = "", provider: str = "corp", created: float = START) -> Session:
        return attrs.evolve(session(created=created), vouched=Vouched(provider, "https://sso", subject, sid))

    def test_what_a_provider_has_ended(self) -> None:
        for ended, kept in (
            (EndedVouched("corp", "", "a", START, START + 9), (1, 2, 3, 4, 5)),
            (EndedVouched("corp", "7", "a", START, START + 9), (1, 2, 3, 4, 5)),
            (EndedVouched("corp", "8", "a", START, START + 9), (0, 1, 2, 3, 4, 5)),
            (EndedVouched("corp", "7", "", START, START + 9), (2, 3, 4, 5)),
            (EndedVouched("corp", "7", "", START - 1, START + 9), (0, 1, 2, 3, 4, 5)),
            (EndedVouched("other", "7", "", START, START + 9), (0, 1, 3, 4, 5)),
        ):
            self.setUp()
            sessions = [
                self.of_provider("7", "a"),
                self.of_provider("7"),
                self.of_provider("7", "a", "other"),
                self.of_provider("8", "b"),
                self.of_provider("7", "c", created=START + 1),
                session(),
            ]
            index = SessionIndex()
            for change in (*sessions, ended):
                index.apply(change)
            self.write(*sessions, ended)
            wanted = {sessions[at].id for at in kept}
            self.assertEqual(set(index.by_id), wanted, ended)
            self.assertEqual({one.id for one in self.sessions() if isinstance(one, Session)}, wanted, ended)

    def test_attack_39_no_session_of_a_sign_in_that_has_ended_is_written_later(self) -> None:
        ends = (EndedVouched("corp", "7", "a", START, START + 9), EndedVouched("corp", "", "b", START, START + 9))
        everywhere = EndedVouched("corp", "9", "", START, START + 9)
        late = [
            self.of_provider("7", "a", created=START + 5),
            self.of_provider("1", "b", created=START + 5),
            self.of_provider("9", "x", created=START - 1),
            self.of_provider("9", created=START),
        ]
        good = [
            self.of_provider("8", "a"),
            self.of_provider("7", "c"),
            self.of_provider("7"),
            self.of_provider("7", "a", "other"),
            self.of_provider("9", "x", created=START + 0.25),
            session(),
        ]
        index = SessionIndex()
        for change in (*ends, everywhere, *late, *good):
            index.apply(change)
        self.write(*ends, everywhere, *late, *good)
        self.assertEqual(set(index.by_id), {one.id for one in good})
        self.assertEqual({one.id for one in self.sessions() if isinstance(one, Session)}, {one.id for one in good})
        self.assertEqual(
            [one for one in self.held() if isinstance(one, EndedVouched)], sorted([*ends, everywhere], key=attrs.astuple)
        )

    def test_an_end_at_a_provider_is_forgotten_and_takes_nothing_back(self) -> None:
        first, second = (EndedVouched("corp", "7", "", before, until) for before, until in ((20.0, 30.0), (10.0, 40.0)))
        index = SessionIndex()
        for change in (first, second):
            index.apply(change)
        self.write(first, second)
        merged = EndedVouched("corp", "7", "", 20.0, 40.0)
        self.assertEqual((self.held(), list(index.ended_vouched.values())), ([merged], [merged]))
        for now, left in ((39.75, [merged]), (40.0, [])):
            index.forget(now)
            self.table.forget(self.database.execute, now)
            self.assertEqual((self.held(), list(index.ended_vouched.values())), (left, left))

    def test_an_earlier_end_takes_nothing_back(self) -> None:
        self.write(EndedUser("local", "alice", 20.0, 30.0), EndedUser("local", "alice", 10.0, 40.0))
        self.assertEqual(self.held()[0], EndedUser("local", "alice", 20.0, 40.0))

    def test_what_has_ended_is_deleted(self) -> None:
        kept = session(expires=START + 10.25)
        self.write(session(expires=START + 10), kept, EndedUser("r", "u", 1.0, START + 10), EndedUser("r", "v", 1.0, START + 11))
        self.table.forget(self.database.execute, START + 9.75)
        self.assertEqual(len(self.held()), 4)
        self.table.forget(self.database.execute, START + 10)
        self.assertEqual(self.held(), [EndedUser("r", "v", 1.0, START + 11), kept])

    def test_what_is_not_used_any_more_is_deleted_after_a_while(self) -> None:
        unused, used, without = session(idle=60.0), session(idle=60.0), session(idle=0.0)
        self.write(unused, used, without, Seen(((used.id, START + 0.25, 0.25),)))
        self.assertEqual(FORGET_AFTER, 600.0)
        self.table.forget(self.database.execute, START + 659.75)
        self.assertEqual(len(self.sessions()), 3)
        self.table.forget(self.database.execute, START + 660)
        self.assertEqual({found.id for found in self.sessions() if isinstance(found, Session)}, {used.id, without.id})


class CodecTests(TestCase):
    def test_the_text_of_each_change_is_read_again(self) -> None:
        changes = {
            "session": session(),
            "session_seen": Seen((("7", 1.25, 0.5), ("8", 2.0, 0.0))),
            "session_renewed": Renewed("7", BOB, Vouched("corp", "https://sso", "7", "9", "x"), b"\0\1", Renewal(1.5, True)),
            "session_ended": EndedSession("7"),
            "session_user_ended": EndedUser("local", "alice", 1.0, 2.0),
            "session_vouched_ended": EndedVouched("corp", "7", "9", 1.0, 2.0),
        }
        self.assertEqual(list(changes), list(CODECS))
        for word, change in changes.items():
            codec = CODECS[word]
            self.assertIs(codec.change, type(change))
            self.assertEqual(codec.decode(codec.encode(change)), change)

    def test_the_text_never_changes(self) -> None:
        kept = Session("7", b"\1" * 32, BOB, 1.0, 2.0, 3.0, (("password", 1.0),), "192.0.2.7", "Firefox")
        known = '{"roles": ["dev"], "authenticator": "users", "attributes": {}, "scopes": {}}'
        row = ["7", "01" * 32, "local", "bob", known, 1.0, 2.0, 3.0, '[["password", 1.0]]', "192.0.2.7", "Firefox"]
        self.assertEqual(CODECS["session"].encode(kept), json.dumps(row))
        child = attrs.evolve(kept, parent="8", vouched=Vouched("corp", "https://sso", "7", "9"), sealed=b"\1\2")
        vouched = '["corp", "https://sso", "7", "9", ""]'
        self.assertEqual(CODECS["session"].encode(child), json.dumps([*row, "8", vouched, "0102", 0.0, False]))
        self.assertEqual(CODECS["session"].decode(json.dumps([*row, "8", vouched, "0102", 0.0, False])), child)
        child = attrs.evolve(child, renewal=Renewal(9.5, True))
        self.assertEqual(CODECS["session"].encode(child), json.dumps([*row, "8", vouched, "0102", 9.5, True]))
        self.assertEqual(CODECS["session"].decode(CODECS["session"].encode(child)), child)
        self.assertEqual(CODECS["session_seen"].encode(Seen((("7", 1.25, 0.5),))), '[["7",1.25,0.5]]')
        self.assertEqual(CODECS["session_seen"].decode('[["7",1.25]]'), Seen((("7", 1.25, 0.0),)), "of an earlier version")
        renewed = Renewed("7", BOB, Vouched("corp", "https://sso", "7", "9", "x"), b"\1\2", Renewal(9.5, True))
        text = json.dumps(["7", "local", "bob", known, ["corp", "https://sso", "7", "9", "x"], "0102", 9.5, True])
        self.assertEqual(CODECS["session_renewed"].encode(renewed), text)
        self.assertEqual(CODECS["session_ended"].encode(EndedSession("7")), '["7"]')
        ended = EndedVouched("corp", "7", "9", 1.0, 2.0)
        self.assertEqual(CODECS["session_vouched_ended"].encode(ended), '["corp", "7", "9", 1.0, 2.0]')
        self.assertEqual(CODECS["session_user_ended"].encode(EndedUser("r", "u", 1.0, 2.0)), '["r", "u", 1.0, 2.0]')

    def test_what_cannot_be_read(self) -> None:
        for word, text in (
            ("session", "[]"),
            ("session", '["7"]'),
            ("session_seen", "7"),
            ("session_seen", '["7"]'),
            ("session_renewed", '["7"]'),
            ("session_ended", "[]"),
        ):
            with self.assertRaises((ValueError, TypeError, KeyError), msg=text):
                CODECS[word].decode(text)

"""What a machine knows of the common log, and its store, whose contents can be exchanged."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from perimeter.cluster.followed import FOLLOWED, Followed, Heard, Overtaken, Owed, Settled
from perimeter.cluster.local import LocalStore, with_followed
from perimeter.cluster.log import Survey, place
from perimeter.errors import StartupError
from perimeter.providers.pins import Pin
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.state.changes import Change, Extent, Gap
from perimeter.state.direct import DirectState
from perimeter.state.memory import MemoryStore
from perimeter.state.sqlite import SqliteStore
from perimeter.tokens.revocation import RevokedGrant, RevokedUser

KINDS = with_followed(STATE_KINDS)
OWED = Owed("name", 5.0, "grant_revoked", '["jti", 7.0]')


def pin(name: str) -> Pin:
    return Pin("local", name, "https://issuer", "s", 1.0)


class PlaceTests(SynchronousTestCase):
    def test_places_are_compared_by_number(self) -> None:
        self.assertLess(place("9-10"), place("10-0"))
        self.assertLess(place("9-9"), place("9-10"))
        self.assertEqual(place("0-0"), (0, 0))
        for wrong in ("", "-", "7", "7-", "a-b"):
            self.assertRaises(ValueError, place, wrong)

    def test_a_reader_goes_on_where_its_last_entry_is(self) -> None:
        self.assertTrue(Survey("o", "9-0", "5-0", 3, True).follows("7-0"))
        self.assertFalse(Survey("o", "9-0", "5-0", 3, False).follows("7-0"))

    def test_a_reader_begins_a_log_of_which_nothing_was_deleted(self) -> None:
        self.assertTrue(Survey("o", "9-0", "0-0", 3, False).follows("0-0"))
        self.assertFalse(Survey("o", "9-0", "1-0", 3, False).follows("0-0"))
        self.assertFalse(Survey("o", "9-0", "0-0", 3, False).follows("1-0"))


class FollowedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.followed: Followed = DirectState(MemoryStore(), KINDS, Clock().seconds).view(FOLLOWED)

    def test_what_is_owed_stays_until_it_is_settled(self) -> None:
        other = Owed("other", 6.0, "w", "b")
        for change in (OWED, other, Settled(("name", "unknown"))):
            self.followed.apply(change)
        self.assertEqual(list(self.followed.owed.values()), [other])

    def test_who_waits_for_a_place_is_called_when_it_is_reached(self) -> None:
        self.assertEqual(self.followed.heard, Heard("", "0-0"))
        self.successResultOf(self.followed.reached("0-0"))
        ninth, tenth = self.followed.reached("9-1"), self.followed.reached("10-0")
        self.followed.apply(Heard("o", "9-0"))
        self.assertNoResult(ninth)
        self.followed.apply(Heard("o", "9-1"))
        self.successResultOf(ninth)
        self.assertNoResult(tenth)
        self.followed.replace(self.followed.index([Heard("o", "11-0")]))
        self.successResultOf(tenth)

    def test_who_waits_no_more_is_not_called(self) -> None:
        waiting = self.followed.reached("9-0")
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.followed.apply(Heard("o", "9-0"))

    def test_they_come_back_from_their_text(self) -> None:
        for change in (Heard("o", "9-0"), OWED, Settled(("a", "b"))):
            self.assertEqual(KINDS.decode(*KINDS.encode(change)), change)

    def test_only_what_is_owed_has_to_survive_a_power_failure(self) -> None:
        changes = (Heard("o", "9-0"), OWED, Settled(()))
        self.assertEqual([change.passing for change in changes], [True, False, True])
        self.assertEqual([change.adds for change in changes], [True, True, True])


class LocalStoreTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.store = self.open()

    def open(self) -> LocalStore:
        store = LocalStore(self.directory, KINDS, lambda: 100.0)
        self.addCleanup(store.close)
        return store

    def held(self, kind: str) -> list[Change]:
        return [one for one in self.store.load()[0][kind] if not isinstance(one, Extent)]

    def test_it_has_a_file_of_its_own(self) -> None:
        self.assertEqual(self.store.path.name, "cluster.db")
        self.assertFalse((self.directory / "state.db").exists())

    def test_a_gateway_without_redis_does_not_take_the_file(self) -> None:
        with self.assertRaisesRegex(StartupError, "it keeps cluster"):
            SqliteStore(self.directory, STATE_KINDS, name="cluster.db")

    def test_what_was_heard_and_what_is_owed_come_back(self) -> None:
        self.store.write([OWED, Heard("o", "1-0")])
        self.store.write([Heard("o", "2-0"), Owed("b", 4.0, "w", "b")])
        self.store.close()
        self.store = self.open()
        self.assertEqual(self.held("cluster"), [Heard("o", "2-0"), Owed("b", 4.0, "w", "b"), OWED])
        self.store.write([Settled(("name",))])
        self.assertEqual(self.held("cluster"), [Heard("o", "2-0"), Owed("b", 4.0, "w", "b")])

    def test_of_two_workers_that_have_heard_the_same_one_writes_it(self) -> None:
        self.store.write([Heard("o", "1-0")])
        self.store.write([pin("a"), Heard("o", "2-0", "1-0")])
        before = self.store.load()[1]
        for after in ("1-0", "3-0"):
            with self.assertRaises(Overtaken):
                self.store.write([pin("b"), Heard("o", "2-0", after)])
        self.assertEqual((self.held("provider_names"), self.store.load()[1]), ([pin("a")], before))

    def test_an_exchange_drops_what_was_added_and_keeps_what_was_removed_and_is_owed(self) -> None:
        grant, user = RevokedGrant("jti", 1e9), RevokedUser("local", "bob", 50.0, 1e9)
        self.store.write([pin("old"), grant, user, OWED, Heard("o", "1-0")])
        other = RevokedGrant("other", 1e9)
        self.store.replace([pin("new"), other, RevokedUser("local", "bob", 40.0, 2e9)], Heard("o", "9-0"))
        self.assertEqual(self.held("provider_names"), [pin("new")])
        self.assertEqual(self.held("tokens"), [RevokedUser("local", "bob", 50.0, 2e9), grant, other])
        self.assertEqual(self.held("cluster"), [Heard("o", "9-0"), OWED])

    def test_readers_of_the_store_find_a_gap_after_an_exchange(self) -> None:
        for changes in ((), (pin("a"), pin("b"))):
            before = self.store.write(changes) if changes else 0
            other = self.open()
            cursor = self.store.replace([], Heard("o", "9-0"))
            self.assertGreater(cursor, before + 1)
            self.assertEqual(other.since(before), Gap())
            self.assertEqual(other.load()[1], cursor)
            self.assertEqual(other.since(cursor), ([], cursor))
            self.assertEqual(self.store.write([Heard("o", "10-0")]), cursor + 1)
            self.assertEqual(other.since(cursor), ([Heard("o", "10-0")], cursor + 1))

    def test_an_exchange_that_fails_changes_nothing(self) -> None:
        self.store.write([pin("old"), Heard("o", "1-0")])
        with self.assertRaises(KeyError):
            self.store.replace([pin("new"), Change()], Heard("o", "9-0"))
        self.assertEqual(self.held("cluster"), [Heard("o", "1-0")])

"""The change log of the SQLite store, what survives a power failure, and the migrations from earlier formats."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from math import inf
from pathlib import Path

import attrs
from twisted.trial import unittest

from perimeter.errors import StartupError, Unavailable
from perimeter.model import Principal
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.state import sqlite as sqlite_module
from perimeter.state.changes import Change, Gap
from perimeter.state.kinds import Codec, Execute, Kind, Kinds
from perimeter.state.schema import FORMAT, statements
from perimeter.state.sqlite import SqliteStore
from perimeter.tokens.api_token import ApiToken, digest_of
from perimeter.tokens.revocation import Removed, RevokedGrant, RevokedUser
from perimeter.tokens.stored import TOKENS, StoredTokens
from perimeter.tokens.tables import TokenTable
from tests.unit.doubles.sessions import session
from tests.unit.state.test_database_file import descriptors
from tests.unit.state.test_state import ALICE, LIMITS, token

VERSIONS = sorted((kind.name, len(kind.table.migrations)) for kind in STATE_KINDS.all if kind.table.migrations)

FORMAT_1 = Path(__file__).parents[2] / "data" / "state-format-1.db"
"""Written by the code of format 1: two API tokens, one revoked access token, two revoked users."""
WITHOUT_SESSIONS = Path(__file__).parents[2] / "data" / "state-format-2.db"
"""Written by the code of format 2 before there were sessions: an API token, a revoked access token, a revoked user."""


class StoreCase(unittest.TestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.path = self.directory / "state.db"
        self.now = 10000.0

    def open(self, kinds: Kinds = STATE_KINDS) -> SqliteStore:
        store = SqliteStore(self.directory, kinds, lambda: self.now)
        self.addCleanup(store.close)
        return store

    def sql(self, text: str) -> list[tuple[object, ...]]:
        with sqlite3.connect(self.path) as db:
            rows = db.execute(text).fetchall()
        db.close()
        return rows


def grants(first: int, last: int) -> list[RevokedGrant]:
    return [RevokedGrant(f"jti-{number}", 90000.0) for number in range(first, last + 1)]


class LogTests(StoreCase):
    def test_every_change_comes_back_as_it_was(self) -> None:
        store, other = self.open(), self.open()
        written: list[Change] = [
            *(token(), token("", passing=True, expires=9.5)),
            *(Removed("x"), Removed("y", passing=True), RevokedGrant("jti", 7.0), RevokedUser("local", "rød", 3.0, inf)),
        ]
        self.assertEqual(store.write(written), 6)
        found = other.since(0)
        assert not isinstance(found, Gap)
        self.assertEqual(found, (written, 6))
        self.assertEqual([type(change) for change in found[0]], [type(change) for change in written])
        self.assertEqual(found[0][0].owner.attributes, ALICE.attributes)  # type: ignore[attr-defined]  # not part of ==
        self.assertEqual(found[0][0].restriction, LIMITS)  # type: ignore[attr-defined]

    def test_the_log_continues_where_what_was_loaded_ends(self) -> None:
        store, other = self.open(), self.open()
        store.write(grants(1, 2))
        held, cursor = other.load()
        self.assertEqual((len(held["tokens"]), cursor), (2, 2))
        self.assertEqual(other.since(cursor), ([], 2))
        self.assertEqual(other.write(grants(3, 3)), 3)
        self.assertEqual(store.write(grants(4, 5)), 5)
        self.assertEqual(other.since(cursor), (grants(3, 5), 5), "one's own are among them")
        self.assertEqual(other.load()[1], 5)

    def test_a_row_and_its_entry_are_written_together(self) -> None:
        store = self.open()
        kept = token()
        store.write([kept])
        with self.assertRaises(Unavailable):
            store.write([*grants(1, 1), kept])  # the second is there already
        self.assertEqual(store.since(1), ([], 1))
        self.assertEqual(store.load(), ({**{kind.name: [] for kind in STATE_KINDS.all}, "tokens": [kept]}, 1))
        self.assertEqual(store.write(grants(2, 2)), 2, "a transaction that failed uses up no number")

    def test_a_bounded_number_of_changes(self) -> None:
        self.patch(sqlite_module, "BATCH", 2)
        store = self.open()
        store.write(grants(1, 5))
        self.assertEqual(store.since(0), (grants(1, 2), 2))
        self.assertEqual(store.since(4), (grants(5, 5), 5))

    def test_the_log_keeps_the_last_hour(self) -> None:
        self.patch(sqlite_module, "LOG_ENTRIES", 2)
        store = self.open()
        for number in range(1, 7):
            self.now = 10000.0 + number * 1000
            store.write(grants(number, number))
        store.forget(self.now)
        # the entries of 13,000 and later are not older than an hour at 16,000
        self.assertIsInstance(store.since(1), Gap)
        self.assertEqual(store.since(2), (grants(3, 6), 6))
        self.assertEqual(len(store.load()[0]["tokens"]), 6, "what the entries say is kept")

    def test_the_log_keeps_an_entry_for_an_hour(self) -> None:
        self.patch(sqlite_module, "LOG_ENTRIES", 1)
        store = self.open()
        store.write(grants(1, 2))
        store.forget(self.now + 3600)
        self.assertEqual(store.since(0), (grants(1, 2), 2))
        store.forget(self.now + 3600.25)
        self.assertIsInstance(store.since(0), Gap)

    def test_the_log_keeps_a_hundred_thousand_entries(self) -> None:
        store = self.open()
        word, text = STATE_KINDS.encode(grants(1, 1)[0])
        numbers = "WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 100002) "
        self.sql(f"INSERT INTO change (at, kind, body) {numbers} SELECT 0.0, '{word}', '{text}' FROM number")
        store.forget(self.now)
        self.assertIsInstance(store.since(1), Gap)
        self.assertNotIsInstance(store.since(2), Gap)

    def test_a_thousand_changes_are_read_at_once(self) -> None:
        store = self.open()
        store.write(grants(1, 1001))
        self.assertEqual(store.since(0), (grants(1, 1000), 1000))

    def test_the_log_keeps_so_many_entries_however_old(self) -> None:
        self.patch(sqlite_module, "LOG_ENTRIES", 2)
        store = self.open()
        store.write(grants(1, 5))
        store.forget(self.now + 80000)
        self.assertIsInstance(store.since(2), Gap)
        self.assertEqual(store.since(3), (grants(4, 5), 5))

    def test_the_log_keeps_so_much_text_of_old_entries(self) -> None:
        self.assertEqual(sqlite_module.LOG_BYTES, 64 * 1024 * 1024)
        store = self.open()
        store.write(grants(1, 9))
        size = len(STATE_KINDS.encode(grants(1, 1)[0])[1])
        for limit, first in ((3 * size, 6), (3 * size - 1, 7), (0, 8)):
            self.patch(sqlite_module, "LOG_BYTES", limit)
            store.forget(self.now + 3600)
            store.forget(self.now + 3600.25)
            self.assertNotIsInstance(store.since(first), Gap)
            self.assertIsInstance(store.since(first - 1), Gap)

    def test_the_last_hour_is_kept_however_much_it_is(self) -> None:
        self.patch(sqlite_module, "LOG_BYTES", 0)
        store = self.open()
        store.write(grants(1, 9))
        store.forget(self.now + 3600)
        self.assertEqual(store.since(0), (grants(1, 9), 9))

    def test_a_clock_that_was_put_back_leaves_no_hole(self) -> None:
        self.patch(sqlite_module, "LOG_ENTRIES", 1)
        store = self.open()
        for number, self.now in enumerate((50000.0, 10.0, 60000.0, 20.0, 60001.0, 60002.0), 1):
            store.write(grants(number, number))
        store.forget(60003.0)
        self.assertIsInstance(store.since(3), Gap)
        self.assertEqual(store.since(4), (grants(5, 6), 6))

    def test_numbers_are_never_used_again(self) -> None:
        store = self.open()
        store.write(grants(1, 3))
        self.sql("DELETE FROM change")
        self.assertIsInstance(store.since(1), type(([], 1)), "nothing is known of what is gone")
        self.assertEqual(store.write(grants(4, 4)), 4)
        self.assertIsInstance(store.since(1), Gap)

    def test_a_file_with_an_earlier_state_is_a_gap(self) -> None:
        """An operator has restored a backup into the same file."""
        store = self.open()
        store.write(grants(1, 3))
        self.assertIsInstance(store.since(7), Gap)

    def test_attack_39_an_entry_that_cannot_be_read_is_a_gap(self) -> None:
        store = self.open()
        store.write(grants(1, 1))
        for column, value in (("body", "{"), ("body", "[]"), ("kind", "unheard")):
            self.sql(f"UPDATE change SET {column} = '{value}'")
            self.assertIsInstance(store.since(0), Gap, value)
        self.assertEqual(store.load()[0]["tokens"], grants(1, 1))

    def test_the_token_itself_is_not_in_the_log(self) -> None:
        store = self.open()
        kept = token()
        store.write([kept])
        ((body,),) = self.sql("SELECT body FROM change")
        self.assertIn(kept.digest.hex(), str(body))
        self.assertNotIn("perimeter_", str(body))

    def test_several_threads_one_after_the_other(self) -> None:
        store = self.open()
        with ThreadPoolExecutor(1) as pool:
            self.assertEqual(pool.submit(store.write, grants(1, 1)).result(30), 1)
        self.assertEqual(store.since(0), (grants(1, 1), 1))

    def test_another_process(self) -> None:
        """Another process writes while this one has the file open."""
        store = self.open()
        store.write(grants(1, 1))
        program = (
            "import sys; from pathlib import Path\n"
            "from perimeter.run.build.state_kinds import STATE_KINDS\n"
            "from perimeter.state.sqlite import SqliteStore\n"
            "from perimeter.tokens.revocation import RevokedGrant\n"
            "store = SqliteStore(Path(sys.argv[1]), STATE_KINDS)\n"
            "store.write([RevokedGrant('jti-2', 90000.0)])\n"
        )
        subprocess.run([sys.executable, "-c", program, str(self.directory)], check=True, timeout=30)
        self.assertEqual(store.since(1), (grants(2, 2), 2))


class PowerTests(StoreCase):
    """SQLite's guarantees depend on the settings of the connection: each test reads the settings during a write."""

    def setUp(self) -> None:
        super().setUp()
        self.store = self.open()
        self.seen: list[int] = []
        writing = self.store._kinds.of(Removed("x")).table

        class Watched(TokenTable):
            def write(table, execute: Execute, change: Change) -> None:
                self.seen.append(execute("PRAGMA synchronous").fetchone()[0])
                writing.write(execute, change)

        self.patch(self.store, "_kinds", Kinds([attrs.evolve(TOKENS, table=Watched())]))

    def test_attack_41_a_revocation_survives_a_power_failure(self) -> None:
        normal, full = 1, 2
        for number, change in enumerate((token(), Removed("x"), RevokedGrant("j", 1.0), RevokedUser("r", "u", 1.0))):
            self.store.write([token(f"{number}", passing=True)])
            self.store.write([change])
            self.store.write([token(f"{number}", passing=True), RevokedGrant("k", 1.0)])
            self.assertEqual(self.seen, [normal, full, full, full], change)
            self.seen.clear()

    def test_the_settings_of_the_connection(self) -> None:
        execute = self.store._db.execute
        self.assertEqual(execute("PRAGMA journal_mode").fetchone(), ("wal",))
        self.assertEqual(execute("PRAGMA trusted_schema").fetchone(), (0,))
        self.assertEqual(execute("PRAGMA busy_timeout").fetchone(), (5000,))


class MigrationTests(StoreCase):
    def old(self) -> None:
        shutil.copyfile(FORMAT_1, self.path)
        self.path.chmod(0o600)

    def test_format_1_keeps_all_that_it_had(self) -> None:
        self.old()
        held, cursor = self.open().load()
        bob, alice = Principal("bob", "local"), ALICE
        carol, dave, grant, first, second = (*sorted(held["tokens"][:2], key=lambda user: user.username), *held["tokens"][2:])  # type: ignore[attr-defined]
        self.assertEqual(carol, RevokedUser("local", "carol", 3000.0))
        self.assertEqual(dave, RevokedUser("corp", "dave", 3000.0, 9000.0))
        self.assertEqual(grant, RevokedGrant("jti-1", 7200.0))
        self.assertEqual((first.owner, first.digest), (alice, digest_of("perimeter_first")))
        self.assertEqual((first.id, first.name, first.created, first.expires), ("0123456789abcdef", "ci", 1000.25, inf))
        self.assertEqual(
            (first.restriction, first.owner.attributes, first.owner.scopes), (LIMITS, alice.attributes, alice.scopes)
        )
        self.assertEqual((second.owner, second.passing, second.expires), (bob, True, 5600.5))
        self.assertEqual(cursor, 0)

    def test_format_1_is_followed_from_then_on(self) -> None:
        self.old()
        store = self.open()
        self.assertEqual(store.write(grants(1, 2)), 2)
        self.assertEqual(self.open().since(0), (grants(1, 2), 2))

    def test_a_file_from_before_there_were_sessions(self) -> None:
        shutil.copyfile(WITHOUT_SESSIONS, self.path)
        self.path.chmod(0o600)
        self.assertEqual(self.sql("SELECT * FROM kind"), [("tokens", 1)])
        store = self.open()
        held, cursor = store.load()
        user, grant, kept = held["tokens"]
        self.assertEqual((user, grant), (RevokedUser("local", "carol", 3000.0), RevokedGrant("jti-1", 7200.0)))
        assert isinstance(kept, ApiToken)
        self.assertEqual((kept.id, kept.digest, kept.owner.roles), ("0123456789abcdef", digest_of("perimeter_first"), ("admin",)))
        self.assertEqual((held["sessions"], cursor), ([], 3))
        begun = session()
        self.assertEqual(store.write([begun]), 4)
        self.assertEqual(self.open().load()[0], {**held, "sessions": [begun]})
        self.assertEqual(self.sql("SELECT * FROM kind"), VERSIONS)

    def test_a_migrated_file_is_like_a_new_one(self) -> None:
        self.old()
        self.open().close()
        migrated = self.sql("SELECT type, name, sql FROM sqlite_schema ORDER BY name")
        self.path.unlink()
        self.open().close()
        # the tables are the same, though written with and without IF NOT EXISTS
        self.assertEqual(migrated, self.sql("SELECT type, name, sql FROM sqlite_schema ORDER BY name"))
        self.assertEqual(self.sql("PRAGMA user_version"), [(FORMAT,)])
        self.assertEqual(self.sql("SELECT * FROM kind"), VERSIONS)

    def test_a_migration_that_fails_leaves_the_file_as_it_was(self) -> None:
        self.old()
        faulty = Kinds([attrs.evolve(TOKENS, table=_Later("CREATE TABLE extra (a INT); CREATE TABLE extra (a INT);"))])
        before = self.sql("SELECT name FROM sqlite_schema ORDER BY name")
        with self.assertRaisesRegex(StartupError, r"state\.db: cannot be used: table extra already exists"):
            self.open(faulty)
        self.assertEqual(self.sql("SELECT name FROM sqlite_schema ORDER BY name"), before)
        self.assertEqual(self.sql("PRAGMA user_version"), [(1,)])
        self.assertEqual(len(self.open().load()[0]["tokens"]), 5)

    def test_a_file_that_cannot_be_used_is_closed(self) -> None:
        self.sql("PRAGMA application_id = 7")
        self.path.chmod(0o600)
        try:
            self.open()
        except StartupError:  # while the exception exists, so does the store, and only `close` releases the file
            self.assertEqual(descriptors(self.path), 0)
        else:
            self.fail("another program's file was opened")

    def test_a_kind_migrates_step_by_step(self) -> None:
        self.old()
        self.open(Kinds([TOKENS])).close()
        later = Kinds([attrs.evolve(TOKENS, table=_Later("ALTER TABLE revoked_grant ADD COLUMN why TEXT DEFAULT 'old'"))])
        self.open(later).close()
        self.open(later).close()
        self.assertEqual(self.sql("SELECT why FROM revoked_grant"), [("old",)])
        self.assertEqual(self.sql("SELECT * FROM kind"), [("tokens", len(later.all[0].table.migrations))])
        with self.assertRaisesRegex(StartupError, r"state\.db: written by a newer version of Perimeter \(tokens: version 4"):
            self.open()

    def test_a_kind_that_this_version_does_not_know(self) -> None:
        self.open(Kinds([TOKENS, _NOTES])).close()
        with self.assertRaisesRegex(StartupError, r"newer version of Perimeter \(it keeps notes\)"):
            self.open()

    def test_a_new_kind_needs_only_its_own_description(self) -> None:
        self.old()
        kinds = Kinds([TOKENS, _NOTES])
        store, other = self.open(kinds), self.open(kinds)
        store.write([_Note("one"), *grants(1, 1)])
        self.assertEqual(other.since(0), ([_Note("one"), *grants(1, 1)], 2))
        self.assertEqual(other.load()[0]["notes"], [_Note("one")])
        store.forget(0.0)
        self.assertEqual(other.load()[0]["notes"], [])

    def test_two_kinds_with_the_same_words(self) -> None:
        for twice in ((TOKENS, TOKENS), (TOKENS, Kind("other", TOKENS.codecs, TokenTable(), StoredTokens))):
            self.assertRaises(ValueError, Kinds, twice)

    def test_a_newer_format_is_left_alone(self) -> None:
        self.open().close()
        self.sql(f"PRAGMA user_version = {FORMAT + 1}")
        with self.assertRaisesRegex(StartupError, rf"newer version of Perimeter \(format {FORMAT + 1}; .* up to {FORMAT}\)"):
            self.open()
        self.assertEqual(self.sql("PRAGMA user_version"), [(FORMAT + 1,)])

    def test_a_database_of_another_program(self) -> None:
        for make in ("CREATE TABLE bookmarks (url TEXT)", "PRAGMA application_id = 7"):
            self.path.unlink(missing_ok=True)
            self.sql(make)
            self.path.chmod(0o600)
            with self.assertRaisesRegex(StartupError, r"state\.db: not a database of Perimeter"):
                self.open()

    def test_statements(self) -> None:
        self.assertEqual(list(statements("A;\n B\n(';\n');\n")), ["A;", "B\n(';\n');"])
        self.assertRaises(ValueError, list, statements("A; B"))


class _Later(TokenTable):
    """The tables of a later version of the program."""

    def __init__(self, script: str) -> None:
        self.migrations = (*TokenTable.migrations, *(f"{part.strip()};" for part in script.split(";") if part.strip()))


@attrs.frozen(slots=True)
class _Note(Change):
    text: str


class _NoteTable:
    migrations = ("CREATE TABLE note (text TEXT);",)

    def load(self, execute: Execute) -> list[Change]:  # type: ignore[override]
        return [_Note(*row) for row in execute("SELECT text FROM note")]

    def write(self, execute: Execute, change: Change) -> None:
        assert isinstance(change, _Note)
        execute("INSERT INTO note VALUES (?)", (change.text,))

    def forget(self, execute: Execute, now: float) -> None:
        execute("DELETE FROM note")


_NOTES = Kind("notes", {"note": Codec(_Note, lambda note: note.text, _Note)}, _NoteTable(), StoredTokens)  # type: ignore[arg-type]

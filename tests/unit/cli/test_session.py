"""`perimeter session` without a gateway: on the database that it has left."""

from __future__ import annotations

import json

from perimeter.cli.site import WallClock
from perimeter.errors import Unavailable
from perimeter.run import session_operations
from perimeter.sessions.session import Seen, Session
from perimeter.state.sqlite import SqliteStore
from tests.unit.cli.test_token import CommandCase
from tests.unit.doubles.sessions import BOB, NAMESAKE, session


class SessionCommandTests(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.now = float(int(WallClock().seconds()))
        self.first, self.second = self.made(), self.made(created=self.now - 3)
        self.bobs, self.namesakes = self.made(owner=BOB, created=self.now - 2), self.made(owner=NAMESAKE, created=self.now - 1)
        over = self.made(expires=self.now - 1)
        self.stored(self.first, self.second, self.bobs, self.namesakes, over, Seen(((self.first.id, self.now - 2, 2.0),)))

    def made(self, **more: object) -> Session:
        return session(**{"created": self.now - 4, "expires": self.now + 900, "idle": 300.0, **more})  # type: ignore[arg-type]

    def listed(self, *arguments: str) -> list[str]:
        return [json.loads(line)["id"] for line in self.output("session", "list", "--json", *arguments).splitlines()]

    def test_list(self) -> None:
        mine, others = [self.first.id, self.second.id], [self.bobs.id, self.namesakes.id]
        self.assertEqual(self.listed(), [*mine, *others])
        self.assertEqual(self.listed("--user", "alice"), [*mine, others[1]])
        self.assertEqual(self.listed("--realm", "local"), [*mine, others[0]])
        self.assertEqual(self.listed("--user", "alice", "--realm", "local"), mine)
        self.assertEqual(self.listed("--user", "carol"), [])
        for size in (1, 2, 3, 4, 5):
            self.patch(session_operations, "PAGE", size)
            self.assertEqual(self.listed(), [*mine, *others], f"{size} in a page")

    def test_what_is_shown(self) -> None:
        line = self.output("session", "list", "--json").splitlines()[0]
        shown = json.loads(line)

        def after(seconds: float) -> str:
            return str(session_operations.utc_time(self.now + seconds))

        self.assertEqual(
            shown,
            {
                "id": self.first.id,
                "username": "alice",
                "realm": "local",
                "created": after(-4),
                "seen": after(-2),
                "expires": after(298),
                "address": "192.0.2.7",
                "agent": "Firefox",
                "proved": ["password"],
            },
        )
        self.assertNotIn(self.first.digest.hex(), line)

    def test_end(self) -> None:
        twice = self.output("session", "end", "--id", self.first.id, "--id", self.first.id)
        self.assertEqual((twice, self.listed()), ("ended: 1 session\n", [self.second.id, self.bobs.id, self.namesakes.id]))
        both = self.output("session", "end", "--id", self.bobs.id, "--user", "alice", "--realm", "local")
        self.assertEqual((both, self.listed()), ("ended: 2 sessions\n", [self.namesakes.id]))
        self.assertEqual(self.output("session", "end", "--user", "bob", "--realm", "corp"), "ended: 0 sessions\n")

    def test_end_refuses(self) -> None:
        for arguments in ((), ("--user", "alice"), ("--realm", "local"), ("--id", self.first.id, "--user", "alice")):
            self.fails("one of these is needed", "session", "end", *arguments)
        self.fails("there is no session x", "session", "end", "--id", self.first.id, "--id", "x")
        self.fails("there is no realm TYPO; there are: corp, local", "session", "end", "--user", "alice", "--realm", "TYPO")
        self.fails("there is no realm TYPO", "session", "end", "--id", self.first.id, "--user", "alice", "--realm", "TYPO")
        for name in ("", "\udcff", "a\nb"):
            self.fails("control characters", "session", "end", "--user", name or " \n", "--realm", "local")
            self.fails("control characters", "session", "end", "--user", "alice", "--realm", name or " \n")
        self.assertEqual(len(self.listed()), 4, "nothing ended")

    def test_a_database_that_cannot_be_written(self) -> None:
        def full(store: SqliteStore, changes: object) -> int:
            raise Unavailable("state.db: disk full")

        self.patch(SqliteStore, "write", full)
        for what in (("--id", self.first.id), ("--user", "alice", "--realm", "local")):
            self.fails("Error: state.db: disk full", "session", "end", *what)

"""Sessions in a state that is kept in memory, on a fake clock."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import TestCase

from perimeter.errors import Unavailable
from perimeter.model import Principal
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.sessions.book import SessionBook
from perimeter.sessions.session import Session, mint
from perimeter.sessions.stored import SESSIONS
from perimeter.state.changes import Change, Cursor
from perimeter.state.memory import MemoryStore
from perimeter.state.state import State
from perimeter.state.store import Claim, IStateStore
from tests.unit.doubles.auth import ImmediateThreads, ManualThreads, ThreadClock, offload_with

START = 1_800_000_000.0
ALICE = Principal("alice", "local", ("admin", "dev"), "users", {"mail": "é@x"}, {"data": ("read", "write")})
BOB = Principal("bob", "local", ("dev",), "users")
NAMESAKE = Principal("alice", "corp", (), "directory")


@attrs.frozen
class Settings:
    """`perimeter.sessions.book.SessionSettings`."""

    idle: float = 3600.0
    lifetime: float = 43200.0
    stay: float = 0.0
    fresh: float = 900.0
    max_sessions: int = 20


class RecordingStore(MemoryStore):
    """Remembers what was written, in transactions. Writes fail while ``fails`` is true."""

    def __init__(self) -> None:
        super().__init__()
        self.fails = False
        self.written: list[Sequence[Change]] = []
        self._log: list[Change] = []

    def write(self, changes: Sequence[Change]) -> Cursor:
        if self.fails:
            raise Unavailable("disk full")
        self.written.append(changes)
        self._log += changes
        return super().write(changes)

    def claim(self, claims: Sequence[Claim]) -> Sequence[bool]:
        if self.fails:
            raise Unavailable("disk full")
        return super().claim(claims)

    def others_write(self, *changes: Change) -> None:
        """Another process has written these."""
        self._log += changes
        super().write(changes)

    def since(self, cursor: Cursor) -> tuple[Sequence[Change], Cursor]:
        return self._log[cursor:], len(self._log)


def session(
    owner: Principal = ALICE, created: float = START, expires: float = START + 43200, idle: float = 3600.0, agent: str = "Firefox"
) -> Session:
    """A session that is in no store."""
    return mint(owner, created, expires, idle, (("password", created),), "192.0.2.7", agent)[1]


class SessionCase(TestCase):
    """A state with a book of sessions. ``threads`` run at once."""

    settings = Settings()

    def setUp(self) -> None:
        self.clock = ThreadClock()
        self.clock.advance(START)
        self.threads: ManualThreads = ImmediateThreads()
        self.store = RecordingStore()
        self.use(self.store)

    def use(self, store: IStateStore) -> None:
        """Go on with another store."""
        self.state = State(store, STATE_KINDS, self.clock, offload_with(self.threads, self.clock, count=1))
        self.state.replace(self.state.load())
        self.state.start()
        self.stored = self.state.view(SESSIONS)
        self.book = SessionBook(self.stored, self.clock, self.settings)

    def done(self, work: Deferred[Any] | Coroutine[Any, Any, Any]) -> Any:
        """The result of what has ended."""
        return self.successResultOf(ensureDeferred(work) if isinstance(work, Coroutine) else work)

    def fails(self, kind: type[Exception], work: Deferred[Any] | Coroutine[Any, Any, Any]) -> Any:
        """The exception of what has failed."""
        return self.failureResultOf(ensureDeferred(work) if isinstance(work, Coroutine) else work, kind).value

    def begin(self, owner: Principal = ALICE, **more: Any) -> tuple[bytes, Session]:
        """A session that has begun now: cookie and session."""
        cookie, begun = self.done(self.book.begin(owner, **{"address": "192.0.2.7", "agent": "Firefox", **more}))
        return cookie.encode(), begun

    def added(self, **more: Any) -> Session:
        """A session that was added to the state."""
        kept = session(**more)
        self.done(self.stored.add(kept))
        return kept

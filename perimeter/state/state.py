"""The state as the reactor's thread sees it: whole in memory, so that no look-up waits for a disk, and none can fail.

Whatever takes something away holds from the moment it is asked for, and is written then; whatever adds something holds once it
is written. Changes that come while others are being written are written together after them, in one transaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from perimeter.errors import Overloaded, StartupError, StateUnavailable, Unavailable
from perimeter.model import Grant, Principal
from perimeter.offload import Offload
from perimeter.state.changes import Change, Removed, RevokedGrant, RevokedUser
from perimeter.state.index import HOUR, Index
from perimeter.state.store import IStateStore
from perimeter.tokens.api_token import ApiToken

_log = Logger()

T = TypeVar("T")

MOST_WAITING: Final = 1000
"""Changes that may wait to be written."""

MOST_PASSING: Final = 1000
"""API tokens that one user may have from ``GET /token``: with the next one the oldest ends."""

_LAST: Final = 10.0
"""Seconds that `State.stop` takes at most: somebody else may be writing."""
_FORGET: Final = 600.0
"""Seconds between two rounds in which what has ended is dropped."""


class State:
    """What ``store`` holds. ``revoked`` functions are called whenever something was taken away. Raises `StartupError`."""

    def __init__(self, store: IStateStore, reactor: Any, thread: Offload | None = None) -> None:
        self._store = store
        self._reactor = reactor
        self._index = Index(store.load())
        # One thread, since the store is for one at a time, and its own, so that no flood of logins holds up a revocation.
        self._thread = thread or Offload(reactor, threads=1, queue=4)
        self._waiting: list[tuple[Change, Deferred[None]]] = []
        self._under_way: list[tuple[Change, Deferred[None]]] = []
        #: by realm and user name, how many API tokens with a name are on their way to the store
        self._coming: Counter[tuple[str, str]] = Counter()
        self._quiet: Deferred[None] | None = None
        #: removals that could not be written: tried again at each `look`
        self._owed: list[Change] = []
        self._forgotten = reactor.seconds()
        #: changes whenever something was taken away, so that whoever remembers a token knows when to ask again
        self.epoch = 0
        self.on_revoked: set[Callable[[], None]] = set()

    def start(self) -> None:
        """Write from now on."""
        self._thread.start()

    def stop(self) -> Deferred[None]:
        """Write what waits and what is owed, no more, and let go of the store. Fires when that is done, or took too long."""
        owed, self._owed = self._owed, []
        for change in owed:
            self._write_removal(change).addErrback(lambda _: None)  # logged
        quiet = self._quiet = Deferred()
        quiet.addTimeout(_LAST, self._reactor).addErrback(lambda _: None)
        quiet.addCallback(lambda _: self._thread.stop())
        self._flush()
        return quiet.addBoth(lambda _: self._store.close())

    # -- looking things up

    def find(self, digest: bytes) -> ApiToken | None:
        """The API token with this SHA-256, perhaps expired."""
        return self._index.by_digest.get(digest)

    def owned(self, realm: str, username: str) -> list[ApiToken]:
        """The API tokens of a user that have not expired, the oldest first."""
        now, owner, index = self._reactor.seconds(), (realm, username), self._index
        held = (*index.named.get(owner, {}).values(), *index.passing.get(owner, {}).values())
        return sorted((token for token in held if token.expires > now), key=lambda token: token.created)

    def count(self, realm: str, username: str) -> int:
        """How many API tokens with a name a user has, with those that are being written."""
        return self._coming[realm, username] + sum(1 for token in self.owned(realm, username) if not token.passing)

    def good(self, principal: Principal) -> bool:
        """Whether the token by which ``principal`` came is good still. It is for whoever came without one."""
        grant = principal.grant
        if grant is None:
            return True
        if grant.stored:
            return grant.id in self._index.ids
        return not self.revoked(grant, principal.realm, principal.username)

    def revoked(self, grant: Grant, realm: str, username: str) -> bool:
        """Whether an access token was revoked before its time."""
        index = self._index
        if index.grants and hash(grant.id) in index.grants.get(int(grant.expires // HOUR), ()):
            return True
        if not index.users:
            return False
        user = index.users.get((realm, username))
        return user is not None and grant.issued <= user.before

    # -- changing them

    def add(self, token: ApiToken) -> Deferred[None]:
        """Keep a new API token; good once this has fired. Fails with `Unavailable` where it cannot be written."""
        owner = (token.owner.realm, token.owner.username)
        self._coming[owner] += not token.passing

        def written(result: Any) -> Any:
            self._coming[owner] -= not token.passing
            if self._coming[owner] <= 0:
                del self._coming[owner]
            return result if isinstance(result, Failure) else self._added(token)

        return _lasting(self._change(token).addBoth(written))

    def _added(self, token: ApiToken) -> None:
        self._index.apply(token)
        passing = self._index.passing.get((token.owner.realm, token.owner.username), {})
        while len(passing) > MOST_PASSING:
            old = next(iter(passing.values()))
            self._index.remove(old)
            self.epoch += 1  # and nobody's connection is cut for it
            self._write_removal(Removed(old.id, passing=True)).addErrback(lambda _: None)  # logged, and owed

    def remove(self, token: ApiToken) -> Deferred[None]:
        """End an API token, at once; fires when that is written. Fails with `Unavailable` where it cannot be, for now."""
        self._index.remove(token)
        return self._take_away(Removed(token.id))

    def revoke(self, grant: Grant) -> Deferred[None]:
        """End an access token; as `remove`."""
        revoked = RevokedGrant(grant.id, grant.expires)
        self._index.apply(revoked)
        return self._take_away(revoked)

    def revoke_user(self, realm: str, username: str) -> Deferred[list[ApiToken]]:
        """End every token of a user, of both kinds; as `remove`. Fires with the API tokens that he had."""
        user = RevokedUser(realm, username, self._reactor.seconds())
        had = self.owned(realm, username)
        self._index.apply(user)
        return self._take_away(user).addCallback(lambda _: had)

    def _take_away(self, change: Change) -> Deferred[None]:
        self._revoked()
        return self._write_removal(change)

    def _write_removal(self, change: Change) -> Deferred[None]:
        def failed(failure: Failure) -> Failure:
            self._owed.append(change)
            _log.error("a revocation is in force and not on disk yet: {error}", error=failure.getErrorMessage())
            return failure

        return _lasting(self._change(change, bounded=False).addErrback(failed))

    def _revoked(self) -> None:
        self.epoch += 1
        for function in list(self.on_revoked):
            function()

    # -- writing

    def _change(self, change: Change, *, bounded: bool = True) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        if bounded and len(self._waiting) >= MOST_WAITING:
            done.errback(Overloaded("too many changes wait to be written"))
            return done
        self._waiting.append((change, done))
        self._flush()
        return done

    def _flush(self) -> None:
        if self._under_way:
            return
        if not self._waiting:
            if self._quiet is not None and not self._quiet.called:
                self._quiet.callback(None)
            return
        batch = self._under_way = self._waiting
        self._waiting = []

        def written(result: Any) -> None:
            self._under_way = []
            for _, done in batch:
                done.callback(result)
            self._flush()

        # Never refused for what else waits for the thread: only one of these does.
        self._thread.proceed(self._store.write, [change for change, _ in batch]).addErrback(_as_unavailable).addBoth(written)

    # -- from time to time

    def look(self) -> Deferred[None]:
        """See to what is owed, to what has ended, and to what somebody else has written. Never fails."""
        owed, self._owed = self._owed, []
        for change in owed:
            self._take_away(change).addErrback(lambda _: None)  # logged, and owed again
        now = self._reactor.seconds()
        due = now - self._forgotten >= _FORGET
        if due:
            self._forgotten = now
            self._index.forget(now)
        return Deferred.fromCoroutine(self._look(now if due else None)).addErrback(_told)

    async def _look(self, forget: float | None) -> None:
        if forget is not None:
            await self._thread.run(self._store.forget, forget)
        if await self._thread.run(self._store.changed):
            await self._reload()

    async def _reload(self) -> None:
        index = await self._thread.run(lambda: Index(self._store.load()))
        # What is on its way to the store may not be in this picture. Additions come with their own end; whatever was taken away
        # must be gone here too.
        for change in (*(change for change, _ in (*self._under_way, *self._waiting)), *self._owed):
            if isinstance(change, Removed):
                if change.id in index.ids:
                    index.remove(next(token for token in index.by_digest.values() if token.id == change.id))
            elif not isinstance(change, ApiToken):
                index.apply(change)
        self._index = index
        self._revoked()


def _lasting(work: Deferred[T]) -> Deferred[T]:
    """The result of ``work`` for somebody who may leave: what is being written is written, and known, all the same."""
    told: Deferred[T] = Deferred()

    def over(result: Any) -> None:
        if not told.called:
            told.callback(result)

    work.addBoth(over)
    return told


def _as_unavailable(failure: Failure) -> Failure:
    if failure.check(Unavailable):
        return failure
    _log.failure("the state cannot be written", failure)
    return Failure(StateUnavailable("the state cannot be written"))


def _told(failure: Failure) -> None:
    if failure.check(Unavailable, StartupError):
        _log.error("the state was not looked at: {error}", error=failure.getErrorMessage())
    else:
        _log.failure("the state was not looked at", failure)

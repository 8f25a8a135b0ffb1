"""Sessions of browsers, by their cookie.

What was looked up before is found again by the bytes of the cookie. Each minute the session is looked up anew, and its owner
with it (`perimeter.gate.sources.owner`). A cookie without a session does not count as a credential: browsers send it by
themselves, long after the session has ended.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import attrs

from perimeter.auth.credentials import parse_realms
from perimeter.config.language.net_types import PeerNetwork, in_networks
from perimeter.errors import InvalidToken, SessionExpired
from perimeter.gate.forwarded import vouched_https
from perimeter.gate.sources.owner import RECALL_INTERVAL, check_realm
from perimeter.gate.sources.source import Challenge, Found
from perimeter.model import AuthenticationRequest, ClientConnection, HeaderBlock, Principal
from perimeter.recent import Memo
from perimeter.sessions.session import Session, digest_of
from perimeter.sessions.stored import StoredSessions
from perimeter.tokens.look_ups import CookieLookUps
from perimeter.tokens.verdict import Verdict, VerdictCache

_MOST_PEERS = 4096


class OwnerLookup(Protocol):
    """What this source needs of `perimeter.auth.chain.chain.AuthenticatorChain`."""

    def recall(self, owner: Principal, request: AuthenticationRequest) -> Principal | Awaitable[Principal]:
        """The current principal of a session's owner. Raises `InvalidToken` if there is none any more."""


class RenewedOwners(Protocol):
    """What this source needs of `perimeter.sessions.renewal.Renewals`."""

    def owner_of(self, session: Session, cookie: bytes, request: AuthenticationRequest) -> Principal | Awaitable[Principal]:
        """The current user of a session that came from a sign-in at a provider. Raises `InvalidToken` if there is none."""


class SessionSource:
    """The source that reads the cookie of a session (`perimeter.gate.sources.source.CredentialSource`).

    ``clock`` gives seconds since the epoch. At most ``remembered`` sessions are found without looking them up. A cookie counts
    only if it came over https: over TLS, or so says one of ``trusted_proxies`` (attack 80). ``renewals`` knows the users of
    sessions that came from sign-ins at providers; without providers it is None.
    """

    by_connection = False
    by_session = True
    by_authorization = False

    def __init__(
        self,
        chain: OwnerLookup,
        stored: StoredSessions,
        clock: Callable[[], float],
        remembered: int,
        trusted_proxies: tuple[PeerNetwork, ...] = (),
        renewals: RenewedOwners | None = None,
        look_ups: CookieLookUps | None = None,
    ) -> None:
        self._chain = chain
        self._stored = stored
        self._clock = clock
        self._trusted_proxies = trusted_proxies
        self._renewals = renewals
        self._look_ups = look_ups
        self._verdicts = VerdictCache(remembered)
        #: addresses of peers -> whether they are trusted: reading an address takes 20 µs
        self._peers: Memo[str, bool] = Memo(_MOST_PEERS)

    def challenges(self) -> tuple[Challenge, ...]:
        """None: a browser gets its cookie at the login page."""
        return ()

    def forget(self) -> None:
        """See `CredentialSource.forget`."""
        self._verdicts.clear()

    def identify(self, headers: HeaderBlock, address: str, connection: ClientConnection) -> Found:
        """See `CredentialSource.identify`. None without the cookie of a session that counts."""
        cookie = headers.session
        if cookie is None:
            return None
        if (self._trusted_proxies or not connection.tls) and not self._over_https(headers, connection):
            return None
        verdict = self._verdicts.get(cookie)
        if (
            verdict is not None
            and verdict.expires > self._clock()
            and (verdict.epoch == self._stored.epoch or self._still_good(verdict))
        ):
            if headers.narrowed:
                check_realm(verdict.principal, parse_realms(headers.get_all(b"x-auth-realm")))
            return verdict.principal
        return self._look_up(cookie, headers, address, connection)

    def _still_good(self, verdict: Verdict) -> bool:
        """Whether the session has not ended, and its owner has not changed, since ``verdict`` was last looked at.

        Raises `StateUnavailable` if that is not known.
        """
        self._stored.check_fresh()
        grant = verdict.principal.grant
        good = grant is not None and self._stored.use(grant.id) is grant.use
        if good:
            verdict.epoch = self._stored.epoch
        return good

    def by_browser(self, headers: HeaderBlock) -> bool | None:
        """See `CredentialSource.by_browser`. A browser adds a cookie to each request."""
        return None if headers.session is None else True

    def until(self, headers: HeaderBlock) -> float:
        """See `CredentialSource.until`."""
        verdict = None if headers.session is None else self._verdicts.get(headers.session)
        return 0.0 if verdict is None else verdict.expires

    def identify_first_hand(self, headers: HeaderBlock, address: str, connection: ClientConnection) -> Found:
        """None: with a session, a script of a service could get a token."""
        return None

    def _over_https(self, headers: HeaderBlock, connection: ClientConnection) -> bool:
        peer = connection.address
        trusted = self._peers.get(peer)
        if trusted is None:
            trusted = self._peers.keep(peer, in_networks(peer, self._trusted_proxies))
        said = vouched_https(headers) if trusted else None
        return bool(connection.tls) if said is None else said

    def _look_up(self, cookie: bytes, headers: HeaderBlock, address: str, connection: ClientConnection) -> Found:
        self._stored.check_fresh()
        digest = digest_of(cookie)
        session = self._stored.find(digest)
        if session is None and self._look_ups is not None:
            self._look_ups.admit(cookie, address)
        over = session is not None and self._stored.ends(session) <= self._clock()
        if session is None or (over and not self._stored.complete):
            # If not all sessions are in memory, one that seems to be over may have been used elsewhere.
            news = self._stored.learn(("digest", digest.hex()))
            return None if news is None else self._look_up_later(news, cookie, headers, address, connection)
        return None if over else self._found(session, cookie, headers, address, connection)

    def _found(self, session: Session, cookie: bytes, headers: HeaderBlock, address: str, connection: ClientConnection) -> Found:
        realms = parse_realms(headers.get_all(b"x-auth-realm")) if headers.narrowed else frozenset()
        check_realm(session.owner, realms)
        try:
            owner = self._owner(session, cookie, AuthenticationRequest(address, realms, connection.address))
        except InvalidToken as error:
            raise self._without_owner(session, error) from None
        if isinstance(owner, Principal):
            return self._granted(session, owner, cookie)
        return self._granted_later(session, owner, cookie)

    def _owner(self, session: Session, cookie: bytes, request: AuthenticationRequest) -> Principal | Awaitable[Principal]:
        root = self._stored.root(session)
        if root is None or root.vouched is None:
            return self._chain.recall(session.owner, request)
        if self._renewals is None:
            raise InvalidToken("no sign-in provider is in the configuration any more")
        return self._renewals.owner_of(session, cookie, request)

    async def _look_up_later(
        self, news: Awaitable[None], cookie: bytes, headers: HeaderBlock, address: str, connection: ClientConnection
    ) -> Principal | None:
        """A session that is not in memory, or that another process may have begun a moment ago."""
        await news
        session = self._stored.find(digest_of(cookie))
        if session is None or self._stored.ends(session) <= self._clock():
            return None
        found = self._found(session, cookie, headers, address, connection)
        return found if found is None or isinstance(found, Principal) else await found

    async def _granted_later(self, session: Session, owner: Awaitable[Principal], cookie: bytes) -> Principal:
        try:
            known = await owner
        except InvalidToken as error:
            raise self._without_owner(session, error) from None
        return self._granted(session, known, cookie)

    def _granted(self, session: Session, owner: Principal, cookie: bytes) -> Principal:
        self._stored.check_fresh()
        self._stored.check_kept(session)
        now, ends = self._clock(), self._stored.ends(session)
        if ends <= now:
            raise SessionExpired("the session ended while its owner was looked up")
        principal = attrs.evolve(owner, grant=self._stored.grant(session))
        until = min(ends, now + RECALL_INTERVAL, self._stored.due_after(session, now))
        self._verdicts.put(cookie, Verdict(principal, until, self._stored.epoch))
        return principal

    def _without_owner(self, session: Session, error: InvalidToken) -> SessionExpired:
        """End a session whose owner is gone: another user may get the same name."""
        self._stored.end_sign_in(session).addErrback(lambda _: None)  # logged by the state, which tries again
        return SessionExpired(error.detail)

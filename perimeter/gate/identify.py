"""Who sent a request: the sources of credentials, asked in order."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from perimeter.gate.sources.source import Challenge, CredentialSource, Found
from perimeter.model import ClientConnection, HeaderBlock, Principal


class Identifier:
    """Finds the principal behind a request: by the first of ``sources`` that has credentials, and by no other.

    A wrong credential in one source is not made good by another source.
    """

    def __init__(self, sources: Sequence[CredentialSource]) -> None:
        self._sources = tuple(sources)
        self._of_message = tuple(source for source in sources if not source.by_connection)
        self._of_sessions = tuple(source for source in sources if source.by_session)
        # what is left to ask about a request without Authorization: a call less for people with a session, and for strangers
        self._others = tuple(source for source in sources if not source.by_authorization)
        self._others_of_message = tuple(source for source in self._of_message if not source.by_authorization)

    def challenges(self) -> tuple[Challenge, ...]:
        """The challenges of all sources, in their order."""
        return tuple(dict.fromkeys(challenge for source in self._sources for challenge in source.challenges()))

    def forget(self) -> None:
        """Verify everything again: the keys have changed, or what is known of users."""
        for source in self._sources:
            source.forget()

    def identify(self, headers: HeaderBlock, address: str, connection: ClientConnection, *, by_connection: bool = True) -> Found:
        """The principal; an awaitable of it if an authenticator has to be asked; None without credentials.

        ``address`` is the client's, as rules and the audit log see it. ``by_connection`` is False if the connection, and what
        its peer says, do not belong to the client. Raises (at once, or from the awaitable) a refusal of `perimeter.errors`.
        """
        if headers.authorization:
            sources = self._sources if by_connection else self._of_message
        else:
            sources = self._others if by_connection else self._others_of_message
        for source in sources:
            found = source.identify(headers, address, connection)
            if found is not None:
                if not isinstance(found, Principal) and source.by_session:
                    rest = sources[sources.index(source) + 1 :]
                    return self._or_by_the_rest(found, rest, headers, address, connection)
                return found
        return None

    async def _or_by_the_rest(
        self,
        session: Awaitable[Principal | None],
        rest: Sequence[CredentialSource],
        headers: HeaderBlock,
        address: str,
        connection: ClientConnection,
    ) -> Principal | None:
        """The user of a session that has to be looked up; without one, the other sources are asked."""
        principal = await session
        if principal is not None:
            return principal
        for source in rest:
            found = source.identify(headers, address, connection)
            if found is not None:
                return found if isinstance(found, Principal) else await found
        return None

    def identify_by_session(self, headers: HeaderBlock, address: str, connection: ClientConnection) -> Found:
        """Like `identify`, but only by the session of a browser."""
        for source in self._of_sessions:
            found = source.identify(headers, address, connection)
            if found is not None:
                return found
        return None

    def by_browser(self, headers: HeaderBlock, principal: Principal) -> bool:
        """Whether a browser may have added the credentials of ``principal`` by itself; see `CredentialSource.by_browser`."""
        if _by_session(principal):  # also with other credentials in the request
            return True
        return next((found for source in self._sources if (found := source.by_browser(headers)) is not None), True)

    def until(self, headers: HeaderBlock, principal: Principal) -> float:
        """When the credentials of ``principal`` will be verified again; see `CredentialSource.until`."""
        sources = self._of_sessions if _by_session(principal) else self._sources
        return max((source.until(headers) for source in sources), default=0.0)

    def identify_first_hand(self, headers: HeaderBlock, address: str, connection: ClientConnection) -> Found:
        """Like `identify`, by the authenticators only: the gateway's own tokens are refused."""
        for source in self._sources:
            found = source.identify_first_hand(headers, address, connection)
            if found is not None:
                return found
        return None


def _by_session(principal: Principal) -> bool:
    return principal.grant is not None and principal.grant.use is not None

"""What a provider gave for the gateway alone, opened by the cookie of a session."""

from __future__ import annotations

from perimeter.sessions.sealing import Unsealable, key_of, unseal, unseal_under
from perimeter.sessions.session import Session
from perimeter.sessions.stored import StoredSessions


def key_for(session: Session, cookie: bytes) -> bytes:
    """The key of the secret of the sign-in: made of ``cookie``, the value of the session's, or kept under it by a session on
    another host. Raises `Unsealable`."""
    return unseal(cookie, session.sealed) if session.parent else key_of(cookie)


def secret_of(stored: StoredSessions, session: Session, cookie: bytes) -> bytes:
    """What the provider of ``session`` gave at the sign-in, or at the last renewal. Raises `Unsealable`."""
    root = stored.root(session)
    if root is None or not root.sealed:
        raise Unsealable("nothing is kept")
    return unseal_under(key_for(session, cookie), root.sealed)

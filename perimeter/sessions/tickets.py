"""Tickets: a sign-in on one host is handed over to another host of the gateway (attack B5).

A host sends a browser to the host of the sign-in page with the hash of a secret that is in a cookie of its own. After the
sign-in, the browser comes back with a ticket, which is good once, for 30 seconds, for this host and for the browser with that
secret. A ticket is sealed with a key of the gateway, so nothing has to be stored for it, and each worker can open it.
"""

from __future__ import annotations

import base64
import json
import re
from hashlib import sha256
from typing import Final, Protocol

import attrs

from perimeter.errors import BadTicket
from perimeter.state.once import Claims
from perimeter.tokens.format import EpochClock

LIFETIME: Final = 30.0
"""Seconds for which a ticket is good."""

_PURPOSE: Final = "hand-over"
_COMMITMENT: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_LONGEST: Final = 2000


class Sealer(Protocol):
    """A key of the gateway, which all its processes have."""

    def seal(self, secret: bytes, purpose: str) -> bytes:
        """``secret`` sealed for ``purpose``."""

    def unseal(self, sealed: bytes, purpose: str) -> bytes:
        """The secret that `seal` made ``sealed`` of. Raises ValueError."""


@attrs.frozen
class Ticket:
    """What a ticket says: the id of the session on the host of the sign-in page, and the host that it is for.

    ``commitment`` is `commitment_to` the secret in the browser's cookie there. ``key`` opens what is sealed in the parent session
    (`perimeter.sessions.sealing`); empty if nothing is.
    """

    parent: str
    host: str
    commitment: str
    key: bytes = attrs.field(default=b"", repr=False)


def commitment_to(secret: bytes) -> str:
    """The hash of a cookie's value, 43 characters of base64url."""
    return _text(sha256(secret).digest())


def is_commitment(text: str) -> bool:
    """Whether ``text`` has the form of `commitment_to`."""
    return _COMMITMENT.fullmatch(text) is not None


class Tickets:
    """Issues tickets, sealed by ``sealer``, and redeems each once: ``claims`` says which were used."""

    def __init__(self, sealer: Sealer, claims: Claims, clock: EpochClock) -> None:
        self._sealer = sealer
        self._claims = claims
        self._clock = clock

    def issue(self, ticket: Ticket) -> str:
        """The text of ``ticket``, for a URL."""
        said = [ticket.parent, ticket.host, ticket.commitment, self._clock.seconds() + LIFETIME, ticket.key.hex()]
        return _text(self._sealer.seal(json.dumps(said).encode("ascii"), _PURPOSE))

    async def redeem(self, text: str, host: str, secret: bytes | None) -> Ticket:
        """The ticket of ``text``, which a browser with ``secret`` in its cookie brings to ``host``.

        Raises `BadTicket`, also for one that was used, and `perimeter.errors.Unavailable` if that cannot be established.
        """
        if secret is None:
            raise BadTicket("the browser has not the cookie of a sign-in that began on this host")
        sealed = _bytes(text)
        try:
            parent, found, commitment, expires, key = json.loads(self._sealer.unseal(sealed, _PURPOSE))
        except ValueError:
            raise BadTicket("not a ticket of this gateway") from None
        if found != host:
            raise BadTicket(f"the ticket is for the host {found}")
        if commitment != commitment_to(secret):
            raise BadTicket("the ticket belongs to another browser")
        if self._clock.seconds() >= expires:
            raise BadTicket("the ticket is too old")
        if not await self._claims.claim(b"ticket\0" + sealed, expires + LIFETIME):
            raise BadTicket("the ticket was used before")
        return Ticket(parent, found, commitment, bytes.fromhex(key))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _bytes(text: str) -> bytes:
    """The bytes of `_text`. Raises `BadTicket` for any other spelling of them."""
    try:
        found = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) if len(text) <= _LONGEST else b""
    except ValueError:
        found = b""
    if not found or _text(found) != text:
        raise BadTicket("not a ticket of this gateway")
    return found

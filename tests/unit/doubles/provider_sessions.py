"""A provider that is asked about its users while their sessions last, and sessions that came from it."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from zope.interface import implementer

from perimeter.model import Principal
from perimeter.plugin.redirect import IBackChannelLogout, IEndsElsewhere, IRenews, LoggedOut, SignedIn
from perimeter.sessions.session import Origin, Renewal, Session, Vouched
from tests.unit.doubles.provider import CAROL, FakeProvider
from tests.unit.doubles.sessions import START, SessionCase

ISSUER = "https://sso.example"
VOUCHED = Vouched("corp", ISSUER, "sub-7", "sid-1")


@implementer(IRenews, IEndsElsewhere, IBackChannelLogout)
class RenewingProvider(FakeProvider):
    """Each question is in ``asked``. It is answered with the next of ``answers``: a value, an exception, or a Deferred of one."""

    def __init__(self, name: str = "corp", realm: str = "corp", title: str = "Company login") -> None:
        super().__init__(name, realm, title)
        self.answers: list[Any] = []
        self.asked: list[tuple[Any, ...]] = []

    def renew(self, secret: bytes, subject: str) -> Awaitable[SignedIn]:
        """See `IRenews`."""
        return self._answer("renew", secret, subject)

    def sign_out_url(self, secret: bytes, return_to: str, state: str) -> Awaitable[str]:
        """See `IEndsElsewhere`."""
        return self._answer("sign_out_url", secret, return_to, state)

    def logged_out(self, token: str) -> Awaitable[LoggedOut]:
        """See `IBackChannelLogout`."""
        return self._answer("logged_out", token)

    async def _answer(self, *question: Any) -> Any:
        self.asked.append(question)
        answer = self.answers.pop(0)
        if isinstance(answer, Deferred):
            answer = await answer
        if isinstance(answer, BaseException):
            raise answer
        return answer


def signed_in(**more: Any) -> SignedIn:
    """What the provider says of Carol, with the secret ``second``; due in a minute from `START`."""
    return attrs.evolve(SignedIn(CAROL, ISSUER, "sub-7", "sid-1", secret=b"second", renew_after=START + 1000.0), **more)


class ProviderSessionCase(SessionCase):
    """A session of Carol, who has signed in at the provider: due in a minute, with the secret ``first``."""

    due = START + 60.0

    def vouched(self, owner: Principal = CAROL, vouched: Vouched = VOUCHED, due: float | None = None) -> tuple[bytes, Session]:
        """Cookie and session."""
        renewal = Renewal(self.due if due is None else due)
        return self.begin(owner, methods=("provider:corp",), origin=Origin(vouched=vouched, secret=b"first", renewal=renewal))

    def child(self, parent: Session, key: bytes) -> tuple[bytes, Session]:
        """Cookie and session of the same user on another host. ``key`` opens what the parent has sealed."""
        return self.begin(parent.owner, methods=("provider:corp",), origin=Origin(parent=parent.id, secret=key))

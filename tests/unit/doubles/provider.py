"""A provider at which people sign in, without a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from twisted.internet.defer import Deferred
from zope.interface import implementer

from perimeter.model import Principal
from perimeter.plugin.redirect import Flow, IRedirectAuthenticator, SignedIn

CAROL = Principal("carol", "corp", ("dev",), "corp")


def signed_in(principal: Principal = CAROL, subject: str = "sub-carol", **more: Any) -> SignedIn:
    """Who has signed in at the provider."""
    return SignedIn(principal, "https://sso.example", subject, **more)


@implementer(IRedirectAuthenticator)
class FakeProvider:
    """Sends browsers to ``url``. ``answer`` is what `complete` returns or raises; a Deferred answers later."""

    def __init__(self, name: str = "corp", realm: str = "corp", title: str = "Company login") -> None:
        self.name = name
        self.realm = realm
        self.title = title
        self.url = "https://sso.example/authorize"
        self.answer: Any = signed_in()
        self.begun: list[Flow] = []
        self.completed: list[tuple[Mapping[str, str], Flow]] = []

    async def begin(self, flow: Flow) -> str:
        self.begun.append(flow)
        if isinstance(self.url, Exception):
            raise self.url
        return f"{self.url}?{urlencode({'state': flow.state})}"

    async def complete(self, parameters: Mapping[str, str], flow: Flow) -> SignedIn:
        self.completed.append((parameters, flow))
        answer = self.answer
        if isinstance(answer, Exception):
            raise answer
        return await answer if isinstance(answer, Deferred) else answer  # type: ignore[no-any-return]

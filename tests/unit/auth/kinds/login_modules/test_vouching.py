"""An authenticator as a login module: what it passes on, and the meaning of its outcomes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from perimeter.auth.kinds.login_modules.vouching import AuthenticatorModule
from perimeter.model import AuthenticationRequest, Credentials, Principal
from perimeter.plugin.authenticator import IAuthenticator, ICanonicalNames, IDecoyLogin, IRunningAuthenticator
from tests.unit.doubles.auth import REQUEST


@implementer(IAuthenticator)
class Plain:
    """An authenticator without optional interfaces."""

    name, realm = "plain", "local"

    async def authenticate(self, credentials: Credentials, request: AuthenticationRequest) -> Principal | None:
        return None


@implementer(IRunningAuthenticator, ICanonicalNames, IDecoyLogin)
class Full(Plain):
    """An authenticator with all optional interfaces. ``calls`` are the calls that it got."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def start(self, changed: Callable[[], None]) -> None:
        self.calls.append(("start", changed))

    def stop(self) -> None:
        self.calls.append("stop")

    def canonical_name(self, username: str) -> str:
        return f"canonical {username}"

    async def decoy(self, request: AuthenticationRequest) -> None:
        self.calls.append(("decoy", request))


class ModuleTests(TestCase):
    def test_it_passes_on_what_the_authenticator_provides(self) -> None:
        inner = Full()
        module = AuthenticatorModule(inner)
        changed = list[None]().clear
        module.start(changed)
        self.successResultOf(ensureDeferred(module.decoy(REQUEST)))
        module.stop()
        self.assertEqual(inner.calls, [("start", changed), ("decoy", REQUEST), "stop"])
        self.assertEqual(module.canonical_name("Alice"), "canonical Alice")

    def test_an_authenticator_without_more(self) -> None:
        module = AuthenticatorModule(Plain())
        module.start(lambda: None)
        module.stop()
        self.successResultOf(ensureDeferred(module.decoy(REQUEST)))
        self.assertEqual(module.canonical_name("Alice"), module.canonical_name("Alice"))
        self.assertNotEqual(module.canonical_name("alice"), module.canonical_name("bob"))

"""Providers at which people sign in, built from the text of a section, and a browser that follows their redirects."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests
from twisted.internet.defer import ensureDeferred

from perimeter.auth.registry import provider_factories
from perimeter.config.language.references import References
from perimeter.config.language.scanner import scan
from perimeter.config.language.section import Section
from perimeter.errors import Problem
from perimeter.oidc.flow import flow_secrets
from perimeter.plugin.redirect import Flow, SignedIn
from tests.unit.doubles.remote import RemoteCase

CALLBACK = "https://login.example.com/.perimeter/callback/corp"


class SignInCase(RemoteCase):
    """Signs in at the provider ``corp`` as the gateway does, without a gateway."""

    def parsed(self, kind: str, text: str) -> tuple[Any, list[str]]:
        """The settings of a section, and its faults."""
        directory = Path(self.mktemp()).absolute()
        (scanned,), faults = scan(f"[provider corp]\n{text}\n")
        self.assertEqual(faults, [])
        problems: list[Problem] = []
        section = Section(scanned, "site.ini", directory, References({}, directory), problems)
        settings = provider_factories()[kind].parse(section)
        section.finish()
        return settings, [f"{problem.option}: {problem.message}" for problem in problems]

    def provider(self, kind: str, text: str) -> Any:
        """The provider of a section that must be valid; its realm is ``corp``."""
        settings, problems = self.parsed(kind, text)
        self.assertEqual(problems, [])
        return provider_factories()[kind].build("corp", "corp", settings, self.services)

    def flow(self, cookie: bytes = b"c" * 32, **changes: Any) -> Flow:
        """A flow that begins now."""
        made = flow_secrets(cookie)
        return Flow("corp", CALLBACK, made.state, made.nonce, made.verifier, self.time.seconds(), **changes)

    async def begun(self, provider: Any, flow: Flow) -> dict[str, str]:
        """What the browser brings back, from a provider that asks nothing."""
        url = await ensureDeferred(provider.begin(flow))
        answer = requests.get(url, allow_redirects=False, timeout=20)
        self.assertEqual(answer.status_code, 302, answer.text)
        location = urlsplit(answer.headers["Location"])
        self.assertEqual(location._replace(query="").geturl(), CALLBACK)
        parameters = dict(parse_qsl(location.query))
        self.assertEqual(parameters.pop("state"), flow.state)
        return parameters

    async def signed_in(self, provider: Any, flow: Flow | None = None) -> SignedIn:
        """Begin and complete."""
        flow = flow or self.flow()
        parameters = await self.begun(provider, flow)
        found: SignedIn = await ensureDeferred(provider.complete(parameters, flow))
        return found

    async def refused(self, asked: Any, *kinds: type[Exception]) -> Any:
        """The exception of a coroutine, whose class must be one of ``kinds`` and no subclass."""
        return await self.refusal(lambda: ensureDeferred(asked), *kinds)

"""The examples of the pages about providers are configurations that the gateway takes."""

from __future__ import annotations

import json
import re
from pathlib import Path

from twisted.trial.unittest import TestCase

from perimeter.auth.registry import provider_factories
from perimeter.config.language.references import References
from perimeter.config.language.scanner import scan
from perimeter.config.language.section import Section
from perimeter.config.site.provider import ProviderSettings, read_provider
from perimeter.errors import Problem

HOW_TO = Path(__file__).parents[3] / "docs" / "how-to"
PAGES = ("keycloak", "entra", "google", "github")


def blocks(page: str, language: str) -> list[str]:
    """The blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (HOW_TO / f"{page}.md").read_text(), re.M | re.S)


class ExampleTests(TestCase):
    def read(self, text: str) -> list[ProviderSettings]:
        """The providers of an example, which must have no fault."""
        directory = Path(self.mktemp()).absolute()
        directory.mkdir(parents=True)
        for name in re.findall(r"file:(\S+)", text):
            (directory / name).write_text("secret\n")
            (directory / name).chmod(0o600)
        sections, faults = scan(text)
        problems: list[Problem] = []
        references = References({}, directory)
        found = [
            read_provider(Section(one, "site.ini", directory, references, problems), provider_factories())
            for one in sections
            if one.header.startswith("provider ")
        ]
        self.assertEqual([*map(str, faults), *map(str, problems)], [], text)
        return found

    def test_each_page_has_examples_without_faults(self) -> None:
        for page in PAGES:
            found = [provider for text in blocks(page, "ini") for provider in self.read(text)]
            self.assertGreaterEqual(len(found), 1, page)
            for provider in found:
                self.assertTrue(provider.redirect_uri.endswith(f"/.perimeter/callback/{provider.name}"), page)

    def test_a_fault_would_be_found(self) -> None:
        (text, *_) = blocks("keycloak", "ini")
        with self.assertRaises(self.failureException):
            self.read(text.replace("roles_claim", "role_claim"))

    def test_the_client_of_keycloak_fits_the_gateway(self) -> None:
        (text,), (example, *_) = blocks("keycloak", "json"), blocks("keycloak", "ini")
        client, (provider,) = json.loads(text), self.read(example)
        self.assertEqual(client["redirectUris"], [provider.redirect_uri])
        self.assertEqual(client["clientId"], provider.settings.client_id)
        self.assertTrue(client["attributes"]["backchannel.logout.url"].endswith(f"/.perimeter/backchannel/{provider.name}"))

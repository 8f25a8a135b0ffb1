"""Drafts: what they cannot contain, and several sources in one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from perimeter.importers import combine
from perimeter.importers.authotron import source as authotron
from perimeter.importers.draft import ImportFault, plain_name, unfit
from perimeter.importers.nginx import source as nginx
from tests.unit.doubles.drafts import ABILITIES, DATA, conf, location, options, site_xml, yaml


class DraftTests(TestCase):
    def test_values_that_a_site_ini_cannot_hold_are_left(self) -> None:
        for value in ("a ; b", "a #b", "; a", " a", "a\nb", "", "a\x00"):
            self.assertTrue(unfit(value), value)
        self.assertEqual(unfit("500 /a\n    502 /b"), "")
        draft = yaml('jwt: {iss: "env:HOME", aud: "a ; b"}')
        self.assertEqual(len(draft.remainder), 2)
        self.assertNotIn("env:HOME", draft.text())

    def test_sources_that_contradict_each_other(self) -> None:
        draft = yaml("jwt: {iss: a}")
        authotron.convert("jwt: {iss: b}", "other.yaml", draft, ABILITIES)
        self.assertEqual([str(note) for note in draft.remainder], ["other.yaml:1: jwt.iss: [token] issuer is a already"])

    def test_no_user_is_admitted_if_no_source_knows_users(self) -> None:
        draft = location("auth_request /auth; proxy_pass http://b:1;")
        combine.complete(draft)
        self.assertEqual(options(draft, "authenticator users"), {"type": "realmfile", "path": "users.realm"})
        self.assertEqual(draft.realms, {"users.realm": []})

    @given(st.text())
    def test_names_of_sections(self, text: str) -> None:
        self.assertRegex(plain_name(text), r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")

    def test_attack_48_sources_do_not_open_each_other(self) -> None:
        # a listener of one source would serve the routes of the other one, without TLS
        draft = conf("server { listen 443 ssl; location / { proxy_pass http://b:1; } }")
        authotron.convert("bind_address: 0.0.0.0:8080\n", "config.yaml", draft, ABILITIES)
        combine.complete(draft)
        self.assertEqual([header for header in draft.sections if header.startswith("listener")], ["listener https"])
        self.assertEqual(len(draft.remainder), 1)
        # if security is off in Reactor, it is still on for Auth-o-tron's users
        draft = site_xml(**{"security.enabled": "false"})
        authotron.convert((DATA / "authotron.yaml").read_text(), "config.yaml", draft, ABILITIES)
        combine.complete(draft)
        self.assertEqual(options(draft, "perimeter")["enabled"], "yes")
        draft = site_xml(**{"security.enabled": "false"})
        nginx.convert("server { listen 80; location / { auth_basic x; proxy_pass http://b:1; } }", "n", draft)
        with self.assertRaisesRegex(ImportFault, "cannot be one site"):
            combine.complete(draft)

"""Hostile sources of the importers: what is too much, ambiguous, or elsewhere is refused, and in bounded time."""

from __future__ import annotations

import time
from base64 import b64encode

from twisted.trial.unittest import TestCase

from perimeter.importers.authotron import environment
from perimeter.importers.authotron import source as authotron
from perimeter.importers.draft import Draft, ImportFault
from perimeter.importers.reactor import source as reactor
from tests.unit.doubles.drafts import ABILITIES, left, options, yaml

SECONDS = 30
"""Far more than any of these takes, and far less than a quadratic import of them."""


def site(*properties: str) -> str:
    return "<configuration>" + "".join(properties) + "</configuration>"


def said(name: str, value: str, more: str = "") -> str:
    return f"<property><name>{name}</name><value>{value}</value>{more}</property>"


class HostileTests(TestCase):
    def setUp(self) -> None:
        self.began = time.monotonic()

    def tearDown(self) -> None:
        self.assertLess(time.monotonic() - self.began, SECONDS)

    def read_xml(self, text: str) -> Draft:
        draft = Draft()
        reactor.convert(text, "site.xml", draft)
        return draft

    def test_attack_74_includes_are_refused_with_their_line(self) -> None:
        for element in (
            '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="/etc/passwd"/>',
            '<include href="other.xml"/>',
            said("security.enabled", "", '<xi:include href="flag.txt" parse="text"/>'),
        ):
            with self.assertRaisesRegex(ImportFault, r"^site.xml:2: .*includes are not followed"):
                self.read_xml(f"<configuration>\n{element}</configuration>")

    def test_attack_74_too_many_elements_are_refused(self) -> None:
        with self.assertRaisesRegex(ImportFault, "more than 100000 elements"):
            self.read_xml(site("<a/>" * 100_001))

    def test_attack_74_many_notes_take_linear_time(self) -> None:
        draft = self.read_xml(site(*(said(f"security.x{number}", "1") for number in range(30_000))))
        self.assertEqual(len(draft.remainder), 30_000)
        draft = self.read_xml(site(*(said("security.enabled", "true") for _ in range(30_000))))
        self.assertEqual(options(draft, "perimeter")["enabled"], "yes")

    def test_attack_74_variables_that_grow_are_not_followed(self) -> None:
        doubling = [said(f"v{number}", f"${{v{number + 1}}}${{v{number + 1}}}") for number in range(30)]
        long = said("v30", "x" * 60_000) + said("long", "${v30}${v30}")
        for name in ("v0", "long", "self"):
            draft = self.read_xml(site(*doubling, long, said("self", "${self}"), said("security.enabled", f"${{{name}}}")))
            self.assertEqual(options(draft, "perimeter")["enabled"], "yes")
            self.assertEqual(len(draft.remainder), 1)

    def test_attack_74_nested_configurations_count(self) -> None:
        draft = self.read_xml(site(said("security.enabled", "false"), site(said("security.enabled", "true"))))
        self.assertEqual(options(draft, "perimeter")["enabled"], "yes")

    def test_attack_74_a_final_value_stays(self) -> None:
        final = said("security.enabled", "true", "<final>true</final>")
        draft = Draft()
        reactor.convert_all([(site(final), "a.xml"), (site(said("security.enabled", "false")), "b.xml")], draft)
        self.assertEqual(options(draft, "perimeter")["enabled"], "yes")
        draft = Draft()
        final = said("security.enabled", "false", "<final>true</final>")
        reactor.convert_all([(site(final), "a.xml"), (site(said("security.enabled", "true")), "b.xml")], draft)
        self.assertEqual(options(draft, "perimeter")["enabled"], "yes", "CDAP reads the second file by itself")
        draft = self.read_xml(site(said("security.enabled", "false", "<final>true</final>"), said("security.enabled", "true")))
        self.assertEqual(options(draft, "perimeter")["enabled"], "no", "one file: the final value counts")

    def test_attack_74_cdap_has_no_plain_port_beside_tls(self) -> None:
        draft = self.read_xml(site(said("security.server.ssl.enabled", "true"), said("ssl.external.enabled", "true")))
        self.assertNotIn("listener tokens", draft.sections)
        self.assertIn("listener tokens-tls", draft.sections)

    def test_attack_75_aliases_and_masses_are_refused_inside_text_too(self) -> None:
        for inner, fault in (
            ("a: &a [x]\nproviders: *a\n", r"config.yaml:\d+: an alias"),
            ("providers: []\nproviders: []\n", "is there twice"),
            ("providers: " + "[" * 50, "levels deep"),
        ):
            block = "".join(f"  {line}\n" for line in inner.splitlines())
            for text in (
                f"config: |\n{block}",
                f"apiVersion: v1\nkind: ConfigMap\ndata:\n  config.yaml: |\n  {block.replace(chr(10), chr(10) + '  ')}",
            ):
                with self.assertRaisesRegex(ImportFault, fault):
                    yaml(text)
        with self.assertRaisesRegex(ImportFault, "more than 150000"):
            yaml("providers: [" + "1," * 200_000 + "]")
        with self.assertRaisesRegex(ImportFault, "expected base64"):
            yaml("apiVersion: v1\nkind: Secret\ndata: {config.yaml: '***'}\n")

    def test_attack_75_many_notes_take_linear_time(self) -> None:
        draft = yaml("".join(f"k{number}: 1\n" for number in range(30_000)))
        self.assertEqual(len(draft.remainder), 30_000)

    def test_attack_75_null_is_no_password(self) -> None:
        draft = yaml("providers:\n- type: plain\n  users:\n  - {username: a, password: null}\n  - {username: b, password: ~}\n")
        self.assertEqual(draft.realms["plain.realm"], [])
        self.assertEqual([line[:2] for line in left(draft)], ["4:", "5:"])

    def test_attack_75_one_configuration_at_a_time(self) -> None:
        one = ("providers: []\n", "a.yaml")
        with self.assertRaisesRegex(ImportFault, "there are 2"):
            authotron.convert_all([one, one], Draft(), ABILITIES)
        with self.assertRaisesRegex(ImportFault, "there are 2"):
            yaml("providers: []\n---\nproviders: []\n")
        with self.assertRaisesRegex(ImportFault, "there are 0"):
            authotron.convert_all([("AOT_JWT__ISS=a\n", "e.env")], Draft(), ABILITIES)

    def test_lines_inside_text_are_those_of_the_file(self) -> None:
        draft = yaml("replicaCount: 1\nconfig: |\n  bind_address: 127.0.0.1:8080\n  colour: blue\n")
        self.assertEqual(left(draft), ["4: colour: unknown to this importer"])
        encoded = b64encode(b"bind_address: 127.0.0.1:8080\n").decode()
        draft = yaml(f"apiVersion: v1\nkind: Secret\ndata:\n  config.yaml: {encoded}\n")
        self.assertEqual(options(draft, "listener auth-o-tron")["interface"], "127.0.0.1")

    def test_variables_stand_in_place_of_values(self) -> None:
        lines = "# comment\nAOT_SERVER__PORT='8181'\nexport AOT_JWT__ISS=\"me\"\nAOT_JWT__AUD=$AUD\nOTHER=1\n"
        self.assertTrue(environment.looks_like(lines))
        draft = Draft()
        config = "server: {host: 127.0.0.1, port: 8080}\njwt: {iss: you, aud: them}\n"
        authotron.convert_all([(config, "c.yaml"), (lines, "a.env")], draft, ABILITIES)
        self.assertEqual(options(draft, "listener auth-o-tron")["port"], "8181")
        self.assertEqual(options(draft, "token"), {"issuer": "me"})
        self.assertEqual([(note.file, note.line) for note in draft.remainder], [("a.env", 4), ("a.env", 4)])

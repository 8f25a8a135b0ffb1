"""Auth-o-tron's configuration: how each directive is translated, and that none is lost or opens a route."""

from __future__ import annotations

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from perimeter.importers.authotron import source as authotron
from perimeter.importers.draft import Draft, ImportFault
from perimeter.importers.nginx.tree import read as read_nginx
from perimeter.importers.xml_tree import read as read_xml
from perimeter.importers.yaml_tree import read as read_yaml
from tests.unit.doubles.drafts import ABILITIES, DATA, left, options, yaml


class AuthotronTests(TestCase):
    def test_the_manuals_example_leaves_nothing(self) -> None:
        draft = yaml((DATA / "authotron.yaml").read_text())
        self.assertEqual(draft.remainder, [])
        self.assertEqual(options(draft, "authentication"), {"timeout": "3s"})
        self.assertEqual(
            options(draft, "authenticator ecmwf-api-provider"),
            {"type": "ecmwf-api", "uri": "https://api.ecmwf.int/v1", "realm": "ecmwf"},
        )
        self.assertEqual(options(draft, "listener auth-o-tron"), {"port": "8080", "interface": "0.0.0.0"})
        self.assertEqual(options(draft, "logging"), {"level": "debug", "format": "console"})
        (user,) = draft.realms["plain-provider.realm"]
        self.assertEqual((user.name, user.password), ("someuser", "somesecret"))

    def test_a_secret_that_is_too_short_becomes_a_key_and_a_remark(self) -> None:
        draft = yaml("jwt:\n  secret: authotron-secret-key\n")
        self.assertEqual(options(draft, "token"), {"algorithm": "ES256"})
        (remark,) = draft.remarks
        self.assertIn("20 bytes", remark.text)
        self.assertNotIn("authotron-secret-key", remark.text)
        self.assertEqual(draft.files, {})

    def test_a_secret_that_is_long_enough_goes_to_a_file_of_its_own(self) -> None:
        secret = "0123456789 #abcdef;0123456789abcdef"
        draft = yaml(f'jwt: {{secret: "{secret}", exp: 60, iss: a, aud: b}}')
        self.assertEqual(
            options(draft, "token"),
            {"lifetime": "60s", "issuer": "a", "audience": "b", "algorithm": "HS256", "secret": "file:jwt.secret"},
        )
        self.assertEqual(draft.files, {"jwt.secret": secret})
        self.assertNotIn(secret, draft.text() + repr(draft))

    def test_version_two(self) -> None:
        draft = yaml("version: 2.0.0\nserver:\n  host: 127.0.0.1\n  port: 9000\nmetrics:\n  enabled: true\n  port: 9090\n")
        self.assertEqual(options(draft, "listener auth-o-tron"), {"port": "9000", "interface": "127.0.0.1"})
        self.assertEqual(left(draft), ["6: metrics: serve = metrics is not available yet"])

    def test_metrics_get_a_listener_of_their_own(self) -> None:
        able = attrs.evolve(ABILITIES, metrics=True)
        for text, port in (("enabled: true\n  port: 9191", "9191"), ("enabled: true", "9090"), ("port: 9191", "9191")):
            draft = Draft()
            authotron.convert(f"version: 2.0.0\nmetrics:\n  {text}\n", "a.yaml", draft, able)
            self.assertEqual(options(draft, "listener metrics"), {"port": port, "serve": "metrics"})
            self.assertEqual(left(draft), [])
            self.assertIn("interface", draft.remarks[-1].text)
        draft = Draft()
        authotron.convert("version: 2.0.0\nmetrics:\n  enabled: false\n  port: 9090\n", "a.yaml", draft, able)
        self.assertEqual((draft.text().count("[listener"), left(draft)), (0, []))

    def test_what_is_not_available_is_left_with_its_line(self) -> None:
        draft = yaml(
            "version: 1.0.0\n"
            "providers:\n"
            "- name: offline\n"
            "  type: openid-offline\n"
            "- name: other\n"
            "  type: jwt\n"
            "  cert_uri: https://a/certs\n"
            "  iam_realm: there\n"
            "  colour: blue\n"
            "augmenters:\n"
            "- name: groups\n"
            "  type: ldap\n"
            "services:\n"
            "- name: s\n"
            "store:\n"
            "  enabled: true\n"
            "novelty: 1\n"
        )
        self.assertEqual(
            options(draft, "authenticator other"),
            {"type": "jwt", "issuer": "*", "audience": "*", "realm": "there", "cert_uri": "https://a/certs"},
        )
        self.assertTrue(any("issuer and audience" in remark.text for remark in draft.remarks))
        self.assertEqual(
            left(draft),
            [
                "3: provider offline: type = openid-offline is not available yet",
                "9: other: colour: there is nothing like it here",
                "11: augmenter groups: type = ldap is not available yet",
                "14: services: scopes of s: there is nothing like it here",
                "16: store: API tokens are not available yet",
                "17: novelty: unknown to this importer",
            ],
        )

    def test_there_are_api_tokens_where_there_was_a_store_for_them(self) -> None:
        for text, token, perimeter in (
            ("store:\n  enabled: true\n  type: mongo\n", {}, {"state": "sqlite"}),
            ("store:\n  enabled: false\n", {"api_tokens": "no"}, {}),
        ):
            draft = Draft()
            authotron.convert(text, "config.yaml", draft, attrs.evolve(ABILITIES, state=True))
            found = [options(draft, name) if name in draft.sections else {} for name in ("token", "perimeter")]
            self.assertEqual(found, [token, perimeter], text)
            self.assertEqual(left(draft), [], text)

    def test_passwords_stay_as_they_are_written(self) -> None:
        users = "".join(
            f"  - {{username: u{n}, password: {p}}}\n" for n, p in enumerate(("yes", "007", "1e3", "0o17", "2026-11-22"))
        )
        draft = yaml(f"providers:\n- type: plain\n  users:\n{users}")
        self.assertEqual([user.password for user in draft.realms["plain.realm"]], ["yes", "007", "1e3", "0o17", "2026-11-22"])
        self.assertEqual(draft.remainder, [])

    def test_users_that_no_realm_file_could_hold_are_left(self) -> None:
        draft = yaml(
            "providers:\n- type: plain\n  users:\n"
            "  - {username: 'a:b', password: x}\n"
            "  - {username: a, password: ''}\n"
            "  - {username: b, password: x, roles: ['one,two']}\n"
            "  - {username: c, password: x, roles: [one, two]}\n"
            "  - {username: c, password: y}\n"
        )
        self.assertEqual(
            [(user.name, user.password, user.roles) for user in draft.realms["plain.realm"]], [("c", "x", ("one", "two"))]
        )
        self.assertEqual([line[:2] for line in left(draft)], ["4:", "5:", "6:", "8:"])

    def test_hashed_passwords_pass_as_they_are(self) -> None:
        good = "$argon2id$v=19$m=19456,t=2,p=1$YXV0aG90cm9uLWRvYy0wNQ$bnM0TZfPrwI0Eb2pfBCK39sjwVCHBBUZYykFUnbwWfw"
        draft = yaml(
            "providers:\n- type: plain\n  users:\n"
            f"  - {{username: a, password_hash: '{good}', roles: [x]}}\n"
            f"  - {{username: b, password_hash: '{good}', password: y}}\n"
            "  - {username: c, password_hash: '$argon2id$nonsense'}\n"
            "  - {username: d, password_hash: 'plain'}\n"
        )
        (user,) = draft.realms["plain.realm"]
        self.assertEqual((user.name, user.hashed, user.password, user.roles), ("a", good, None, ("x",)))
        self.assertEqual([line[:2] for line in left(draft)], ["5:", "6:", "7:"])

    def test_augmenters(self) -> None:
        draft = yaml(
            "providers: [{type: plain, name: people, realm: internal, users: []}]\n"
            "augmenters:\n"
            "- type: plain_advanced\n"
            "  name: boost\n"
            "  realm: internal\n"
            "  match: {username: [admin, root], role: [superuser]}\n"
            "  augment: {roles: [full, audit], attributes: {department: engineering, clearance: top}}\n"
            "- type: plain\n"
            "  name: basic\n"
            "  realm: internal\n"
            "  roles:\n"
            "    admin: [alice, bob]\n"
            "    guest: [carol]\n"
        )
        self.assertEqual(draft.remainder, [])
        self.assertEqual(
            options(draft, "augmenter boost"),
            {
                "type": "match",
                "realm": "internal",
                "username": "admin, root",
                "role": "superuser",
                "add_roles": "full, audit",
                "add_attributes": "department=engineering, clearance=top",
            },
        )
        self.assertEqual(options(draft, "augmenter basic")["roles"], "\n    admin: alice, bob\n    guest: carol")
        self.assertIn("roles =\n    admin: alice, bob\n    guest: carol\n", draft.text())

    def test_attack_alias_bombs_are_refused(self) -> None:
        for text in ("a: &a [x]\nb: *a\n", "a: &a\n  b: *a\n"):
            with self.assertRaisesRegex(ImportFault, r"f:2: an alias"):
                read_yaml(text, "f")
        with self.assertRaisesRegex(ImportFault, "levels deep"):
            read_yaml("[" * 500_000, "f")
        with self.assertRaisesRegex(ImportFault, "larger than"):
            read_yaml("a" * (2 << 20), "f")

    def test_what_is_no_configuration_is_reported_with_its_line(self) -> None:
        for text, fault in (
            ("", "empty"),
            ("a: 1\na: 2", "f:2: 'a' is there twice"),
            ("a: [", "f:1: not YAML"),
            ("a: !!python/object/apply:os.system [x]", "means nothing"),
            ("a: !!python/name:os.system x", "means nothing"),
            ("? [a]\n: b", "f:1: a key that is not text"),
            ("--- a\n--- b", "not YAML"),
        ):
            with self.assertRaisesRegex(ImportFault, fault):
                value = read_yaml(text, "f")
                for one in value.table.values():
                    self.fail(f"{text}: {one}")

    @given(st.text(max_size=200))
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        for read in (read_yaml, read_nginx, read_xml):
            try:
                read(text, "f")
            except ImportFault as fault:
                self.assertTrue(str(fault).startswith("f:"))

    def test_attack_48_a_name_to_listen_on_is_not_every_interface(self) -> None:
        for host, lines in (("localhost", 0), ("gw.example.com", 1)):
            for text in (f"bind_address: {host}:8080\n", f"server: {{host: {host}, port: 8080}}\n"):
                draft = yaml(text)
                self.assertEqual(options(draft, "listener auth-o-tron")["interface"], "127.0.0.1", text)
                self.assertEqual(len(draft.remainder), lines, text)

"""The options of ``type = ldap``: their defaults, and the errors that are reported."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import TestCase

from perimeter.auth.kinds.ldap.authenticator import LdapFactory
from perimeter.auth.kinds.ldap.settings import LdapSettings, RoleRule
from perimeter.auth.registry import authenticator_factories
from perimeter.config.language.option import options_of
from tests.unit.doubles.ldap_sections import MINIMAL, parsed, read, read_body

SERVICE = {"bind_dn": "cn=gw,dc=x", "bind_password": "pw"}


class DefaultTests(TestCase):
    def test_what_need_not_be_said(self) -> None:
        found = parsed(**MINIMAL)
        self.assertEqual(found, LdapSettings((("ldap.example.org", 0),), "ou=people,dc=example,dc=org"))
        self.assertEqual(found.servers, (("ldap.example.org", 389),))

    def test_active_directory_has_its_own(self) -> None:
        found = parsed(**MINIMAL, **SERVICE, flavour="active-directory", tls="ldaps", role_base_dn="dc=x")
        self.assertTrue(found.active_directory)
        self.assertTrue(found.nested_groups)
        self.assertEqual(
            (found.user_object_class, found.user_id_attribute, found.role_object_class, found.role_member_attribute),
            ("user", ("sAMAccountName",), "group", "member"),
        )
        self.assertEqual(found.servers, (("ldap.example.org", 636),))
        told = parsed(**MINIMAL, **SERVICE, flavour="active-directory", user_id_attribute="mail")
        self.assertEqual((told.user_id_attribute, told.name_attribute), (("mail",), "mail"))
        several = parsed(**MINIMAL, user_id_attribute="uid, mail")
        self.assertEqual((several.user_id_attribute, several.name_attribute), (("uid", "mail"), "uid"))

    def test_all_of_reactors_options(self) -> None:
        found = parsed(
            debug="yes",
            hostname="h",
            port="1389",
            user_base_dn="ou=p",
            user_rdn_attribute="uid",
            user_object_class="person",
            bind_dn="cn=b",
            bind_password="pw",
            user_id_attribute="mail",
            user_password_attribute="userPassword",
            role_base_dn="ou=g",
            role_name_attribute="ou",
            role_member_attribute="member",
            role_object_class="groupOfNames",
        )
        expected = LdapSettings(
            (("h", 0),),
            "ou=p",
            1389,
            debug=True,
            user_rdn_attribute="uid",
            user_object_class="person",
            bind_dn="cn=b",
            bind_password="pw",
            user_id_attribute=("mail",),
            role_base_dn="ou=g",
            role_name_attribute="ou",
            role_member_attribute="member",
            role_object_class="groupOfNames",
        )
        self.assertEqual(found, expected)
        self.assertEqual(found.servers, (("h", 1389),))

    def test_the_bounds_of_numbers(self) -> None:
        for value in (1, 65535):
            self.assertEqual(parsed(**MINIMAL | {"hostname": f"h:{value}"}).servers, (("h", value),))
            self.assertEqual(parsed(**MINIMAL, port=str(value)).port, value)
        for value in (1, 1000):
            self.assertEqual(parsed(**MINIMAL, bind_connections=str(value)).bind_connections, value)

    def test_servers(self) -> None:
        found = parsed(**MINIMAL | {"hostname": "one, two:1389, [::1], [fd00::1]:636, 192.0.2.1", "port": "3268"})
        self.assertEqual(found.servers, (("one", 3268), ("two", 1389), ("::1", 3268), ("fd00::1", 636), ("192.0.2.1", 3268)))

    def test_mapping(self) -> None:
        mapping = "\n  CN=Gateway Admins,OU=Groups,DC=x -> admin\n  Operators->ops\n  a -> b -> c"
        found = parsed(**MINIMAL, role_base_dn="dc=x", role_mapping=mapping)
        rules = (RoleRule("CN=Gateway Admins,OU=Groups,DC=x", "admin"), RoleRule("Operators", "ops"), RoleRule("a", "b -> c"))
        self.assertEqual(found.role_mapping, rules)

    def test_the_password_shows_nowhere(self) -> None:
        self.assertNotIn("xyzzy", repr(parsed(**MINIMAL, bind_dn="cn=b", bind_password="xyzzy")))

    def test_the_kind_is_installed_and_reports_its_options(self) -> None:
        factory = authenticator_factories()["ldap"]
        self.assertIsInstance(factory, LdapFactory)
        self.assertEqual(factory.options, options_of(LdapSettings))


class ManualTests(TestCase):
    def test_every_example_of_the_manual_is_read(self) -> None:
        """Integration tests use the Active Directory recipe; this test only checks that no option is misspelt."""
        for page in ("ldap", "active-directory"):
            text = (Path(__file__).parents[5] / "docs/how-to" / f"{page}.md").read_text()
            recipe = text.partition("```ini\n")[2].partition("```")[0].partition("\n")[2]
            recipe = re.sub(r"credential:\S+", "pw", recipe)
            recipe = re.sub(r"^(type|realm|ca_certificate) = .*\n", "", recipe, flags=re.MULTILINE)
            self.assertEqual(read_body(recipe)[1], [], page)


class FaultTests(TestCase):
    def problems(self, **options: str) -> list[str]:
        return [problem.partition("[authenticator corp] ")[2] for problem in read(**options)[1]]

    def test_what_is_needed(self) -> None:
        self.assertEqual(
            sorted(self.problems()), ["hostname: is required (list of hosts)", "user_base_dn: is required (distinguished name)"]
        )

    def test_single_options(self) -> None:
        for option, value, told in (
            ("hostname", "ldaps://h/", "expected a host name or address, and tls = ldaps instead of ldaps://"),
            ("hostname", "h:0", "expected a port from 1 to 65535"),
            ("hostname", "h:65536", "expected a port from 1 to 65535"),
            ("port", "0", "expected a whole number from 1 to 65535"),
            ("port", "65536", "expected a whole number from 1 to 65535"),
            ("bind_connections", "0", "expected a whole number from 1 to 1000"),
            ("bind_connections", "1001", "expected a whole number from 1 to 1000"),
            ("hostname", "::1", "expected host or host:port (IPv6 in brackets)"),
            ("user_base_dn", "people", "expected a distinguished name such as ou=people,dc=example,dc=com"),
            ("user_id_attribute", "uid)(cn", "expected the name of an attribute or object class, such as uid"),
            ("user_filter", "(uid=x", "column 7: expected )"),
            ("user_filter", "(uid={user})", "column 6: {user} is not known here, only {username}; a brace is \\7b or \\7d"),
            ("user_filter", "(uid={dn})", "column 6: {dn} is not known here"),
            ("user_filter", "(uid=x)", "{username} must be in each alternative: otherwise every name finds an entry"),
            ("user_filter", "(&(uid={username})(!(mail={username})))", "{username} below a ! would exclude entries"),
            ("role_filter", "(a={x})", "column 4: {x} is not known here, only {dn} or {username}; a brace is"),
            ("role_filter", "(|(member={dn})(a=b))", "{dn} or {username} must be in each alternative"),
            ("tls", "tls", "expected none, starttls or ldaps"),
            ("flavour", "ad", "expected generic or active-directory"),
            ("role_mapping", "admin", "expected GROUP -> ROLE"),
            ("search_connections", "0", "expected a whole number from 1 to 100"),
            ("timeout", "0", "expected a duration greater than zero"),
            ("domain", "@example.org", "expected a domain"),
            ("ca_certificate", "/nowhere.pem", "there is no file /nowhere.pem"),
            ("hostnam", "x", "unknown option, did you mean hostname?"),
        ):
            found = self.problems(**MINIMAL | {"role_base_dn": "dc=x", option: value})
            self.assertTrue(any(problem.startswith(f"{option}: {told}") for problem in found), (option, found))

    def test_attack_32_a_name_without_a_password(self) -> None:
        (found,) = self.problems(**MINIMAL, bind_dn="cn=b")
        self.assertIn("bind_dn: needs bind_password", found)
        (found,) = self.problems(**MINIMAL, bind_password="pw")
        self.assertIn("bind_password: needs bind_dn", found)

    def test_what_does_not_go_together(self) -> None:
        for options, told in (
            ({"flavour": "active-directory"}, "Active Directory answers no anonymous search"),
            ({"role_name_attribute": "cn"}, "role_name_attribute: has no effect without role_base_dn"),
            ({"role_mapping": "a -> b"}, "role_mapping: has no effect without role_base_dn"),
            ({"server_name": "h"}, "server_name: has no effect with tls = none"),
            ({"role_base_dn": "dc=x", "nested_groups": "yes", "role_member_value": "username"}, "nested_groups: needs"),
            ({"user_filter": "(uid={username})", "user_object_class": "x"}, "user_object_class: has no effect with user_filter"),
            ({"role_filter": "(member={dn})"}, "role_filter: has no effect without role_base_dn"),
            (
                {"role_base_dn": "dc=x", "role_filter": "(member={dn})", "role_object_class": "group"},
                "role_object_class: has no effect with role_filter",
            ),
            (
                {"role_base_dn": "dc=x", "role_filter": "(member={dn})", "role_member_attribute": "member"},
                "role_member_attribute: has no effect with role_filter",
            ),
            (
                {"role_base_dn": "dc=x", "role_filter": "(memberUid={username})", "nested_groups": "yes"},
                "nested_groups: needs {dn} in role_filter",
            ),
        ):
            found = self.problems(**MINIMAL | options)
            self.assertEqual(len(found), 1, found)
            self.assertIn(told, found[0] if told[0] != "A" else read(**MINIMAL | options)[1][0])

    def test_no_secret_is_repeated(self) -> None:
        self.assertNotIn("xyzzy", "".join(self.problems(**MINIMAL, bind_password="xyzzy")))

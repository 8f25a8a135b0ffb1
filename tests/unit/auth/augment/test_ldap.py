"""``type = ldap`` of an augmenter: which roles groups give, what is cached, and what the factory builds from a section."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from perimeter.auth.augment.ldap import LdapAugmenter, LdapAugmenterFactory, LdapAugmenterSettings, roles_of_group
from perimeter.auth.kinds.ldap import directory as directory_module
from perimeter.auth.kinds.ldap.names import components
from perimeter.config.language.references import References
from perimeter.config.language.scanner import scan
from perimeter.config.language.section import Section
from perimeter.config.language.settings import read
from perimeter.errors import Problem, StartupError, Unavailable, Undecided
from perimeter.model import AuthenticationRequest, Principal
from perimeter.plugin.augmenter import IAugmenter, IAugmenterFactory
from perimeter.plugin.services import AuthServices
from tests.unit.doubles.auth import ImmediateThreads, ThreadClock, offload_with
from tests.unit.doubles.ldap_directory import MemoryDirectory, entry

BASE = "dc=example"
NEEDED = f"uri = ldap://directory.example:389\nsearch_base = {BASE}\n"


def settings_of(text: str) -> tuple[LdapAugmenterSettings, list[str]]:
    (scanned,), faults = scan(f"[augmenter groups]\n{text}")
    assert not faults, faults
    problems: list[Problem] = []
    section = Section(scanned, "site.ini", Path("/"), References({}, Path("/")), problems)
    settings = read(section, LdapAugmenterSettings)
    section.finish()
    return settings, [str(problem).removeprefix("site.ini:") for problem in problems]


class GroupTests(TestCase):
    def roles(self, dn: str, one: str = "", several: tuple[str, ...] = ()) -> list[str]:
        return roles_of_group(dn, components(one) if one else (), [components(fragment) for fragment in several])

    def test_a_group_that_is_the_fragment_itself(self) -> None:
        self.assertEqual(roles_of_group("cn=ops,ou=Groups", components("cn=ops"), []), ["ops"])
        self.assertEqual(roles_of_group("cn=ops", components("cn=ops"), []), ["ops"])
        self.assertEqual(roles_of_group("cn=ops", components("cn=dev"), []), [])

    def test_without_a_filter_the_name_of_the_group(self) -> None:
        self.assertEqual(self.roles("cn=Admin,ou=TeamA,dc=example"), ["Admin"])
        self.assertEqual(self.roles("ou=TeamA,dc=example"), [])

    def test_with_a_filter_only_groups_with_that_part(self) -> None:
        for dn, fragment, expected in (
            ("cn=Admin,ou=TeamA,dc=example", "ou=TeamA", ["Admin"]),
            ("cn=Admin,ou=teama,dc=example", "OU=TeamA", ["Admin"]),
            ("cn=Admin,ou=TeamA,dc=example", "ou=TeamA,dc=example", ["Admin"]),
            ("cn=Admin,ou=TeamA,dc=example", "dc=example,ou=TeamA", ["Admin"]),
            ("cn=Admin,ou=TeamA,dc=example", "dc=example", ["Admin"]),
            ("cn=Admin,ou=TeamA,dc=example", "ou=TeamB", []),
            ("cn=Admin,ou=TeamA,ou=x,dc=example", "ou=TeamA,dc=example", []),
            ("cn=Admin,ou=TeamAB,dc=example", "ou=TeamA", []),
            ("cn=Admin,ou=TeamA,dc=example", "ou=TeamA,dc=example,dc=org", []),
        ):
            self.assertEqual(self.roles(dn, fragment), expected, (dn, fragment))

    def test_with_several_the_path_from_there(self) -> None:
        for dn, several, expected in (
            ("cn=Admin,ou=TeamA,dc=example", ("ou=TeamA",), ["/TeamA/Admin"]),
            ("cn=Admin,ou=Sub,ou=TeamA,dc=example", ("ou=TeamA",), ["/TeamA/Sub/Admin"]),
            ("cn=Admin,ou=TeamA,dc=example", ("ou=TeamA,dc=example",), ["/example/TeamA/Admin"]),
            ("cn=Admin,ou=TeamA,dc=example", ("ou=TeamB", "dc=example", "ou=TeamA"), ["/example/TeamA/Admin", "/TeamA/Admin"]),
            ("cn=Admin,ou=TeamA,dc=example", ("ou=TeamB",), []),
            ("cn=Admin,ou=TeamA,dc=example", ("cn=Admin",), ["/Admin"]),
        ):
            self.assertEqual(self.roles(dn, several=several), expected, (dn, several))

    def test_attack_15_a_name_cannot_pretend_to_be_a_path_or_a_part(self) -> None:
        self.assertEqual(self.roles("cn=ou\\=TeamA,ou=x,dc=example", "ou=TeamA"), [])
        self.assertEqual(self.roles("cn=Sub/Admin,ou=TeamA,dc=example", several=("ou=TeamA",)), [])
        self.assertEqual(self.roles("cn=Admin,ou=a/b,ou=TeamA,dc=example", several=("ou=TeamA",)), [])
        # the slash is outside of the part that is used
        self.assertEqual(self.roles("cn=Admin,ou=TeamA,ou=a/b", several=("ou=TeamA",)), ["/TeamA/Admin"])

    def test_attack_15_names_that_are_no_roles(self) -> None:
        for dn in (
            "cn=a\\0d\\0aX-Auth-Roles: admin,dc=x",
            "cn=\\20,dc=x",
            "cn=Admin,ou=a\\00b,dc=x",
            "cn=Admin,ou=\\20,dc=x",
            "no name",
            "",
        ):
            self.assertEqual(self.roles(dn), [], dn)


class AugmenterCase(TestCase):
    def setUp(self) -> None:
        self.clock = ThreadClock()
        self.directory = MemoryDirectory(
            self.clock,
            entry(f"cn=alice,{BASE}", objectClass="person", cn="alice", memberOf=[f"cn=ops,{BASE}", f"cn=dev,ou=TeamA,{BASE}"]),
            entry(f"cn=bob,{BASE}", objectClass="person", cn="bob"),
            entry(f"cn=host,{BASE}", objectClass="device", cn="host", memberOf=f"cn=ops,{BASE}"),
        )
        self.lines: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)
        self.use()

    def observe(self, event: Any) -> None:
        if event["log_namespace"].startswith("perimeter"):
            self.lines.append(event["log_format"].format_map(event))

    def use(self, more: str = "") -> None:
        settings, problems = settings_of(NEEDED + more)
        self.assertEqual(problems, [])
        self.augmenter = LdapAugmenter("groups", "staff", settings, self.directory, self.clock)  # type: ignore[arg-type]

    def ask(self, username: str, *roles: str) -> Deferred[Principal]:
        self.steps: list[str] = []
        request = AuthenticationRequest("192.0.2.1", explain=self.steps.append)
        return Deferred.fromCoroutine(self.augmenter.augment(Principal(username, "staff", roles), request))

    def roles(self, username: str, *roles: str) -> tuple[str, ...]:
        return self.successResultOf(self.ask(username, *roles)).roles


class AugmenterTests(AugmenterCase):
    def test_its_interfaces(self) -> None:
        self.assertTrue(verifyObject(IAugmenter, self.augmenter))
        self.assertTrue(verifyObject(IAugmenterFactory, LdapAugmenterFactory()))

    def test_the_groups_of_the_entry_are_added(self) -> None:
        self.assertEqual(self.roles("alice", "viewer"), ("viewer", "ops", "dev"))
        self.assertEqual(self.steps, ["augmenter groups finds the roles ops, dev"])
        (search,) = self.directory.asked
        self.assertEqual((search.base, str(search.filter)), (BASE, "(&(objectClass=person)(cn=alice))"))
        self.assertEqual((search.attributes, search.limit), (("memberOf",), 1))

    def test_users_without_groups_or_an_entry(self) -> None:
        for name in ("bob", "nobody", "host"):
            self.assertEqual(self.roles(name, "viewer"), ("viewer",))
            self.assertEqual(self.steps, ["augmenter groups finds the roles none"])

    def test_attributes_of_the_entry_are_added_and_remembered_with_the_roles(self) -> None:
        self.use("attributes = mail, sn")
        groups = [f"cn=ops,{BASE}"]
        alice = entry(f"cn=alice,{BASE}", objectClass="person", cn="alice", mail=["b@x", "a@x"], memberOf=groups)
        self.directory.entries[0] = alice
        for _ in range(2):
            found = self.successResultOf(self.ask("alice"))
            self.assertEqual((found.roles, found.attributes), (("ops",), {"mail": "a@x"}))
        (search,) = self.directory.asked
        self.assertEqual(search.attributes, ("memberOf", "mail", "sn"))
        self.assertEqual(self.successResultOf(self.ask("nobody")).attributes, {})

    def test_filters(self) -> None:
        self.use("filter = ou=TeamA")
        self.assertEqual(self.roles("alice"), ("dev",))
        self.use("filters = ou=TeamA\n  dc=example")
        self.assertEqual(self.roles("alice"), ("/example/ops", "/TeamA/dev", "/example/TeamA/dev"))

    def test_attack_31_names_that_no_entry_can_have(self) -> None:
        for name in ("a\0b", "x" * 2000):
            self.assertEqual(self.roles(name), ())
        self.assertEqual(self.directory.asked, [])

    def test_attack_31_two_entries_with_the_name(self) -> None:
        self.directory.entries.append(entry(f"cn=alice,ou=guests,{BASE}", objectClass="person", cn="alice"))
        self.failureResultOf(self.ask("alice"), Undecided)
        # and nothing of it is cached
        self.directory.entries.pop()
        self.assertEqual(self.roles("alice"), ("ops", "dev"))

    def test_roles_are_remembered_from_the_question_on(self) -> None:
        self.use("cache = 60s\ntimeout = 50s")
        self.directory.takes = 10
        first, second = self.ask("alice"), self.ask("alice")
        self.clock.advance(10)
        self.assertEqual([self.successResultOf(one).roles for one in (first, second)], [("ops", "dev")] * 2)
        self.assertEqual(len(self.directory.asked), 1)
        self.clock.advance(49)
        self.assertEqual(self.roles("alice"), ("ops", "dev"))
        self.clock.advance(1)
        self.assertNoResult(self.ask("alice"))
        self.assertEqual(len(self.directory.asked), 2)

    def test_nothing_is_remembered_where_that_is_configured(self) -> None:
        self.use("cache = 0")
        for count in (1, 2):
            self.roles("alice")
            self.assertEqual(len(self.directory.asked), count)

    def test_attack_41_a_directory_that_is_too_slow(self) -> None:
        self.use("timeout = 3s")
        self.directory.takes = 60
        asked = self.ask("alice")
        self.clock.advance(2.9)
        self.assertNoResult(asked)
        self.clock.advance(0.2)
        self.assertIn("augmenter groups", self.failureResultOf(asked, Unavailable).value.detail)

    def test_stopping_closes_the_directory(self) -> None:
        self.augmenter.stop()
        self.assertEqual(self.directory.closed, 1)


class SettingsTests(AugmenterCase):
    def test_defaults(self) -> None:
        settings, problems = settings_of(NEEDED)
        self.assertEqual(problems, [])
        found = (settings.user_object_class, settings.user_id_attribute, settings.member_of, settings.cache, settings.timeout)
        self.assertEqual(found, ("person", "cn", "memberOf", 120.0, 5.0))

    def test_problems(self) -> None:
        for text, problem in (
            ("filter = ou=a\nfilters = ou=b", "replaces filter"),
            ("bind_dn = cn=gw", "ldap_password"),
            ("ldap_password = pw", "bind_dn"),
            ("ca_certificate = /etc/hostname", "ldaps://"),
            ("filter = TeamA", "a part of a distinguished name"),
            ("filters = ou=a\n  TeamB", "a part of a distinguished name"),
        ):
            _, problems = settings_of(NEEDED + text)
            self.assertTrue(any(problem in one for one in problems), (text, problems))

    def build(self, text: str) -> list[Any]:
        """The arguments of the directory."""
        made: list[Any] = []

        def directory(name: str, addresses: Any, *account: Any, **options: Any) -> MemoryDirectory:
            made.extend((name, addresses[0], account[:2], options))
            return self.directory

        self.patch(directory_module, "LdapDirectory", directory)
        settings, problems = settings_of(text)
        self.assertEqual(problems, [])
        services = AuthServices(self.clock, offload_with(ImmediateThreads(), self.clock))
        self.assertTrue(verifyObject(IAugmenter, LdapAugmenterFactory().build("groups", "staff", settings, services)))
        return made

    def test_plain_text_to_another_machine_is_warned_about(self) -> None:
        name, address, account, options = self.build(NEEDED + "bind_dn = cn=gw\nldap_password = pw\ntimeout = 7s")
        self.assertEqual((name, str(address), address.tls, address.start_tls), ("groups", "directory.example:389", None, False))
        self.assertEqual(account, ("cn=gw", "pw"))
        self.assertEqual((options["timeout"], options["rest"], options["bind_connections"]), (7.0, 7.0, 1))
        self.assertIn("plain text", "".join(self.lines))
        self.lines.clear()
        for host in ("localhost", "127.0.0.1", "[::1]"):
            self.build(f"uri = ldap://{host}\nsearch_base = {BASE}")
        self.assertEqual(self.lines, [])

    def test_ldaps(self) -> None:
        _, address, _, _ = self.build(f"uri = ldaps://directory.example\nsearch_base = {BASE}")
        self.assertEqual((str(address), address.tls.server_name), ("directory.example:636", "directory.example"))
        self.assertEqual(self.lines, [])

    def test_ca_certificates_that_cannot_be_used(self) -> None:
        self.assertRaises(StartupError, self.build, f"uri = ldaps://h\nsearch_base = {BASE}\nca_certificate = /etc/hostname")

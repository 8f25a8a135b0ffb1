"""The LDAP authenticator against a real slapd."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from twisted.internet.defer import Deferred, gatherResults

from perimeter.auth.kinds.ldap import roles
from perimeter.auth.kinds.ldap.filters import parse_filter
from perimeter.auth.kinds.ldap.settings import RoleRule
from perimeter.errors import Rejected, Unavailable, Undecided
from perimeter.model import AuthenticationRequest, BasicCredentials, Principal, Recollection
from tests.integration.directories import SEARCHER, SUFFIX, Authority, Slapd, group, line, person
from tests.integration.ldapkit import GROUPS, PEOPLE, REQUEST, LdapCase, settings_for, shared

NOWHERE = f"""\
dn: ou=elsewhere,{PEOPLE}
objectClass: referral
objectClass: extensibleObject
ou: elsewhere
ref: ldap://127.0.0.1:1/ou=elsewhere,{PEOPLE}
"""

POSIX = f"""\
dn: cn=unix,{GROUPS}
objectClass: posixGroup
cn: unix
gidNumber: 1000
memberUid: john
"""

CRLF_GROUP = f"""\
dn: cn=innocent,{GROUPS}
objectClass: groupOfUniqueNames
cn: innocent
{line("cn", "x" + chr(13) + chr(10) + "X-Auth-Roles: admin")}
uniqueMember: cn=mallory,{PEOPLE}
"""


def populated(directory: Path) -> Slapd:
    """The directory of most of these tests."""
    return Slapd(
        directory,
        [
            person("john", "secret", "mail: john@example.org", "displayName: John Doe"),
            person("jane", "hunter2", "mail: john", line("displayName", "Jane\r\nX-Auth-Roles: admin")),
            person("José", "contraseña"),
            person("mallory", "evil"),
            person("bob", "pw"),
            person("al*", "star"),
            person("weird (uid=x)", "pw"),
            person("twin", "pw", cn="The Twin"),
            person("many", "pw", "cn: abacus", "cn: zebra"),
            person("robert", "pw", "cn: aaron", "cn: rob", rdn="uid"),
            person("evil", "pw", line("cn", "a\r\nX-Auth-Roles: admin"), rdn="uid", cn="evilone"),
            f"dn: ou=second,{PEOPLE}\nobjectClass: organizationalUnit\nou: second\n",
            f"dn: cn=bob,ou=second,{PEOPLE}\nobjectClass: inetOrgPerson\ncn: bob\nsn: bob\nuserPassword: pw\n",
            NOWHERE,
            group("admin", "john", "jane"),
            group("ops", "john"),
            group("leaf", "jane"),
            group("middle", f"cn=leaf,{GROUPS}"),
            group("top", f"cn=middle,{GROUPS}"),
            group("loop", f"cn=loop,{GROUPS}", f"cn=leaf,{GROUPS}"),
            group("a,admin", "mallory"),
            CRLF_GROUP,
            POSIX,
        ],
    )


class PopulatedCase(LdapCase):
    """Uses the directory `populated`, and reads the part of its log that belongs to a test."""

    TLS: ClassVar[str] = "none"

    def setUp(self) -> None:
        self.need("slapd", "ldapmodify")
        self.server = shared(populated)
        self.seen = len(self.server.log)

    @property
    def log(self) -> str:
        """The server's log of this test."""
        return self.server.log[self.seen :]

    def binds(self) -> list[str]:
        """The names in bind requests during this test, without the gateway's own."""
        return [dn for dn in re.findall(r'BIND dn="([^"]*)" method=128', self.log) if dn != SEARCHER]

    @property
    def operations(self) -> list[str]:
        """The operations that the directory was asked for. It may log the connection that found it ready only now."""
        return re.findall(r"\b(?:BIND|SRCH) .*", self.log)


class LoginTests(PopulatedCase):
    async def test_a_right_password_gives_a_principal_with_roles(self) -> None:
        ldap = self.authenticator(settings_for(self.server))
        found = await self.login(ldap, "john", "secret")
        self.assertEqual(found, Principal("john", "staff", ("admin", "ops"), "corp"))

    async def test_a_wrong_password_is_rejected(self) -> None:
        ldap = self.authenticator(settings_for(self.server))
        with self.assertRaises(Rejected) as caught:
            await self.login(ldap, "john", "hunter2")
        self.assertEqual(caught.exception.detail, "the directory refused the login (invalidCredentials)")

    async def test_an_unknown_user_is_left_to_the_next_authenticator(self) -> None:
        ldap = self.authenticator(settings_for(self.server))
        self.assertIsNone(await self.login(ldap, "nobody", "secret"))

    async def test_names_and_passwords_beyond_ascii(self) -> None:
        ldap = self.authenticator(settings_for(self.server))
        found = await self.login(ldap, "JOSÉ", "contraseña")
        assert found is not None
        self.assertEqual(found.username, "José")

    async def test_attack_30_names_are_one_as_the_directory_compares_them(self) -> None:
        ldap = self.authenticator(settings_for(self.server, domain="example.org"))
        for name in ("john", "JOHN", "  John ", "john@example.org", "john@EXAMPLE.ORG"):
            self.assertEqual(await self.login(ldap, name, "secret"), Principal("john", "staff", ("admin", "ops"), "corp"), name)
        self.assertIsNone(await self.login(ldap, "john@evil.org", "secret"))

    async def test_another_attribute_than_the_one_in_the_name(self) -> None:
        ldap = self.authenticator(settings_for(self.server, user_id_attribute=("uid",)))
        found = await self.login(ldap, "TWIN", "pw")
        assert found is not None
        self.assertEqual(found.username, "twin")

    async def test_two_entries_of_one_name_are_refused(self) -> None:
        ldap = self.authenticator(settings_for(self.server))
        with self.assertRaises(Rejected) as caught:
            await self.login(ldap, "bob", "pw")
        self.assertIn("more than one entry", caught.exception.detail)
        self.assertEqual(self.binds(), [])

    async def test_a_user_of_several_names_is_one_principal(self) -> None:
        ldap = self.authenticator(settings_for(self.server))
        for name in ("abacus", "zebra", "many"):
            found = await self.login(ldap, name, "pw")
            assert found is not None
            self.assertEqual(found.username, "many")
        for name in ("rob", "robert", "aaron"):
            found = await self.login(ldap, name, "pw")
            assert found is not None
            self.assertEqual(found.username, "aaron")

    async def test_anonymous_searches_where_the_directory_allows_them(self) -> None:
        server = self.slapd([person("john", "secret"), group("admin", "john")], anonymous=True)
        ldap = self.authenticator(settings_for(server, bind_dn="", bind_password=""))
        self.assertEqual(await self.login(ldap, "john", "secret"), Principal("john", "staff", ("admin",), "corp"))

    async def test_connections_are_few_and_bound_once(self) -> None:
        ldap = self.authenticator(settings_for(self.server, search_connections=2))
        for _ in range(5):
            await self.login(ldap, "john", "secret")
        self.assertEqual(self.log.count(f'BIND dn="{SEARCHER}" method=128'), 1)
        self.assertEqual(len(self.binds()), 5)

    async def test_explain_reports_every_step_and_no_secret(self) -> None:
        ldap = self.authenticator(settings_for(self.server))
        told: list[str] = []
        request = AuthenticationRequest("192.0.2.1", explain=told.append)
        await ldap.authenticate(BasicCredentials("john", "secret"), request)
        self.assertEqual(
            told,
            [
                f"search for the user below {PEOPLE}: (&(objectClass=inetOrgPerson)(cn=john))",
                f"bind as cn=john,{PEOPLE}",
                f"search for groups below {GROUPS}: (&(objectClass=groupOfUniqueNames)(uniqueMember=cn=john,{PEOPLE}))",
                f"group cn=admin,{GROUPS}: admin",
                f"group cn=ops,{GROUPS}: ops",
                "john is in, with roles: admin, ops",
            ],
        )
        told.clear()
        with self.assertRaises(Rejected):
            await ldap.authenticate(BasicCredentials("john", "xyzzy"), request)
        self.assertEqual(told[-1], "wrong_credentials: the directory refused the login (invalidCredentials)")
        self.assertNotIn("xyzzy", "".join(told))


class NameTests(PopulatedCase):
    """Logins by several attributes, and by filters of the operator."""

    async def found(self, username: str, password: str, **options: object) -> Principal | None:
        return await self.login(self.authenticator(settings_for(self.server, **options)), username, password)

    async def test_login_by_one_of_several_attributes(self) -> None:
        for name in ("john", "JOHN", "john@example.org"):
            found = await self.found(name, "secret", user_id_attribute=("cn", "mail"), attributes=("mail", "displayName"))
            self.assertEqual(found, Principal("john", "staff", ("admin", "ops"), "corp"))
            assert found is not None
            self.assertEqual(found.attributes, {"mail": "john@example.org", "displayName": "John Doe"})

    async def test_attack_141_whoever_has_anothers_name_as_mail_address_is_not_that_user(self) -> None:
        options = {"user_id_attribute": ("cn", "mail"), "attributes": ("mail", "displayName")}
        with self.assertRaises(Rejected):
            await self.found("john", "hunter2", **options)
        self.assertEqual(self.binds(), [f"cn=john,{PEOPLE}"])
        found = await self.found("jane", "hunter2", **options)
        assert found is not None
        self.assertEqual(found.attributes, {"mail": "john"})  # the other one would be two header lines

    async def test_a_filter_of_the_operator(self) -> None:
        text = "(&(objectClass=inetOrgPerson)(|(cn={username})(mail={username}))(mail=*@example.org)(!(sn=x)))"
        template = parse_filter(text, ("username",))
        for name in ("john", "john@example.org"):
            found = await self.found(name, "secret", user_filter=template)
            self.assertEqual(found, Principal("john", "staff", ("admin", "ops"), "corp"))
        for name in ("jane", "bob", "*", "jo*", "john)(cn=*"):
            self.assertIsNone(await self.found(name, "hunter2", user_filter=template), name)
        self.assertIn(r"(cn=john\29\28cn=\2A)", self.log)

    async def test_each_kind_of_comparison_is_understood(self) -> None:
        for text, finds in (
            ("(&(cn={username})(createTimestamp>=20200101000000Z))", True),
            ("(&(cn={username})(createTimestamp<=20200101000000Z))", False),
            ("(&(cn~={username})(mail=*@example.org))", True),
            ("(cn=j*{username}*)", False),
            ("(cn={username}*)", True),
            ("(cn:caseExactMatch:={username})", True),
            ("(&(:caseExactMatch:={username})(mail=*@example.org))", True),
            ("(&(cn={username})(ou:dn:=people))", True),
        ):
            found = await self.found("john", "secret", user_filter=parse_filter(text, ("username",)), role_base_dn="")
            self.assertEqual(found is not None, finds, text)

    async def test_a_filter_for_groups(self) -> None:
        text = "(|(&(objectClass=groupOfUniqueNames)(uniqueMember={dn}))(memberUid={username}))"
        found = await self.found("john", "secret", role_filter=parse_filter(text, ("dn", "username")))
        assert found is not None
        self.assertEqual(found.roles, ("admin", "ops", "unix"))
        found = await self.found("jane", "hunter2", role_filter=parse_filter(text, ("dn", "username")), nested_groups=True)
        assert found is not None
        self.assertEqual(found.roles, ("admin", "leaf", "loop", "middle", "top"))


class RecallTests(PopulatedCase):
    """The owner of an API token, looked up without a password."""

    async def recall(self, name: str) -> Principal | None:
        return await self.authenticator(settings_for(self.server)).authenticate(Recollection(name), REQUEST)

    async def test_it_is_what_a_login_would_find(self) -> None:
        self.assertEqual(await self.recall("john"), Principal("john", "staff", ("admin", "ops"), "corp"))
        self.assertEqual(self.binds(), [])

    async def test_attack_39_who_is_not_there(self) -> None:
        for name in ("nobody", "JOHN", "zebra", "*", "", "john)(cn=*"):
            self.assertIsNone(await self.recall(name), name)
        with self.assertRaises(Rejected):
            await self.recall("bob")


class RoleTests(PopulatedCase):
    async def roles(self, username: str, password: str, **options: object) -> tuple[str, ...]:
        found = await self.login(self.authenticator(settings_for(self.server, **options)), username, password)
        assert found is not None
        return found.roles

    async def test_no_base_no_roles(self) -> None:
        self.assertEqual(await self.roles("john", "secret", role_base_dn=""), ())

    async def test_groups_in_groups_when_asked_for(self) -> None:
        self.assertEqual(await self.roles("jane", "hunter2"), ("admin", "leaf"))
        nested = await self.roles("jane", "hunter2", nested_groups=True)
        self.assertEqual(nested, ("admin", "leaf", "loop", "middle", "top"))

    async def test_groups_that_hold_names(self) -> None:
        options = {"role_object_class": "posixGroup", "role_member_attribute": "memberUid", "role_member_value": "username"}
        self.assertEqual(await self.roles("JOHN", "secret", **options), ("unix",))

    async def test_mapping_by_distinguished_name_and_by_name(self) -> None:
        rules = (
            RoleRule(f"CN=Admin, OU=groups,{SUFFIX.upper()}", "administrator"),
            RoleRule("OPS", "operator"),
            RoleRule("absent", "never"),
        )
        self.assertEqual(await self.roles("john", "secret", role_mapping=rules), ("administrator", "operator"))
        self.assertEqual(await self.roles("jane", "hunter2", role_mapping=rules), ("administrator",))

    async def test_attack_15_line_ends_in_attributes_make_no_role_and_no_user(self) -> None:
        self.assertEqual(await self.roles("mallory", "evil"), ("a,admin", "innocent"))
        ldap = self.authenticator(settings_for(self.server))
        with self.assertRaises(Rejected) as caught:
            await self.login(ldap, "evilone", "pw")
        self.assertIn("control characters", caught.exception.detail)

    async def test_groups_come_in_pages(self) -> None:
        self.patch(roles, "PAGE", 1)
        self.assertEqual(await self.roles("john", "secret"), ("admin", "ops"))
        # two searches with one group each, and one that finds no more groups
        self.assertGreaterEqual(self.log.count("(uniqueMember=cn=john"), 2)

    async def test_attack_41_a_part_of_the_groups_is_not_taken_for_all(self) -> None:
        self.patch(roles, "MAX_GROUPS", 1)
        with self.assertRaises(Undecided) as caught:
            await self.roles("john", "secret")
        self.assertIn("more than 1 groups", caught.exception.detail)

    async def test_a_limit_of_the_server_is_not_taken_for_the_end(self) -> None:
        """A user in 700 groups, and OpenLDAP's usual limit of 500, which pages do not lift; and the same in small."""
        for count, limit in ((700, ""), (40, "olcSizeLimit: 13"), (40, "olcSizeLimit: 40")):
            names = tuple(f"g{number:03}" for number in range(count))
            server = self.slapd([person("john", "pw"), *(group(name, "john") for name in names)], options=limit)
            found = await self.login(self.authenticator(settings_for(server)), "john", "pw")
            assert found is not None
            self.assertEqual(found.roles, names, limit)

    async def test_the_primary_group_counts(self) -> None:
        def posix(name: str, number: int, *members: str) -> str:
            names = "".join(f"memberUid: {member}\n" for member in members)
            return f"dn: cn={name},{GROUPS}\nobjectClass: posixGroup\ncn: {name}\ngidNumber: {number}\n{names}"

        account = ("objectClass: posixAccount", "uidNumber: 1", "gidNumber: 100", "homeDirectory: /")
        entries = [person("john", "pw", *account), posix("staff", 100), posix("ops", 200, "john"), posix("root", 10, "jane")]
        server = self.slapd(entries)
        options = {"role_object_class": "posixGroup", "role_member_attribute": "memberUid", "role_member_value": "username"}
        found = await self.login(self.authenticator(settings_for(server, **options)), "john", "pw")
        assert found is not None
        self.assertEqual(found.roles, ("ops", "staff"))

    async def test_many_groups(self) -> None:
        names = tuple(f"g{number:03}" for number in range(40))
        self.patch(roles, "PAGE", 7)
        server = self.slapd([person("john", "pw"), *(group(name, "john") for name in names)])
        found = await self.login(self.authenticator(settings_for(server)), "john", "pw")
        assert found is not None
        self.assertEqual(found.roles, names)


class AttackTests(PopulatedCase):
    async def test_attack_29_an_unknown_user_costs_a_bind_too(self) -> None:
        ldap = self.authenticator(settings_for(self.server))
        self.assertIsNone(await self.login(ldap, "nobody", "secret"))
        with self.assertRaises(Rejected):
            await self.login(ldap, "john", "wrong")
        nobody, john = self.binds()
        self.assertRegex(nobody, f"^cn=nobody-[0-9a-f]{{16}},{PEOPLE}$")
        self.assertEqual(john, f"cn=john,{PEOPLE}")

    async def test_attack_31_no_name_is_a_filter(self) -> None:
        ldap = self.authenticator(settings_for(self.server))
        for name in ("*", "jo*", "john)(uid=admin", "john)(|(cn=*", "*)(objectClass=*", "\\6aohn", "(cn=john)", "jo\\2a"):
            self.assertIsNone(await self.login(ldap, name, "secret"), name)
        self.assertEqual([dn for dn in self.binds() if "nobody-" not in dn], [])
        for name in ("john\0", "john\n", "\ud800"):
            with self.assertRaises(Rejected):
                await self.login(ldap, name, "secret")
        # only the user with exactly this name gets in
        for name, password in (("al*", "star"), ("weird (uid=x)", "pw")):
            found = await self.login(ldap, name, password)
            assert found is not None
            self.assertEqual(found.username, name)

    async def test_attack_32_an_empty_password_never_reaches_the_directory(self) -> None:
        ldap = self.authenticator(settings_for(self.server))
        with self.assertRaises(Rejected):
            await self.login(ldap, "john", "")
        self.assertEqual(self.operations, [])

    async def test_attack_33_logins_at_the_same_time_do_not_mix(self) -> None:
        ldap = self.authenticator(settings_for(self.server, search_connections=2, bind_connections=8))
        logins = [("john", "secret"), ("jane", "hunter2"), ("john", "hunter2"), ("jane", "secret"), ("nobody", "secret")] * 8

        async def outcome(username: str, password: str) -> object:
            try:
                return await self.login(ldap, username, password)
            except Rejected:
                return "rejected"

        results = await gatherResults([Deferred.fromCoroutine(outcome(*login)) for login in logins])
        john = Principal("john", "staff", ("admin", "ops"), "corp")
        jane = Principal("jane", "staff", ("admin", "leaf"), "corp")
        self.assertEqual(results, [john, jane, "rejected", "rejected", None] * 8)
        # no connection searched as a user other than the gateway, and none tried a second user's password
        bound: dict[str, set[str]] = {}
        for connection, dn in re.findall(r'conn=(\d+) op=\d+ BIND dn="([^"]*)" method=128', self.log):
            bound.setdefault(connection, set()).add(dn)
        searching = set(re.findall(r"conn=(\d+) op=\d+ SRCH", self.log))
        self.assertEqual([bound[connection] for connection in searching], [{SEARCHER}] * len(searching))
        self.assertTrue(all(len(names) == 1 for names in bound.values()), bound)
        self.assertLessEqual(len(searching), 2)

    async def test_attack_40_one_at_sign_at_most(self) -> None:
        ldap = self.authenticator(settings_for(self.server, domain="company.com"))
        with self.assertRaises(Rejected):
            await self.login(ldap, "a@evil.com@company.com", "secret")
        # connections of an earlier test may still be closing
        self.assertEqual(self.operations, [])

    async def test_attack_41_what_is_set_up_wrong_lets_no_client_in(self) -> None:
        for options, reason in (
            ({"bind_password": "wrong"}, "look at bind_dn and bind_password"),
            ({"user_base_dn": f"ou=nowhere,{SUFFIX}"}, "the base is not there"),
            ({"role_base_dn": f"ou=nowhere,{SUFFIX}"}, "the base is not there"),
            ({"user_base_dn": f"ou=elsewhere,{PEOPLE}"}, "referrals are not followed"),
            ({"bind_dn": "", "bind_password": ""}, "bind_dn may not search here"),
        ):
            with self.assertRaises(Unavailable) as caught:
                await self.login(self.authenticator(settings_for(self.server, **options)), "john", "secret")
            self.assertIn(reason, caught.exception.detail)

    async def test_a_refused_account_of_the_gateway_is_not_tried_again_and_again(self) -> None:
        ldap = self.authenticator(settings_for(self.server, bind_password="wrong"))
        for _ in range(3):
            with self.assertRaises(Unavailable):
                await self.login(ldap, "john", "secret")
        self.assertEqual(self.log.count(f'BIND dn="{SEARCHER}" method=128'), 1)


class SecureTests(LdapCase):
    async def test_starttls_and_ldaps(self) -> None:
        server = self.slapd([person("john", "secret"), group("admin", "john")], require_tls=True)
        for tls in ("starttls", "ldaps"):
            for host in ("localhost", "127.0.0.1"):
                ldap = self.authenticator(settings_for(server, tls=tls, host=host))
                found = await self.login(ldap, "john", "secret")
                self.assertEqual(found, Principal("john", "staff", ("admin",), "corp"))
                with self.assertRaises(Rejected):
                    await self.login(ldap, "john", "wrong")
        ldap = self.authenticator(settings_for(server))
        with self.assertRaises(Unavailable) as caught:
            await self.login(ldap, "john", "secret")
        self.assertIn("confidentialityRequired); the directory takes passwords over TLS only", caught.exception.detail)

    async def test_a_certificate_for_another_name_is_refused(self) -> None:
        server = self.slapd([person("john", "secret")], names=("ldap.example.org",))
        for tls in ("starttls", "ldaps"):
            with self.assertRaises(Unavailable) as caught:
                await self.login(self.authenticator(settings_for(server, tls=tls)), "john", "secret")
            self.assertIn("the certificate is not for localhost", caught.exception.detail)
            ldap = self.authenticator(settings_for(server, tls=tls, server_name="ldap.example.org"))
            self.assertIsNotNone(await self.login(ldap, "john", "secret"))
        self.assertNotIn("BIND", server.log.partition("BIND")[0])

    async def test_a_certificate_of_another_authority_is_refused(self) -> None:
        server = self.slapd([person("john", "secret")])
        stranger = Authority(self.directory(), "stranger.test").certificate
        for tls in ("starttls", "ldaps"):
            with self.assertRaises(Unavailable) as caught:
                await self.login(self.authenticator(settings_for(server, tls=tls, ca_certificate=stranger)), "john", "secret")
            self.assertIn("its certificate is not from a trusted CA", caught.exception.detail)
        self.assertNotIn("BIND", server.log)

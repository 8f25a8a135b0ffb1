"""How users are found: by several attributes, by a filter, and by the name that they have in the directory."""

from __future__ import annotations

from perimeter.auth.kinds.ldap import users
from perimeter.auth.kinds.ldap.values import LdapEntry
from perimeter.errors import Rejected
from perimeter.model import Principal
from tests.unit.auth.kinds.ldap.test_authenticator import PEOPLE, LdapCase
from tests.unit.doubles.ldap_directory import entry

JOE = f"uid=joe,{PEOPLE}"
EVE = f"uid=eve,{PEOPLE}"
BY_FILTER = "(&(objectClass=person)(|(uid={username})(mail={username}))(active=yes))"


def person(dn: str, **attributes: str) -> LdapEntry:
    return entry(dn, objectClass=["inetOrgPerson", "person"], **attributes)


class UsersCase(LdapCase):
    options = {**LdapCase.options, "role_base_dn": "", "user_id_attribute": "uid, mail", "domain": ""}

    def setUp(self) -> None:
        super().setUp()
        self.directory.entries = [
            person(JOE, uid="joe", mail="joe@example.org", active="yes"),
            person(EVE, uid="eve", mail="eve@example.org", active="yes"),
        ]
        self.directory.passwords = {JOE: "right", EVE: "right"}

    def names_of(self, *logins: str) -> list[str]:
        found = [self.successResultOf(self.login(login)) for login in logins]
        return [one.username if one else "" for one in found]

    def refused(self, login: str) -> str:
        return self.failureResultOf(self.login(login), Rejected).value.detail


class AttributeTests(UsersCase):
    def test_the_first_attribute_has_the_name(self) -> None:
        self.assertEqual(self.names_of("joe", "JOE", "joe@example.org", "Joe@Example.org", "jim"), ["joe"] * 4 + [""])

    def test_one_search_for_a_name_and_one_more_for_a_mail_address(self) -> None:
        self.names_of("joe")
        (search,) = self.directory.asked
        self.assertEqual(str(search.filter), "(&(objectClass=inetOrgPerson)(|(uid=joe)(mail=joe)))")
        self.assertEqual((search.limit, search.attributes), (2, ("uid", "mail")))
        self.directory.asked.clear()
        self.names_of("joe@example.org")
        self.assertEqual([str(one.filter)[1:] for one in self.directory.asked][1], "&(objectClass=inetOrgPerson)(uid=joe))")
        self.assertEqual([one.limit for one in self.directory.asked], [2, 1])

    def test_a_domain_concerns_the_first_attribute(self) -> None:
        self.use(domain="example.org", netbios_domain="EX")
        self.directory.entries[0] = person(JOE, uid="joe", mail="j@example.org")
        self.assertEqual(self.names_of("joe@example.org", "EX\\joe", "j@example.org"), ["joe"] * 3)
        self.assertIn("(|(uid=joe)(mail=joe@example.org))", str(self.directory.asked[0].filter))

    def test_attack_140_another_attribute_gives_no_further_guesses(self) -> None:
        self.assertEqual(self.ldap.canonical_name("JOE@example.org"), "joe@example.org")
        self.failureResultOf(self.login("Joe@example.org", "wrong"), Rejected)
        self.assertEqual(self.ldap.canonical_name("JOE@example.org"), "joe")
        self.assertEqual(self.ldap.canonical_name("joe"), "joe")
        self.directory.entries[0] = person(JOE, uid="joe@example.org")  # renamed
        self.names_of("joe@example.org")
        self.assertEqual(self.ldap.canonical_name("joe@example.org"), "joe@example.org")

    def test_attack_140_the_memory_is_bounded(self) -> None:
        self.patch(users, "REMEMBERED_NAMES", 1)
        self.use()
        self.names_of("joe@example.org", "eve@example.org")
        self.assertEqual(self.ldap.canonical_name("joe@example.org"), "joe@example.org")
        self.assertEqual(self.ldap.canonical_name("eve@example.org"), "eve")

    def test_attack_141_whoever_takes_anothers_name_as_mail_address_shuts_nobody_out(self) -> None:
        self.directory.entries[1] = person(EVE, uid="eve", mail="joe")
        self.assertEqual(self.names_of("joe"), ["joe"])
        self.assertEqual(self.directory.bound, [JOE])
        self.directory.entries.reverse()
        self.assertEqual(self.names_of("joe"), ["joe"])
        self.assertEqual(self.names_of("eve"), ["eve"])

    def test_attack_141_two_entries_with_the_same_address(self) -> None:
        self.directory.entries[1] = person(EVE, uid="eve", mail="joe@example.org")
        self.assertEqual(self.refused("joe@example.org"), "more than one entry has this name")
        self.directory.entries += [person(f"cn=a,{PEOPLE}", uid="joe"), person(f"cn=b,{PEOPLE}", uid="joe")]
        self.assertEqual(self.refused("joe"), "more than one entry has this name")
        self.assertEqual(self.directory.bound, [])

    def test_attack_141_one_name_is_never_two_people(self) -> None:
        """Two entries have the same uid: neither may log in by it, and no mail address goes around that."""
        self.directory.entries[1] = person(EVE, uid="joe", mail="eve@example.org")
        self.assertEqual(self.refused("eve@example.org"), "more than one entry has this name")
        self.assertEqual(self.refused("joe"), "more than one entry has this name")

    def test_attack_141_the_principal_name_of_active_directory_is_preferred_to_a_mail_address(self) -> None:
        self.use(flavour="active-directory", bind_dn="cn=gw", bind_password="pw", user_id_attribute="sAMAccountName, mail")
        account = {"objectClass": "user", "objectCategory": "person"}
        self.directory.entries = [
            entry(EVE, **account, sAMAccountName="eve", userPrincipalName="eve@corp", mail="joe@corp"),
            entry(JOE, **account, sAMAccountName="joe", userPrincipalName="joe@corp", mail="j@corp"),
        ]
        self.assertEqual(self.names_of("joe@corp", "j@corp", "eve@corp", "joe"), ["joe", "joe", "eve", "joe"])
        search = self.directory.asked[0]
        self.assertIn("(|(userPrincipalName=joe@corp)(mail=joe@corp))", str(search.filter))
        self.assertEqual(search.limit, 3)
        expected = ("sAMAccountName", "mail", "userAccountControl", "accountExpires", "userPrincipalName")
        self.assertEqual(search.attributes, expected)

    def test_recalled_by_the_name_alone(self) -> None:
        self.assertEqual(self.recall("joe"), Principal("joe", "staff", (), "corp"))
        self.assertIsNone(self.recall("joe@example.org"))

    def test_attributes(self) -> None:
        self.use(attributes="mail, givenName")
        for found in (self.successResultOf(self.login("joe")), self.recall("joe")):
            assert found is not None
            self.assertEqual(found.attributes, {"mail": "joe@example.org"})
        self.assertEqual(self.directory.asked[0].attributes, ("uid", "mail", "givenName"))


class FilterTests(UsersCase):
    options = {**UsersCase.options, "user_id_attribute": "uid", "user_filter": BY_FILTER}

    def test_the_filter_is_the_whole_search(self) -> None:
        self.assertEqual(self.names_of("joe", "joe@example.org"), ["joe", "joe"])
        self.assertEqual(str(self.directory.asked[0].filter), BY_FILTER.replace("{username}", "joe"))
        self.assertEqual(self.directory.asked[0].limit, 1)

    def test_a_name_is_looked_up_again_only_where_that_asks_something_else(self) -> None:
        self.use(user_filter="(&(active=yes)(uid={username}))")
        self.names_of("joe")
        self.assertEqual(len(self.directory.asked), 1)
        self.names_of("JOE")
        self.assertEqual(len(self.directory.asked), 3)
        self.assertEqual(str(self.directory.asked[2].filter), "(&(active=yes)(uid=joe))")

    def test_what_the_filter_demands_holds_for_api_tokens_too(self) -> None:
        self.assertIsNotNone(self.recall("joe"))
        self.assertEqual(str(self.directory.asked[0].filter), "(&(objectClass=person)(uid=joe)(active=yes))")
        self.directory.entries[0] = person(JOE, uid="joe", active="no")
        self.assertIsNone(self.recall("joe"))
        self.assertEqual(self.names_of("joe"), [""])

    def test_the_domain_is_cut_off(self) -> None:
        self.use(domain="example.org", user_filter="(uid={username})")
        self.assertEqual(self.names_of("joe@example.org", "joe@elsewhere.org"), ["joe", ""])
        self.assertEqual(str(self.directory.asked[-1].filter), "(uid=joe@elsewhere.org)")

    def test_attack_31_special_characters_in_a_name(self) -> None:
        self.assertEqual(self.names_of("*", "jo*", "joe)(uid=*", "*)(|(uid=*"), [""] * 4)
        self.assertIn(r"(uid=joe\29\28uid=\2a)", str(self.directory.asked[2].filter))

    def test_attack_141_one_name_is_never_two_people(self) -> None:
        self.directory.entries[1] = person(EVE, uid="joe", mail="eve@example.org", active="yes")
        self.assertEqual(self.refused("eve@example.org"), "more than one entry has this name")
        self.assertEqual(self.refused("joe"), "more than one entry has this name")

    def test_attack_141_a_name_that_finds_another_entry(self) -> None:
        """The uid of one is the mail address of the other, so the filter finds one for each, and both would be joe."""
        self.use(user_filter="(mail={username})")
        self.directory.entries = [person(JOE, uid="joe", mail="a@x"), person(EVE, uid="joe", mail="b@x")]
        self.assertEqual(self.refused("a@x"), "more than one entry has this name")
        self.use(user_filter="(mail={username}*)")
        self.directory.entries = [person(JOE, uid="JOE", mail="a@x")]
        self.assertEqual(self.names_of("a"), ["JOE"])

"""Names that users type, and distinguished names."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from perimeter.auth.kinds.ldap.names import (
    account_closed,
    canonical,
    checked,
    first_rdn,
    folded,
    login_filter,
    login_name,
    own_name,
    parse_dn,
    preferred,
    same_dn,
)
from perimeter.auth.kinds.ldap.values import And, Equal, LdapEntry, Matching, Or, escaped
from perimeter.errors import Rejected
from tests.unit.doubles.properties import reached, reaches

DOMAIN = ("corp.example.org", "CORP")


class CheckedTests(TestCase):
    def test_ordinary_names(self) -> None:
        for name in ("alice", "José", "a b", "alice@corp.example.org", "CORP\\alice", "x" * 256):
            self.assertEqual(checked(name), name)

    def test_attack_31_names_that_cannot_be(self) -> None:
        for name in ("", "  ", "a\0", "a\r\nb", "a\x85", "\udcff", "x" * 257):
            with self.assertRaises(Rejected):
                checked(name)

    def test_attack_40_two_at_signs(self) -> None:
        with self.assertRaises(Rejected):
            checked("a@evil.com@company.com")


class LoginFilterTests(TestCase):
    def active(self, username: str) -> object:
        name = login_name(username, *DOMAIN, True)
        return None if name is None else login_filter(name, ("sAMAccountName",), True)

    def generic(self, username: str, domain: str = "", netbios: str = "") -> object:
        name = login_name(username, domain, netbios, False)
        return None if name is None else login_filter(name, ("uid",), False)

    def test_plain_names(self) -> None:
        self.assertEqual(self.active("alice"), Equal("sAMAccountName", "alice"))
        self.assertEqual(self.generic("alice"), Equal("uid", "alice"))

    def test_down_level_names(self) -> None:
        for name in ("CORP\\alice", "corp\\alice", "Corp.Example.Org\\alice"):
            self.assertEqual(self.active(name), Equal("sAMAccountName", "alice"), name)
            self.assertEqual(self.generic(name, *DOMAIN), Equal("uid", "alice"), name)
        for name in ("OTHER\\alice", "\\alice", "CORP\\", "CORP\\a@corp.example.org"):
            self.assertIsNone(self.active(name), name)
            self.assertIsNone(self.generic(name, *DOMAIN), name)
        self.assertIsNone(login_name("CORP\\alice", "", "", True))
        # without a configured domain, a directory may have such a name
        self.assertEqual(self.generic("CORP\\alice"), Equal("uid", "CORP\\alice"))

    def test_principal_names(self) -> None:
        both = Or((Equal("userPrincipalName", "al@corp.example.org"), Equal("sAMAccountName", "al")))
        self.assertEqual(self.active("al@corp.example.org"), both)
        self.assertEqual(self.active("al@Other.org"), Equal("userPrincipalName", "al@Other.org"))
        self.assertEqual(self.active("@corp.example.org"), Equal("userPrincipalName", "@corp.example.org"))

    def test_mail_addresses(self) -> None:
        self.assertEqual(self.generic("al@corp.example.org", "CORP.example.org"), Equal("uid", "al"))
        self.assertEqual(self.generic("al@other.org", "corp.example.org"), Equal("uid", "al@other.org"))
        self.assertEqual(self.generic("al@other.org"), Equal("uid", "al@other.org"))

    @given(st.text(max_size=30))
    def test_attack_31_what_is_typed_is_only_ever_a_value(self, name: str) -> None:
        for found in (self.active(name), self.generic(name)):
            parts = found.parts if isinstance(found, Or) else (found,)
            for part in parts:
                self.assertTrue(part is None or (isinstance(part, Equal) and part.value in name))


class CanonicalTests(TestCase):
    def test_attack_30_one_bucket_for_every_spelling(self) -> None:
        for name in (
            "john",
            "JOHN",
            " John ",
            "john@corp.example.org",
            "JOHN@CORP.EXAMPLE.ORG",
            "CORP\\john",
            "corp.example.org\\John",
        ):
            self.assertEqual(canonical(name, *DOMAIN), "john", name)
        for name in ("john@other.org", "other\\john", "johnny"):
            self.assertNotEqual(canonical(name, *DOMAIN), "john", name)
        self.assertEqual(canonical("john@corp.example.org", "", ""), "john@corp.example.org")


def escape_rdn_value(value: str) -> str:
    """``value`` to be put after ``attribute=`` (RFC 4514, section 2.4): every byte as hex, except ASCII letters and digits."""
    return "".join(chr(byte) if chr(byte).isalnum() and byte < 0x80 else f"\\{byte:02X}" for byte in value.encode())


class DistinguishedNameTests(TestCase):
    def test_what_is_one(self) -> None:
        for one, other in (
            ("cn=a,dc=b", "CN = A , DC=B"),
            ("cn=a,dc=b", "cn=a;dc=b"),
            ("cn=a\\, b,dc=c", "cn=a\\2c b,dc=C"),
            ("cn=a\\,b", "cn=a\\2Cb"),
            ("cn=Jos\\C3\\A9", "cn=José"),
            ("cn=jos\\c3\\a9", "cn=JOSÉ"),
            ("cn=a+uid=b,dc=c", "uid=B+cn=A,dc=c"),
            ("cn=a  b", "cn=A B"),
            ("cn=a  , dc=b", "cn=a,dc=b"),
            ("cn=a\\5c,dc=b", "cn=a\\\\,dc=b"),
            ('cn=\\"q\\"', "cn=\\22q\\22"),
            ("", ""),
        ):
            self.assertEqual(same_dn(one, other), one != "", (one, other))

    def test_what_is_not(self) -> None:
        for one, other in (
            ("cn=a,dc=b", "cn=a"),
            ("cn=a,dc=b", "dc=b,cn=a"),
            ("cn=a\\,dc=b", "cn=a,dc=b"),
            ("cn=a+uid=b", "cn=a,uid=b"),
            ("cn=a", "sn=a"),
            ("cn=a\\", "cn=a\\"),
            ("Admins", "Admins"),
        ):
            self.assertFalse(same_dn(one, other), (one, other))

    def test_what_is_none(self) -> None:
        for text in ("a", "=a", "cn=a,,dc=b", "cn=a\\", "cn=a,", ""):
            with self.assertRaises(ValueError):
                parse_dn(text)

    @reaches(12)
    @given(st.lists(st.text(min_size=1, max_size=8).filter(str.strip), min_size=1, max_size=4))
    def test_escaped_values_come_back(self, values: list[str]) -> None:
        usable = [value for value in values if not any("\ud800" <= letter <= "\udfff" for letter in value)]
        if usable:
            dn = ",".join(f"cn={escape_rdn_value(value)}" for value in usable)
            self.assertEqual(parse_dn(dn), tuple(frozenset({("cn", folded(value))}) for value in usable))
            reached(self)
            self.assertEqual(first_rdn(dn), {"cn": usable[0]})

    def test_the_first_component(self) -> None:
        self.assertEqual(first_rdn("cn=Odd\\, comma+uid=x,dc=y"), {"cn": "Odd, comma", "uid": "x"})


class FilterTextTests(TestCase):
    def test_filters_as_people_read_them(self) -> None:
        found = And((Equal("cn", "al*)(x=\\"), Or((Equal("a", "b"), Matching("member", "1.2.3", "cn=x")))))
        self.assertEqual(str(found), "(&(cn=al\\2a\\29\\28x=\\5c)(|(a=b)(member:1.2.3:=cn=x)))")

    @given(st.text())
    def test_attack_42_no_control_character_stays(self, value: str) -> None:
        self.assertFalse(set(escaped(value)) & {chr(code) for code in range(0x20)} | (set(escaped(value)) & set("*()")))


class AccountTests(TestCase):
    """userAccountControl and accountExpires of Active Directory: 100-nanosecond steps since 1601."""

    NOW = 1_800_000_000.0

    def closed(self, **attributes: str) -> bool:
        return account_closed(
            LdapEntry("cn=a", {name.lower(): (value.encode(),) for name, value in attributes.items()}), self.NOW
        )

    def test_attack_39_disabled(self) -> None:
        self.assertTrue(self.closed(userAccountControl="514"))
        self.assertTrue(self.closed(userAccountControl="2"))
        self.assertFalse(self.closed(userAccountControl="512"))
        self.assertFalse(self.closed())

    def test_attack_39_expired(self) -> None:
        def steps(moment: float) -> str:
            return str(int((moment + 11_644_473_600) * 10**7))

        self.assertTrue(self.closed(accountExpires=steps(self.NOW - 1)))
        self.assertTrue(self.closed(accountExpires=steps(self.NOW)))
        self.assertFalse(self.closed(accountExpires=steps(self.NOW + 1)))
        self.assertTrue(self.closed(accountExpires="1"))
        for never in ("0", str(2**63 - 1)):
            self.assertFalse(self.closed(accountExpires=never), never)

    def test_attack_41_what_cannot_be_read_is_closed(self) -> None:
        for attributes in ({"userAccountControl": "x"}, {"accountExpires": "soon"}):
            self.assertTrue(self.closed(**attributes))


class PreferredTests(TestCase):
    ONE = LdapEntry("cn=1", {"uid": (b"Joe",), "mail": (b"j@x",)})
    TWO = LdapEntry("cn=2", {"uid": (b"eve",), "mail": (b"joe", b"\xff")})
    NAMES = frozenset(("joe",))

    def test_the_earliest_attribute_counts(self) -> None:
        for entries in ((self.ONE, self.TWO), (self.TWO, self.ONE)):
            self.assertIs(preferred(entries, ("uid", "mail"), self.NAMES), self.ONE)
            self.assertIs(preferred(entries, ("mail", "uid"), self.NAMES), self.TWO)

    def test_nobody_is_preferred(self) -> None:
        self.assertIsNone(preferred((self.ONE, self.ONE), ("uid", "mail"), self.NAMES))
        self.assertIsNone(preferred((self.ONE, self.TWO), ("sn",), self.NAMES))
        self.assertIsNone(preferred((self.ONE, self.TWO), ("uid", "mail"), frozenset(("jim",))))


class OwnNameTests(TestCase):
    def test_of_several_values_the_one_of_the_distinguished_name(self) -> None:
        for dn, values, expected in (
            ("cn=1,dc=x", (), ""),
            ("cn=1,dc=x", (b"joe",), "joe"),
            ("UID=Joe,dc=x", (b"abe", b"joe"), "joe"),
            ("cn=joe,dc=x", (b"joe", b"abe"), "abe"),
            ("no name", (b"joe", b"abe"), "abe"),
        ):
            self.assertEqual(own_name(LdapEntry(dn, {"uid": values}), "uid"), expected)
        with self.assertRaises(UnicodeDecodeError):
            own_name(LdapEntry("cn=1", {"uid": (b"\xff",)}), "uid")

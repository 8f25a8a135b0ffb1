"""``allow`` and ``deny``: deny wins, one term suffices, and a term that is not understood admits no user."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID
from twisted.trial import unittest

from perimeter.config.site.expression import Expression, parse_expression
from perimeter.config.site.rule import Rule
from perimeter.gate.policy import Policy
from perimeter.gate.terms import UNKNOWN_METHOD
from perimeter.model import ClientConnection, Principal
from tests.unit.doubles.client_certificates import KEY, certificate

ALICE = Principal("alice", "local", ("admin", "ops"))
BOB = Principal("bob", "corp", ())


def rules(*terms: str) -> tuple[Rule, ...]:
    return tuple(Rule(*term.split(":", 1)) for term in terms)


class PolicyTests(unittest.TestCase):
    def test_attack_49_a_rule_that_names_a_realm(self) -> None:
        for kind, value in (("user", "bob"), ("role", "ops")):
            of_corp, of_any = Rule(kind, value, "corp"), Rule(kind, value)
            for realm, rule, matches in (("corp", of_corp, True), ("local", of_corp, False), ("local", of_any, True)):
                bob = Principal("bob", realm, ("ops",))
                self.assertEqual(Policy((rule,)).permits(bob, "GET"), matches, (kind, realm, rule))
                self.assertEqual(Policy(None, (rule,)).permits(bob, "GET"), not matches, (kind, realm, rule))
            self.assertFalse(Policy((of_corp,)).permits(Principal("eve", "corp", ()), "GET"))

    def test_table(self) -> None:
        for allow, deny, who, method, expected in (
            (None, (), ALICE, "GET", True),
            (None, (), None, "GET", True),
            ((), (), ALICE, "GET", False),
            (("role:admin",), (), ALICE, "GET", True),
            (("role:admin",), (), BOB, "GET", False),
            (("role:admin",), (), None, "GET", False),
            (("role:Admin",), (), ALICE, "GET", False),
            (("user:alice",), (), ALICE, "GET", True),
            (("user:admin",), (), ALICE, "GET", False),
            (("realm:corp",), (), BOB, "GET", True),
            (("realm:corp",), (), ALICE, "GET", False),
            (("method:GET",), (), BOB, "GET", True),
            (("method:GET",), (), None, "GET", True),
            (("method:GET",), (), BOB, "POST", False),
            (("method:GET",), (), BOB, "get", False),
            (("role:x", "user:bob"), (), BOB, "GET", True),
            (("role:admin",), ("user:alice",), ALICE, "GET", False),
            (("user:alice",), ("role:ops",), ALICE, "GET", False),
            (None, ("method:DELETE",), ALICE, "DELETE", False),
            (None, ("method:DELETE",), ALICE, "delete", False),
            (None, ("method:DELETE",), ALICE, "GET", True),
            (None, ("realm:local",), ALICE, "GET", False),
            (None, ("realm:local",), BOB, "GET", True),
            (None, ("method:DELETE",), None, "DELETE", False),
            # a method that is not known could be each
            (None, (), BOB, "-", True),
            (None, ("user:alice",), BOB, "-", True),
            (None, ("method:DELETE",), BOB, "-", False),
            (None, ("user:alice", "method:DELETE"), BOB, "-", False),
            (("role:admin",), ("method:DELETE",), ALICE, "-", False),
            (("method:GET",), (), BOB, "-", False),
            (("method:GET", "user:bob"), (), BOB, "-", True),
            (("user:bob",), (), ALICE, "-", False),
            (("user:alice",), ("method:DELETE",), ALICE, "DELETE", False),
            (None, ("user:alice",), None, "GET", True),
            (None, ("role:ops",), None, "GET", True),
            (None, ("realm:local",), None, "GET", True),
        ):
            policy = Policy(None if allow is None else rules(*allow), rules(*deny))
            self.assertEqual(policy.permits(who, method), expected, (allow, deny, who, method))

    def test_the_operator_reads_which_rule_decided(self) -> None:
        for allow, deny, who, method, allowed, expected in (
            (("role:root", "user:bob"), (), ALICE, "GET", False, "no term of allow = role:root, user:bob matches"),
            ((), (), ALICE, "GET", False, "no term of allow = (none) matches"),
            (None, ("user:bob", "method:DELETE"), ALICE, "delete", False, "deny = method:DELETE matches"),
            (("user:alice",), ("user:alice",), ALICE, "GET", False, "deny = user:alice matches"),
            (
                ("role:ops",),
                ("user:bob",),
                None,
                "GET",
                False,
                "no term of allow = role:ops matches",
            ),
            (("role:root", "user:alice"), ("user:bob",), ALICE, "GET", True, "allow = user:alice matches"),
            (None, ("user:bob",), ALICE, "GET", True, "no term of deny matches"),
            (None, (), None, "GET", True, "the route has no rules"),
        ):
            policy = Policy(None if allow is None else rules(*allow), rules(*deny))
            self.assertEqual(policy.permits(who, method), allowed)
            self.assertEqual(policy.explanation(who, method), expected)

    def test_attack_15_a_role_with_a_comma_is_one_role(self) -> None:
        self.assertFalse(Policy(rules("role:admin")).permits(Principal("x", "r", ("a,admin",)), "GET"))

    def test_roles_of_a_directory_compare_without_case(self) -> None:
        """As the directory compares the names of its groups, in ``allow`` and in ``deny`` (attack 30); elsewhere exactly."""
        for written, role, same in (
            *(("ADMINS", "admins", True), ("admins", "Admins", True), ("Domain  users", "domain Users", True)),
            *(("straße", "STRASSE", True), ("admins", "admin", False), ("admin", "admin,x", False), ("admins", "admins", True)),
        ):
            user = Principal("x", "corp", ("first", role))
            for realms, expected in (({"corp"}, same), ({"other"}, written == role), (set(), written == role)):
                allowing = Policy((Rule("role", written),), (), directory_realms=frozenset(realms))
                denying = Policy(None, (Rule("role", written),), directory_realms=frozenset(realms))
                self.assertEqual(allowing.permits(user, "GET"), expected, (written, role, realms))
                self.assertEqual(denying.permits(user, "GET"), not expected, (written, role, realms))
        self.assertFalse(
            Policy((Rule("role", "a"),), (), directory_realms=frozenset({"corp"})).permits(Principal("x", "corp"), "GET")
        )

    def test_other_rules_compare_exactly_in_a_directory_too(self) -> None:
        user = Principal("alice", "corp", ("a",))
        for rule in ("user:Alice", "realm:Corp"):
            self.assertFalse(Policy(rules(rule), (), directory_realms=frozenset({"corp"})).permits(user, "GET"))

    def test_open(self) -> None:
        self.assertTrue(Policy().open)
        self.assertFalse(Policy(()).open)
        self.assertFalse(Policy(None, rules("user:x")).open)

    def test_whether_a_policy_is_open_follows_from_its_rules_alone(self) -> None:
        with self.assertRaises(TypeError):
            Policy((), (), True)  # type: ignore[call-arg]

    def test_attack_41_unknown_kind(self) -> None:
        self.assertRaises(ValueError, rules, "rolle:admin")

    def test_attack_41_a_kind_that_the_policy_does_not_know_neither_admits_nor_is_skipped(self) -> None:
        (rule,) = rules("role:admin")
        object.__setattr__(rule, "kind", "weather")
        self.assertRaises(AssertionError, Policy, (rule,))
        self.assertRaises(AssertionError, Policy, None, (rule,))


NOON = datetime(2026, 3, 2, 12, tzinfo=UTC).timestamp()  # a Monday
INSIDE, OUTSIDE = "10.1.2.3", "192.0.2.1"
CAROL = Principal("carol", "corp", ("ops",), attributes={"dep": "sales"}, scopes={"one": ("a",), "two": ("b", "c")})


def expressions(*texts: str) -> tuple[Expression, ...]:
    return tuple(map(parse_expression, texts))


class ExpressionTests(unittest.TestCase):
    def permits(
        self, allow: str, deny: str, who: Principal | None, method: str = "GET", address: str = INSIDE, now: float = NOON
    ) -> bool:
        policy = Policy(
            expressions(allow) if allow else None,
            expressions(deny) if deny else (),
            directory_realms=frozenset({"dir"}),
            clock=lambda: now,
        )
        return policy.permits(who, method, address)

    def test_table(self) -> None:
        for text, who, matches in (
            ("role:ops and user:alice", ALICE, True),
            ("role:ops and user:bob", ALICE, False),
            ("role:nope or user:alice", ALICE, True),
            ("role:nope or user:bob", ALICE, False),
            ("not role:ops", ALICE, False),
            ("not role:nope", ALICE, True),
            ("not (role:ops and user:bob)", ALICE, True),
            ("not (role:ops or user:bob)", ALICE, False),
            ("role:ops and not realm:corp", ALICE, True),
            ("role:ops and not realm:local", ALICE, False),
            ("network:10.0.0.0/8", ALICE, True),
            ("network:11.0.0.0/8", ALICE, False),
            ("network:10.0.0.0/8", None, True),
            ("attribute:dep=sales", CAROL, True),
            ("attribute:dep=Sales", CAROL, False),
            ("not attribute:dep=it", CAROL, True),
            ("scope:a", CAROL, True),
            ("scope:c", CAROL, True),
            ("scope:d", CAROL, False),
            ("scope:a", ALICE, False),
            ("not scope:d", CAROL, True),
            ("time:Mon 08:00-18:00", ALICE, True),
            ("time:Tue", ALICE, False),
            ("time:Mon", None, True),
            ("role:local/ops and user:alice", ALICE, False),  # the realm is only known after `of_realms`
        ):
            self.assertEqual(self.permits(text, "", who), matches, text)
            self.assertEqual(self.permits("", text, who), not matches, text)
            self.assertEqual(self.permits("realm:local or realm:corp or network:0.0.0.0/0", text, who), not matches, text)

    def test_attack_130_what_is_not_known_admits_nothing_and_is_denied(self) -> None:
        unknown = (
            ("attribute:dep=sales", ALICE),
            ("not attribute:dep=sales", ALICE),
            ("attribute:dep=sales", None),
            ("not attribute:dep=sales", None),
            ("certificate:cn=alice", ALICE),
            ("not certificate:cn=alice", ALICE),
            ("role:ops and attribute:dep=sales", ALICE),
            ("role:nope or attribute:dep=sales", ALICE),
            ("not (role:ops and attribute:dep=sales)", ALICE),
            ("not (role:nope or not attribute:dep=sales)", ALICE),
        )
        for text, who in unknown:
            self.assertFalse(self.permits(text, "", who), text)
            self.assertFalse(self.permits("", text, who), text)
        # what is known decides alone
        for text, who, matches in (
            ("role:ops or attribute:dep=sales", ALICE, True),
            ("attribute:dep=sales or role:ops", ALICE, True),
            ("role:nope and attribute:dep=sales", ALICE, False),
            ("attribute:dep=sales and role:nope", ALICE, False),
        ):
            self.assertEqual(self.permits(text, "", who), matches, text)
            self.assertEqual(self.permits("", text, who), not matches, text)
        for address in ("", "unix:", "not-an-address"):
            for text in ("network:0.0.0.0/0", "not network:0.0.0.0/0"):
                self.assertFalse(self.permits(text, "", ALICE, address=address), (text, address))
                self.assertFalse(self.permits("", text, ALICE, address=address), (text, address))

    def test_attack_130_a_method_that_is_not_known(self) -> None:
        for text, expected in (
            ("method:GET", False),
            ("not method:GET", False),
            ("role:ops or method:GET", True),
            ("role:nope or method:GET", False),
            ("role:ops and method:GET", False),
        ):
            self.assertEqual(self.permits(text, "", ALICE, UNKNOWN_METHOD), expected, text)
        for text, expected in (
            ("method:GET", False),
            ("not method:GET", False),
            ("role:nope and method:GET", True),
            ("role:ops and method:GET", False),
        ):
            self.assertEqual(self.permits("", text, ALICE, UNKNOWN_METHOD), expected, text)

    def test_attack_131_an_anonymous_client_is_not_one_who_lacks_a_role(self) -> None:
        for term in ("role:ops", "user:alice", "realm:local", "role:local/ops", "scope:a"):
            for text in (term, f"not {term}", f"network:10.0.0.0/8 and not {term}", f"not ({term} or user:x)"):
                self.assertFalse(self.permits(text, "", None), text)
            # a name that is denied does not match an anonymous client, as ever; the lack of a name does
            self.assertTrue(self.permits("", term, None), term)
            self.assertFalse(self.permits("", f"not {term}", None), term)
        self.assertTrue(self.permits("network:10.0.0.0/8 or role:ops", "", None))

    def test_attack_131_a_method_in_lower_case_does_not_pass_a_not(self) -> None:
        """A server may take ``delete`` for DELETE: where a match refuses, case does not matter, and where it admits, it does."""
        for allow, deny, method, expected in (
            ("not method:DELETE", "", "DELETE", False),
            ("not method:DELETE", "", "delete", False),
            ("not method:DELETE", "", "GET", True),
            ("not not method:GET", "", "get", False),
            ("not not method:GET", "", "GET", True),
            ("", "not method:GET", "get", False),
            ("", "not method:GET", "GET", True),
            ("", "not not method:DELETE", "delete", False),
            ("", "not (method:GET or method:HEAD)", "head", False),
            ("", "not (method:GET or method:HEAD)", "HEAD", True),
        ):
            self.assertEqual(self.permits(allow, deny, ALICE, method), expected, (allow, deny, method))

    def test_roles_of_a_directory_compare_without_case_below_a_not(self) -> None:
        user = Principal("x", "dir", ("Admins",))
        self.assertTrue(self.permits("role:admins and realm:dir", "", user))
        self.assertFalse(self.permits("not role:admins", "", user))
        self.assertFalse(self.permits("", "role:admins and realm:dir", user))

    def test_attack_30_attributes_of_a_directory_compare_without_case(self) -> None:
        for realm, same in (("dir", True), ("local", False)):
            user = Principal("x", realm, attributes={"dep": "Human  resources"})
            for text in ('attribute:dep="human Resources"', 'not attribute:dep="human Resources"'):
                self.assertEqual(self.permits(text, "", user), same is not text.startswith("not"), (realm, text))
                self.assertEqual(self.permits("", text, user), same is text.startswith("not"), (realm, text))
            self.assertFalse(self.permits("attribute:dep=it", "", user))

    def test_the_time_is_that_of_the_judgement(self) -> None:
        now = [NOON]
        policy = Policy(expressions("time:Mon 08:00-18:00"), clock=lambda: now[0])
        self.assertTrue(policy.permits(ALICE, "GET"))
        now[0] += 6 * 3600 - 1
        self.assertTrue(policy.permits(ALICE, "GET"))
        now[0] += 1
        self.assertFalse(policy.permits(ALICE, "GET"))

    def test_timed(self) -> None:
        self.assertFalse(Policy(expressions("role:a and network:10.0.0.0/8"), expressions("user:x")).timed)
        self.assertTrue(Policy(expressions("role:a and not time:Mon")).timed)
        self.assertTrue(Policy(None, expressions("time:Mon")).timed)

    def test_the_operator_reads_which_term_decided(self) -> None:
        for allow, deny, who, expected in (
            (
                "role:ops and network:10.0.0.0/8",
                "",
                ALICE,
                "allow = role:ops and network:10.0.0.0/8 matches: role:ops matches; network:10.0.0.0/8 matches",
            ),
            (
                "role:ops and network:11.0.0.0/8",
                "",
                ALICE,
                "no term of allow = role:ops and network:11.0.0.0/8 matches: network:11.0.0.0/8 does not match",
            ),
            (
                "not (role:nope or role:ops)",
                "",
                ALICE,
                "no term of allow = not (role:nope or role:ops) matches: role:ops matches",
            ),
            ("", "not role:nope", ALICE, "deny = not role:nope matches: role:nope does not match"),
            (
                "",
                "attribute:dep=sales and role:ops",
                ALICE,
                "deny = attribute:dep=sales and role:ops may match: it is not known whether attribute:dep=sales matches",
            ),
            ("", "attribute:dep=sales", ALICE, "deny = attribute:dep=sales may match, because it is not known"),
            (
                "attribute:dep=sales",
                "",
                ALICE,
                "no term of allow = attribute:dep=sales matches: it is not known whether attribute:dep=sales matches",
            ),
            ("role:x", "", ALICE, "no term of allow = role:x matches"),
            (
                "role:x and role:y or user:bob and role:z",
                "",
                ALICE,
                "no term of allow = role:x and role:y or user:bob and role:z matches: role:x does not match; "
                "user:bob does not match",
            ),
            (
                "user:alice and (role:x or role:ops)",
                "",
                ALICE,
                "allow = user:alice and (role:x or role:ops) matches: user:alice matches; role:ops matches",
            ),
        ):
            policy = Policy(expressions(allow) if allow else None, expressions(deny) if deny else ())
            self.assertEqual(policy.explanation(who, "GET", INSIDE), expected)


class CertificateTests(unittest.TestCase):
    """The client's own certificate, of a chain that the listener has verified."""

    def setUp(self) -> None:
        self.certificate = certificate(
            (NameOID.COMMON_NAME, "alice"),
            (NameOID.ORGANIZATION_NAME, "Example"),
            sans=[
                x509.DNSName("Host.Example"),
                x509.RFC822Name("a@example.com"),
                x509.UniformResourceIdentifier("spiffe://x/y"),
            ],
        )
        self.connection = ClientConnection(INSIDE, 1, "l", 1, "TLSv1.3", self.certificate)
        self.now = self.certificate.not_valid_after_utc.timestamp() - 1

    def permits(self, text: str, connection: ClientConnection | None) -> bool:
        return Policy(expressions(text), clock=lambda: self.now).permits(ALICE, "GET", INSIDE, connection)

    def test_parts(self) -> None:
        digest = self.certificate.fingerprint(hashes.SHA256()).hex()
        for text, matches in (
            ("certificate:cn=alice", True),
            ("certificate:cn=bob", False),
            ("certificate:dns=host.example", True),
            ("certificate:dns=other.example", False),
            ("certificate:email=a@example.com", True),
            ("certificate:email=alice", False),
            ("certificate:uri=spiffe://x/y", True),
            ("certificate:uri=spiffe://x", False),
            (f'certificate:subject="{self.certificate.subject.rfc4514_string()}"', True),
            ('certificate:subject="CN=alice"', False),
            (f'certificate:issuer="{self.certificate.issuer.rfc4514_string()}"', True),
            ('certificate:issuer="CN=other"', False),
            (f"certificate:sha256={digest}", True),
            (f"certificate:sha256={'0' * 64}", False),
        ):
            for _ in range(2):  # the second time it is remembered
                self.assertEqual(self.permits(text, self.connection), matches, text)
                self.assertEqual(self.permits(f"not {text}", self.connection), not matches, text)

    def test_attack_130_a_certificate_that_cannot_be_read(self) -> None:
        name = x509.Name.from_rfc4514_string("CN=alice")
        garbage = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x03\x82\x05a")
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(KEY.public_key()).serial_number(1)
        builder = builder.not_valid_before(datetime.now(UTC)).not_valid_after(datetime.now(UTC) + timedelta(days=1))
        made = builder.add_extension(garbage, critical=False).sign(KEY, hashes.SHA256())
        connection = ClientConnection(INSIDE, 1, "l", 1, "TLSv1.3", made)
        for text in ("certificate:dns=a", "not certificate:dns=a"):
            self.assertFalse(self.permits(text, connection), text)
        self.assertTrue(self.permits("certificate:cn=alice", connection))

    def test_attack_130_without_a_certificate_or_with_one_that_has_expired_nothing_is_known(self) -> None:
        bare = ClientConnection(INSIDE, 1, "l", 1, "TLSv1.3")
        for connection in (None, bare):
            self.assertFalse(self.permits("certificate:cn=alice", connection))
            self.assertFalse(self.permits("not certificate:cn=alice", connection))
        self.assertTrue(self.permits("certificate:cn=alice", self.connection))
        self.now += 1
        self.assertFalse(self.permits("certificate:cn=alice", self.connection))
        self.assertFalse(self.permits("not certificate:cn=bob", self.connection))

"""Expressions of ``allow`` and ``deny``: precedence, lists, places of faults."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from perimeter.config.language.datatypes import BadValue
from perimeter.config.site.expression import (
    MOST_NESTED,
    AllOf,
    AnyOf,
    Expression,
    Not,
    parse_expression,
    split_expressions,
)
from perimeter.config.site.rule import Rule, RuleKind
from tests.unit.doubles.site import SITE, SiteCase

A, B, C = Rule("role", "a"), Rule("user", "b"), Rule("method", "GET")


class ParserTests(unittest.TestCase):
    def test_not_binds_closer_than_and_which_binds_closer_than_or(self) -> None:
        for text, expected in (
            ("role:a", A),
            ("(role:a)", A),
            ("((role:a))", A),
            ("not role:a", Not(A)),
            ("not not role:a", Not(Not(A))),
            ("role:a and user:b", AllOf((A, B))),
            ("role:a or user:b", AnyOf((A, B))),
            ("(role:a, user:b)", AnyOf((A, B))),
            ("(role:a,\n user:b)", AnyOf((A, B))),
            ("role:a or user:b and method:GET", AnyOf((A, AllOf((B, C))))),
            ("role:a and user:b or method:GET", AnyOf((AllOf((A, B)), C))),
            ("role:a and (user:b or method:GET)", AllOf((A, AnyOf((B, C))))),
            ("not role:a and user:b", AllOf((Not(A), B))),
            ("not (role:a and user:b)", Not(AllOf((A, B)))),
            ("not(role:a)and(user:b)", AllOf((Not(A), B))),
            ("role:a and user:b and method:GET", AllOf((A, B, C))),
            ("role:a and (user:b and method:GET)", AllOf((A, B, C))),
            ("role:a or (user:b or method:GET)", AnyOf((A, B, C))),
            ("not (not role:a or user:b)", Not(AnyOf((Not(A), B)))),
            (" role : a\tand\n user:b ", AllOf((A, B))),
            ('role:"a and b" and user:b', AllOf((Rule("role", "a and b"), B))),
            ('role:"(a, b)"', Rule("role", "(a, b)")),
            ("role:and", Rule("role", "and")),
            ("role:android or user:b", AnyOf((Rule("role", "android"), B))),
        ):
            self.assertEqual(parse_expression(text), expected, text)

    def test_terms(self) -> None:
        for text, expected in (
            ("network:10.0.0.0/8", Rule("network", "10.0.0.0/8")),
            ("network:192.0.2.1", Rule("network", "192.0.2.1/32")),
            ("network:fd00::/8", Rule("network", "fd00::/8")),
            ("attribute:department=sales", Rule("attribute", "sales", name="department")),
            ('attribute:dep="Human Resources"', Rule("attribute", "Human Resources", name="dep")),
            ("attribute:a=b=c", Rule("attribute", "b=c", name="a")),
            ("scope:read:all", Rule("scope", "read:all")),
            ("certificate:cn=alice", Rule("certificate", "alice", name="cn")),
            ("certificate:dns=Host.Example", Rule("certificate", "host.example", name="dns")),
            ("certificate:email=a@b", Rule("certificate", "a@b", name="email")),
            ("certificate:uri=spiffe://x/y", Rule("certificate", "spiffe://x/y", name="uri")),
            ('certificate:subject="CN=alice, O=Example"', Rule("certificate", "CN=alice,O=Example", name="subject")),
            ('certificate:issuer="CN=CA"', Rule("certificate", "CN=CA", name="issuer")),
            (f"certificate:sha256={'AB:' * 31}AB", Rule("certificate", "ab" * 32, name="sha256")),
            (
                "time:Mon-Fri  08:00-18:00 Europe/Zurich",
                Rule("time", "Mon-Fri 08:00-18:00 Europe/Zurich"),
            ),
            ("time:Sun", Rule("time", "Sun")),
        ):
            self.assertEqual(parse_expression(text), expected, text)
            self.assertEqual(parse_expression(str(expected)), expected, text)

    def test_a_time_ends_before_an_operator(self) -> None:
        night, day = Rule("time", "22:00-06:00"), Rule("time", "Mon 08:00-18:00 UTC")
        self.assertEqual(
            parse_expression("not time:22:00-06:00 and (time:Mon 08:00-18:00 UTC or role:a)"),
            AllOf((Not(night), AnyOf((day, A)))),
        )

    def test_every_fault_has_its_place(self) -> None:
        for text, at, message in (
            ("role:a and", 10, "expected a term such as role:admin after and"),
            ("role:a and or user:b", 11, "expected a term such as role:admin after and"),
            ("and role:a", 0, "expected a term such as role:admin"),
            ("not", 3, "after not"),
            ("()", 1, "expected a term such as role:admin after ("),
            ("(role:a", 0, "this bracket is not closed"),
            ("role:b or (role:a", 10, "this bracket is not closed"),
            ("role:a)", 6, "this bracket closes none"),
            ("(role:a) user:b", 9, "expected and, or, a comma or the end"),
            ("(role:a not user:b)", 8, "expected and, or, a comma or a closing bracket"),
            ("role:a not user:b", 7, "expected and, or, a comma or the end"),
            ("role:a user:b", 7, "expected and, or or a comma before this term"),
            ("role:a and rolle:b", 11, "expected role:…, user:…"),
            ("role:a and user:b c", 11, "expected one name"),
            ("role:a AND user:b", 7, "the operators are and, or and not, in lower case"),
            ("role:a && user:b", 7, "the operators are and, or and not, in lower case"),
            ("! role:a", 0, "the operators are and, or and not, in lower case"),
            ("NOT role:a", 0, "the operators are and, or and not, in lower case"),
            ("role:a unless user:b", 7, "the operators are and, or and not, in lower case"),
            ("role:a and method:get", 11, "expected one method in capitals"),
            ("(role:a,)", 8, "expected a term such as role:admin after ,"),
            ("role:a and (user:b or\nnetwork:10.0.0.1/8)", 22, "expected a network without bits beyond its prefix"),
            ("attribute:x", 0, "expected an attribute such as"),
            ("attribute:=x", 0, "expected an attribute such as"),
            ("certificate:fingerprint=x", 0, "expected certificate:PART=VALUE"),
            ("certificate:sha256=abc", 0, "expected a SHA-256 fingerprint of 64 hexadecimal digits"),
            ("certificate:subject=alice", 0, "expected a distinguished name"),
            ("time:Someday", 0, "expected a day"),
            ("time:Europe/Zurich", 0, "expected a time such as"),
        ):
            found = self.assertRaises(BadValue, parse_expression, text)
            self.assertEqual(found.at, at, (text, found.message))
            self.assertIn(message, found.message, text)

    def test_what_was_probably_meant(self) -> None:
        for text, meant in (
            ("role:a AND user:b", "and"),
            ("role:a || user:b", "or"),
            ("rol:a and user:b", "role:a"),
            ("netwrok:10.0.0.0/8", "network:10.0.0.0/8"),
            ("method:get or role:a", "method:GET"),
            ("network:10.0.0.1/8", "network:10.0.0.0/8"),
            ("!role:a", ""),
        ):
            self.assertEqual(self.assertRaises(BadValue, parse_expression, text).suggestion, meant, text)

    def test_nesting_is_bounded(self) -> None:
        most = MOST_NESTED
        self.assertEqual(parse_expression("(" * most + "role:a" + ")" * most), A)
        for text in ("(" * (most + 1) + "role:a" + ")" * (most + 1), "not " * (most + 1) + "role:a", "(" * 100_000):
            self.assertIn("within each other", self.assertRaises(BadValue, parse_expression, text).message)
        # brackets side by side are not within each other
        self.assertEqual(len(parse_expression(" or ".join(["(role:a)"] * 100)).terms), 100)

    def test_lists(self) -> None:
        for text, parts in (
            ("role:a, user:b", [(0, "role:a"), (8, "user:b")]),
            ("role:a\nuser:b", [(0, "role:a"), (7, "user:b")]),
            (" role:a ,, \n\n user:b,", [(1, "role:a"), (14, "user:b")]),
            ("(role:a, user:b) and x, y", [(0, "(role:a, user:b) and x"), (24, "y")]),
            ("(role:a,\nuser:b)\ny", [(0, "(role:a,\nuser:b)"), (17, "y")]),
            ('role:"a,b", y', [(0, 'role:"a,b"'), (12, "y")]),
            ('role:"(", y', [(0, 'role:"("'), (10, "y")]),
            ("role:a\n and user:b\nx", [(0, "role:a\n and user:b"), (19, "x")]),
            ("role:a and\n\n not\n user:b, x", [(0, "role:a and\n\n not\n user:b"), (26, "x")]),
            ("role:a\nor(user:b)", [(0, "role:a\nor(user:b)")]),
            ("role:and\nuser:or", [(0, "role:and"), (9, "user:or")]),
            ("role:a\nandroid", [(0, "role:a"), (7, "android")]),
            ('role:"x and"\ny', [(0, 'role:"x and"'), (13, "y")]),
            ("role:a and\n", [(0, "role:a and")]),
            ("(role:a\n", [(0, "(role:a")]),
            ("role:a and, x", [(0, "role:a and"), (12, "x")]),
            ("a), b", [(0, "a)"), (4, "b")]),
            ("(a, b", [(0, "(a, b")]),
            ("", []),
            (" , \n", []),
        ):
            self.assertEqual(split_expressions(text), parts, text)

    def test_realms(self) -> None:
        found = parse_expression("not (user:staff/x and role:y) or role:staff/z").of_realms(["staff"])
        self.assertEqual(str(found), "not (user:staff/x and role:y) or role:staff/z")
        self.assertEqual([term.realm for term in found.terms], ["staff", "", "staff"])

    @given(
        st.recursive(
            st.sampled_from([A, B, C, Rule("role", "a b"), Rule("role", "x,y"), Rule("time", "Mon 08:00-09:00")]),
            lambda inner: st.one_of(
                inner.map(Not),
                st.lists(inner, min_size=2, max_size=3).map(lambda parts: AllOf(tuple(parts))),
                st.lists(inner, min_size=2, max_size=3).map(lambda parts: AnyOf(tuple(parts))),
            ),
            max_leaves=8,
        )
    )
    def test_the_text_of_an_expression_is_read_back_with_the_same_terms(self, expression: Expression) -> None:
        text = str(expression)
        self.assertEqual(str(parse_expression(text)), text)
        self.assertEqual(parse_expression(text).terms, expression.terms)


class InAFileTests(SiteCase):
    def allow(self, text: str) -> tuple[Expression, ...] | None:
        return self.load(SITE.replace("path = /\n", f"path = /\nallow = {text}\n")).routes[0].allow

    def test_lists_go_on(self) -> None:
        self.assertEqual(self.allow("role:a, user:b\n  method:GET"), (A, B, C))

    def test_or_is_the_same_as_a_comma(self) -> None:
        self.assertEqual(self.allow("role:a or user:b, method:GET"), (A, B, C))
        self.assertEqual(self.allow("role:a or user:b and method:GET"), (A, AllOf((B, C))))

    def test_brackets_go_over_lines(self) -> None:
        self.assertEqual(self.allow("role:a and (user:b\n   or ; a comment\n   method:GET)"), (AllOf((A, AnyOf((B, C)))),))

    def test_a_list_from_elsewhere(self) -> None:
        self.environ = {"RULES": "role:a and user:b, method:GET"}
        self.assertEqual(self.allow("env:RULES, user:b"), (AllOf((A, B)), C, B))
        self.environ = {"RULES": "role:a and"}
        (found,) = self.problems(SITE.replace("path = /\n", "path = /\nallow = env:RULES\n"))
        self.assertIn("allow: expected a term such as role:admin after and, not the value of env:RULES", found)

    def test_faults_have_line_and_column(self) -> None:
        line = SITE[: SITE.index("path = /\n")].count("\n") + 2
        for text, more, column, message in (
            ("allow = role:a and", 0, 19, "expected a term such as role:admin after and"),
            ("  \nallow  =   role:a user:b", 1, 19, "expected and, or or a comma before this term"),
            ("allow = role:a,\n    user:b or rolle:x", 1, 15, "expected role:…"),
            ("deny = role:a and (user:b\n\tor method:get)", 1, 5, "expected one method in capitals"),
            ("deny: (role:a", 0, 7, "this bracket is not closed"),
        ):
            (found,) = self.problems(SITE.replace("path = /\n", f"path = /\n{text}\n"))
            self.assertIn(f"site.ini:{line + more}: [route app] {text.split()[0].strip(':')}: column {column}: {message}", found)

    def test_every_fault_of_a_list_is_reported(self) -> None:
        found = self.problems(SITE.replace("path = /\n", "path = /\nallow = role:a and, user:b, rolle:x\n"))
        self.assertEqual([one.partition("column ")[2].partition(":")[0] for one in found], ["19", "29"])

    def test_every_kind_has_a_test_and_a_word(self) -> None:
        for kind in RuleKind:
            self.assertRaises(BadValue, parse_expression, f"{kind}:")

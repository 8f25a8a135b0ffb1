"""Filters of operators: their grammar, and names in their places."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from perimeter.auth.kinds.ldap.compat import search_request
from perimeter.auth.kinds.ldap.filters import MAX_DEPTH, FilterError, parse_filter
from perimeter.auth.kinds.ldap.values import (
    SUBTREE,
    And,
    AtLeast,
    AtMost,
    Equal,
    Filter,
    Matching,
    Not,
    Or,
    Present,
    Similar,
    Substrings,
)

IN_CHAIN = "1.2.840.113556.1.4.1941"


def filled(text: str, **known: str) -> Filter | None:
    return parse_filter(text, tuple(known)).filled(known)


class GrammarTests(TestCase):
    def test_comparisons(self) -> None:
        for text, expected in (
            ("(uid={username})", Equal("uid", "joe")),
            ("(cn;lang-en=a b)", Equal("cn;lang-en", "a b")),
            ("(2.5.4.3=x)", Equal("2.5.4.3", "x")),
            ("(cn=)", Equal("cn", "")),
            ("(age>=7)", AtLeast("age", "7")),
            ("(age<={username})", AtMost("age", "joe")),
            ("(cn~=x)", Similar("cn", "x")),
            ("(mail=*)", Present("mail")),
            ("(mail={username}@*)", Substrings("mail", ("joe@", ""))),
            ("(mail=*x*{username}*)", Substrings("mail", ("", "x", "joe", ""))),
            ("(mail=a*b)", Substrings("mail", ("a", "b"))),
            (f"(member:{IN_CHAIN}:={{username}})", Matching("member", IN_CHAIN, "joe")),
            ("(ou:dn:=x)", Matching("ou", "", "x", True)),
            ("(ou:DN:2.4.6:=x)", Matching("ou", "2.4.6", "x", True)),
            ("(:caseExactMatch:=x)", Matching("", "caseExactMatch", "x")),
            ("(:dn:2.4.6:=x)", Matching("", "2.4.6", "x", True)),
        ):
            self.assertEqual(filled(text, username="joe"), expected, text)

    def test_combinations_and_blanks(self) -> None:
        text = " ( & (uid={username})\n  (|(a=1) (b=2)) (!(c=3)) ) "
        expected = And((Equal("uid", "joe"), Or((Equal("a", "1"), Equal("b", "2"))), Not(Equal("c", "3"))))
        self.assertEqual(filled(text, username="joe"), expected)
        self.assertEqual(filled("(&(a=1))", username="joe"), Equal("a", "1"))

    def test_escapes(self) -> None:
        self.assertEqual(filled(r"(cn=\28\2a\29\5c\7busername\7d)", username="joe"), Equal("cn", r"(*)\{username}"))
        self.assertEqual(filled(r"(cn=Jos\c3\a9 é)", username="joe"), Equal("cn", "José é"))
        binary = filled(r"(objectGUID=\ff\00)", username="joe")
        self.assertEqual(binary, Equal("objectGUID", "\udcff\0"))
        assert binary is not None
        self.assertIn(b"\x04\x02\xff\x00", search_request(1, "", SUBTREE, binary, (), 1, 1))

    def test_what_is_printed_is_read_again(self) -> None:
        simple = ("(a=*)", "(a=b*c*)", "(a:dn:1.2:=b)", "(:1.2:=b)", r"(!(a=\2a\28))")
        for text in (*simple, "(&(a>=1)(b<=2)(c~=3))", "(|(a=1)(b=2))"):
            self.assertEqual(str(filled(text, username="joe")), text)

    def test_faults_have_a_column(self) -> None:
        for text, column, words in (
            ("", 1, "expected ("),
            ("uid=x", 1, "expected ("),
            ("(uid=x", 7, "expected )"),
            ("(uid=x))", 8, "end of the filter"),
            ("(uid=x)(a=b)", 8, "end of the filter"),
            ("(&)", 3, "expected ("),
            ("(!(a=b)(c=d))", 8, "expected )"),
            ("(&(a=b)x)", 8, "expected )"),
            ("(uid)", 2, "comparison"),
            ("(=x)", 2, "comparison"),
            ("(:=x)", 2, "comparison"),
            ("(:dn:=x)", 2, "comparison"),
            ("(uid>x)", 2, "comparison"),
            ("(a:1.2:x)", 2, "comparison"),
            ("(a>=b*)", 6, "asterisk"),
            ("(a:1.2:=*)", 9, "asterisk"),
            ("(a=b**c)", 5, "two asterisks"),
            ("(a=b{user})", 5, "{user} is not known here, only {username}"),
            ("(a=b{})", 5, "{} is not known"),
            ("(a=b{username)", 4, "brace"),
            (r"(a=b*\2)", 6, "backslash"),
            (r"(a=\{username})", 4, "backslash"),
            (r"(a={username}\gg)", 14, "backslash"),
            ("(a=b(c)", 5, "expected )"),
            ("(a=\0)", 4, "expected )"),
        ):
            with self.assertRaises(FilterError) as caught:
                parse_filter(text, ("username",))
            self.assertEqual(caught.exception.column, column, text)
            self.assertIn(words, caught.exception.message, text)

    def test_the_depth_is_bounded(self) -> None:
        def nested(depth: int) -> str:
            return "(!" * (depth - 1) + "(a=b)" + ")" * (depth - 1)

        parse_filter(nested(MAX_DEPTH), ())
        with self.assertRaises(FilterError) as caught:
            parse_filter(nested(MAX_DEPTH + 1), ())
        self.assertEqual(caught.exception.message, "brackets are nested more than 20 deep")


class PlaceTests(TestCase):
    def test_attack_31_a_name_is_never_read_as_a_filter(self) -> None:
        for name in ("*", "*)(uid=*", "a)(|(b=c", "\\2a", "{dn}", "joe*", "\0"):
            self.assertEqual(filled("(uid={username})", username=name), Equal("uid", name))
            self.assertEqual(filled("(mail={username}@*)", username=name), Substrings("mail", (f"{name}@", "")))

    @given(st.text(max_size=20))
    def test_attack_31_no_name_changes_the_shape(self, name: str) -> None:
        expected = And((Equal("uid", name), Equal("a", "b")))
        self.assertEqual(filled("(&(uid={username})(a=b))", username=name), expected)

    def test_each_alternative_needs_a_place(self) -> None:
        for text, needs in (
            ("(uid={username})", True),
            ("(uid=x{username}y*)", True),
            ("(&(a=b)(uid={username}))", True),
            ("(|(uid={username})(mail={username}))", True),
            ("(|(uid={username})(a=b))", False),
            ("(&(a=b)(|(uid={username})(a=b)))", False),
            ("(!(uid={username}))", False),
            ("(a=b)", False),
        ):
            self.assertEqual(parse_filter(text, ("username",)).needs(("username",)), needs, text)

    def test_places_below_a_not(self) -> None:
        for text, negates in (
            ("(!(uid={username}))", True),
            ("(&(a=b)(!(|(a=b)(uid={username}))))", True),
            ("(&(!(a=b))(uid={username}))", False),
        ):
            self.assertEqual(parse_filter(text, ("username",)).negates(), negates, text)

    def test_has(self) -> None:
        found = parse_filter("(&(a=b)(uid={username}))", ("dn", "username"))
        self.assertTrue(found.has("username"))
        self.assertFalse(found.has("dn"))

    def test_a_filter_instead_of_comparisons_with_a_place(self) -> None:
        name = {"username": Equal("uid", "joe")}
        for text, expected in (
            ("(mail={username})", Equal("uid", "joe")),
            ("(&(active=yes)(|(uid={username})(mail={username}@*)))", And((Equal("active", "yes"), Equal("uid", "joe")))),
        ):
            self.assertEqual(parse_filter(text, ("username",)).filled({}, name), expected)

    def test_comparisons_with_an_unknown_place_match_nothing(self) -> None:
        for text, expected in (
            ("(|(member={dn})(memberUid={username}))", Equal("member", "cn=x")),
            ("(&(a=b)(member={dn}))", And((Equal("a", "b"), Equal("member", "cn=x")))),
            ("(&(a=b)(memberUid={username}))", None),
            ("(|(&(a=b)(memberUid={username}))(!(c=d)))", Not(Equal("c", "d"))),
            ("(memberUid={username})", None),
            ("(|(a={username})(b={username}))", None),
            ("(!(a={username}))", None),
        ):
            self.assertEqual(parse_filter(text, ("dn", "username")).filled({"dn": "cn=x"}), expected, text)

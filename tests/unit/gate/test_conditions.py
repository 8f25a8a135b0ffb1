"""Conditions of routes besides host and path, and requests that two servers could read in two ways."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import TestCase

from perimeter.config.site.route_conditions import HEADERS, METHODS, QUERY, Condition
from perimeter.config.site.route_path import plain
from perimeter.config.site.route_requests import RouteRequests
from perimeter.errors import BadRequest, BadTarget
from perimeter.gate.conditions import Conditions, conditions_of
from perimeter.http.grammar import parse_block, parse_request
from perimeter.model import RequestHead


def head(line: str, *lines: str) -> RequestHead:
    block = "".join(f"{one}\r\n" for one in ("Host: gw", *lines)).encode("latin-1")
    return parse_request(f"{line} HTTP/1.1".encode("latin-1"), parse_block(block, 100))


def header(text: str) -> Condition:
    (found,) = HEADERS.convert(text, Path("/"))
    return found


def parameter(text: str) -> Condition:
    (found,) = QUERY.convert(text, Path("/"))
    return found


class MethodTests(TestCase):
    def test_methods(self) -> None:
        of = Conditions(frozenset((b"GET", b"HEAD")))
        for method, met in (("GET", True), ("HEAD", True), ("POST", False), ("GETS", False)):
            self.assertIs(of.met(head(f"{method} /")), met, method)
        self.assertTrue(Conditions().met(head("POST /")))

    def test_attack_125_a_method_in_another_case(self) -> None:
        """A route for POST is not passed by with "post", which a service may take for POST."""
        of = Conditions(frozenset((b"POST",)))
        self.assertTrue(of.met(head("post /")))
        self.assertFalse(of.met(head("pos /")))

    def test_a_preflight_belongs_to_the_route_of_the_method_that_it_asks_for(self) -> None:
        lines = ("Origin: https://a.example", "Access-Control-Request-Method: PUT")
        of = Conditions(frozenset((b"PUT",)), preflights=True)
        self.assertTrue(of.met(head("OPTIONS /", *lines)))
        for others in (lines[:1], lines[1:], (*lines, "Cookie: a=b"), (*lines, lines[1])):
            self.assertFalse(of.met(head("OPTIONS /", *others)), others)
        self.assertFalse(Conditions(frozenset((b"GET",)), preflights=True).met(head("OPTIONS /", *lines)))
        self.assertFalse(Conditions(frozenset((b"PUT",))).met(head("OPTIONS /", *lines)))
        self.assertTrue(Conditions(frozenset((b"OPTIONS",))).met(head("OPTIONS /", *lines)))

    def test_attack_129_a_question_without_the_method(self) -> None:
        self.assertRaises(BadTarget, Conditions(frozenset((b"GET",))).met, head("- /"), True)
        self.assertTrue(Conditions(query=(parameter("a=1"),)).met(head("- /?a=1"), True))


class HeaderTests(TestCase):
    def test_values(self) -> None:
        for text, lines, met in (
            ("X-Version: 2", ("X-Version: 2",), True),
            ("x-version: 2", ("X-VERSION:   2  ",), True),
            ("X-Version: 2", ("X-Version: 21",), False),
            ("X-Version: 2", (), False),
            ("X-Version: *", ("X-Version: 3",), True),
            ("X-Version: *", ("X-Version: 3", "X-Version: 4"), True),
            ("X-Version: *", (), False),
            ("X-Version: regex:[0-9]+", ("X-Version: 12",), True),
            ("X-Version: regex:[0-9]+", ("X-Version: 12a",), False),
            ("X-A: B", ("X-A: b",), False),
        ):
            self.assertIs(Conditions(headers=(header(text),)).met(head("GET /", *lines)), met, (text, lines))

    def test_all_of_them(self) -> None:
        of = Conditions(headers=(header("A: 1"), header("B: 2")))
        self.assertTrue(of.met(head("GET /", "A: 1", "B: 2")))
        self.assertFalse(of.met(head("GET /", "A: 1")))
        self.assertFalse(of.met(head("GET /", "B: 2")))

    def test_attack_125_a_header_with_two_readings(self) -> None:
        of = Conditions(headers=(header("X-Op: delete"),))
        for lines in (("X-Op: view", "X-Op: delete"), ("X-Op: delete", "X-Op: delete"), ("X_Op: delete",), ("x.op: delete",)):
            self.assertRaises(BadRequest, of.met, head("GET /", *lines))
        self.assertFalse(of.met(head("GET /", "X_Ob: delete", "X-Opp: delete")))

    def test_attack_129_a_question_need_not_have_the_headers(self) -> None:
        of = Conditions(headers=(header("X-Op: delete"),))
        for lines in ((), ("X-Op: delete",)):
            self.assertRaises(BadTarget, of.met, head("GET /", *lines), True)


class QueryTests(TestCase):
    def test_values(self) -> None:
        for text, query, met in (
            ("a=1", "?a=1", True),
            ("a=1", "?b=2&a=1&c", True),
            ("a=1", "?a=2", False),
            ("a=1", "?a", False),
            ("a=1", "", False),
            ("a=1", "?", False),
            ("a=1", "?ab=1", False),
            ("a=1", "?%61=%31", True),
            ("a=1 2", "?a=1+2", True),
            ("a=1 2", "?a=1%202", True),
            ("a=*", "?a", True),
            ("a=*", "?a=", True),
            ("a=*", "?b", False),
            ("a=regex:[0-9]+", "?a=12", True),
            ("a=regex:[0-9]+", "?a=1x", False),
            ("a=b=c", "?a=b=c", True),
            ("\u00e9=\u00e8", "?%C3%A9=%C3%A8", True),
        ):
            self.assertIs(Conditions(query=(parameter(text),)).met(head(f"GET /x{query}")), met, (text, query))

    def test_all_of_them(self) -> None:
        of = Conditions(query=(parameter("a=1"), parameter("b=2")))
        self.assertTrue(of.met(head("GET /?b=2&a=1")))
        self.assertFalse(of.met(head("GET /?a=1")))

    def test_attack_125_a_parameter_with_two_readings(self) -> None:
        of = Conditions(query=(parameter("action=delete"),))
        for query in (
            "action=view&action=delete",
            "action=delete&action=delete",
            "action=delete&%61ction=view",
            "ACTION=delete",
            "Action=view",
            "%2561ction=delete",
            "%252561ction=delete",
            "action=delet%2565",
            "action=delet%252565",
            "a=1;action=delete",
            "action=delete;b=2",
            "action=view;action=delete",
        ):
            self.assertRaises(BadTarget, of.met, head(f"GET /?{query}"))
        for query in ("actions=delete", "a=1;b=2&c=action", "action=view&x=%2525", "action=%25", "a%25=1"):
            self.assertFalse(of.met(head(f"GET /?{query}")), query)

    def test_attack_23_a_long_query_is_read_in_linear_time(self) -> None:
        of = Conditions(query=(parameter("action=delete"),))
        for query in ("%" + "25" * 4000 + "61", "&" * 8000, ";" * 8000, "%25" * 2600):
            self.assertFalse(of.met(head(f"GET /?{query}")))


class SettingsTests(TestCase):
    def test_conditions_of_a_route(self) -> None:
        self.assertIsNone(conditions_of(RouteRequests(path=plain("/"))))
        methods = METHODS.convert("GET", Path("/"))
        made = RouteRequests(path=plain("/"), methods=methods, headers=(header("A: regex:x+"),), query=(parameter("b=*"),))
        self.assertEqual(conditions_of(made), Conditions(frozenset((b"GET",)), made.headers, made.query))
        self.assertTrue((conditions_of(made, True) or Conditions()).preflights)
        self.assertEqual(made.conditions, ("method GET", "header a: regex:x+", "query b=*"))
        self.assertEqual(made.requests, "/ if method GET, header a: regex:x+, query b=*")

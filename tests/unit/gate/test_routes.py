"""Which route a host and a path belong to, and that finding out costs the same for one route and a thousand."""

from __future__ import annotations

import time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from perimeter.config.language.expressions import compiled
from perimeter.config.site.route_matching import canonical_host
from perimeter.errors import BadTarget
from perimeter.gate.conditions import Conditions
from perimeter.gate.routes import Route, RouteTable
from tests.unit.doubles.http_rig import Audit, Echoing


def route(name: str, path: str = "/", *hosts: str, **options: Any) -> Route:
    return Route(name=name, prefix=path.rstrip("/").encode(), target=Echoing(), audit=Audit(), hosts=hosts, **options)


class FindTests(unittest.TestCase):
    def found(self, table: RouteTable, path: str, host: str = "gw") -> str | None:
        found = table.matching(host.encode(), path.encode())
        return found[0].name if found else None

    def test_longest_prefix(self) -> None:
        table = RouteTable([route("a", "/a"), route("root", "/"), route("ab", "/a/b"), route("long", "/a/b/c/d")])
        for path, name in (
            ("/", "root"),
            ("/x", "root"),
            ("/a", "a"),
            ("/a/", "a"),
            ("/a/x", "a"),
            ("/ab", "root"),
            ("/a.", "root"),
            ("/A", "root"),
            ("/a/b", "ab"),
            ("/a/bc", "a"),
            ("/a/b/c", "ab"),
            ("/a/b/c/d", "long"),
            ("/a/b/c/d/", "long"),
            ("/a/b/c/dd", "ab"),
            ("/a/b/c/d/e/f", "long"),
            ("/" + "x/" * 5000, "root"),
        ):
            self.assertEqual(self.found(table, path), name, path)

    def test_what_follows_from_other_options_cannot_be_given(self) -> None:
        with self.assertRaises(TypeError):
            route("a", entry=())

    def test_a_route_that_says_nothing_more(self) -> None:
        plain = route("a")
        self.assertEqual((plain.upgrades, plain.early_hints), (frozenset((b"websocket",)), False))
        self.assertFalse(plain.allow_encoded_slash)
        self.assertFalse(plain.builtin)
        self.assertTrue(plain.keeps_session)

    def test_which_answers_are_never_cut(self) -> None:
        for builtin, lasting, brief in ((False, False, False), (False, True, False), (True, False, True), (True, True, False)):
            self.assertIs(route("a", builtin=builtin, lasting=lasting).brief, brief)

    def test_nothing_without_a_match(self) -> None:
        table = RouteTable([route("a", "/a")])
        for path in ("/", "/b", "/aa", "/b/a"):
            self.assertIsNone(self.found(table, path), path)
        self.assertIsNone(self.found(RouteTable([]), "/a"))

    def test_exact(self) -> None:
        table = RouteTable([route("root", "/"), route("token", "/token", exact=True, builtin=True)])
        self.assertEqual(self.found(table, "/token"), "token")
        for path in ("/token/", "/token/x", "/tokens", "/"):
            self.assertEqual(self.found(table, path), "root", path)

    def test_exact_gives_way_to_a_route_of_the_same_path(self) -> None:
        table = RouteTable([route("mine", "/token"), route("token", "/token", exact=True, builtin=True)])
        self.assertEqual(self.found(table, "/token"), "mine")
        table = RouteTable([route("token", "/token", exact=True, builtin=True), route("mine", "/token")])
        self.assertEqual(self.found(table, "/token"), "mine")

    def test_exact_without_any_other(self) -> None:
        table = RouteTable([route("token", "/token", exact=True, builtin=True)])
        self.assertEqual(self.found(table, "/token"), "token")
        self.assertIsNone(self.found(table, "/token/x"))
        self.assertIsNone(self.found(table, "/"))

    def test_exact_at_the_root(self) -> None:
        page = route("page", "/", exact=True, builtin=True)
        table = RouteTable([page])
        self.assertEqual(self.found(table, "/"), "page")
        self.assertIsNone(self.found(table, "/x"))
        for routes in ([page, route("mine")], [route("mine"), page]):
            self.assertEqual(self.found(RouteTable(routes), "/"), "mine")

    def test_hosts(self) -> None:
        table = RouteTable(
            [
                route("any"),
                route("b", "/", "b.example.com"),
                route("any-a", "/a"),
                route("b-p", "/p", "b.example.com", "c.example.com"),
            ]
        )
        for host, path, name in (
            ("other", "/", "any"),
            ("b.example.com", "/", "b"),
            ("b.example.com", "/a", "b"),
            ("b.example.com", "/p", "b-p"),
            ("c.example.com", "/p", "b-p"),
            ("c.example.com", "/", "any"),
            ("x.b.example.com", "/", "any"),
            ("example.com", "/", "any"),
            ("badexample.com", "/", "any"),
            ("other", "/a", "any-a"),
            ("", "/", "any"),
            ("[::1]:80", "/", "any"),
        ):
            self.assertEqual(self.found(table, path, host), name, (host, path))
            self.assertEqual(self.found(table, path, host), name, "again, from memory")

    def test_wildcards_of_hosts(self) -> None:
        """Like nginx: the name itself, then its longest wildcard, then any host."""
        table = RouteTable(
            [
                route("any"),
                route("com", "/", "**.example.com"),
                route("deep", "/", "**.b.example.com"),
                route("deep-p", "/p/q", "**.b.example.com"),
                route("com-p", "/p", "**.example.com"),
                route("x", "/x", "x.b.example.com"),
            ]
        )
        for host, path, name in (
            ("example.com", "/", "any"),
            ("badexample.com", "/", "any"),
            ("a.example.com", "/", "com"),
            ("A.Example.com.:80", "/", "com"),
            ("a.c.example.com", "/p/q", "com-p"),
            ("b.example.com", "/", "com"),
            ("c.b.example.com", "/", "deep"),
            ("d.c.b.example.com", "/p/q/r", "deep-p"),
            ("c.b.example.com", "/p", "deep"),
            ("x.b.example.com", "/x/y", "x"),
            ("x.b.example.com", "/p/q", "deep-p"),
            ("x.b.example.com", "/", "deep"),
            ("xb.example.com", "/", "com"),
            ("com", "/", "any"),
        ):
            self.assertEqual(self.found(table, path, host), name, (host, path))
            self.assertEqual(self.found(table, path, host), name, "again, from memory")

    def test_a_wildcard_without_a_route_for_the_path(self) -> None:
        table = RouteTable([route("any"), route("wide", "/w", "**.com"), route("deep", "/d", "**.b.com")])
        for path, name in (("/d", "deep"), ("/w", "wide"), ("/x", "any")):
            self.assertEqual(self.found(table, path, "a.b.com"), name, path)
        self.assertIsNone(self.found(RouteTable([route("wide", "/", "**.com")]), "/", "com"))

    def test_attack_4_case_trailing_dot_and_port(self) -> None:
        table = RouteTable([route("open"), route("closed", "/", "b.example.com")])
        for host in (
            "b.example.com",
            "B.Example.COM",
            "b.example.com.",
            "b.example.com:443",
            "B.EXAMPLE.COM.:8443",
            "b.example.com:",
        ):
            self.assertEqual(self.found(table, "/", host), "closed", host)

    def test_canonical_host(self) -> None:
        for host, name in (
            (b"[::1]:80", "[::1]"),
            (b"[2001:DB8::0:1]", "[2001:db8::1]"),
            (b"10.0.0.1:80", "10.0.0.1"),
            (b"", ""),
        ):
            self.assertEqual(canonical_host(host), name)

    def test_attack_54_a_name_of_thousands_of_labels(self) -> None:
        """Its labels are not checked one by one, and it is not cached."""
        table = RouteTable([route("any"), route("b", "/", "b.example.com"), route("c", "/", "**.c.example.com")])
        host = "a." * 16_000 + "b.example.com"
        began = time.thread_time()
        for _ in range(20):
            self.assertEqual(self.found(table, "/", host), "any")
            self.assertEqual(self.found(table, "/", "a." * 16_000 + "c.example.com"), "c")
        self.assertLess(time.thread_time() - began, 0.02)
        self.assertEqual(len(table._table._remembered), 0)

    def test_attack_23_names_that_clients_invent_are_not_kept_for_ever(self) -> None:
        table = RouteTable([route("any"), route("b", "/", "b")])
        for number in range(5000):
            self.assertEqual(self.found(table, "/", f"x{number}"), "any")
        self.assertLessEqual(len(table._table._remembered), 1001)
        self.assertEqual(self.found(table, "/", "b"), "b")

    @given(st.lists(st.sampled_from(["/", "/a", "/b", "/a/b", "/a/bb", "/a/b/c", "/abc", "/a/b/c/d/e"]), max_size=6), st.data())
    @settings(max_examples=200, deadline=None)
    def test_agrees_with_a_search_through_all(self, prefixes: list[str], data: st.DataObject) -> None:
        table = RouteTable([route(prefix, prefix) for prefix in prefixes])
        path = "/" + "/".join(data.draw(st.lists(st.sampled_from(["a", "b", "bb", "c", "d", "e", "abc", ""]), max_size=6)))
        matches = [p for p in prefixes if path == p or path.startswith(p.rstrip("/") + "/")]
        self.assertEqual(self.found(table, path), max(matches, key=len, default=None))


class SelectiveTests(unittest.TestCase):
    """Expressions, exact paths and conditions."""

    def names(self, table: RouteTable, path: str, host: str = "gw") -> list[str]:
        return [one.name for one in table.matching(host.encode(), path.encode())]

    def test_exact_then_the_longest_and_expressions_before_the_path_that_they_are_in(self) -> None:
        table = RouteTable(
            [
                route("root"),
                route("x", "/x"),
                route("deep", "/x/1/y"),
                route("number", "/x", pattern=compiled("^/x/([0-9]+)")),
                route("other", "/x", pattern=compiled("^/x/.")),
                route("png", "/", pattern=compiled("^/.*[.]png$")),
                Route("one", b"/x/1", Echoing(), Audit(), exact=True),
                Route("slash", b"/x/", Echoing(), Audit(), exact=True),
            ]
        )
        for path, name in (
            ("/x/1", "one"),
            ("/x/1/", "number"),
            ("/x/1/y/z", "deep"),
            ("/x/12", "number"),
            ("/x/a", "other"),
            ("/x", "x"),
            ("/x/", "slash"),
            ("/x/a.png", "other"),
            ("/a.png", "png"),
            ("/xx/a.png", "png"),
            ("/a.pn", "root"),
            ("/", "root"),
        ):
            self.assertEqual(self.names(table, path), [name], path)

    def test_conditions_come_first_and_fall_through(self) -> None:
        of = Conditions(frozenset((b"GET",)))
        table = RouteTable(
            [
                route("x", "/x"),
                route("x-get", "/x", conditions=of),
                route("x-get-2", "/x", conditions=of),
                route("y-get", "/x/y", conditions=of),
                route("re", "/x/y", pattern=compiled("^/x/y/"), conditions=of),
                Route("exact", b"/x/y/", Echoing(), Audit(), exact=True, conditions=of),
                route("host", "/x/y", "a.example", conditions=of),
                route("wild", "/z", "*.example"),
                route("wild-get", "/x", "*.example", conditions=of),
            ]
        )
        self.assertEqual(self.names(table, "/x"), ["x-get", "x-get-2", "x"])
        self.assertEqual(self.names(table, "/x/y"), ["y-get", "x-get", "x-get-2", "x"])
        self.assertEqual(self.names(table, "/x/y/"), ["exact", "re", "y-get", "x-get", "x-get-2", "x"])
        self.assertEqual(self.names(table, "/x/y", "a.example"), ["host", "wild-get", "y-get", "x-get", "x-get-2", "x"])
        self.assertEqual(self.names(table, "/z", "a.example"), ["wild"])
        self.assertEqual(self.names(table, "/"), [])
        self.assertEqual(self.names(table, "/z"), [])

    def test_the_first_without_conditions_is_the_last(self) -> None:
        of = Conditions(frozenset((b"GET",)))
        table = RouteTable(
            [
                route("any", conditions=of),
                route("rest"),
                Route("exact", b"/x", Echoing(), Audit(), hosts=("a.example",), exact=True),
                route("re", "/y", "a.example", pattern=compiled("^/y/[0-9]+$")),
                route("prefix", "/z", "a.example"),
                route("long", "/z/z/z/z", "a.example", conditions=of),
            ]
        )
        for path, names in (
            ("/x", ["exact"]),
            ("/x/", ["any", "rest"]),
            ("/y/1", ["re"]),
            ("/y/a", ["any", "rest"]),
            ("/z", ["prefix"]),
            ("/z/", ["prefix"]),
            ("/z/z/z/z/z/z", ["long", "prefix"]),
            ("/zz/z/z/z/z/z", ["any", "rest"]),
            ("/", ["any", "rest"]),
        ):
            self.assertEqual(self.names(table, path, "a.example"), names, path)

    def test_an_endpoint_of_the_gateway_gives_way_to_what_has_its_path_and_comes_after_conditions(self) -> None:
        own = route("token", "/token", exact=True, builtin=True)
        of = Conditions(frozenset((b"GET",)))
        for mine, below in (
            (route("mine", "/token", conditions=of), ["mine"]),
            (Route("mine", b"/token", Echoing(), Audit(), exact=True, conditions=of), []),
        ):
            for routes in ([own, mine], [mine, own]):
                table = RouteTable(routes)
                self.assertEqual(self.names(table, "/token"), ["mine", "token"])
                self.assertEqual(self.names(table, "/token/x"), below)
        mine = Route("mine", b"/token", Echoing(), Audit(), exact=True)
        for routes in ([own, mine], [mine, own]):
            self.assertEqual(self.names(RouteTable(routes), "/token"), ["mine"])
        matched = route("re", "/", pattern=compiled("^/tok"))
        self.assertEqual(self.names(RouteTable([own, matched]), "/token"), ["token"])

    def test_one_label_or_any_number(self) -> None:
        table = RouteTable(
            [
                route("any"),
                route("one", "/", "*.example.com"),
                route("more", "/", "**.example.com"),
                route("deep", "/", "**.b.example.com"),
                route("deep-one", "/p", "*.b.example.com"),
            ]
        )
        for host, path, name in (
            ("example.com", "/", "any"),
            ("badexample.com", "/", "any"),
            ("a.example.com", "/", "one"),
            ("A.Example.com.:80", "/", "one"),
            ("a.c.example.com", "/", "more"),
            ("b.example.com", "/", "one"),
            ("c.b.example.com", "/", "deep"),
            ("c.b.example.com", "/p", "deep-one"),
            ("d.c.b.example.com", "/p", "deep"),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaa.b.example.com", "/p", "deep-one"),
            ("a.aaaaaaaaaaaaaaaaaaaaaaaaaaaa.example.com", "/p", "more"),
        ):
            for _ in range(2):  # the second time from memory
                self.assertEqual(self.names(table, path, host), [name], (host, path))

    def test_static_files_are_below_the_directory(self) -> None:
        self.assertEqual(route("a", "/a/b").place, b"/a/b")
        self.assertEqual(Route("a", b"/a/b", Echoing(), Audit(), exact=True).place, b"/a")
        self.assertEqual(Route("a", b"/a/", Echoing(), Audit(), exact=True).place, b"/a")


class CountingDict(dict[Any, Any]):
    """Counts look-ups."""

    looked_up = 0

    def get(self, key: Any, default: Any = None) -> Any:
        CountingDict.looked_up += 1
        return super().get(key, default)


class CostTests(unittest.TestCase):
    def cost(self, count: int, path: bytes) -> int:
        table = RouteTable([route("root"), *(route(f"r{number}", f"/v{number:04}/app") for number in range(count))])
        prefixes = table._table.of("*")
        prefixes.prefixes = CountingDict(prefixes.prefixes)
        prefixes.exact = CountingDict(prefixes.exact)
        CountingDict.looked_up = 0
        self.assertTrue(table.matching(b"gw", path))
        return CountingDict.looked_up

    def test_attack_23_flat_in_routes_and_in_path(self) -> None:
        self.assertGreater(self.cost(10, b"/v0001/app/x"), 0)
        for path in (b"/v0001/app", b"/v0001/app/x", b"/none", b"/none/at/all"):
            self.assertEqual(self.cost(1000, path), self.cost(10, path), path)
        self.assertLessEqual(self.cost(10, b"/x" * 10_000), 12)


class RewriteTests(unittest.TestCase):
    def test_forwarded_and_back(self) -> None:
        for prefix, rewrite, outer, inner in (
            ("/v1", b"", b"/v1", b"/"),
            ("/v1", b"", b"/v1/", b"/"),
            ("/v1", b"", b"/v1/a/b", b"/a/b"),
            ("/v1", b"/app", b"/v1", b"/app"),
            ("/v1", b"/app", b"/v1/a", b"/app/a"),
            ("/", b"/app", b"/a", b"/app/a"),
            ("/", b"/app", b"/", b"/app/"),
            ("/", b"", b"/a", b"/a"),
        ):
            one = route("r", prefix, rewrite=rewrite)
            self.assertEqual(one.forwarded_path(outer), inner)
            back = one.outer_path(inner)
            self.assertEqual(one.forwarded_path(back), inner, (prefix, rewrite, outer))
        one = route("r", "/v1", rewrite=b"/app")
        self.assertEqual(one.outer_path(b"/application"), b"/application")
        self.assertEqual(one.outer_path(b"/elsewhere"), b"/elsewhere")
        self.assertEqual(route("r", "/", rewrite=b"/app").outer_path(b"/app"), b"/")

    def test_of_one_path(self) -> None:
        one = Route("r", b"/v1", Echoing(), Audit(), exact=True, rewrite=b"/app")
        self.assertEqual(
            (one.forwarded_path(b"/v1"), one.outer_path(b"/app"), one.outer_path(b"/other")), (b"/app", b"/v1", b"/other")
        )
        self.assertEqual((one.hidden_prefix, route("r", "/v1", rewrite=b"/app").hidden_prefix), (b"", b"/v1"))

    def test_with_groups(self) -> None:
        one = route("r", "/v", rewrite=b"/new/$2/$1x$$", pattern=compiled("^/v/([^/]*)/(.*?)(z)?$"))
        for path, expected in (("/v/a/b/c", b"/new/b/c/ax$"), ("/v/a/%2Fb", b"/new/%2Fb/ax$"), ("/v//", b"/new/x$")):
            self.assertEqual(one.forwarded_path(path.encode()), expected, path)
        self.assertEqual((one.hidden_prefix, one.outer_path(b"/new/b/ax$")), (b"", b"/new/b/ax$"))
        fixed = route("r", "/v", rewrite=b"/new", pattern=compiled("^/v/"))
        self.assertEqual(fixed.forwarded_path(b"/v/a"), b"/new")
        absent = route("r", "/v", rewrite=b"/n/$1", pattern=compiled("^/v/(x)?"))
        self.assertEqual(absent.forwarded_path(b"/v/a"), b"/n/")
        self.assertRaises(BadTarget, one.forwarded_path, b"/other")

    def test_attack_126_groups_that_make_a_path_without_a_normal_form(self) -> None:
        for expression, rewrite, path in (
            ("^/v/(.)(..)(.*)$", b"/$2/$1$3", b"/v/%2Fb"),
            ("^/v/(.)(.)", b"/x/$1$2/y", b"/v/.."),
            ("^/v/(.)x(.)", b"/x/$1$2/y", b"/v/.x.a"),
            ("^/v/(%2)(.)(.)$", b"/$1$3", b"/v/%2Fx"),
            ("^/v/(%)(25)(..)", b"/$1$2$3", b"/v/%2541"),
            ("^/v/(...)(..)", b"/$1$2", b"/v/%2541"),
        ):
            one = route("r", "/v", rewrite=rewrite, pattern=compiled(expression))
            self.assertRaises(BadTarget, one.forwarded_path, path)
        merged = route("r", "/v", rewrite=b"/$1", pattern=compiled("^/v(.*)$"))
        self.assertEqual(merged.forwarded_path(b"/v/a"), b"/a")

    def test_without_rewrite(self) -> None:
        one = route("r", "/v1")
        self.assertEqual((one.forwarded_path(b"/v1/a"), one.outer_path(b"/v1/a")), (b"/v1/a", b"/v1/a"))

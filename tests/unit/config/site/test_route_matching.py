"""Which routes the requests for a host can match. The configurations for other proxies are made from this."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from perimeter.config.site.route_matching import HostTable, covers, hosts_for, prefix_of, specificity

HOSTS = ("*", "b.example.com", "**.example.com", "**.b.example.com", "a.b.example.com", "other")
PREFIXES = ("", "/a", "/a/b", "/c")


class CoverTests(TestCase):
    def test_table(self) -> None:
        for prefix, path, expected in (
            ("", "/", True),
            ("", "/a", True),
            ("/a", "/a", True),
            ("/a", "/a/", True),
            ("/a", "/a/b", True),
            ("/a", "/ab", False),
            ("/a", "/", False),
        ):
            self.assertEqual(covers(prefix, path), expected, (prefix, path))
        self.assertEqual([prefix_of(path) for path in ("/", "/a", "/a/")], ["", "/a", "/a"])


class SpecificityTests(TestCase):
    def test_order(self) -> None:
        hosts = ["*", "**.com", "**.b.com", "x", "a.com"]
        self.assertEqual(sorted(hosts, key=specificity), ["a.com", "x", "**.b.com", "**.com", "*"])

    def test_wildcards_for_one_label(self) -> None:
        hosts = ["*", "**.b.com", "*.b.com", "*.c.b.com", "*.com", "**.c.b.com", "a.b.com", "**.com"]
        expected = ["a.b.com", "*.c.b.com", "**.c.b.com", "*.b.com", "**.b.com", "*.com", "**.com", "*"]
        self.assertEqual(sorted(hosts, key=specificity), expected)
        known = set(hosts)
        for host, found in (
            ("x.b.com", ["*.b.com", "**.b.com", "**.com"]),
            ("y.x.b.com", ["**.b.com", "**.com"]),
            ("x.com", ["*.com", "**.com"]),
            ("*.b.com", ["*.b.com", "**.b.com", "**.com"]),
            ("**.b.com", ["**.b.com", "**.com"]),
            ("*.x.com", ["**.com"]),
            ("**.x.com", ["**.com"]),
        ):
            self.assertEqual(list(hosts_for(host, known, 10)), found, host)
        self.assertEqual(list(hosts_for("*.b.com", {"*.b.com"}, 10)), ["*.b.com"])

    def test_hosts_of_a_name(self) -> None:
        known = {"**.com", "**.b.com", "a.b.com", "b.com", "**.other"}
        self.assertEqual(list(hosts_for("a.b.com", known, 7)), ["a.b.com", "**.b.com", "**.com"])
        self.assertEqual(list(hosts_for("xa.b.com", known, 7)), ["**.b.com", "**.com"])
        self.assertEqual(list(hosts_for("b.com", known, 7)), ["b.com", "**.com"])
        self.assertEqual(list(hosts_for("a.b.com", known, 0)), ["a.b.com"])
        self.assertEqual(list(hosts_for("com", known, 7)), [])


class EffectiveTests(TestCase):
    def table(self, *routes: tuple[str, str]) -> HostTable[str]:
        table: HostTable[str] = HostTable()
        for host, prefix in routes:
            table.of(host).add(prefix.encode(), f"{host} {prefix}")
        return table

    def test_own_routes_and_what_they_leave(self) -> None:
        table = self.table(("b.example.com", "/a"), ("*", ""), ("*", "/a/b"), ("*", "/c"))
        self.assertEqual(table.effective("b.example.com"), ["b.example.com /a", "* ", "* /c"])
        self.assertEqual(table.effective("*"), ["* ", "* /a/b", "* /c"])

    def test_exact_paths(self) -> None:
        table: HostTable[str] = HostTable()
        table.of("b.example.com").add(b"/a", "own")
        table.of("b.example.com").add_exact(b"/x", "own exact")
        for path in (b"/x", b"/a/b", b"/c"):
            table.of("*").add_exact(path, f"any {path.decode()}")
        table.of("*").add(b"/x", "any below")
        self.assertEqual(table.effective("b.example.com"), ["own exact", "any /c", "own", "any below"])
        self.assertEqual(table.effective("*"), ["any /x", "any /a/b", "any /c", "any below"])

    def test_a_wildcard_leaves_what_wider_ones_have(self) -> None:
        table = self.table(("**.b.example.com", "/a"), ("**.example.com", "/a/b"), ("**.example.com", "/c"), ("*", "/d"))
        self.assertEqual(table.effective("**.b.example.com"), ["**.b.example.com /a", "**.example.com /c", "* /d"])
        self.assertEqual(table.effective("x.b.example.com"), ["**.b.example.com /a", "**.example.com /c", "* /d"])
        self.assertEqual(table.effective("**.example.com"), ["**.example.com /a/b", "**.example.com /c", "* /d"])

    @given(
        st.lists(st.tuples(st.sampled_from(HOSTS), st.sampled_from(PREFIXES)), max_size=8, unique=True),
        st.sampled_from(("b.example.com", "a.b.example.com", "other")),
        st.sampled_from(("/", "/a", "/a/b", "/a/x", "/c/d", "/e")),
    )
    def test_the_longest_of_what_is_effective_is_what_is_found(self, routes: list[tuple[str, str]], host: str, path: str) -> None:
        table = self.table(*routes)
        matching = [one for one in table.effective(host) if covers(one.partition(" ")[2], path)]
        expected = max(matching, key=lambda one: len(one.partition(" ")[2]), default=None)
        self.assertEqual(table.find(host.encode(), path.encode()), expected)

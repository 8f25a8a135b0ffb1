"""Attack 70: words that look plausible, and would be taken literally, leave a door open. They are refused."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from perimeter.config.language.datatypes import BadValue
from perimeter.config.language.name_types import checked_name, spelled_name
from perimeter.config.site.rule import Rule
from tests.unit.doubles.properties import reached, reaches
from tests.unit.doubles.site import SITE, SiteCase


class RouteCase(SiteCase):
    def route(self, body: str, path: str = "/") -> list[str]:
        """The problems of the route; each without its place."""
        text = SITE.replace("path = /\n", f"path = {path}\n{body}")
        assert text != SITE or (path, body) == ("/", "")
        try:
            self.load(text)
        except Exception:
            return [problem.partition("[route app] ")[2] for problem in self.problems(text)]
        return []

    def rules(self, text: str) -> tuple[Rule, ...]:
        config = self.load(SITE.replace("path = /\n", f"path = /\nallow = {text}\n"))
        return config.routes[0].allow or ()


class PathTests(RouteCase):
    def test_attack_70_patterns_and_lists_are_no_paths(self) -> None:
        for written, meant in (
            *(("/admin/*", "/admin"), ("/admin/**", "/admin"), ("/admin*", ""), ("/*", "/"), ("/a/*/b", ""), ("/a/?", "/a")),
            *(("^/admin", "/admin"), ("~ ^/admin/", "/admin"), ("^/admin/.*$", "/admin"), ("/admin/.*", "/admin")),
            *(
                ("/admin/.+", "/admin"),
                ("/admin(/.*)?", ""),
                ("/admin$", "/admin"),
                ("/users/:id", "/users"),
                ("/users/{id}", "/users"),
            ),
            *(
                ("/a/[^/]+", "/a"),
                ("/(a)/b", ""),
                ("/a,/b", ""),
                ("/a/$1", "/a"),
                ("/a,", ""),
                ("/a'", ""),
                ("/a|/b", ""),
                ("/a, /b", ""),
                ("/a or /b", ""),
                ("/a /b", ""),
                ("= /admin", "/admin"),
            ),
            *(("/admin; x", ""), ("/a\\.b", "")),
        ):
            found = self.route("", written)
            self.assertEqual(len(found), 1, written)
            self.assertIn("path: expected one plain path", found[0])
            self.assertEqual(found[0].partition("did you mean ")[2].rstrip("?"), meant, written)

    def test_attack_70_no_advice_is_wider_than_what_was_written(self) -> None:
        for option, written in (
            *(
                ("path", path)
                for path in ("/public*", "/public|/news", "/{id}/public", "/a/*/public", "/public\\.html", "/public?")
            ),
            *(("path", path) for path in ("^/public|^/news", "/public /news", "/[^/]+")),
            *(("allow", rule) for rule in ("!user:bob", "not user bob", "- user:bob", "role:(ops)", "except user:bob")),
        ):
            found = self.route("", written) if option == "path" else self.route(f"{option} = {written}\n")
            self.assertTrue(found and found[0].startswith(f"{option}: "), (written, found))
            self.assertIsNone(re.search(r"did you mean (?!and not\?)", found[0]), (written, found))

    def test_attack_70_the_path_that_replaces_it(self) -> None:
        self.assertIn("rewrite: expected one plain path", self.route("rewrite = /a*\n")[0])
        self.assertIn("rewrite: there is no group $1: only a regex: path has groups", self.route("rewrite = /$1\n")[0])

    def test_plain_paths_stay(self) -> None:
        for path in (
            "/",
            "/a",
            "/a-b_c.d~e",
            "/~alice",
            "/c++",
            "/a@b",
            "/x=1&y",
            "/Special:Page",
            "/a!",
            "/v1.2/x",
            "/a$b",
            "/a(b",
            "/a,b",
            "/a'b",
        ):
            self.assertEqual(self.route("", path), [], path)


class RuleTests(RouteCase):
    def test_attack_70_operators_lists_and_wildcards_are_no_names(self) -> None:
        for rule in (
            *("role:admin with method:POST", "role:admin role:ops", "role:admin AND role:ops", "role:admin && method:POST"),
            *(
                "role:admin|ops",
                "role:admin | role:ops",
                "role:admin or ops",
                "role:admin;role:ops",
                "role:!admin",
                "role:~admin",
            ),
            *(
                "role:*",
                "user:*",
                "role:admin*",
                "role:adm?n",
                "role:(admin|ops)",
                "role:[admin]",
                "role:{admin}",
                "role:^admin$",
            ),
            *(
                "not admin",
                "!role:admin",
                "role=admin",
                "role:admin ops",
                "user:alice bob",
                "role:role:admin",
                "role: user:bob",
            ),
            *(
                "role:all",
                "user:any",
                "role:everyone",
                "user:valid-user",
                "user:Anyone",
                "role:'admin'",
                "role:admin'",
                'role:"admin',
            ),
            *('role:"a"b"', 'role:""', 'role:" a"', '"role:admin"', "'role:admin'", "method:GET|POST", "method:!GET", "method:*"),
            *(
                "method:GET POST",
                "method:GET/POST",
                "method:any",
                "method:ALL",
                "method:get",
                "*",
                "all",
                "any",
                "admin",
                "group:admin",
            ),
            *("role:admin from 10.0.0.0/8", "role:admin with method:GET", "user:alice+bob or x", "role:<admin>", "role:-admin"),
        ):
            for option in ("allow", "deny"):
                found = self.route(f"{option} = {rule}\n")
                self.assertTrue(found and all(one.startswith(f"{option}: ") for one in found), (rule, found))

    def test_attack_70_the_right_spelling(self) -> None:
        for rule, expected in (
            ("role:admin AND method:POST", "column 20: the operators are and, or and not, in lower case, did you mean and"),
            ("role:admin && method:POST", "column 20: the operators are and, or and not, in lower case, did you mean and"),
            ("role:admin role:ops", "column 20: expected and, or or a comma before this term"),
            ("role:Domain Users", 'did you mean role:"Domain Users"'),
            ("role:'admin'", "did you mean role:admin"),
            ("role:\u201cadmin\u201d", "did you mean role:admin"),
            ("user:\u00abalice\u00bb", "did you mean user:alice"),
            ("role:\u2018Domain Users\u2019", 'did you mean role:"Domain Users"'),
            ("role=admin", "did you mean role:admin"),
            ("method:get", "did you mean method:GET"),
            ("GET", "did you mean method:GET"),
            ("role:admin*", "wildcards, patterns and operators are not known here"),
        ):
            self.assertIn(expected, self.route(f"allow = {rule}\n")[0])

    def test_names_as_they_are(self) -> None:
        for written, name in (
            *(
                ("admin", "admin"),
                ("a-b_c.d", "a-b_c.d"),
                ("/TeamA/Admin", "/TeamA/Admin"),
                ("alice@example.com", "alice@example.com"),
            ),
            *(
                (r"CORP\alice", r"CORP\alice"),
                ("O'Brien", "O'Brien"),
                ("urn:x:admin", "urn:x:admin"),
                ("HOST$", "HOST$"),
                ("é", "é"),
            ),
            *(
                ('"Domain Users"', "Domain Users"),
                ('"*"', "*"),
                ('"all"', "all"),
                ('"Admins (EU)"', "Admins (EU)"),
                ('"a;b"', "a;b"),
            ),
        ):
            self.assertEqual(self.rules(f"role:{written}, user:x"), (Rule("role", name), Rule("user", "x")), written)

    @reaches(50)
    @given(st.text(st.characters(exclude_characters='",'), min_size=1).filter(lambda name: name == name.strip()))
    def test_any_name_has_a_spelling(self, name: str) -> None:
        reached(self)
        self.assertEqual(checked_name(spelled_name(name)), name)

    @given(st.sampled_from([" and ", " or ", " not ", " && ", "&&", " || ", "||", " | ", "|", " & ", "&", " + "]))
    def test_no_operator_is_a_part_of_a_name(self, operator: str) -> None:
        with self.assertRaises(BadValue):
            checked_name(f"admin{operator}ops")


class HostTests(RouteCase):
    def test_attack_70_wildcards_and_words_are_no_hosts(self) -> None:
        for host in (
            *("example.*", "*example.com", "**", "*.*", ".example.com", "~^www", "a.example b.example", "a|b"),
            *(
                "any",
                "all",
                "_",
                "default",
                "0.0.0.0",
                "[::]",
                '"a.example"',
                "https://a.example",
                "a.example:443",
                "a.example/x",
            ),
        ):
            found = self.route(f"host = {host}\n")
            self.assertTrue(found and found[0].startswith("host: "), (host, found))
        for host in ("any", "_", "0.0.0.0"):
            self.assertIn("did you mean *", self.route(f"host = {host}\n")[0])
        self.assertIn("wildcards are not known here", self.route("host = *.example.*\n")[0])


class NetworkTests(RouteCase):
    def test_attack_70_ranges_wildcards_and_words_are_no_networks(self) -> None:
        for written, meant in (
            *(
                ("10.0.0.0-10.0.0.255", "10.0.0.0/24"),
                ("10.0.0.1-10.0.0.2", "10.0.0.1/32, 10.0.0.2/32"),
                ("10.0.0.0 - 3", "10.0.0.0/30"),
            ),
            *(("10.0.0.1-10.1.2.3", ""), ("10.*", "10.0.0.0/8"), ("10.1.*.*", "10.1.0.0/16"), ("10.1.2.*", "10.1.2.0/24")),
            *(("localhost", "127.0.0.0/8, ::1"), ("all", "0.0.0.0/0, ::/0"), ("*", "0.0.0.0/0, ::/0"), ("0.0.0.0", "0.0.0.0/0")),
            *(("::", "::/0"), ("10.0.0.0/8 10.1.0.0/16", ""), ("!10.0.0.0/8", ""), ("not 10.0.0.0/8", ""), ("private", "")),
            *(
                ("10.0.0.5-10.0.0.1", ""),
                ("::1-10.0.0.1", ""),
                ("300.*", ""),
                ("10.0.0.1/8", "10.0.0.0/8"),
                ('"10.0.0.0/8"', "10.0.0.0/8"),
            ),
        ):
            found = self.route(f"networks = {written}\n")
            self.assertTrue(found and found[0].startswith("networks: "), (written, found))
            self.assertEqual(found[0].partition("did you mean ")[2].rstrip("?"), meant, written)


class UnitTests(RouteCase):
    def test_units_and_booleans(self) -> None:
        for option, written, meant in (
            *(("max_body", "10M", "10MiB"), ("max_body", "10k", "10KiB"), ("max_body", "1g", "1GiB"), ("max_body", "ten", "")),
            *(
                ("websocket", "1", "yes"),
                ("websocket", "0", "no"),
                ("websocket", "enabled", "yes"),
                ("websocket", "ture", "true"),
            ),
        ):
            found = self.route(f"{option} = {written}\n")
            self.assertTrue(found and found[0].startswith(f"{option}: "), (written, found))
            self.assertEqual(found[0].partition("did you mean ")[2].rstrip("?"), meant, written)
        for option, written, value in (
            ("max_body", "10 MB", 10_000_000),
            ("max_body", "10 MiB", 10 << 20),
            ("websocket", "On", True),
        ):
            config = self.load(SITE.replace("path = /\n", f"path = /\n{option} = {written}\n"))
            self.assertEqual(getattr(config.routes[0], option), value)

    def test_durations(self) -> None:
        for written, meant in (
            ("30 sec", "30s"),
            ("5 minutes", "5m"),
            ("5min", "5m"),
            ("2 hours", "2h"),
            ("1 day", "1d"),
            ("1h30m", ""),
        ):
            (found,) = self.problems(SITE + f"[limits]\nidle_timeout = {written}\n")
            self.assertEqual(found.partition("did you mean ")[2].rstrip("?"), meant, written)


class QuoteTests(SiteCase):
    """A value in quotes is refused (attack 70): the quotes would be a part of it, and would not protect it from a comment."""

    SECRET_SITE = SITE + "[listener two]\nport = 1\ntls = yes\nkeystore = site.ini\nkeystore_password = "

    def test_a_quoted_value_of_each_option_is_refused(self) -> None:
        for old, new in (
            *(("path = /\n", 'path = "/"\n'), ("upstream = app", "upstream = 'app'"), ("port = 9443", 'port = "9443"')),
            *(
                ("tls = yes", 'tls = "yes"'),
                ("path = access.log", 'path = "access.log"'),
                ("interface = 127", "interface = '127"),
            ),
            *(("path = /\n", 'path = /\nhost = "a", b\n'), ("path = /\n", "path = /\nallow = 'role:a'\n")),
            *(("path = /\n", "path = /\nmax_body = “10MiB”\n"), ("path = access.log", "path = `access.log`")),
        ):
            assert old in SITE, old
            found = self.problems(SITE.replace(old, new, 1))
            self.assertTrue(any("without quotes" in one for one in found), (new, found))

    def test_a_quote_does_not_protect_from_a_comment(self) -> None:
        for value in ('"pa ;ss"', "'pa ;ss'", '"pa #ss"', '"pa ; ss', 'x"pa ;ss"', "pa ;ss", "pa # ss", "pa\t;ss"):
            found = self.problems(f"{self.SECRET_SITE}{value}\n")
            self.assertEqual(len(found), 1, (value, found))
            self.assertIn("keystore_password: a comment cannot follow a secret", found[0])
            self.assertNotIn("pa", found[0].partition("keystore_password")[2].replace("part", "").replace("path", ""))
        found = self.problems(SITE.replace("path = access.log", 'path = x"a ;b"'))
        self.assertIn("a quote does not end", found[0])

    def test_a_secret_in_quotes_is_not_shown(self) -> None:
        (found,) = self.problems(f'{self.SECRET_SITE}"hunter2"\n')
        self.assertIn("without quotes", found)
        self.assertNotIn("hunter2", found)

    def test_what_is_stored_elsewhere_is_taken_as_it_is(self) -> None:
        (self.directory / "secret").write_text('"pa ;ss"\n')
        config = self.load(f"{self.SECRET_SITE}file:secret ; a comment\n")
        self.assertEqual(config.listeners[1].keystore_password, '"pa ;ss"')

    def test_comments_after_other_values_stay(self) -> None:
        config = self.load(SITE.replace("path = /\n", 'path = / ; "all" of it, isn\'t it\nallow = role:"a b" # two words\n'))
        self.assertEqual(config.routes[0].allow, (Rule("role", "a b"),))

"""The configuration in force as text, for the operator: with lines, and without secrets."""

from __future__ import annotations

from perimeter.config.language.section import SECRET_TEXT, Setting
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.route_requests import in_order
from tests.unit.doubles.site import SITE, SiteCase

SECRET = "hunter2-hunter2-hunter2-hunter2-hunter2"


class InForceTests(SiteCase):
    def settings(self, config: SiteConfig, header: str) -> dict[str, Setting]:
        (section,) = [one for one in config.sections if one.header == header]
        return {one.name: one for one in section.settings}

    def test_lines_and_defaults(self) -> None:
        config = self.load(SITE)
        headers = [(one.header, one.line) for one in config.sections]
        self.assertEqual(
            headers[:5],
            [("listener https", 1), ("authenticator local", 6), ("upstream app", 10), ("route app", 13), ("audit", 17)],
        )
        self.assertIn(("limits", 0), headers)
        self.assertEqual(len(headers), len(set(headers)))
        listener = self.settings(config, "listener https")
        self.assertEqual(listener["port"], Setting("port", "9443", 2))
        self.assertEqual(listener["serve"], Setting("serve", "gateway", 0))
        self.assertEqual(self.settings(config, "authenticator local")["path"], Setting("path", "users", 8))
        self.assertEqual(self.settings(config, "limits")["idle_timeout"].line, 0)

    def test_lists_are_one_line(self) -> None:
        config = self.load(self.with_option("upstream app", "servers", "http://127.0.0.1:8888\n  http://127.0.0.1:9999"))
        self.assertEqual(self.settings(config, "upstream app")["servers"].text, "http://127.0.0.1:8888, http://127.0.0.1:9999")

    def test_a_rule_of_several_lines_is_one_rule(self) -> None:
        config = self.load(SITE.replace("path = /\n", "path = /\nallow = role:a and\n  (user:b\n   or user:c)\n  role:d\n"))
        self.assertEqual(self.settings(config, "route app")["allow"].text, "role:a and (user:b or user:c), role:d")

    def test_secrets_are_not_shown(self) -> None:
        (self.directory / "token-secret").write_text(SECRET)
        for text in (
            self.with_option("token", "secret", f"{SECRET}\nalgorithm = HS256"),
            self.with_option("route app", "authorization", f"basic svc {SECRET}"),
            self.with_option("route app", "authorization", f"bearer {SECRET}"),
            self.with_option("token", "secret", "file:token-secret\nalgorithm = HS256"),
        ):
            config = self.load(text)
            self.assertNotIn(SECRET, repr(config.sections))
            self.assertIn(SECRET_TEXT, {one.text for section in config.sections for one in section.settings if one.line})


class OrderTests(SiteCase):
    def test_routes_in_the_order_of_matching(self) -> None:
        routes = [
            ("*", "/"),
            ("*.example", "/a"),
            ("*", "/a/b"),
            ("x.example", "/"),
            ("**.y.example", "/"),
            ("*", "/a"),
            ("*", "regex:^/a/(b)"),
            ("*", "regex:^/a/(a)"),
            ("*", "exact:/a/b/c"),
            ("*", "exact:/"),
            ("**.example", "/a/b"),
            ("*", "regex:^/.*x"),
            ("*.y.example", "/a"),
        ]
        text = SITE.replace("[route app]\npath = /\nupstream = app\n", "")
        text += "".join(f"[route r{n}]\nhost = {host}\npath = {path}\nupstream = app\n" for n, (host, path) in enumerate(routes))
        text += "[route post]\npath = /a\nmethods = POST\nupstream = app\n"
        found = [(host, str(route.path), route.methods) for host, route in in_order(self.load(text).routes)]
        self.assertEqual(
            found,
            [
                ("x.example", "/", ()),
                ("*.y.example", "/a", ()),
                ("**.y.example", "/", ()),
                ("*.example", "/a", ()),
                ("**.example", "/a/b", ()),
                ("*", "exact:/a/b/c", ()),
                ("*", "exact:/", ()),
                ("*", "/a/b", ()),
                ("*", "regex:^/a/(b)", ()),
                ("*", "regex:^/a/(a)", ()),
                ("*", "/a", ("POST",)),
                ("*", "/a", ()),
                ("*", "regex:^/.*x", ()),
                ("*", "/", ()),
            ],
        )

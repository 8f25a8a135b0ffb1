"""The options of a route that say which requests belong to it, and what it answers by itself."""

from __future__ import annotations

from perimeter.config.site.config import SiteConfig
from perimeter.config.site.route import RouteSettings
from perimeter.config.site.route_path import PathKind
from perimeter.run.build.error_pages import error_pages
from tests.unit.doubles.site import SITE, SiteCase

ROUTE = "[route app]\npath = /\nupstream = app\n"


class RequestsTests(SiteCase):
    def site_with(self, body: str, more: str = "") -> str:
        return SITE.replace(ROUTE, f"[route app]\n{body}\n{more}")

    def route(self, body: str) -> RouteSettings:
        return self.load(self.site_with(body)).routes[0]

    def faults(self, body: str, more: str = "") -> list[str]:
        return [one.partition("[route ")[2].partition("]")[2].lstrip(": ") for one in self.problems(self.site_with(body, more))]

    def test_what_a_route_says(self) -> None:
        found = self.route(
            "path = regex:^/a/(.*)$\nmethods = GET,HEAD\nheaders =\n  X-A: b, c\n  Accept: regex:text/.*\n  x-c: *\n"
            "query =\n  mode=a, b\n  n=regex:[0-9]+\n  flag=*\nupstream = app\nrewrite = /b/$1\n"
        )
        self.assertEqual((found.path.kind, found.path.place, found.methods), (PathKind.REGEX, "/a", ("GET", "HEAD")))
        self.assertEqual(
            [(one.name, one.shown) for one in found.headers], [("x-a", "b, c"), ("accept", "regex:text/.*"), ("x-c", "*")]
        )
        self.assertEqual([(one.name, one.shown) for one in found.query], [("mode", "a, b"), ("n", "regex:[0-9]+"), ("flag", "*")])
        self.assertTrue(found.conditional)
        self.assertEqual(found.rewrite, "/b/$1")
        plain = self.route("path = /\nupstream = app\n")
        self.assertEqual((plain.conditional, plain.conditions, plain.requests), (False, (), "/"))

    def test_one_of_several_conditions(self) -> None:
        for option in ("methods = GET", "headers = A: 1", "query = a=1"):
            self.assertTrue(self.route(f"path = /\n{option}\nupstream = app\n").conditional, option)

    def test_faults_of_conditions(self) -> None:
        for option, expected in (
            ("methods = get", "methods: expected a method in capital letters, such as GET, not 'get', did you mean GET?"),
            ("methods = G T", "methods: expected a method in capital letters, such as GET, not 'G T'"),
            ("headers = X-A", "headers: expected NAME: VALUE, NAME: regex:EXPRESSION or NAME: *, not 'X-A'"),
            ("headers = X A: b", "headers: expected NAME: VALUE, NAME: regex:EXPRESSION or NAME: *, not 'X A: …'"),
            ("headers = Authorization: *", "headers: a route cannot depend on Authorization"),
            ("headers = cookie: *", "headers: a route cannot depend on cookie"),
            ("headers =\n  X-A: 1\n  x-a: 2", "headers: x-a is listed twice: write one regular expression"),
            ("query = a", "query: expected NAME=VALUE, NAME=regex:EXPRESSION or NAME=*, without percent-encoding, not 'a'"),
            (
                "query = %61=b",
                "query: expected NAME=VALUE, NAME=regex:EXPRESSION or NAME=*, without percent-encoding, not '%61=…'",
            ),
            ("query =\n  a=1\n  a=2", "query: a is listed twice: write one regular expression"),
        ):
            self.assertEqual(self.faults(f"path = /\n{option}\nupstream = app\n"), [expected], option)
        (found,) = self.faults("path = /\nheaders = X-A: regex:(\nupstream = app\n")
        self.assertIn("expected a regular expression that matches in linear time", found)

    def test_the_same_requests_twice(self) -> None:
        def twice(one: str, other: str) -> list[str]:
            return self.faults(f"{one}\nupstream = app\n", f"[route other]\n{other}\nupstream = app\n")

        same = ["path: [route app] has the same path on the same host"]
        alike = ["path: [route app] has the same path and conditions on the same host"]
        self.assertEqual(twice("path = exact:/a", "path = exact:/a"), same)
        self.assertEqual(twice("path = /a", "path = prefix:/a"), same)
        self.assertEqual(twice("path = regex:^/a", "path = regex:^/a"), same)
        self.assertEqual(twice("path = /\nmethods = GET, PUT", "path = /\nmethods = PUT, GET"), alike)
        for one, other in (
            ("path = exact:/a", "path = /a"),
            ("path = /\nmethods = GET", "path = /"),
            ("path = /\nmethods = GET", "path = /\nmethods = PUT"),
            ("path = /\nheaders = A: 1", "path = /\nheaders = A: 2"),
            ("path = /\nquery = a=1", "path = /\nheaders = a: 1"),
        ):
            text = self.site_with(f"{one}\nupstream = app\n", f"[route other]\n{other}\nupstream = app\n")
            self.assertEqual(len(self.load(text).routes), 2, (one, other))

    def test_paths_of_the_gateways_own_pages(self) -> None:
        for path in ("/.perimeter", "/.perimeter/x", "exact:/.perimeter", "exact:/.perimeter/x", r"regex:^/\.perimeter/(x)"):
            (found,) = self.faults(f"path = {path}\nupstream = app\n")
            self.assertIn("belong to the gateway's own pages", found)
        self.route("path = exact:/.perimeters\nupstream = app\n")

    def test_groups(self) -> None:
        for body, expected in (
            ("path = /a\nupstream = app\nrewrite = /$1", "rewrite: there is no group $1: only a regex: path has groups"),
            (
                "path = regex:^/a(.)\nupstream = app\nrewrite = /$1/$2",
                "rewrite: there is no group $2: the expression of path has 1",
            ),
            ("path = exact:/a\nredirect = 308 /$1", "redirect: there is no group $1: only a regex: path has groups"),
            ("path = regex:^/a\nredirect = 308 /$1", "redirect: there is no group $1: the expression of path has 0"),
            (
                "path = regex:^/a\nupstream = app\nrewrite = /b\npath_as_sent = yes",
                "path_as_sent: is not allowed with a rewrite of a regex: path",
            ),
        ):
            self.assertEqual(self.faults(f"{body}\n"), [expected], body)
        self.route("path = regex:^/a(.)\nupstream = app\nrewrite = /$1\n")
        self.route("path = regex:^/a\nupstream = app\npath_as_sent = yes\n")

    def test_texts_with_groups(self) -> None:
        for rewrite, expected in (
            ("/a*", "expected one plain path"),
            ("/$1*", "expected one plain path"),
            ("/$0", "expected the number of a group"),
            ("/$x", "expected $1 to $9"),
            ("$1", "expected a path that begins with /"),
            ("/%{path}/$1", "expected one plain path"),
        ):
            (found,) = self.faults(f"path = regex:^/(.)\nupstream = app\nrewrite = {rewrite}\n")
            self.assertIn(expected, found, rewrite)
        self.assertEqual(self.route("path = regex:^/(.)\nupstream = app\nrewrite = /$1/\n").rewrite, "/$1/")

    def test_answers(self) -> None:
        found = self.route("path = /\nredirect = 308 https://new.example%{uri}\n")
        self.assertEqual((found.answer, found.upstream), ("redirect 308 https://new.example%{uri}", None))
        found = self.route("path = /\nrespond = 200 <b>x</b>\nrespond_type = text/html\n")
        self.assertEqual((found.answer, found.respond_type), ("respond 200", "text/html"))
        self.assertEqual(self.route("path = /\nupstream = app\n").answer, "")
        (self.directory / "text").write_text("from a file\n")
        found = self.route("path = /\nrespond = 503 file:text\n")
        assert found.respond is not None
        self.assertEqual(found.respond.body, b"from a file")

    def test_faults_of_answers(self) -> None:
        for body, expected in (
            ("redirect = 308 /x\nupstream = app", "redirect: set only one of upstream, static, redirect and respond"),
            ("redirect = 308 /x\nrespond = 204", "respond: set only one of upstream, static, redirect and respond"),
            ("redirect = 308 /x\nrewrite = /y", "rewrite: is only allowed with upstream"),
            ("respond = 204\nindex = a", "index: is only allowed with static"),
            ("respond = 204\nrespond_type = text/html", "respond_type: is only allowed with respond and a text"),
            ("upstream = app\nrespond_type = text/html", "respond_type: is only allowed with respond and a text"),
            ("respond = 200 x\nrespond_type = html", "respond_type: expected a media type such as text/plain, not 'html'"),
        ):
            self.assertEqual(self.faults(f"path = /\n{body}\n"), [expected], body)

    def test_error_pages_of_exact_routes(self) -> None:
        (self.directory / "html" / "50x.html").write_text("broken")

        def site(path: str) -> SiteConfig:
            text = self.site_with("path = /\nupstream = app\n", f"[route page]\npath = {path}\nstatic = html\nauth = none\n")
            return self.load(f"{text}\n[errors]\npage = 502 /50x.html\n")

        for path in ("exact:/50x.html", r"regex:^/50.[.]html$"):
            self.assertEqual(error_pages(site(path))[502].body, b"broken")

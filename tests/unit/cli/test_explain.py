"""``perimeter check --explain``: the route of a request, and the judgement, as the gate finds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from click.testing import CliRunner
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred

from perimeter.auth.registry import installed_kinds
from perimeter.cli.explaining import _ask, explained_request, run_explain
from perimeter.cli.main import main
from perimeter.config.site.load import load_site
from perimeter.model import Principal
from tests.unit.doubles.site import SiteCase

SITE = """\
[listener http]
port = 9443
interface = 127.0.0.1

[authenticator local]
type = realmfile
path = users

[upstream app]
servers = http://127.0.0.1:8888

[route all]
path = /
upstream = app

[route admin]
path = /admin
upstream = app
rewrite = /
allow = role:admin
deny = method:DELETE

[route shop]
host = shop.example
path = /admin
upstream = app
auth = none
networks = 10.0.0.0/8

[route maybe]
path = /maybe
upstream = app
auth = optional
allow = user:alice

[route files]
path = /files
static = html
auth = none

[audit]
path = access.log
"""


class ExplainTests(SiteCase):
    def setUp(self) -> None:
        super().setUp()
        self.site.write_text(SITE)
        (self.directory / "users").write_text("alice: {plain}x,admin\nbob: {plain}y\n")

    def explain(self, method: str, url: str) -> tuple[int, list[str]]:
        status, text = run_explain(self.site, method, url)
        lines = text.splitlines()
        self.assertEqual(lines[0], f"{method} {url}")
        return status, lines[1:]

    def test_hosts_of_wildcards(self) -> None:
        self.site.write_text(SITE + "\n[route wide]\nhost = *.example\npath = /admin\nupstream = app\nauth = none\n")
        for host, name in (("shop.example", "shop"), ("other.example", "wide"), ("example", "admin")):
            _, lines = self.explain("GET", f"http://{host}/admin/x")
            self.assertIn(f"[route {name}]", lines[1], host)
        _, lines = self.explain("GET", "http://shop.example/admin/x")
        self.assertIn("[route wide]", "".join(lines[2:]))

    def test_pages_that_need_a_session(self) -> None:
        self.site.write_text(SITE + "\n[route people]\npath = /people\nupstream = app\nbrowser_login = yes\n")
        for path, status in (("", 1), ("/tokens/new", 1), ("/sessions/others", 1)):
            found, lines = self.explain("GET", f"/.perimeter/account{path}")
            self.assertEqual(found, status, path)
            self.assertIn("authentication: only the session of a browser", lines)
        for page in ("login", "logout", "signed-out"):
            self.assertEqual(self.explain("GET", f"/.perimeter/{page}")[0], 0, page)

    def test_pages_on_a_host_of_their_own(self) -> None:
        people = "\n[route people]\nhost = people.example\npath = /\nupstream = app\nbrowser_login = yes\n"
        self.site.write_text(f"{SITE}{people}[login]\nhost = sso.example\n")
        for host, authentication in (
            ("sso.example", "authentication: only the session of a browser"),
            ("people.example", "authentication: none, the client stays anonymous"),
            ("other.example", "authentication: none, the client stays anonymous"),
        ):
            _, lines = self.explain("GET", f"http://{host}/.perimeter/account")
            self.assertIn(authentication, lines, host)

    def test_the_route_and_those_that_come_later(self) -> None:
        status, lines = self.explain("GET", "/admin/x?y")
        self.assertEqual(status, 1)
        self.assertEqual(
            lines,
            [
                "path: /admin/x",
                "route: [route admin] (site.ini:16), host *, path /admin",
                "    [route all] (site.ini:12), host *, path / matches too, and comes later: its path is shorter",
                "authentication: auth = required",
                "result: refused with 401 missing_credentials: no credential in the request that the gateway can use",
                "    --user NAME explains for a user",
            ],
        )

    def test_a_host_of_its_own_comes_first(self) -> None:
        status, lines = self.explain("GET", "https://SHOP.example:8443/admin/x")
        self.assertEqual(status, 0)
        self.assertEqual(lines[1], "route: [route shop] (site.ini:23), host shop.example, path /admin")
        self.assertIn(
            "    [route admin] (site.ini:16), host *, path /admin matches too, and comes later: "
            "its host is less specific, or its path shorter",
            lines,
        )
        self.assertEqual(
            lines[-4:],
            [
                "networks: only clients in 10.0.0.0/8; others get 403 network_refused",
                "authentication: auth = none",
                "rules: the route has no rules",
                "result: admitted, forwarded to upstream app (http://127.0.0.1:8888) as /admin/x",
            ],
        )

    def test_what_is_refused_whoever_asks(self) -> None:
        for method, url, result in (
            ("GET", "/a/../b", "400 bad_target: a dot segment"),
            ("GET", "/a%2Fb", "400 bad_target: an encoded slash"),
            ("GE T", "/", "400 bad_request: the request line is malformed"),
            ("CONNECT", "/", "400 bad_target: CONNECT with a path"),
            ("GET", "ftp://x/", "400 bad_target: the request target is neither origin-form nor absolute-form"),
        ):
            self.assertEqual(self.explain(method, url), (1, [f"result: refused with {result}"]))

    def test_a_host_without_a_route(self) -> None:
        self.site.write_text(SITE.replace("[route all]\n", "[route all]\nhost = other.example\n"))
        self.assertEqual(self.explain("GET", "/x")[1], ["result: refused with 404 no_route: no route for this host and path"])

    def test_an_endpoint_of_the_gateway(self) -> None:
        status, lines = self.explain("GET", "/.well-known/jwks.json")
        self.assertEqual(
            (status, lines),
            (
                0,
                [
                    "path: /.well-known/jwks.json",
                    "route: the endpoint /.well-known/jwks.json of the gateway",
                    "authentication: none, the client stays anonymous",
                    "rules: the route has no rules",
                    "result: admitted, the gateway answers by itself",
                ],
            ),
        )
        status, lines = self.explain("GET", "/token")
        self.assertEqual((status, lines[1]), (1, "route: the endpoint /token of the gateway"))
        self.assertIn("401 missing_credentials", lines[-2])
        self.assertEqual(self.explain("GET", "/authenticate")[1][1], "route: the endpoint /authenticate of the gateway")

    def test_files_and_optional_authentication(self) -> None:
        status, lines = self.explain("GET", "/files/a")
        self.assertEqual((status, lines[-1]), (0, f"result: admitted, to the files in {self.directory.resolve()}/html"))
        status, lines = self.explain("GET", "/maybe")
        self.assertEqual(
            (status, lines[-3:]),
            (
                1,
                [
                    "rules: no term of allow = user:alice matches",
                    "result: refused with 401 missing_credentials: a rule of the route needs to know the user",
                    "    --user NAME explains for a user",
                ],
            ),
        )

    def test_security_off_and_maintenance(self) -> None:
        self.site.write_text(SITE + "[perimeter]\nenabled = no\n")
        status, lines = self.explain("GET", "/admin")
        self.assertEqual((status, lines[-2]), (0, "authentication: off, because of [perimeter] enabled = no"))
        self.assertTrue(lines[-1].endswith(" as /"), lines)
        self.site.write_text(SITE + "[perimeter]\nmaintenance = yes\n")
        self.assertEqual(self.explain("GET", "/x")[0], 1)
        self.assertEqual(
            self.explain("GET", "/x")[1][-2:],
            [
                "maintenance: [perimeter] maintenance = yes",
                "result: refused with 503 maintenance: the operator has closed the gateway (maintenance)",
            ],
        )

    def test_faults_of_the_file(self) -> None:
        self.site.write_text(SITE.replace("port = 9443", "prt = 9443"))
        status, text = run_explain(self.site, "GET", "/")
        self.assertEqual((status, "unknown option" in text), (1, True))
        self.site.write_text(SITE.replace("interface = 127.0.0.1", "interface = 127.0.0.1\nserve = tokens"))
        self.assertEqual(run_explain(self.site, "GET", "/")[0], 1)

    def test_users_of_each_outcome(self) -> None:
        for user, method, path, status, result in (
            ("alice", "GET", "/admin", 0, "result: admitted, forwarded to upstream app (http://127.0.0.1:8888) as /"),
            ("alice", "DELETE", "/admin", 1, "result: refused with 403 insufficient_scope: deny = method:DELETE matches"),
            ("bob", "GET", "/admin", 1, "result: refused with 403 insufficient_scope: no term of allow = role:admin matches"),
            ("bob", "GET", "/maybe", 1, "result: refused with 403 insufficient_scope: no term of allow = user:alice matches"),
            ("bob", "GET", "/files/x", 0, f"result: admitted, to the files in {self.directory.resolve()}/html"),
            ("eve", "GET", "/x", 1, "result: not known, because no authenticator can look up the user"),
            ("eve", "GET", "/files/x", 0, f"result: admitted, to the files in {self.directory.resolve()}/html"),
        ):
            found = [Principal(user, "local", ("admin",) if user == "alice" else ())] if user != "eve" else []
            self.patch_look_up(found)
            code, text = run_explain(self.site, method, path, user=user)
            self.assertEqual((code, text.splitlines()[-1]), (status, result), (user, method, path))
            if user == "alice":
                self.assertIn("user: alice of realm local, roles: admin\n", text)

    def test_a_second_factor(self) -> None:
        more = "[second_factor]\nmethods = totp\n[route vault]\npath = /vault\nupstream = app\nbrowser_login = yes\nfactors = 2\n"
        self.site.write_text(SITE + more)
        self.patch_look_up([Principal("alice", "local", ("admin",))])
        answer = explained_request(self.site, "GET", "/vault", user="alice")
        self.assertFalse(answer.admitted)
        self.assertEqual(answer.explanations[0][1].reason, "second_factor_needed")
        self.assertIn("rules: factors = 2 of the route demands a second factor\n", answer.text)
        self.assertTrue(explained_request(self.site, "GET", "/vault", user="alice", second=True).admitted)

    def test_users_of_several_realms(self) -> None:
        self.patch_look_up([Principal("alice", "local", ("admin",)), Principal("alice", "other")])
        status, text = run_explain(self.site, "GET", "/admin", user="alice")
        self.assertEqual(
            (status, text.splitlines()[5:]),
            (
                0,
                [
                    "user: alice of realm local, roles: admin",
                    "rules: allow = role:admin matches",
                    "header: X-Auth-Username: alice",
                    "header: X-Auth-Realm: local",
                    "header: X-Auth-Roles: admin",
                    "result: admitted, forwarded to upstream app (http://127.0.0.1:8888) as /",
                    "user: alice of realm other, roles: none",
                    "rules: no term of allow = role:admin matches",
                    "result: refused with 403 insufficient_scope: no term of allow = role:admin matches",
                ],
            ),
        )

    def test_the_address_of_the_client(self) -> None:
        for address, status, result in (
            ("10.1.2.3", 0, "result: admitted, forwarded to upstream app (http://127.0.0.1:8888) as /admin"),
            (
                "192.0.2.1",
                1,
                "result: refused with 403 network_refused: the client's address is outside the networks of the route",
            ),
        ):
            code, text = run_explain(self.site, "GET", "https://shop.example/admin", address=address)
            self.assertEqual((code, text.splitlines()[-1]), (status, result))

    def patch_look_up(self, found: list[Principal]) -> None:
        # `react` needs a process of its own; the integration tests have one
        self.patch(__import__("perimeter.cli.explaining", fromlist=["x"]), "_look_up", lambda config, user: (found, []))

    async def look_up(self, name: str) -> tuple[list[Any], list[str]]:
        found: list[Any] = []
        notes: list[str] = []
        config = load_site(self.site, kinds=installed_kinds())
        await _ask(reactor, config, name, found, notes)
        return found, notes

    def test_the_user_has_the_roles_of_now(self) -> Any:
        async def check() -> None:
            found, notes = await self.look_up("alice")
            self.assertEqual([(one.username, one.realm, one.roles) for one in found], [("alice", "local", ("admin",))])
            self.assertEqual(notes, [])
            self.assertEqual(await self.look_up("eve"), ([], []))

        return ensureDeferred(check())

    def test_an_authenticator_that_cannot_look_up_users(self) -> Any:
        jwt = "[authenticator sso]\ntype = jwt\nissuer = https://sso\naudience = gw\ncert_uri = https://sso/jwks\n"
        self.site.write_text(SITE + jwt)

        async def check() -> None:
            self.assertEqual((await self.look_up("eve"))[1], ["sso: cannot look up a user without a credential"])

        return ensureDeferred(check())


class CommandTests(SiteCase):
    def test_both_commands_say_the_same(self) -> None:
        self.site.write_text(SITE)
        (self.directory / "users").write_text("alice: {plain}x,admin\n")
        one = CliRunner().invoke(main, ["check", str(self.site), "--explain", "DELETE", "/admin"])
        other = CliRunner().invoke(main, ["explain", "-c", str(self.site), "DELETE", "/admin"])
        self.assertEqual((other.exit_code, other.output), (one.exit_code, one.output))
        self.assertEqual((one.exit_code, "401 missing_credentials" in one.output), (1, True))

    def test_the_command(self) -> None:
        self.site.write_text(SITE)
        (self.directory / "users").write_text("alice: {plain}x,admin\n")
        done = CliRunner().invoke(main, ["check", str(self.site), "--explain", "GET", "/files/\x1bx"])
        self.assertEqual(done.exit_code, 1)
        self.assertIn("\\x1bx", done.output)
        done = CliRunner().invoke(main, ["check", str(self.site), "--user", "alice"])
        self.assertEqual((done.exit_code, "only allowed with --explain" in done.output), (2, True))
        Path(self.directory / "users").unlink()
        self.assertEqual(CliRunner().invoke(main, ["check", str(self.site)]).exit_code, 1)
        self.assertEqual(CliRunner().invoke(main, ["check", "--no-files", str(self.site)]).exit_code, 0)

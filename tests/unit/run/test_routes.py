"""Routes as they are built from their settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
from twisted.internet.task import Clock
from twisted.trial import unittest

from perimeter.auth.registry import installed_kinds
from perimeter.config.site.compression import Coding
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.load import load_site
from perimeter.errors import Challenges, RouteMaintenance
from perimeter.gate.cors import Cors
from perimeter.gate.routes import Route
from perimeter.http.grammar import parse_block
from perimeter.model import Principal
from perimeter.net.deadlines import Deadlines
from perimeter.offload import Offload
from perimeter.proxy.compressed import CompressingTarget
from perimeter.proxy.forwarding import ProxyTarget
from perimeter.proxy.headers import HeaderRules
from perimeter.proxy.ruled_headers import RuledHeaders
from perimeter.run.build.route import RouteParts
from perimeter.run.build.routes import configured_routes
from perimeter.run.build.runtime import Runtime
from perimeter.run.build.upstream_tls import client_contexts
from perimeter.run.build.upstreams import upstream_pools
from perimeter.targets.commands import CommandTarget
from perimeter.targets.preflight import PreflightTarget
from perimeter.targets.slash import SlashTarget

SITE = """\
[listener plain]
port = 8080
interface = 127.0.0.1
[upstream app]
servers = http://127.0.0.1:8081
[authenticator local]
type = realmfile
path = users.realm
[audit]
path = access.log
"""


class BuiltRouteTests(unittest.TestCase):
    def test_compression_has_a_target_of_its_own(self) -> None:
        self.assertIs(type(self.built("path = /\n").target), ProxyTarget)
        target = self.built("path = /\ncompression = br, gzip\ncompression_min = 7\ncompression_types = text/x\n").target
        self.assertIsInstance(target, CompressingTarget)
        self.assertEqual((target.compression.least, target.compression._types), (7, frozenset((b"text/x",))))
        self.assertEqual(target.compression._codings, (Coding.BROTLI, Coding.GZIP))

    def test_maintenance_is_a_rule_of_its_own(self) -> None:
        self.assertEqual(self.built("path = /\nmaintenance_retry_after = 1s\n").entry, ())
        (rule,) = self.built("path = /\nmaintenance = yes\nmaintenance_retry_after = 1500ms\n").entry
        refusal = self.assertRaises(RouteMaintenance, rule, None, None, "192.0.2.7")
        self.assertEqual((refusal.retry_after, refusal.page), (2, None))

    def built(self, options: str, *, passwords: bool = True, **changes: Any) -> Route:
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        (directory / "users.realm").write_text("alice: secret\n")
        (directory / "site.ini").write_text(f"{SITE}[route app]\nupstream = app\n{options}")
        config: SiteConfig = load_site(directory / "site.ini", kinds=installed_kinds())
        config = attrs.evolve(config, routes=tuple(attrs.evolve(route, **changes) for route in config.routes))
        clock: Any = Clock()
        runtime = Runtime(clock, Offload(clock), Deadlines(clock))
        pools = upstream_pools(config, {one.name: client_contexts(one) for one in config.upstreams}, runtime)
        sinks: Any = {None: object()}
        (route,) = configured_routes(config, runtime, pools, sinks, set(), RouteParts(passwords=passwords))
        return route

    def challenges(self, options: str = "", **more: Any) -> Challenges:
        return self.built(f"path = /\n{options}", **more).access.stranger

    def test_challenges(self) -> None:
        self.assertIs(self.challenges(), Challenges.BOTH)
        self.assertIs(self.challenges(passwords=False), Challenges.BEARER)
        for word in Challenges.BEARER, Challenges.BASIC, Challenges.BOTH:
            for passwords in (True, False):
                self.assertIs(self.challenges(f"challenge = {word}\n", passwords=passwords), word)

    def test_a_route_with_a_login_page_never_asks_for_a_password(self) -> None:
        """The browser's own dialog would cover the page."""
        for passwords in (True, False):
            self.assertIs(self.challenges(passwords=passwords, browser_login=True), Challenges.BEARER)

    def test_only_a_route_to_the_root_of_a_service_gets_a_slash(self) -> None:
        for options, expected in (
            ("path = /app\nrewrite = /\n", True),
            ("path = /app\nrewrite = /inner\n", False),
            ("path = /app\n", False),
            ("path = /\nrewrite = /\n", False),
        ):
            self.assertEqual(isinstance(self.built(options).target, SlashTarget), expected, options)

    def test_header_rules_are_those_of_the_route(self) -> None:
        plain = self.built("path = /\n").target
        assert isinstance(plain, ProxyTarget)
        self.assertIs(type(plain.rules), HeaderRules)
        for options, host in (
            ("request_headers = set X-A a", b""),
            ("response_headers = set X-A a", b""),
            ("security_headers = strict", b""),
            ("upstream_host = upstream", b"127.0.0.1:8081"),
            ("upstream_host = App.internal", b"app.internal"),
        ):
            target = self.built(f"path = /\n{options}\n").target
            assert isinstance(target, ProxyTarget)
            self.assertIs(type(target.rules), RuledHeaders, options)
            self.assertEqual(target.rules.host, host)
            self.assertEqual(host in target.authorities, bool(host))

    def test_strict_transport_security_is_a_rule_of_the_entry(self) -> None:
        for options, rules in (
            ("", 0),
            ("security_headers = strict\n", 1),
            ("security_headers = strict\nresponse_headers = set Strict-Transport-Security max-age=1\n", 0),
            ("response_headers = set X-A a\n", 0),
        ):
            self.assertEqual(len(self.built(f"path = /\n{options}").entry), rules, options)

    def test_a_header_that_is_filled_with_the_user_is_reserved(self) -> None:
        for value, reserved in (("%{user}", True), ("x %{attribute:mail}", True), ("%{address}", False), ("x", False)):
            target = self.built(f"path = /\nrequest_headers = set X-Mine {value}\n").target
            assert isinstance(target, ProxyTarget)
            self.assertIs(target.rules.reserved(b"x_mine"), reserved, value)

    def test_commands(self) -> None:
        self.assertIsNone(self.built("path = /\n").read_only)
        route = self.built("path = /app\nrewrite = /\naudit_body = json:/a\nread_only = role:viewer\nread_only_commands = Ping\n")
        assert isinstance(route.target, SlashTarget)
        self.assertIsInstance(route.target._inner, CommandTarget)
        self.assertTrue(route.reads_only(Principal("a", "local", ("viewer", "admin")), b"GET"))
        self.assertFalse(route.reads_only(Principal("a", "local", ("admin",)), b"GET"))
        self.assertFalse(route.reads_only(None, b"GET"))

    def test_pages_of_other_sites(self) -> None:
        route = self.built("path = /\n")
        self.assertEqual((route.cors, route.preflights, route.cross_site, route.entry), (None, None, frozenset(), ()))
        more = "cors_methods = PUT\ncors_headers = X-A\ncors_expose = X-B\ncors_max_age = 1m\n"
        route = self.built(f"path = /\ncors = https://App.example:443, http://b:8080\n{more}")
        origins = frozenset((b"https://app.example", b"http://b:8080"))
        self.assertEqual(route.cors, Cors(origins, ("PUT",), ("X-A",), ("X-B",), False, 60))
        self.assertIsInstance(route.preflights.target, PreflightTarget)  # type: ignore[union-attr]
        self.assertEqual((route.cross_site, len(route.entry)), (frozenset(), 2))
        lines = parse_block(b"Access-Control-Allow-Origin: *\r\nAccess-Control-Max-Age: 5\r\nX-A: b\r\n", 9)
        self.assertEqual(route.target.rules.response_lines(lines, None), b"X-A: b\r\n")  # type: ignore[attr-defined]

    def test_pages_that_may_act_as_the_user(self) -> None:
        options = "path = /\ncors = https://a.example\ncors_credentials = yes\n"
        route = self.built(options)
        self.assertTrue(route.cors is not None and route.cors.credentials)
        self.assertEqual(route.cross_site, {b"https://a.example"})
        self.assertEqual(self.built(f"{options}cross_site = https://c\n").cross_site, {b"https://a.example", b"https://c"})
        self.assertIsNone(self.built(f"{options}cross_site = allow\n").cross_site)

    def test_preflights_that_the_service_answers(self) -> None:
        route = self.built("path = /app\nrewrite = /\ncors = pass\n")
        self.assertIsNone(route.cors)
        assert route.preflights is not None
        self.assertIs(route.preflights.target, route.target)
        self.assertEqual(len(route.entry), 1)
        lines = parse_block(b"Access-Control-Allow-Origin: *\r\n", 9)
        target = self.built("path = /\ncors = pass\n").target
        self.assertEqual(target.rules.response_lines(lines, None), b"Access-Control-Allow-Origin: *\r\n")  # type: ignore[attr-defined]

    def test_paths_as_they_are_sent(self) -> None:
        self.assertTrue(self.built("path = /\npath_as_sent = yes\n").path_as_sent)
        self.assertFalse(self.built("path = /\n").path_as_sent)

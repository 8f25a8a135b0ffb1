"""A whole site.ini: its defaults, the errors that are reported, and checks across sections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st

from perimeter.auth.registry import authenticator_factories
from perimeter.config.site.audit import AuditSettings
from perimeter.config.site.authentication import AuthenticationSettings
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.errors import ErrorPage
from perimeter.config.site.kinds import KINDS
from perimeter.config.site.limits import LimitSettings
from perimeter.config.site.listener import ListenerSettings
from perimeter.config.site.load import load_site
from perimeter.config.site.logging import LoggingSettings
from perimeter.config.site.perimeter import PerimeterSettings
from perimeter.config.site.route import RouteSettings
from perimeter.config.site.route_path import plain
from perimeter.config.site.rule import Rule
from perimeter.config.site.server import ServerSettings
from perimeter.config.site.token import TokenSettings
from perimeter.config.site.upstream import UpstreamSettings
from perimeter.errors import ConfigError
from perimeter.plugin.kinds import PluginKinds
from tests.unit.doubles.site import INSTALLED, SITE, SiteCase

ETC = Path(__file__).parents[4] / "etc"
ANYWHERE = {"file": "", "line": 0}


class GoodTests(SiteCase):
    def test_a_small_file(self) -> None:
        config = self.load(SITE)
        self.assertEqual(config.file, self.site)
        self.assertEqual(config.perimeter, PerimeterSettings(state_dir=self.directory.parent / "var"))
        self.assertEqual(config.limits, LimitSettings())
        self.assertEqual(
            attrs.evolve(config.listeners[0], **ANYWHERE), ListenerSettings("https", 9443, interface="127.0.0.1", tls=True)
        )
        self.assertEqual(config.authentication, AuthenticationSettings(order=("local",)))
        self.assertEqual(config.token, TokenSettings())
        server = ServerSettings("http", "127.0.0.1", 8888)
        self.assertEqual(attrs.evolve(config.upstreams[0], **ANYWHERE), UpstreamSettings("app", (server,)))
        self.assertEqual(attrs.evolve(config.routes[0], **ANYWHERE), RouteSettings("app", upstream="app", path=plain("/")))
        self.assertEqual(config.audit, AuditSettings(path=self.directory / "access.log"))
        self.assertEqual(config.logging, LoggingSettings())
        self.assertEqual(config.error_pages, ())

    def test_sections_know_their_place(self) -> None:
        config = self.load(SITE)
        places = [(one.file, one.line) for one in (*config.listeners, *config.authenticators, *config.upstreams, *config.routes)]
        self.assertEqual(places, [(str(self.site), line) for line in (1, 6, 10, 13)])

    def test_the_factory_parses_its_own_options(self) -> None:
        (local,) = self.load(SITE).authenticators
        self.assertEqual((local.name, local.kind, local.realm), ("local", "file", "local"))
        self.assertEqual(local.settings, self.directory / "users")

    def test_a_route_with_everything(self) -> None:
        text = SITE.replace(
            "path = /\nupstream = app\n",
            "host = A.example, b.example\npath = /v1\nupstream = app\nrewrite = /\nauth = optional\n"
            "allow = role:admin, method:GET\n"
            "deny = user:bob\nnetworks = 10.0.0.0/8\nidentity = headers, jwt\nidentity_username_header = CDAP-UserId\n"
            "websocket = no\nupgrade_protocols = SPDY/3.1, tcp\nmax_body = 10MiB\naudit = app.log\nallow_encoded_slash = yes\n",
        )
        (route,) = self.load(text).routes
        self.assertEqual(
            (route.hosts, str(route.path), route.rewrite, route.auth), (("a.example", "b.example"), "/v1", "/", "optional")
        )
        self.assertEqual(route.allow, (Rule("role", "admin"), Rule("method", "GET")))
        self.assertEqual((route.deny, len(route.networks), route.identity), ((Rule("user", "bob"),), 1, ("headers", "jwt")))
        self.assertEqual(route.upgrades, ("spdy/3.1", "tcp"))
        self.assertEqual((route.identity_username_header, route.websocket, route.max_body), ("CDAP-UserId", False, 10 << 20))
        self.assertEqual((route.audit, route.allow_encoded_slash), (self.directory / "app.log", True))

    def test_empty_options_of_the_contract_are_not_set(self) -> None:
        empty = "".join(f"{option} =\n" for option in ("rewrite", "deny", "networks", "max_body"))
        config = self.load(
            SITE.replace("upstream = app\n", f"upstream = app\n{empty}") + "[token]\nsecret =\n[perimeter]\ntrusted_proxies =\n"
        )
        self.assertEqual(attrs.evolve(config.routes[0], **ANYWHERE), RouteSettings("app", upstream="app", path=plain("/")))
        self.assertIsNone(config.token.secret)

    def test_identity_none(self) -> None:
        self.assertEqual(self.load(self.with_option("route app", "identity", "none")).routes[0].identity, ())

    def test_hosts_star_is_any(self) -> None:
        self.assertEqual(self.load(self.with_option("route app", "host", "*")).routes[0].hosts, ())

    def test_error_pages_are_one_a_line(self) -> None:
        config = self.load(f"{SITE}[errors]\npage = 500 502 /50x.html\n  404 /404.html\n")
        self.assertEqual(config.error_pages, (ErrorPage((500, 502), "/50x.html"), ErrorPage((404,), "/404.html")))

    def test_secrets_are_not_in_the_repr(self) -> None:
        secret = "s3cret" * 8
        keystore = self.directory / "k.p12"
        keystore.write_bytes(b"x")
        text = f"{self.with_option('listener https', 'keystore', 'k.p12')}\n[token]\nalgorithm = HS256\nsecret = {secret}\n"
        config = self.load(text.replace("keystore = k.p12", f"keystore = k.p12\nkeystore_password = {secret}"))
        self.assertEqual((config.token.secret, config.listeners[0].keystore_password), (secret, secret))
        self.assertNotIn(secret, repr(config))

    def test_a_byte_order_mark_and_windows_line_ends(self) -> None:
        self.site.write_bytes(b"\xef\xbb\xbf" + SITE.replace("\n", "\r\n").encode())
        self.assertEqual(load_site(self.site, environ={}, kinds=INSTALLED).listeners[0].port, 9443)

    def test_paths_are_relative_to_the_file_behind_links(self) -> None:
        self.site.write_text(SITE)
        link = self.directory / "html" / "link"
        link.symlink_to(self.directory)
        config = load_site(link / "site.ini", environ={}, kinds=INSTALLED)
        self.assertEqual(config.perimeter.state_dir, self.directory.parent / "var")

    def test_the_order_of_the_authenticators(self) -> None:
        more = "[authenticator other]\ntype = file\npath = users\n[authentication]\norder = other, local\n"
        self.assertEqual(self.load(SITE + more).authentication.order, ("other", "local"))


class FileTests(SiteCase):
    def told(self) -> str:
        return str(self.assertRaises(ConfigError, load_site, self.site, environ={}, kinds=INSTALLED))

    def test_a_file_that_is_not_there(self) -> None:
        self.assertEqual(self.told(), f"{self.site}: cannot be read: No such file or directory")

    def test_a_directory(self) -> None:
        self.site.mkdir()
        self.assertEqual(self.told(), f"{self.site}: cannot be read: Is a directory")

    def test_a_file_that_is_not_text(self) -> None:
        self.site.write_bytes(b"[perimeter]\n\nrealm = caf\xe9\n")
        self.assertEqual(self.told(), f"{self.site}:3: is not UTF-8 text")

    def test_an_empty_file(self) -> None:
        self.assertEqual(self.problems(""), ["site.ini: there is no [listener NAME] section, so no client could connect"])

    @given(
        st.lists(st.sampled_from([*SITE.splitlines(), "  x", "[", "=", "[route app]", "tls = maybe", "\0", "[x y]"]), max_size=30)
    )
    def test_any_text_is_read_or_reported(self, lines: list[str]) -> None:
        try:
            self.assertIsInstance(self.load("\n".join(lines)), SiteConfig)
        except ConfigError as error:
            self.assertTrue(error.problems)


NAMED = {
    "listener": "listener https",
    "upstream": "upstream app",
    "route": "route app",
    "augmenter": "augmenter admins",
    "provider": "provider corp",
}


class AllAtOnceTests(SiteCase):
    def test_attack_41_every_misspelling_stops_the_start(self) -> None:
        text = (
            "[perimter]\n"
            "[listener https]\nport = 99999\ntsl = yes\n"
            "[authenticator local]\ntype = fiel\n"
            "[route app]\npath = /\nupstream = ap\nauth = non\n"
            "[upstream app]\nservers = http://127.0.0.1:8888\n"
        )
        self.assertEqual(
            self.problems(text),
            [
                "site.ini:1: [perimter]: unknown section, did you mean [perimeter]?",
                "site.ini:3: [listener https] port: expected a whole number from 0 to 65535, not '99999'",
                "site.ini:4: [listener https] tsl: unknown option, did you mean tls?",
                "site.ini:6: [authenticator local] type: expected file, not 'fiel', did you mean file?",
                "site.ini:9: [route app] upstream: there is no [upstream ap], did you mean app?",
                "site.ini:10: [route app] auth: expected required, optional or none, not 'non', did you mean none?",
            ],
        )

    def test_faults_of_the_grammar_are_reported_with_the_others(self) -> None:
        found = self.problems(SITE + "nonsense\nformat = jsn\n")
        self.assertEqual(
            found,
            [
                "site.ini:19: [audit]: this line is neither a [section] nor an option = value",
                "site.ini:20: [audit] format: expected reactor, combined or json, not 'jsn', did you mean json?",
            ],
        )

    def test_both_of_two_sections_are_judged(self) -> None:
        found = self.problems(f"{SITE}[audit]\nkeep = none\n")
        self.assertIn("site.ini:19: [audit]: this section already begins in line 17", found)

    def test_section_names(self) -> None:
        for header, told in {
            "listener": "[listener]: expected [listener NAME], with a name of letters, digits and _ . -",
            "route a b": "[route a b]: expected [route NAME], with a name of letters, digits and _ . -",
            "perimeter x": "[perimeter x]: expected [perimeter], without a name, did you mean [perimeter]?",
            "Perimeter": "[Perimeter]: unknown section, did you mean [perimeter]?",
            "rout x": "[rout x]: unknown section, did you mean [route x]?",
            "DEFAULT": "[DEFAULT]: unknown section",
        }.items():
            self.assertEqual(self.problems(f"{SITE}[{header}]\n"), [f"site.ini:19: {told}"])

    def test_every_option_that_has_a_default_wants_a_value(self) -> None:
        for kind in KINDS:
            for option in kind.declared:
                if option.default:
                    name = NAMED.get(kind.word, kind.word)
                    found = self.problems(self.with_option(name, option.name, ""))
                    self.assertIn(f"[{name}] {option.name}: expected a value", "\n".join(found))

    def test_an_empty_allow_could_mean_all_users_or_none(self) -> None:
        (found,) = self.problems(self.with_option("route app", "allow", ""))
        self.assertIn("is empty: leave it out to admit every authenticated user, or list who is admitted", found)


class ShippedTests(SiteCase):
    """The files in etc/ are read as they are, with the built-in kinds of authenticator."""

    def shipped(self, name: str) -> SiteConfig:
        return load_site(ETC / name, environ={}, kinds=PluginKinds(authenticator_factories([_realm_file()]), {}))

    def test_site(self) -> None:
        config = self.shipped("site.ini")
        self.assertEqual([(one.name, one.port, one.tls, one.serve) for one in config.listeners], SITE_LISTENERS)
        self.assertEqual({one.interface for one in config.listeners}, {"127.0.0.1"})
        self.assertEqual([(str(one.path), one.auth) for one in config.routes], [("/public", "none"), ("/", "required")])
        self.assertEqual(config.upstreams[0].servers, (ServerSettings("sample", "", 0),))

    def test_reactor(self) -> None:
        config = self.shipped("reactor.ini")
        tokens = [(one.port, one.tls, one.interface) for one in config.listeners if one.serve == "tokens"]
        self.assertEqual(tokens, [(10009, False, "127.0.0.1"), (10010, True, "")])
        self.assertEqual((config.token.lifetime, config.token.extended_lifetime), (86400.0, 604800.0))
        self.assertEqual((config.audit.format, config.audit.roll, config.audit.keep), ("reactor", "daily", 30))

    def test_ecflow(self) -> None:
        config = self.shipped("ecflow.ini")
        self.assertEqual([(one.port, one.tls, one.serve, one.redirect_to) for one in config.listeners], ECFLOW_LISTENERS)
        (upstream,) = config.upstreams
        self.assertEqual((upstream.connect_timeout, upstream.read_timeout), (90.0, 500.0))
        ecflow, site = config.routes
        self.assertEqual((str(ecflow.path), ecflow.auth, ecflow.identity), ("/v1/ecflow", "required", ("headers", "jwt")))
        self.assertEqual((ecflow.audit and ecflow.audit.name, config.audit.path and config.audit.path.name), ECFLOW_LOGS)
        self.assertEqual((str(site.path), site.auth, site.static), ("/", "none", ETC / "html"))
        self.assertEqual(config.error_pages, (ErrorPage((500, 502, 503, 504), "/50x.html"),))
        self.assertTrue((ETC / "html" / "50x.html").is_file())


SITE_LISTENERS = [("https", 9443, True, "gateway"), ("tokens", 10009, False, "tokens")]
ECFLOW_LISTENERS = [(443, True, "gateway", None), (80, False, "redirect", 443)]
ECFLOW_LOGS = ("access.ecflow.log", "access.base.log")


def _realm_file() -> Any:
    from perimeter.auth.kinds.realm_file import RealmFileFactory

    return RealmFileFactory()

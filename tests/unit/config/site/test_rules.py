"""Errors within one section, errors across sections, and warnings about valid files."""

from __future__ import annotations

from perimeter.config.site.authorization import UPSTREAM_AUTHORIZATION
from perimeter.config.site.listener import UnknownName
from perimeter.config.site.methods import REGISTERED_METHODS
from perimeter.workers.plan import Address
from tests.unit.doubles.site import SITE, SiteCase

LABEL = UPSTREAM_AUTHORIZATION.label


class ListenerTests(SiteCase):
    def setUp(self) -> None:
        super().setUp()
        for name in ("gw.crt", "gw.key", "k.p12"):
            (self.directory / name).write_text("x")

    def listener(self, body: str) -> list[str]:
        text = SITE.replace("interface = 127.0.0.1\ntls = yes\n", body)
        return [problem.partition("[listener https] ")[2] for problem in self.problems(text)]

    def test_tls_options_without_tls(self) -> None:
        self.assertEqual(
            self.listener("certificate = gw.crt\nprivate_key = gw.key\n"),
            ["certificate: is only allowed with tls = yes", "private_key: is only allowed with tls = yes"],
        )
        self.assertEqual(self.listener("tls = no\nkeystore = k.p12\n"), ["keystore: is only allowed with tls = yes"])

    def test_certificate_and_key_go_together(self) -> None:
        self.assertEqual(self.listener("tls = yes\ncertificate = gw.crt\n"), ["certificate: also needs private_key"])
        self.assertEqual(self.listener("tls = yes\nprivate_key = gw.key\n"), ["private_key: also needs certificate"])
        self.assertEqual(self.listener("tls = yes\nkeystore_password = x\n"), ["keystore_password: also needs keystore"])
        self.assertEqual(self.listener("tls = yes\nprivate_key_password = x\n"), ["private_key_password: also needs private_key"])

    def test_certificate_or_keystore(self) -> None:
        self.assertEqual(
            self.listener("tls = yes\ncertificate = gw.crt\nprivate_key = gw.key\nkeystore = k.p12\n"),
            ["keystore: set either keystore or certificate, not both"],
        )

    def test_files_must_exist(self) -> None:
        found = self.listener("tls = yes\ncertificate = a.crt\nprivate_key = a.key\n")
        self.assertEqual(found, ["certificate: there is no file a.crt", "private_key: there is no file a.key"])
        self.assertEqual(self.listener("tls = yes\nkeystore = a.jks\n"), ["keystore: there is no file a.jks"])

    def test_several_certificates(self) -> None:
        two = "tls = yes\ncertificate = gw.crt\n  gw.crt\n"
        self.assertEqual(
            self.listener(f"{two}private_key = gw.key\n"), ["private_key: expected one file for each certificate: 2, not 1"]
        )
        text = SITE.replace("tls = yes\n", f"{two}private_key = gw.key\n gw.key\nunknown_name = refuse\n")
        (listener,) = self.load(text).listeners
        self.assertEqual([path.name for path in listener.certificate], ["gw.crt", "gw.crt"])
        self.assertEqual([path.name for path in listener.private_key], ["gw.key", "gw.key"])
        self.assertIs(listener.unknown_name, UnknownName.REFUSE)
        self.assertEqual(self.listener("unknown_name = refuse\n"), ["unknown_name: is only allowed with tls = yes"])

    def test_unix_sockets(self) -> None:
        listener = "[listener s]\ninterface = unix:/run/gw.sock\n"
        found = self.load(f"{SITE}{listener}mode = 0600\nproxy_protocol = unix:, 10.0.0.0/8\n").listeners[1]
        self.assertEqual((found.socket_path, found.mode, found.port), ("/run/gw.sock", 0o600, 0))
        self.assertEqual(found.address, Address("s", "unix:/run/gw.sock", 0))
        self.assertEqual(list(map(str, found.proxy_protocol)), ["unix:", "10.0.0.0/8"])
        self.assertEqual(self.load(SITE + listener).listeners[1].mode, 0o660)
        self.assertEqual(self.load(SITE).listeners[0].socket_path, "")
        for body, problem in (
            (f"{listener}port = 80\n", "port: is not allowed with a unix socket"),
            ("[listener s]\ninterface = ::1\n", "port: is required (port)"),
            ("[listener s]\nport = 80\nmode = 0600\n", "mode: is only allowed with interface = unix:PATH"),
            (f"{listener}[listener t]{listener[12:]}", "interface: [listener s] has the same unix socket"),
            (f"{listener}mode = 600x\n", "mode: expected the permissions of a file in octal, such as 0660, not '600x'"),
            (f"{listener}proxy_protocol = yes\n", "proxy_protocol: expected a network such as 10.0.0.0/8 or fd00::/8, not 'yes'"),
            (f"{listener}proxy_protocol = 10.0.0.0/8\n", "proxy_protocol: refuses all connections: its clients are in unix:"),
            (
                "[listener s]\nport = 80\nproxy_protocol = unix:\n",
                "proxy_protocol: refuses all connections: no client of a port is in unix:",
            ),
        ):
            with self.subTest(body=body):
                self.assertEqual([one.partition("] ")[2] for one in self.problems(SITE + body)], [problem])

    def test_redirect(self) -> None:
        self.assertEqual(
            self.listener("serve = redirect\n"),
            ["redirect_to: is required with serve = redirect: the port of the https listener"],
        )
        self.assertEqual(self.listener("redirect_to = 443\n"), ["redirect_to: is only allowed with serve = redirect"])

    def test_attack_43_metrics_are_for_this_machine_by_default(self) -> None:
        listener = f"{SITE}[listener figures]\nport = 9090\nserve = metrics\n"
        self.assertEqual(self.load(listener).listeners[1].interface, "127.0.0.1")
        self.assertEqual(self.load(f"{listener}interface = 10.0.0.1\n").listeners[1].interface, "10.0.0.1")

    def test_the_path_of_metrics_is_its_own(self) -> None:
        for path in ("/", "/health", "/status"):
            (found,) = self.problems(f"{SITE}[metrics]\npath = {path}\n")
            self.assertIn("[metrics] path: is already used", found)

    def test_the_same_port_twice(self) -> None:
        for one, other, clash in (
            ("127.0.0.1", "127.0.0.1", True),
            ("127.0.0.1", "", True),
            ("127.0.0.1", "0.0.0.0", True),
            ("::1", "::", True),
            ("127.0.0.1", "127.0.0.2", False),
            ("127.0.0.1", "::1", False),
        ):
            text = SITE.replace("interface = 127.0.0.1", f"interface = {one}")
            text += f"[listener two]\nport = 9443\ninterface = {other}\ntls = yes\n"
            if clash:
                told = "site.ini:20: [listener two] port: [listener https] has the same port on the same interface"
                self.assertEqual(self.problems(text), [told])
            else:
                self.assertEqual(len(self.load(text).listeners), 2)

    def test_any_free_port_twice(self) -> None:
        text = SITE.replace("port = 9443", "port = 0")
        self.assertEqual(len(self.load(f"{text}[listener two]\nport = 0\ninterface = 127.0.0.1\n").listeners), 2)

    def test_tokens_without_an_authenticator(self) -> None:
        text = "[listener t]\nport = 0\ninterface = 127.0.0.1\nserve = tokens\n"
        (found,) = self.problems(text)
        self.assertIn("serve: no user could get a token, because there is no [authenticator] section", found)


class AuthenticatorTests(SiteCase):
    def test_order(self) -> None:
        for order, told in {
            "locla": ["there is no [authenticator locla], did you mean local?", "does not list [authenticator local]"],
            "local, local": ["local is listed twice"],
        }.items():
            found = self.problems(f"{SITE}[authentication]\norder = {order}\n")
            self.assertEqual([problem.partition(" order: ")[2] for problem in found], told)

    def test_the_kind_reports_its_own_options(self) -> None:
        found = self.problems(self.with_option("authenticator local", "pth", "users").replace("path = users\n", ""))
        self.assertEqual(
            [problem.partition("local] ")[2] for problem in found],
            ["path: is required (file)", "pth: unknown option, did you mean path?"],
        )

    def test_a_realm_file_that_is_not_there(self) -> None:
        (found,) = self.problems(self.with_option("authenticator local", "path", "usrs"))
        self.assertIn("[authenticator local] path: there is no file usrs", found)

    def test_a_realm_is_quotable(self) -> None:
        for section in ("perimeter", "authenticator local"):
            for realm in ('a"b', "a\\b", "José"):
                (found,) = self.problems(self.with_option(section, "realm", realm))
                self.assertIn(f"[{section}] realm: expected a realm of ASCII", found)

    def test_a_referenced_realm_is_quotable_too(self) -> None:
        self.environ = {"REALM": "a\r\nb"}
        (found,) = self.problems(self.with_option("perimeter", "realm", "env:REALM"))
        self.assertIn("[perimeter] realm: expected a realm of ASCII", found)

    def test_token_is_a_taken_name(self) -> None:
        (found,) = self.problems(SITE.replace("[authenticator local]", "[authenticator token]"))
        self.assertIn("expected another name: the audit log writes token for access tokens", found)


class TokenTests(SiteCase):
    def token(self, body: str) -> list[str]:
        return [problem.partition("[token] ")[2] for problem in self.problems(f"{SITE}[token]\n{body}")]

    def test_secret_goes_with_hs256(self) -> None:
        self.assertEqual(self.token("algorithm = HS256\n"), ["secret: is required with algorithm = HS256"])
        self.assertEqual(self.token(f"secret = {'x' * 40}\n"), ["secret: is only allowed with algorithm = HS256"])

    def test_secret_has_32_bytes(self) -> None:
        short = "x" * 31
        self.assertEqual(
            self.token(f"algorithm = HS256\nsecret = {short}\n"), ["secret: expected at least 32 bytes (RFC 7518, section 3.2)"]
        )
        for good in ("x" * 32, "é" * 16):
            config = self.load(f"{SITE}[token]\nalgorithm = HS256\nsecret = {good}\n")
            self.assertEqual(config.token.secret, good)

    def test_lifetimes_are_positive(self) -> None:
        for option in ("lifetime", "extended_lifetime", "key_lifetime"):
            self.assertEqual(self.token(f"{option} = 0\n"), [f"{option}: expected a duration greater than zero, not '0'"])

    def test_algorithms(self) -> None:
        (found,) = self.token("algorithm = none\n")
        self.assertIn("expected ES256, EdDSA, RS256 or HS256, not 'none'", found)


class UpstreamTests(SiteCase):
    def upstream(self, body: str) -> list[str]:
        return [
            problem.partition("[upstream app] ")[2]
            for problem in self.problems(SITE.replace("servers = http://127.0.0.1:8888\n", body))
        ]

    def test_servers(self) -> None:
        self.assertEqual(self.upstream("keepalive = 1\n"), ["servers: is required (list of servers)"])
        self.assertEqual(self.upstream("servers = http://a, http://a:80\n"), ["servers: the same server is listed twice"])
        self.assertEqual(
            self.upstream("servers = sample:, http://a\n"), ["servers: sample: cannot be combined with other servers"]
        )

    def test_verification_goes_with_https(self) -> None:
        (self.directory / "ca.pem").write_text("x")
        found = self.upstream("servers = http://a\nca_certificate = ca.pem\nserver_name = b\n")
        self.assertEqual(found, [f"{option}: is only allowed with https servers" for option in ("ca_certificate", "server_name")])

    def test_timeouts_are_positive(self) -> None:
        (found,) = self.upstream("servers = http://a\nread_timeout = 0s\n")
        self.assertIn("read_timeout: expected a duration greater than zero", found)


class RouteTests(SiteCase):
    def route(self, body: str) -> list[str]:
        text = SITE.replace("path = /\nupstream = app\n", body)
        return [problem.partition("[route app]")[2].lstrip(": ") for problem in self.problems(text)]

    def test_one_target(self) -> None:
        self.assertEqual(
            self.route("path = /\nupstream = app\nstatic = html\n"),
            ["static: set only one of upstream, static, redirect and respond"],
        )
        self.assertEqual(
            self.route("path = /\n"), ["a route needs a target: upstream = NAME, static = DIRECTORY, redirect or respond"]
        )

    def test_a_static_root_must_exist(self) -> None:
        self.assertEqual(self.route("path = /\nstatic = htm\n"), ["static: there is no directory htm"])
        self.assertEqual(self.route("path = /\nstatic = users\n"), ["static: there is no directory users"])

    def test_options_of_the_other_target(self) -> None:
        for option, value in (("rewrite", "/x"), ("identity", "jwt"), ("websocket", "no"), ("allow_encoded_slash", "yes")):
            self.assertEqual(
                self.route(f"path = /\nstatic = html\n{option} = {value}\n"), [f"{option}: is only allowed with upstream"]
            )
        self.assertEqual(self.route("path = /\nupstream = app\nindex = a.html\n"), ["index: is only allowed with static"])

    def test_attack_57_protocols_that_a_route_lists(self) -> None:
        problem = "upgrade_protocols: {value} would carry requests that the gateway does not see"
        for value in ("h2c", "H2C/1", "h2", "h3", "HTTP/2.0", "TLS/1.2"):
            self.assertEqual(
                self.route(f"path = /\nupstream = app\nupgrade_protocols = tcp, {value}\n"), [problem.format(value=value)]
            )
        for value in ("*", "a b", "a/", "/b", "a/b/c"):
            (found,) = self.route(f"path = /\nupstream = app\nupgrade_protocols = {value}\n")
            self.assertIn("expected a protocol such as SPDY/3.1", found)
        (found,) = self.route("path = /\nupstream = app\nupgrade_protocols = WebSocket\n")
        self.assertEqual(found, "upgrade_protocols: websocket has an option of its own: websocket = yes")
        self.assertEqual(
            self.route("path = /\nstatic = html\nupgrade_protocols = tcp\n"), ["upgrade_protocols: is only allowed with upstream"]
        )

    def test_two_routes_of_one_path(self) -> None:
        for hosts, others, clash in (("*", "*", True), ("a, b", "b", True), ("a", "*", False), ("a", "b", False)):
            text = SITE.replace("path = /\n", f"path = /\nhost = {hosts}\n")
            text += f"[route two]\nhost = {others}\npath = /\nupstream = app\n"
            if clash:
                (found,) = self.problems(text)
                self.assertIn("[route two] path: [route app] has the same path on the same host", found)
            else:
                self.assertEqual(len(self.load(text).routes), 2)

    def test_hosts(self) -> None:
        self.assertEqual(self.route("path = /\nupstream = app\nhost = a, A\n"), ["host: the same host is listed twice"])
        self.assertEqual(
            self.route("path = /\nupstream = app\nhost = *, a\n"),
            ["host: * cannot be combined with other hosts: it includes them"],
        )

    def test_identity(self) -> None:
        base = "path = /\nupstream = app\n"
        self.assertEqual(self.route(f"{base}identity = none, jwt\n"), ["identity: none cannot be combined with other words"])
        self.assertEqual(self.route(f"{base}identity = jwt, jwt\n"), ["identity: the same word is given twice"])
        self.assertEqual(
            self.route(f"{base}identity = jwt\nidentity_realm_header = X-R\n"),
            ["identity_realm_header: is only allowed with identity = headers"],
        )
        self.assertEqual(
            self.route(f"{base}identity_realm_header = x-auth-roles\n"),
            ["identity_realm_header: the three identity headers must have different names"],
        )

    def test_rules_that_can_never_match(self) -> None:
        found = self.route("path = /\nupstream = app\nauth = none\nallow = role:admin, method:GET\ndeny = user:bob\n")
        self.assertEqual(
            found,
            [
                "allow: column 9: 'role:admin' can never match, because with auth = none no client has an identity",
                "deny: column 8: 'user:bob' can never match, because with auth = none no client has an identity",
            ],
        )

    def test_rules_that_match_without_a_user(self) -> None:
        base = "path = /\nupstream = app\nauth = none\n"
        for rule in ("network:10.0.0.0/8", "time:Mon", "certificate:cn=x", "not method:PUT and network:10.0.0.0/8"):
            config = self.load(SITE.replace("path = /\nupstream = app\n", f"{base}allow = {rule}\n"))
            self.assertEqual([str(one) for one in config.routes[0].allow or ()], [rule])
        for term in ("attribute:a=b", "scope:x", "realm:local"):
            for rule in (term, f"not {term}", f"method:GET and (network:10.0.0.0/8 or {term})"):
                (found,) = self.route(f"{base}deny = {rule}\n")
                column = 8 + rule.index(term)
                self.assertIn(f"deny: column {column}: '{term}' can never match", found, rule)

    def test_pages_of_other_sites(self) -> None:
        base = "path = /\nupstream = app\n"
        for value, told in (
            ("https://a.example, *", "cors: pass and * cannot be combined with other values"),
            ("pass, https://a.example", "cors: pass and * cannot be combined with other values"),
            ("https://a.example, HTTPS://A.example:443", "cors: the same origin is listed twice"),
            ("null", "cors: expected the origin of a site: each sandboxed page has the origin null, not 'null'"),
            ("a.example", "cors: expected pass, * or an origin such as https://app.example.com, not 'a.example'"),
            ("https://*.example", "cors: expected pass, * or an origin such as https://app.example.com, not 'https://*.example'"),
            ("https://a.example/x", "cors: expected an origin, without a path, not 'https://a.example/x', did you mean"),
        ):
            (found,) = self.route(f"{base}cors = {value}\n")
            self.assertTrue(found.startswith(told), (value, found))
        for option, value, told in (
            ("cors_credentials", "yes", "is not allowed with cors = *: list the origins that may act as the user"),
            ("cors_methods", "get", "expected a method in capitals, not 'get', did you mean GET?"),
            ("cors_methods", "TRACE", "expected a method that pages may send, not 'TRACE'"),
            ("cors_headers", "*", "expected the names of headers: * would not include Authorization, not '*'"),
            ("cors_expose", "a b", "expected the name of a header, not 'a b'"),
        ):
            self.assertEqual(self.route(f"{base}cors = *\n{option} = {value}\n"), [f"{option}: {told}"])
        for option, value in (
            *(("cors_methods", "PUT"), ("cors_headers", "X-A"), ("cors_expose", "X-A")),
            *(("cors_credentials", "yes"), ("cors_max_age", "5")),
        ):
            for given in ("", "cors = pass\n"):
                told = f"{option}: needs cors with the origins of pages"
                self.assertEqual(self.route(f"{base}{given}{option} = {value}\n"), [told])
        self.assertEqual(
            self.route("path = /\nstatic = html\ncors = pass\n"), ["cors: expected origins: pass is only allowed with upstream"]
        )
        config = self.load(SITE.replace("path = /\nupstream = app\n", "path = /\nstatic = html\ncors = *\n"))
        self.assertEqual((config.routes[0].cors, config.routes[0].shared), (("*",), True))

    def test_challenge(self) -> None:
        base = "path = /\nupstream = app\n"
        for word in ("bearer", "basic", "both"):
            self.assertEqual(
                self.route(f"{base}auth = none\nchallenge = {word}\n"),
                ["challenge: has no effect with auth = none, because no credentials are checked"],
            )
        self.assertEqual(len(self.route(f"{base}challenge = digest\n")), 1)

    def test_attack_41_a_misspelt_realm_in_a_deny_rule_is_refused(self) -> None:
        self.assertEqual(
            self.route("path = /\nupstream = app\ndeny = realm:locla\n"),
            ["deny: column 8: no authenticator has the realm locla, did you mean realm:local?"],
        )

    TWO = SITE + "[authenticator staff]\ntype = file\npath = users\n[authenticator odd]\ntype = file\npath = users\nrealm = a/b\n"

    def rules(self, rules: str) -> tuple[str, ...]:
        """``rules`` as the gate has them, with the realms local, staff and a/b."""
        (route,) = self.load(self.TWO.replace("path = /\n", f"path = /\nallow = {rules}\n")).routes
        return tuple(f"{rule.kind} {rule.realm or '*'} {rule.value}" for rule in route.allow or ())

    def test_attack_49_rules_name_realms(self) -> None:
        self.assertEqual(
            self.rules("user:staff/root, role:local/admin, user:bob, role:/group, user:staff/a/b, user:a/b/bob, realm:a/b"),
            (
                *("user staff root", "role local admin", "user * bob", "role * /group", "user staff a/b"),
                *("user a/b bob", "realm * a/b"),
            ),
        )

    def test_attack_49_a_realm_that_does_not_exist(self) -> None:
        for rule, told in (
            ("user:staf/root", "no authenticator has the realm staf, did you mean user:staff/root?"),
            (
                "role:spiffe://x/y",
                "no authenticator has the realm spiffe:; a name that contains a slash is written after its realm, such as "
                "role:local/spiffe://x/y",
            ),
            ("user:staff/", "expected a name after the realm staff"),
        ):
            for option in ("allow", "deny"):
                (found,) = self.problems(self.TWO.replace("path = /\n", f"path = /\n{option} = {rule}\n"))
                self.assertEqual(found.partition("[route app] ")[2], f"{option}: column {len(option) + 4}: {told}")

    def test_a_realm_that_does_not_exist_has_its_place(self) -> None:
        for rules, line, column in (
            ("role:a and (realm:local or realm:nope)", 15, 36),
            ("role:a,\n  not realm:nope", 16, 7),
            ("user:realm-nope, realm:nope", 15, 26),
        ):
            (found,) = self.problems(SITE.replace("path = /\n", f"path = /\nallow = {rules}\n"))
            self.assertIn(f"site.ini:{line}: [route app] allow: column {column}: no authenticator has the realm nope", found)

    def test_attack_49_a_rule_for_several_realms_is_warned_of(self) -> None:
        for rules, told in (
            ("user:root", "user:root"),
            ("user:staff/root, role:admin, user:bob", "role:admin, user:bob"),
            ("user:staff/root, realm:local, method:GET", ""),
            ("role:admin and network:10.0.0.0/8, user:bob", "role:admin, user:bob"),
            ("role:admin and realm:local", ""),
            ("role:admin and (realm:local or user:staff/root)", ""),
            ("role:admin and (realm:local or method:GET)", "role:admin"),
            ("role:admin and not realm:local", "role:admin"),
            ("role:admin and (realm:local and method:GET or user:staff/root)", ""),
            ("network:10.0.0.0/8 and not role:admin", ""),
        ):
            for text, several in (
                (self.TWO, True),
                (SITE + "[authenticator other]\ntype = file\npath = users\nrealm = local\n", False),
            ):
                text = text.replace("path = /\n", f"path = /\nallow = {rules.replace('staff', 'local')}\n")
                found = [one for one in self.load(text).warnings if "every realm" in one]
                first = told.partition(",")[0].replace(":", ":a/b/")
                expected = f"[route app] allow: {told} holds in every realm (a/b, local, staff): write {first} for one realm"
                self.assertEqual(found, [expected] if told and several else [])

    def test_attack_49_denied_in_every_realm_is_what_deny_means(self) -> None:
        warnings = self.load(self.TWO.replace("path = /\n", "path = /\ndeny = user:root\n")).warnings
        self.assertEqual([one for one in warnings if "every realm" in one], [])

    def test_attack_50_origins(self) -> None:
        for value, sites in (
            ("refuse", ()),
            ("allow", ("allow",)),
            ("https://App.example", ("https://app.example",)),
            ("https://a:443, http://b:80, http://c:8080", ("https://a", "http://b", "http://c:8080")),
            ("http://[::1]:80, capacitor://localhost", ("http://[::1]", "capacitor://localhost")),
        ):
            (route,) = self.load(SITE.replace("path = /\n", f"path = /\ncross_site = {value}\n")).routes
            self.assertEqual(route.cross_site, sites)
        self.assertEqual(self.load(SITE).routes[0].cross_site, ())
        expected = "cross_site: expected refuse, allow or an origin such as https://app.example.com"
        for value, told in (
            ("*", f"{expected}, not '*', did you mean allow?"),
            ("null", f"{expected}, not 'null'"),
            ("app.example", f"{expected}, not 'app.example'"),
            ("https://*.a", f"{expected}, not 'https://*.a'"),
            ("https://a/", "cross_site: expected an origin, without a path, not 'https://a/', did you mean https://a?"),
            ("allow, https://a", "cross_site: refuse and allow cannot be combined with other values"),
            ("refuse, allow", "cross_site: refuse and allow cannot be combined with other values"),
        ):
            self.assertEqual(self.route(f"path = /\nupstream = app\ncross_site = {value}\n"), [told])
        self.assertEqual(
            self.route("path = /\nupstream = app\nauth = none\ncross_site = allow\n"),
            ["cross_site: has no effect with auth = none, because no credentials are checked"],
        )

    def test_what_a_route_makes_of_sessions(self) -> None:
        (route,) = self.load(SITE).routes
        found = (route.browser_login, route.app_authorization, route.keeps_session, route.idle)
        self.assertEqual(found, (False, False, True, None))
        options = "browser_login = yes\napp_authorization = yes\nkeeps_session = no\nidle = 15m\n"
        (route,) = self.load(SITE.replace("path = /\n", f"path = /\n{options}")).routes
        found = (route.browser_login, route.app_authorization, route.keeps_session, route.idle)
        self.assertEqual(found, (True, True, False, 900))
        base = "path = /\nupstream = app\n"
        for more, told in (
            ("app_authorization = yes\n", ["app_authorization: is only allowed with browser_login = yes"]),
            (
                "browser_login = yes\napp_authorization = yes\nidentity = jwt\n",
                ["app_authorization: is not allowed with identity = jwt, which needs Authorization"],
            ),
            (
                "browser_login = yes\napp_authorization = yes\nauthorization = pass\n",
                ["app_authorization: is only allowed with authorization = drop"],
            ),
            ("idle = 0\n", ["idle: expected a duration greater than zero, not '0'"]),
            ("idle = 61m\n", ["idle: is longer than idle of [login], which ends the session after 3600 s"]),
        ):
            self.assertEqual(self.route(base + more), told, more)
        for option in ("browser_login = yes", "keeps_session = no", "idle = 5m"):
            told = [f"{option.split()[0]}: has no effect with auth = none, because no credentials are checked"]
            self.assertEqual(self.route(f"{base}auth = none\n{option}\n"), told)
        self.assertEqual(self.load(SITE.replace("path = /\n", "path = /\nidle = 60m\n")).routes[0].idle, 3600)
        without_end = SITE.replace("path = /\n", "path = /\nidle = 61m\n") + "[login]\nidle = 0\n"
        self.assertEqual(self.load(without_end).routes[0].idle, 3660)

    def test_authorization(self) -> None:
        (self.directory / "secret").write_text("s3 cret\n")
        for value, word, sent in (
            ("drop", "drop", ""),
            ("pass", "pass", ""),
            ("basic bob file:secret", "fixed", "Basic Ym9iOnMzIGNyZXQ="),
            ("basic bob pass word", "fixed", "Basic Ym9iOnBhc3Mgd29yZA=="),
            ("bearer abc.DEF=", "fixed", "Bearer abc.DEF="),
            ("fixed Token x y", "fixed", "Token x y"),
            ("fixed file:secret", "fixed", "s3 cret"),
        ):
            (route,) = self.load(SITE.replace("path = /\n", f"path = /\nauthorization = {value}\n")).routes
            found = route.authorization
            self.assertEqual((found.word, found.passes, found.value), (word, word == "pass", sent))
            self.assertNotIn(sent or "\0", repr(route))
        (self.directory / "whole").write_text("basic a b")
        (route,) = self.load(SITE.replace("path = /\n", "path = /\nauthorization = file:whole\n")).routes
        self.assertEqual(route.authorization.value, "Basic YTpi")

    def test_attack_42_authorization_is_not_shown(self) -> None:
        (self.directory / "odd").write_text("\x01hidden")
        expected = "expected drop, pass, basic USER SECRET, bearer SECRET or fixed VALUE"
        for value, told in (
            ("Basic hidden", expected),
            ("basic hidden", expected),
            ("basic a:b hidden", expected),
            ("bearer", expected),
            ("bearer hid den", "expected a token after bearer (RFC 6750, section 2.1)"),
            ("basic bob /hidden", "expected a secret after basic, and not a path: write file:PATH"),
            ("fixed ../hidden", "expected a secret after fixed, and not a path: write file:PATH"),
            ("fixed hidd\u00e9n", "expected ASCII characters after fixed"),
            ("basic bob file:none", "file:none cannot be read: No such file or directory"),
            ("fixed file:odd", f"expected {LABEL}, not the value of file:odd"),
        ):
            found = self.route(f"path = /\nupstream = app\nauthorization = {value}\n")
            self.assertEqual(found, [f"authorization: {told}"], value)
        self.assertEqual(
            self.route("path = /\nupstream = app\nidentity = jwt\nauthorization = pass\n"),
            ["authorization: is not allowed with identity = jwt, which needs Authorization"],
        )

    def test_authorization_is_warned_of(self) -> None:
        for options, told in (
            ("authorization = pass", "authorization = pass: the service gets the password or token of every user"),
            ("authorization = pass\nauth = none", ""),
            ("authorization = fixed x", ""),
            (
                "authorization = fixed x\nauth = none",
                "authorization and auth = none: every client uses the service with the gateway's credentials",
            ),
        ):
            warnings = self.load(SITE.replace("path = /\n", f"path = /\n{options}\n")).warnings
            found = [one for one in warnings if "authorization" in one]
            self.assertEqual(found, [f"[route app] {told}"] if told else [])

    def test_attack_55_the_list_of_identity_headers(self) -> None:
        self.assertIn("X-Remote-User", self.load(SITE).perimeter.identity_headers)
        for value, names in (("none", ()), ("My-User, SM_*", ("My-User", "SM_*")), ("Abc*", ("Abc*",))):
            self.assertEqual(self.load(f"{SITE}[perimeter]\nidentity_headers = {value}\n").perimeter.identity_headers, names)
        for value, told in (
            ("none, X-User", "none cannot be combined with names"),
            ("*", "expected none or the name of a header; a * at its end stands for anything, not '*'"),
            ("X-*-User", "expected none or the name of a header; a * at its end stands for anything, not 'X-*-User'"),
        ):
            (found,) = self.problems(f"{SITE}[perimeter]\nidentity_headers = {value}\n")
            self.assertEqual(found.partition("[perimeter] identity_headers: ")[2], told)

    def test_required_without_an_authenticator(self) -> None:
        text = SITE.replace("[authenticator local]\ntype = file\npath = users\n", "")
        (found,) = self.problems(text)
        self.assertIn("[route app] auth: no client could authenticate, because there is no [authenticator] section", found)
        self.assertEqual(self.load(f"{text}[perimeter]\nenabled = no\n").authenticators, ())


class ErrorPageTests(SiteCase):
    def test_a_status_twice(self) -> None:
        (found,) = self.problems(f"{SITE}[errors]\npage = 500 502 /a\n  502 /b\n")
        self.assertIn("[errors] page: the status 502 is given twice", found)

    def test_a_page_that_no_route_leads_to(self) -> None:
        text = SITE.replace("path = /\n", "path = /app\n")
        (found,) = self.problems(f"{text}[errors]\npage = 500 /apple\n")
        self.assertIn("[errors] page: no route serves '/apple'", found)
        self.assertEqual(len(self.load(f"{text}[errors]\npage = 500 /app/50x.html\n").error_pages), 1)


class WarningTests(SiteCase):
    CERTIFICATE = "[listener https] has no certificate: a self-signed one is made in state_dir, which clients cannot verify"

    def test_a_self_made_certificate(self) -> None:
        self.assertEqual(self.load(SITE).warnings, (self.CERTIFICATE,))

    def test_a_method_that_is_not_registered(self) -> None:
        for option, rules, told in (
            ("deny", "method:FETCH", ["deny: FETCH is not a registered method of HTTP, did you mean PATCH?"]),
            (
                "deny",
                "method:DELET, method:GET",
                ["deny: DELET is not a registered method of HTTP, did you mean DELETE?"],
            ),
            ("methods", "GET, DELET", ["methods: DELET is not a registered method of HTTP, did you mean DELETE?"]),
            ("deny", "method:QXZ", ["deny: QXZ is not a registered method of HTTP"]),
            ("allow", "method:PSOT", ["allow: PSOT is not a registered method of HTTP, did you mean POST?"]),
            ("deny", ", ".join(f"method:{one}" for one in REGISTERED_METHODS), []),
            ("allow", "user:FETCH, role:FETCH", []),
        ):
            warnings = self.load(SITE.replace("path = /\n", f"path = /\n{option} = {rules}\n")).warnings
            found = [one.removeprefix("[route app] ") for one in warnings if "registered" in one]
            self.assertEqual(found, told, rules)

    def test_nothing_to_warn_of(self) -> None:
        for name in ("gw.crt", "gw.key"):
            (self.directory / name).write_text("x")
        text = SITE.replace("tls = yes\n", "tls = yes\ncertificate = gw.crt\nprivate_key = gw.key\n")
        self.assertEqual(self.load(text).warnings, ())

    def test_security_is_off(self) -> None:
        warnings = self.load(f"{SITE}[perimeter]\nenabled = no\n").warnings
        self.assertEqual(warnings[0], "[perimeter] enabled = no: SECURITY IS OFF, every client may use every route")

    def test_attack_60_a_unix_socket_of_the_gateway_itself(self) -> None:
        told = "[upstream app] unix:/run/gw.sock is [listener socket] of this gateway: requests would go round"
        for path, warned in (("/run/gw.sock", True), ("/run/app.sock", False)):
            text = SITE.replace("http://127.0.0.1:8888", f"unix:{path}")
            warnings = self.load(f"{text}[listener socket]\ninterface = unix:/run/gw.sock\n").warnings
            self.assertEqual(told in " ".join(warnings), warned, warnings)

    def test_attack_60_a_service_that_is_the_gateway_itself(self) -> None:
        told = "[upstream app] {} is [listener https] of this gateway: requests would go round until they are refused with 508"
        for interface, host, warned in (
            ("", "127.0.0.1", True),
            ("", "localhost", True),
            ("", "[::1]", True),
            ("", "10.0.0.1", False),
            ("", "app.example", False),
            ("0.0.0.0", "127.0.0.2", True),
            ("127.0.0.1", "127.0.0.1", True),
            ("127.0.0.1", "localhost", True),
            ("127.0.0.1", "127.0.0.2", False),
            ("10.0.0.1", "10.0.0.1", True),
            ("10.0.0.1", "127.0.0.1", False),
        ):
            listener = f"interface = {interface}\ntls = yes\n" if interface else "tls = yes\n"
            text = SITE.replace("127.0.0.1:8888", f"{host}:9443").replace("interface = 127.0.0.1\ntls = yes\n", listener)
            warnings = self.load(text).warnings
            self.assertEqual(told.format(f"{host}:9443") in warnings, warned, (interface, host, warnings))
        self.assertEqual(self.load(SITE).warnings, (self.CERTIFICATE,))

    def test_asking_all_at_once_shows_passwords_around(self) -> None:
        text = f"{SITE}[authentication]\nask = all_at_once\n"
        self.assertEqual(self.load(text).warnings, (self.CERTIFICATE,))
        two = f"{text}[authenticator two]\ntype = file\npath = users\n"
        self.assertIn("[authentication] ask = all_at_once: every authenticator sees every password", self.load(two).warnings[-1])

    def test_attack_43_metrics_for_all_clients(self) -> None:
        told = "[listener figures] shows metrics to every client that can connect: set networks in [metrics] to restrict it"
        listener = f"{SITE}[listener figures]\nport = 9090\nserve = metrics\n"
        for text, warned in (
            (listener, False),
            (f"{listener}interface = ::1\n", False),
            (f"{listener}interface = 0.0.0.0\n", True),
            (f"{listener}interface = 0.0.0.0\n[metrics]\nnetworks = 10.0.0.0/8\n", False),
        ):
            self.assertEqual(self.load(text).warnings, (self.CERTIFICATE, *([told] if warned else [])))

    def test_metrics_without_a_listener(self) -> None:
        told = "[metrics] has no effect: no listener has serve = metrics"
        self.assertEqual(self.load(f"{SITE}[metrics]\npath = /figures\n").warnings, (self.CERTIFICATE, told))

    def test_credentials_in_plain_text(self) -> None:
        end = "without TLS on an interface that other machines can reach: set tls = yes, or interface = 127.0.0.1"
        told = f"[listener https] accepts credentials {end}"
        plain = SITE.replace("tls = yes\n", "")
        for interface, warned in (("127.0.0.1", False), ("::1", False), ("0.0.0.0", True), ("192.0.2.1", True), ("", True)):
            warnings = self.load(plain.replace("interface = 127.0.0.1", f"interface = {interface}")).warnings
            self.assertEqual(warnings, (told,) if warned else (), interface)
        public = plain.replace("interface = 127.0.0.1\n", "").replace("upstream = app\n", "upstream = app\nauth = none\n")
        # the endpoints of the gateway take passwords
        self.assertEqual(self.load(public).warnings, (told,))
        nobody = public.replace("[authenticator local]\ntype = file\npath = users\n", "")
        self.assertEqual(self.load(nobody).warnings, (f"[listener https] serves {end}",))
        self.assertEqual(
            self.load(nobody.replace("port = 9443", "port = 9443\nserve = redirect\nredirect_to = 1")).warnings[1:], ()
        )
        self.assertEqual(self.load(public.replace("port = 9443", "port = 9443\nserve = tokens")).warnings[0], told)

    def test_no_audit_log(self) -> None:
        text = SITE.partition("[audit]")[0]
        self.assertIn("[audit] has no path: there is no audit log for app", self.load(text).warnings)

    def test_what_is_out_of_reach(self) -> None:
        text = f"{SITE}[upstream spare]\nservers = http://127.0.0.1:1\n"
        self.assertIn("[upstream spare] is not used by any route", self.load(text).warnings)
        tokens = SITE.replace("port = 9443", "port = 9443\nserve = tokens")
        self.assertIn("no listener has serve = gateway: no client can reach the routes", self.load(tokens).warnings)

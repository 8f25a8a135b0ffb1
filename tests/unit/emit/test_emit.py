"""What other proxies are configured with. What the real ones make of it is in `tests.integration.test_forward_auth`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner
from twisted.trial.unittest import TestCase

from perimeter.cli.main import main

SITE = """\
[perimeter]
state_dir = state
{trusted}

{listeners}

[authenticator local]
type = realmfile
path = users.realm

[authenticator front]
type = trusted-header
header = X-Remote-User
networks = 10.1.2.3

[upstream service]
servers = http://10.0.0.5:8080, http://[fd00::5]:8080

[upstream secure]
servers = https://service.example.com:8443

[upstream inside]
servers = sample:

[route app]
path = /app
upstream = service
deny = method:DELETE

[route pub]
path = /pub
upstream = secure
auth = none
rewrite = /open
identity_username_header = Remote-User

[route sample]
path = /sample
upstream = inside

[route deep]
path = /site/deep
upstream = service

[route site]
host = www.example.com
path = /site
upstream = service

[route any]
host = api.example.com
path = /app/x
upstream = secure
{more}
"""
#: a route on which people sign in
LOGIN = "[route login]\nhost = login.example.com\npath = /\nupstream = service\nbrowser_login = yes\n"
TRUSTED = "trusted_proxies = 127.0.0.1"
PLAIN = "[listener http]\nport = 10080\ninterface = 127.0.0.1"
PROXIES = ("nginx", "haproxy", "haproxy-lua", "caddy", "traefik", "envoy")


def wildcards(*hosts: str) -> str:
    return "".join(f"[route w{number}]\nhost = {host}\npath = /\nupstream = secure\n" for number, host in enumerate(hosts))


SOCKETS = """
[upstream socket]
servers = unix:/run/app.sock weight=2, unix:/run/other.sock backup
proxy_protocol = v2

[route socket]
path = /socket
upstream = socket
compression = gzip
maintenance = yes
"""


class EmitTests(TestCase):
    def emit(self, proxy: str, *options: str, status: int = 0, **parts: str) -> str:
        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / "users.realm").write_text("alice: secret\n")
        site = directory / "site.ini"
        site.write_text(SITE.format(**{"trusted": TRUSTED, "listeners": PLAIN, "more": ""} | parts))
        result = CliRunner().invoke(main, ["emit", proxy, "--config", str(site), *options])
        self.assertEqual(result.exit_code, status, result.output)
        self.warnings = result.stderr
        return result.stdout

    def test_every_proxy_asks_the_listener(self) -> None:
        for proxy in PROXIES:
            place = "perimeter.lua" if proxy == "haproxy" else "10080"
            self.assertIn(place, self.emit(proxy), proxy)
            self.assertIn("[route sample] is left out", self.warnings)
            self.assertNotIn("trusted_proxies", self.warnings)

    def test_unix_sockets(self) -> None:
        for proxy, text in (
            ("nginx", "    server unix:/run/app.sock weight=2;\n    server unix:/run/other.sock backup;\n"),
            ("nginx", "proxy_pass http://perimeter_socket/"),
            ("haproxy", "server s1 unix@/run/app.sock weight 2\n    server s2 unix@/run/other.sock backup\n"),
            ("caddy", "unix//run/app.sock"),
        ):
            self.assertIn(text.replace("perimeter_socket/", "perimeter_socket"), self.emit(proxy, more=SOCKETS), proxy)
        for proxy in ("traefik", "envoy"):
            self.emit(proxy, more=SOCKETS, status=1)
            self.assertIn("unix:/run/app.sock: unix sockets are not written for", self.warnings)

    def test_what_a_proxy_leaves_out_of_services_and_maintenance(self) -> None:
        self.emit("nginx", more=SOCKETS)
        for words in (
            "[upstream socket] proxy_protocol: configure the connections of the proxy to the service as well",
            "[route socket] maintenance = yes: no request passes",
            "[route socket] compression: only the gateway itself does this",
        ):
            self.assertIn(words, self.warnings)
        self.emit("nginx", more=SOCKETS, trusted="")
        self.assertIn("[route socket] maintenance = yes has no effect", self.warnings)

    def test_what_a_proxy_leaves_out_of_rules_and_cors(self) -> None:
        more = (
            "[route c]\npath = /c\nupstream = secure\nallow = role:a and not certificate:cn=x\ncors = pass\n"
            "[route o]\npath = /o\nupstream = secure\nallow = role:a and network:10.0.0.0/8\ncors = https://app.example\n"
        )
        for proxy in PROXIES:
            self.emit(proxy, more=more)
            notes = [line for line in self.warnings.splitlines() if "certificate:" in line or "cors" in line]
            self.assertEqual(
                [note.partition(",")[0] for note in notes],
                [
                    "warning: [route c] has a rule with certificate:",
                    "warning: [route o] cors: the gateway cannot answer preflights of which the proxy asks",
                ],
            )

    def test_certificates_that_the_gateway_orders(self) -> None:
        more = "[listener ordered]\nport = 443\ntls = yes\nacme_names = gw.example.com\n[acme]\nterms_agreed = yes\n"
        for proxy in PROXIES:
            self.emit(proxy, more=more)
            self.assertIn("[listener ordered] acme_names: the proxy needs certificates of its own", self.warnings)

    def test_what_only_the_gateway_does(self) -> None:
        more = (
            "[route ruled]\npath = /ruled\nupstream = service\nupstream_host = app.internal\nsecurity_headers = strict\n"
            "request_headers = set X-My-User %{user}\n  set X-Else x\n"
        )
        for proxy in PROXIES:
            text = self.emit(proxy, more=more)
            self.assertIn(
                "warning: [route ruled] request_headers, security_headers, upstream_host: only the gateway itself does this; "
                "configure it in the proxy as well\n",
                self.warnings,
            )
            self.assertEqual(self.warnings.count("only the gateway itself"), 1)
            if proxy in ("nginx", "haproxy-lua", "caddy", "envoy"):  # no client may send what the service takes for the user
                self.assertIn("x-my-user", text.lower(), proxy)
                self.assertNotIn("x-else", text.lower(), proxy)

    def test_weights_and_backups(self) -> None:
        more = (
            "[upstream several]\nservers = http://10.1.0.1:1 weight=300, http://10.1.0.2:1, http://10.1.0.3:1 backup\n"
            "[route several]\npath = /several\nupstream = several\n"
        )
        text = self.emit("nginx", more=more)
        for line in ("server 10.1.0.1:1 weight=300;", "server 10.1.0.2:1;", "server 10.1.0.3:1 backup;"):
            self.assertIn(line, text)
        text = self.emit("haproxy", more=more)
        for line in ("server s1 10.1.0.1:1 weight 256\n", "server s2 10.1.0.2:1\n", "server s3 10.1.0.3:1 backup\n"):
            self.assertIn(line, text)
        for proxy in ("caddy", "traefik", "envoy"):
            text = self.emit(proxy, more=more)
            self.assertIn("10.1.0.2", text)
            self.assertNotIn("10.1.0.3", text, "it would get requests all the time")

    def test_where_the_gateway_is(self) -> None:
        tls = "[listener https]\nport = 10443\ntls = yes\n"
        tokens = "[listener tokens]\nport = 10009\nserve = tokens\n"
        redirect = "[listener redirect]\nport = 10081\nserve = redirect\nredirect_to = 443\ninterface = 127.0.0.1\n"
        for listeners, options, url in (
            (tls, (), "https://127.0.0.1:10443/"),
            (tls + tokens, (), "http://127.0.0.1:10009/"),
            (redirect + tls, (), "https://127.0.0.1:10443/"),
            (tokens + PLAIN, (), "http://127.0.0.1:10080/"),
            (PLAIN.replace("127.0.0.1", "::1"), (), "http://[::1]:10080/"),
            (PLAIN, ("--gateway", "https://gw.example.com"), "https://gw.example.com:443/"),
            (PLAIN, ("--gateway", "http://gw:81/"), "http://gw:81/"),
        ):
            self.assertIn(f'"{url}authenticate"', self.emit("haproxy-lua", *options, listeners=listeners))

    def test_a_gateway_over_tls_is_verified(self) -> None:
        text = self.emit("nginx", "--gateway", "https://gw.example.com")
        self.assertIn("proxy_ssl_verify on;", text)
        self.assertIn("proxy_ssl_name gw.example.com;", text)
        envoy = yaml.safe_load(self.emit("envoy", "--gateway", "https://gw.example.com"))
        gateway = envoy["static_resources"]["clusters"][0]
        self.assertEqual(gateway["transport_socket"]["typed_config"]["sni"], "gw.example.com")

    def test_no_place_to_ask(self) -> None:
        redirect = "[listener redirect]\nport = 10081\nserve = redirect\nredirect_to = 443\n"
        self.emit("nginx", listeners=redirect, status=1)
        self.assertIn("no listener answers /authenticate", self.warnings)
        for url in ("gw", "ftp://gw", "http://gw/path", "http://gw:1;evil", 'http://gw"'):
            self.emit("nginx", "--gateway", url, status=1)
            self.assertIn("not the URL of a gateway", self.warnings)

    def test_without_trusted_proxies_it_warns(self) -> None:
        self.emit("nginx", trusted="")
        self.assertIn("trusted_proxies is empty", self.warnings)

    def test_limits_that_need_the_request_itself(self) -> None:
        limits = "[route limited]\npath = /limited\nupstream = service\nrate = 5/s per user\n"
        more = "in_flight = 5 per user\nbody_rate = 1MiB/s per user\nrequest_timeout = 5s\n"
        for proxy in PROXIES:
            self.emit(proxy, more=limits)
            self.assertNotIn("limited", self.warnings)
            self.emit(proxy, more=limits + more)
            self.assertIn(
                f"[route limited] in_flight, body_rate, request_timeout does not limit what {proxy} forwards: limit it there",
                self.warnings,
            )
        self.emit("nginx", more=limits, trusted="")
        self.assertIn("[route limited] rate does not limit", self.warnings)

    def test_where_the_proxy_listens_and_for_whom(self) -> None:
        options = ("--listen", "10.0.0.1:8080", "--listen", "[fd00::1]:8080", "--server-name", "GW.example.com")
        nginx = self.emit("nginx", *options)
        self.assertEqual(set(re.findall(r"listen (.*);", nginx)), {"10.0.0.1:8080", "[fd00::1]:8080"})
        self.assertEqual(re.findall(r"server_name (.*);", nginx), ["api.example.com", "www.example.com", "gw.example.com"])
        self.assertIn("bind 10.0.0.1:8080 proto h1\n    bind [fd00::1]:8080 proto h1\n", self.emit("haproxy", *options))
        caddy = self.emit("caddy", *options)
        self.assertIn("\nhttp://gw.example.com:8080 {\n\tbind 10.0.0.1 fd00::1\n", caddy)
        self.assertNotIn("\n:", caddy)
        self.assertIn('address: "10.0.0.1", port_value: 8080', self.emit("envoy", *options[:2]))
        for proxy, bad in (
            ("nginx", ("--listen", "gw:80")),
            ("nginx", ("--listen", "80;")),
            ("nginx", ("--listen", "70000")),
            ("nginx", ("--listen", "1.2.3:80")),
            ("nginx", ("--server-name", "a;b")),
            ("nginx", ("--server-name", "*")),
            ("envoy", options[:4]),
            ("traefik", options[:2]),
            ("caddy", ("--listen", "10.0.0.1:80", "--listen", "10.0.0.2:81")),
        ):
            self.emit(proxy, *bad, status=1)
            self.assertIn("Error: ", self.warnings, bad)

    def test_attack_17_nothing_in_a_name_is_configuration(self) -> None:
        for path in ("/a&b", "/a!b", "/a=b", "/a+b"):
            for proxy in PROXIES:
                self.emit(proxy, more=f"[route odd]\npath = {path}\nupstream = service\n", status=1)
                self.assertIn("cannot be written into another program's configuration", self.warnings)

    def test_nginx_serves_the_routes_of_each_host(self) -> None:
        text = self.emit("nginx")
        servers = dict(re.findall(r"server_name (\S+);(.*?)\n\}", text, re.DOTALL))
        found = {name: set(re.findall(r"location (= )?(\S+) \{", body)) for name, body in servers.items()}
        paths = {name: {path for _, path in matches} - {"/.perimeter-question"} for name, matches in found.items()}
        common = {"/app", "/app/", "/pub", "/pub/", "/sample", "/sample/", "/"}
        self.assertEqual(paths["_"], common | {"/site/deep", "/site/deep/"})
        self.assertEqual(paths["api.example.com"], common | {"/app/x", "/app/x/", "/site/deep", "/site/deep/"})
        # what its own route covers is not the general one's
        self.assertEqual(paths["www.example.com"], common | {"/site", "/site/"})
        self.assertEqual(text.count("auth_request /.perimeter-question;"), text.count("proxy_pass http") - len(servers))

    def test_every_identity_field_is_cleared_everywhere(self) -> None:
        text = self.emit("nginx")
        for location in re.findall(r"auth_request /\.perimeter-question;.*?\n    \}", text, re.DOTALL):
            for name in ("Remote-User", "X-Remote-User", "X-Auth-Username", "X-Auth-Realm", "X-Auth-Roles", "Authorization"):
                self.assertEqual(location.count(f"proxy_set_header {name} "), 1, name)
        for proxy in ("haproxy-lua", "caddy", "traefik", "envoy"):
            text = re.sub(r"\W", "-", self.emit(proxy).lower())  # some write patterns
            for name in ("remote-user", "x-remote-user"):
                self.assertRegex(text, rf"(?<!x-){name.replace('-', '-+(?:a-z0-9-+)?')}", (proxy, name))

    def test_attack_55_identity_headers_of_other_proxies(self) -> None:
        """nginx knows no beginnings of names."""
        for proxy, forms in (
            ("nginx", ('proxy_set_header X-Forwarded-User "";',)),
            ("haproxy-lua", ('["x-forwarded-user"] = true', '"x-authentik-"', '"x-original-", "x-forwarded-"')),
            ("caddy", ("request_header -X_Forwarded_User", "request_header -X-Authentik-*", "request_header -X.Authentik.*")),
            ("envoy", ('["x-forwarded-user"] = true', '"x-authentik-"', '"x-original-"')),
        ):
            text = self.emit(proxy)
            for form in forms:
                self.assertIn(form, text, proxy)
            for form in ("-X-Auth-*", "x%-auth%-"):
                self.assertNotIn(form, text, proxy)

    def test_attack_50_the_gateway_is_told_the_origin(self) -> None:
        for proxy, forms in (
            ("nginx", ("proxy_set_header X-Forwarded-Proto $scheme;", "proxy_set_header X-Forwarded-Host $http_host;")),
            ("haproxy-lua", ('"origin"', '"sec-fetch-site"', '"sec-websocket-key"', '["x-forwarded-proto"]')),
            ("envoy", ("exact: origin", "prefix: sec-fetch-", "exact: sec-websocket-key", "exact: x-forwarded-proto")),
        ):
            for form in forms:
                self.assertIn(form, self.emit(proxy), proxy)

    def signing_in(self, proxy: str, *options: str) -> str:
        return self.emit(proxy, *options, more=LOGIN)

    def test_without_a_sign_in_page_nothing_is_about_cookies(self) -> None:
        for proxy in PROXIES:
            text = self.emit(proxy)
            self.assertNotIn(".perimeter/", text, proxy)
            self.assertIsNone(re.search("exact: cookie|Set-Cookie|set_header Cookie|Authorization, Cookie", text), proxy)
        self.assertIn("local PAGES = false", self.emit("haproxy-lua"))

    def test_a_sign_in_page_needs_a_listener_that_has_it(self) -> None:
        tokens = "[listener tokens]\nport = 10009\nserve = tokens\ninterface = 127.0.0.1\n"
        tls = "[listener https]\nport = 10443\ntls = yes\n"
        self.assertIn('"https://127.0.0.1:10443/', self.emit("haproxy-lua", listeners=tls + tokens, more=LOGIN))
        self.emit("nginx", listeners=tokens, more=LOGIN, status=1)
        self.assertIn("expected one with serve = gateway, on a port and without proxy_protocol\n", self.warnings)

    def test_a_listener_that_other_proxies_cannot_ask(self) -> None:
        socket = "[listener socket]\ninterface = unix:/run/gw.sock\n"
        balanced = "[listener balanced]\nport = 10009\ninterface = 127.0.0.1\nproxy_protocol = 127.0.0.1\n"
        for proxy in PROXIES:
            self.emit(proxy, listeners=socket + balanced, status=1)
            self.assertIn("expected one with serve = gateway or tokens, on a port and without proxy_protocol\n", self.warnings)
        plain = "[listener plain]\nport = 10008\ninterface = 127.0.0.1\n"
        self.assertIn("127.0.0.1:10008", self.emit("nginx", listeners=socket + balanced + plain))

    def test_the_sign_in_page_behind_nginx(self) -> None:
        text = self.signing_in("nginx")
        servers = re.findall(r"\nserver \{\n.*?\n\}", text, re.DOTALL)
        self.assertEqual(len(servers), 4)
        for server in servers:
            (pages,) = re.findall(r"location \^~ /\.perimeter/ \{(.*?)\n    \}", server, re.DOTALL)
            self.assertIn("proxy_pass http://perimeter_gateway;", pages)
            self.assertNotIn("auth_request", pages)
            for name in (
                "X-Original-URI",
                "X-Original-Method",
                "X-Forwarded-Prefix",
                "Forwarded",
                "X-Remote-User",
                "Remote-User",
            ):
                self.assertEqual(pages.count(f'proxy_set_header {name} "";'), 1, name)
            self.assertEqual(pages.count("proxy_set_header X-Forwarded-Host "), 1)
            self.assertEqual(server.count("location @perimeter_login"), 1)
        asking = re.findall(r"auth_request /\.perimeter-question;.*?\n    \}", text, re.DOTALL)
        for location in asking:
            self.assertRegex(
                location, r"auth_request_set (\$perimeter_\d) \$upstream_http_cookie;(?s:.*)proxy_set_header Cookie \1;"
            )
        (own,) = (server for server in servers if "server_name login.example.com;" in server)
        self.assertEqual(own.count("error_page 401 = @perimeter_login;"), 1)
        self.assertEqual(text.count("error_page 401 = @perimeter_login;"), 1)
        secure = self.signing_in("nginx", "--gateway", "https://gw.example.com")
        self.assertEqual(secure.count("proxy_ssl_name gw.example.com;"), 8)

    def test_the_sign_in_page_behind_haproxy(self) -> None:
        text = self.signing_in("haproxy")
        self.assertIn("acl pages path_beg /.perimeter/\n", text)
        self.assertIn("http-request lua.perimeter unless pages\n", text)
        self.assertIn("http-request lua.perimeter_pages if pages\n", text)
        self.assertIn("use_backend perimeter_gateway if pages\n", text)
        self.assertLess(text.index("use_backend perimeter_gateway"), text.index("use_backend perimeter_app"))
        self.assertIn("backend perimeter_gateway\n", text)
        self.assertIn("    server s1 127.0.0.1:10080\n", text)
        self.assertIn("local PAGES = true", self.signing_in("haproxy-lua"))
        secure = self.signing_in("haproxy", "--gateway", "https://gw.example.com")
        self.assertIn("server s1 gw.example.com:443 ssl verify required ca-file @system-ca sni str(gw.example.com)\n", secure)

    def test_the_sign_in_page_behind_caddy(self) -> None:
        text = self.signing_in("caddy")
        self.assertEqual(text.count("handle @perimeter_pages {"), 4)
        self.assertEqual(text.count("path_regexp ^/\\.perimeter/"), 4)
        self.assertEqual(
            text.count("request_header Cookie {http.reverse_proxy.header.Cookie}"), text.count("request_header Authorization {")
        )

    def test_the_sign_in_page_behind_traefik(self) -> None:
        http: dict[str, Any] = yaml.safe_load(self.signing_in("traefik"))["http"]
        self.assertEqual(http["middlewares"]["perimeter"]["forwardAuth"]["authResponseHeaders"], ["Authorization", "Cookie"])
        pages = http["routers"]["perimeter-pages"]
        self.assertEqual(pages["rule"], "PathPrefix(`/.perimeter/`)")
        self.assertTrue(all(pages["priority"] > one["priority"] for one in http["routers"].values() if one is not pages))
        self.assertNotIn("perimeter", pages["middlewares"])
        self.assertLessEqual(set(pages["middlewares"]), set(http["middlewares"]))
        self.assertEqual(http["services"][pages["service"]]["loadBalancer"]["servers"], [{"url": "http://127.0.0.1:10080"}])
        cleared = http["middlewares"]["perimeter-identity"]["headers"]["customRequestHeaders"]
        self.assertLessEqual({"X-Remote-User", "X-Auth-Username", "Remote-User"}, set(cleared))
        self.assertEqual(set(cleared.values()), {""})

    def test_the_sign_in_page_behind_envoy(self) -> None:
        static: dict[str, Any] = yaml.safe_load(self.signing_in("envoy"))["static_resources"]
        manager = static["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
        asking = manager["http_filters"][1]["typed_config"]
        self.assertIn({"exact": "cookie"}, asking["allowed_headers"]["patterns"])
        upstream = asking["http_service"]["authorization_response"]["allowed_upstream_headers"]["patterns"]
        self.assertIn({"exact": "Cookie", "ignore_case": True}, upstream)
        for host in manager["route_config"]["virtual_hosts"]:
            first = host["routes"][0]
            self.assertEqual((first["match"], first["route"]), ({"prefix": "/.perimeter/"}, {"cluster": "perimeter_gateway"}))
            self.assertIs(first["typed_per_filter_config"]["envoy.filters.http.ext_authz"]["disabled"], True)
            for other in host["routes"][1:]:
                self.assertNotIn("typed_per_filter_config", other)

    def test_traefik(self) -> None:
        http: dict[str, Any] = yaml.safe_load(self.emit("traefik"))["http"]
        asking = http["middlewares"]["perimeter"]["forwardAuth"]
        self.assertEqual(asking["address"], "http://127.0.0.1:10080/authenticate")
        self.assertFalse(asking["trustForwardHeader"])
        pattern = re.compile(asking["authResponseHeadersRegex"].replace("(?i)", ""), re.IGNORECASE)
        for name in (
            "X-Auth-Username",
            "x_auth_roles",
            "X.Auth.Realm",
            "Remote-User",
            "remote_user",
            "X_Forwarded_User",
            "oidc_claim_sub",
        ):
            self.assertTrue(pattern.fullmatch(name), name)
        for name in ("Accept", "X-Author", "Y-Remote-User", "X-Auth-Token", "X-SSL"):
            self.assertIsNone(pattern.fullmatch(name), name)
        self.assertEqual(asking["authResponseHeaders"], ["Authorization"])
        for name, router in http["routers"].items():
            if name.endswith("-sample"):
                self.assertEqual((router["service"], router.get("middlewares")), ("noop@internal", None))
                continue
            self.assertEqual(router["middlewares"][:2], ["perimeter-clear", "perimeter"])
            self.assertIn(router["service"], http["services"])
            self.assertLessEqual(set(router["middlewares"]), set(http["middlewares"]))
        self.assertIn("perimeter-method", http["routers"]["perimeter-2-app"]["middlewares"])
        rewrite = http["middlewares"]["perimeter-rewrite-pub"]["replacePathRegex"]
        replacement = rewrite["replacement"].replace("$1", r"\1")
        self.assertEqual([re.sub(rewrite["regex"], replacement, path) for path in ("/pub/x", "/pub")], ["/open/x", "/open/"])

    def test_envoy(self) -> None:
        static: dict[str, Any] = yaml.safe_load(self.emit("envoy"))["static_resources"]
        manager = static["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
        clear, asking, router = (one["typed_config"] for one in manager["http_filters"])
        self.assertIn('["remote-user"] = true', clear["default_source_code"]["inline_string"])
        self.assertEqual(asking["http_service"]["path_prefix"], "/authenticate")
        self.assertIs(asking["failure_mode_allow"], False)
        passed = {
            one["exact"] for one in asking["http_service"]["authorization_response"]["allowed_upstream_headers"]["patterns"]
        }
        self.assertEqual(
            passed, {"Authorization", "X-Auth-Username", "X-Auth-Realm", "X-Auth-Roles", "Remote-User", "X-Remote-User"}
        )
        self.assertTrue(router["@type"].endswith(".Router"))
        clusters = {one["name"]: one for one in static["clusters"]}
        for host in manager["route_config"]["virtual_hosts"]:
            for route in host["routes"]:
                if route["match"].get("path_separated_prefix") == "/sample":
                    self.assertEqual(route["direct_response"], {"status": 404})
                else:
                    self.assertIn(route["route"]["cluster"], clusters)
        servers = clusters["perimeter_app"]["load_assignment"]["endpoints"][0]["lb_endpoints"]
        addresses = [one["endpoint"]["address"]["socket_address"]["address"] for one in servers]
        self.assertEqual(addresses, ["10.0.0.5", "fd00::5"])
        self.assertIn("transport_socket", clusters["perimeter_pub"])

    def test_hosts_with_wildcards(self) -> None:
        """Names come before wildcards, and longer wildcards before shorter ones."""
        text = self.emit("nginx", trusted=TRUSTED, listeners=PLAIN, more=wildcards("**.example.com", "**.api.example.com"))
        names = [name for name in re.findall(r"server_name (\S+);", text) if "example.com" in name]
        self.assertEqual(names, ["api.example.com", "www.example.com", "*.api.example.com", "*.example.com"])
        text = self.emit("haproxy", trusted=TRUSTED, listeners=PLAIN, more=wildcards("**.example.com", "*.api.example.com"))
        found = re.findall(r"acl host_\d+ .* -m (str|end|reg) (\S+)", text)
        expected = [("str", "api.example.com"), ("str", "www.example.com"), ("reg", r"^[^.]+\.api\.example\.com\.?$")]
        self.assertEqual(found, [*expected, ("end", ".example.com")])
        for host in ("*.example.com", "**.example.com"):
            for proxy in ("caddy", "traefik", "envoy"):
                self.emit(proxy, trusted=TRUSTED, listeners=PLAIN, more=wildcards(host), status=1)
                self.assertIn("has no wildcard for this", self.warnings)

    def test_nginx_has_expressions_for_one_label(self) -> None:
        """nginx tries its wildcards before expressions, and these in their order."""
        text = self.emit("nginx", trusted=TRUSTED, listeners=PLAIN, more=wildcards("**.example.com", "*.api.example.com"))
        names = re.findall(r"server_name (\S+);", text)
        self.assertEqual(names[:3], ['""', "api.example.com", "www.example.com"])
        self.assertEqual(names[3:], [r"~^[^.]+\.api\.example\.com$", r"~^.+\.example\.com$", "~^"])

    def test_exact_paths(self) -> None:
        more = "[route one]\npath = exact:/one\nrewrite = /other\nupstream = service\n"
        found = {proxy: self.emit(proxy, more=more) for proxy in PROXIES}
        self.assertIn("location = /one {", found["nginx"])
        self.assertNotIn("location /one/ {", found["nginx"])
        self.assertIn("proxy_pass http://perimeter_one/other;", found["nginx"])
        self.assertIn("-m reg ^/one$ }", found["haproxy"])
        self.assertIn("http-request set-path /other\n", found["haproxy"])
        self.assertIn("path_regexp ^/one$", found["caddy"])
        self.assertIn("rewrite * /other?{query}", found["caddy"])
        self.assertIn('rule: "(Path(`/one`))"', found["traefik"])
        self.assertIn("regex: '^/one$'", found["traefik"])
        self.assertIn('path: "/one"', found["envoy"])
        self.assertIn('prefix_rewrite: "/other"', found["envoy"])

    def test_an_exact_path_and_what_is_below_it(self) -> None:
        more = "[route one]\npath = exact:/one\nupstream = service\n[route two]\npath = /one\nupstream = secure\n"
        for other in (more, more.replace("upstream = secure", "respond = 204")):
            text = self.emit("nginx", more=other)
            self.assertEqual(text.count("location = /one {"), text.count("location /one/ {"), other)
            self.assertEqual(text.count("location = /one {\n        auth_request"), text.count("location = /one {"))

    def test_attack_129_what_no_other_proxy_can_tell_apart_is_refused(self) -> None:
        for option in (
            "path = regex:^/one/.*",
            "path = /one\nmethods = GET",
            "path = /one\nheaders = A: 1",
            "path = /one\nquery = a=1",
        ):
            for proxy in PROXIES:
                self.emit(proxy, more=f"[route one]\n{option}\nupstream = service\n", status=1)
                self.assertIn("the configuration for another proxy has only whole paths", self.warnings)

    def test_attack_129_paths_of_a_route_that_no_other_proxy_serves_belong_to_no_service(self) -> None:
        """The gateway judges them by the rules of that route, which may be open."""
        more = (
            "[route one]\npath = /app/open\nredirect = 308 /x\nauth = none\n[route two]\npath = exact:/app/two\nrespond = 204\n"
        )
        found = {proxy: self.emit(proxy, more=more) for proxy in PROXIES}
        self.assertIn("[route one] is left out", self.warnings)
        for path in ("= /app/open", "/app/open/", "= /app/two"):
            self.assertIn(f"location {path} {{\n        return 404;", found["nginx"])
        self.assertIn(
            "use_backend perimeter_nowhere if { path,url_dec,regsub(//+,/,g) -m reg ^/app/open(/|$) }", found["haproxy"]
        )
        self.assertRegex(found["caddy"], r"path_regexp \^/app/open\(/\|\$\)\n\s+handle @perimeter_one \{\n\s+respond 404")
        self.assertRegex(found["envoy"], r'path_separated_prefix: "/app/open" \}\n\s+direct_response: \{ status: 404 \}')
        self.assertRegex(found["traefik"], r"perimeter-\d-one:\n.*Path\(`/app/open`\).*\n.*\n\s+service: noop@internal")

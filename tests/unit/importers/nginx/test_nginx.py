"""nginx's configuration and password files: how each directive is translated, and that none is lost or opens a route."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from itertools import permutations

from twisted.trial.unittest import TestCase

from perimeter.config.site.expression import parse_expression, split_expressions
from perimeter.gate.policy import Policy
from perimeter.importers import htpasswd
from perimeter.importers.draft import Draft, ImportFault
from perimeter.importers.nginx.tree import read as read_nginx
from tests.unit.doubles.drafts import DATA, conf, left, location, options


class HtpasswdTests(TestCase):
    GOOD = "alice:$2y$05$" + "a" * 21 + "." + "a" * 31

    def test_hashes_pass_and_the_rest_is_reported_what_to_do(self) -> None:
        draft = Draft()
        text = (
            f"# users\n{self.GOOD}\nbob:$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/\ncarol:{{SHA}}abc=\nalice:x\n"
            "dave:adpexzg3FUZAk\neve:secret\nfay:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=:a comment\ngus:$apr1$unknown\nhal:*\n"
        )
        htpasswd.convert(text, ".htpasswd", draft)
        self.assertEqual([user.name for user in draft.realms["htpasswd.realm"]], ["alice", "bob", "dave", "fay"])
        self.assertEqual(draft.realms["htpasswd.realm"][2].hashed, "{CRYPT}adpexzg3FUZAk")
        self.assertEqual([note.line for note in draft.remainder], [4, 5, 7, 9, 10])
        self.assertTrue(all("htpasswd -B" in note.text for note in draft.remainder if note.line != 5))
        self.assertNotIn("secret", str(draft.remainder))

    def test_two_files_stay_apart(self) -> None:
        draft = Draft()
        for name in ("one", "two"):
            htpasswd.convert(self.GOOD, name, draft)
        self.assertEqual({name: len(users) for name, users in draft.realms.items()}, {"htpasswd.realm": 1, "htpasswd-2.realm": 1})
        self.assertEqual(options(draft, "authenticator htpasswd-2")["path"], "htpasswd-2.realm")


class NginxTests(TestCase):
    def test_the_manuals_example_leaves_nothing(self) -> None:
        draft = conf((DATA / "ecflow.nginx.conf").read_text())
        self.assertEqual(draft.remainder, [])
        self.assertEqual(
            options(draft, "listener https"),
            {
                "port": "443",
                "tls": "yes",
                "certificate": "/path/to/your/certificate.crt",
                "private_key": "/path/to/your/private.key",
            },
        )
        self.assertEqual(options(draft, "listener http"), {"port": "80", "serve": "redirect", "redirect_to": "443"})
        self.assertEqual(
            options(draft, "upstream v1-ecflow"),
            {"servers": "http://localhost:8888", "connect_timeout": "90s", "read_timeout": "500s"},
        )
        self.assertEqual(
            options(draft, "route v1-ecflow"),
            {"path": "/v1/ecflow", "upstream": "v1-ecflow", "identity": "headers, jwt", "audit": "access.ecflow.log"},
        )
        self.assertEqual(options(draft, "route root"), {"path": "/", "static": "/usr/share/nginx/html/server", "auth": "none"})
        self.assertEqual(options(draft, "audit"), {"path": "access.base.log", "format": "combined"})
        self.assertEqual(options(draft, "errors"), {"page": "500 502 503 504 /50x.html"})
        self.assertEqual(draft.asked_ports, {8080})

    def test_attack_logs_are_not_written_where_clients_may_read_them(self) -> None:
        draft = location("root /www; access_log /www/a/b/access.log;", "/a/b")
        self.assertEqual(options(draft, "route a-b")["audit"], "access.log")

    def test_attack_what_restricts_and_is_not_understood_closes_the_route(self) -> None:
        for body in ("auth_jwt site;", "if ($x) { return 403; }", "limit_except GET { auth_basic x; }"):
            draft = location(f"proxy_pass http://b:1;\n{body}")
            self.assertNotIn("auth", options(draft, "route a"), body)
            self.assertEqual(len(draft.remainder), 1, body)
            self.assertIn("closed", draft.remainder[0].text)

    def test_attack_a_stricter_location_is_not_replaced(self) -> None:
        closed = "server { listen 80; server_name a; location /x { auth_request /q; proxy_pass http://b; } }\n"
        opened = "server { listen 80; server_name a; location /x { proxy_pass http://b; } }\n"
        for text in (closed + opened, opened + closed):
            draft = conf(text)
            self.assertNotIn("auth", options(draft, "route x"), text)

    def test_attack_nested_locations_keep_their_restrictions(self) -> None:
        draft = location("root /w; auth_request /q; location /a/b { deny all; } location /a/c { auth_request off; }")
        self.assertEqual(draft.remainder, [])
        self.assertEqual(options(draft, "route a-b"), {"path": "/a/b", "static": "/w/a/b", "networks": "255.255.255.255/32"})
        self.assertEqual(options(draft, "route a-c"), {"path": "/a/c", "static": "/w/a/c", "auth": "none"})
        self.assertEqual(options(draft, "route a"), {"path": "/a", "static": "/w/a"})

    def test_attack_a_file_that_is_not_for_all_users_stays_closed(self) -> None:
        draft = conf("server { root /w; location / { index x.html; } location = /secret.html { auth_request /q; } }")
        self.assertEqual(draft.remainder, [])
        section = options(draft, "route secret.html")
        self.assertEqual(section, {"path": "exact:/secret.html", "static": "/w"})

    def test_attack_a_restricted_route_is_no_comment_where_its_directory_is_missing(self) -> None:
        draft = location("root /w; deny all;")
        draft.settle(lambda path, needs: False)
        self.assertEqual(options(draft, "route a")["static"], "/w/a")
        draft = location("root /w;")
        draft.settle(lambda path, needs: False)
        self.assertIn(";static", options(draft, "route a"))

    def test_attack_internal_locations_stay_internal(self) -> None:
        draft = location("internal; alias /vault/;", "/protected/")
        self.assertEqual(options(draft, "route protected")["networks"], "255.255.255.255/32")
        self.assertEqual(draft.remainder, [])

    def test_secrets_of_directives_are_not_shown(self) -> None:
        draft = location('proxy_set_header Authorization "Basic c2VjcmV0"; proxy_pass http://user:c2VjcmV0@b;')
        self.assertEqual(len(draft.remainder), 2)
        self.assertNotIn("c2VjcmV0", draft.text() + str(draft.remarks))

    def test_what_the_service_gets_in_authorization(self) -> None:
        """nginx passes it on. With users of its own the gateway does so only if nginx was told to."""
        users = "auth_basic x; auth_basic_user_file f;"
        for body, option, remaining in (
            ("", "pass", 0),
            ('proxy_set_header Authorization "";', None, 0),
            ("proxy_set_header Authorization $http_authorization;", "pass", 0),
            ('proxy_set_header Authorization "Basic eDp5";', None, 1),
            (users, None, 0),
            (f"{users} proxy_set_header Authorization $http_authorization;", "pass", 0),
            (f'{users} proxy_set_header Authorization "Basic eDp5";', None, 1),
            ("return 403;", None, 0),
        ):
            draft = location(f"proxy_pass http://b:1; {body}")
            self.assertEqual(options(draft, "route a").get("authorization"), option, body)
            found = [one for one in draft.remainder if "authorization = fixed file:PATH" in str(one)]
            self.assertEqual(len(found), remaining, body)

    def test_networks(self) -> None:
        for body, networks in (
            ("allow 10.0.0.0/8; allow 192.0.2.1; deny all;", "10.0.0.0/8, 192.0.2.1"),
            ("deny all;", "255.255.255.255/32"),
            ("deny 192.0.2.1; deny all;", "255.255.255.255/32"),
            ("allow 10.0.0.0/8; deny all; allow 192.0.2.1;", "10.0.0.0/8"),
            ("deny unix:; allow all;", "255.255.255.255/32"),
        ):
            draft = location(f"proxy_pass http://b:1;\n{body}")
            self.assertEqual(options(draft, "route a")["networks"], networks)
        self.assertEqual(len(draft.remainder), 1)

    def test_addresses_that_no_list_of_networks_names_become_a_rule(self) -> None:
        for body, denied in (
            ("deny 192.0.2.1; allow all;", "network:192.0.2.1"),
            ("deny 192.0.2.1; deny fd00::/8;", "network:192.0.2.1 or network:fd00::/8"),
            ("deny 10.0.0.1; allow 10.0.0.0/8; deny all;", "network:10.0.0.1 or not network:10.0.0.0/8"),
            (
                "allow 10.0.0.1; allow 10.0.0.2; deny 10.0.0.0/8; allow 192.0.2.0/24; deny all;",
                "not (network:10.0.0.1 or network:10.0.0.2) and (network:10.0.0.0/8 or not network:192.0.2.0/24)",
            ),
            ("allow 10.0.0.1; deny 10.0.0.0/8;", "not network:10.0.0.1 and (network:10.0.0.0/8)"),
            ("allow 10.0.0.1;", None),
            ("allow 10.0.0.1; allow all;", None),
        ):
            draft = location(f"proxy_pass http://b:1;\n{body}")
            self.assertEqual(options(draft, "route a").get("deny"), denied, body)
            self.assertEqual((options(draft, "route a")["auth"], draft.remainder), ("none", []), body)

    def test_attack_48_the_rule_denies_whom_nginx_denies(self) -> None:
        """Rules in every order, compared with the first match, as nginx has it."""
        addresses = ("10.0.0.1", "10.0.0.9", "192.0.2.1", "fd00::1")
        words = ("allow 10.0.0.1", "deny 10.0.0.0/8", "allow 192.0.2.0/24", "deny fd00::/8", "deny all", "allow all")
        for rules in permutations(words, 4):
            draft = location("proxy_pass http://b:1;\n" + "".join(f"{rule};" for rule in rules))
            section = options(draft, "route a")
            denied = tuple(parse_expression(part) for _, part in split_expressions(section.get("deny", "")))
            networks = [ip_network(one) for one in section["networks"].split(", ")] if "networks" in section else None
            for address in addresses:
                first = next(
                    (one for one in rules if one.endswith("all") or ip_address(address) in ip_network(one.split()[1])), "allow"
                )
                there = networks is None or any(ip_address(address) in one for one in networks)
                admitted = there and Policy(None, denied).permits(None, "GET", address)
                self.assertEqual(admitted, first.startswith("allow"), (rules, address, section))

    def test_an_open_proxy_stays_open_and_is_reported(self) -> None:
        draft = location("proxy_pass http://b:1;")
        self.assertEqual(options(draft, "route a"), {"path": "/a", "upstream": "a", "auth": "none", "authorization": "pass"})
        self.assertEqual([remark.text for remark in draft.remarks], ["location /a is open to all clients, as it is in nginx"])

    def test_rewriting(self) -> None:
        for path, uri, rewrite in (
            ("/a", "", None),
            ("/a", "/a", None),
            ("/a/", "/", "/"),
            ("/a", "/", "/"),
            ("/a/", "/b/c/", "/b/c"),
            ("/a", "/b", "/b"),
        ):
            draft = location(f"proxy_pass http://b:1{uri};", path)
            self.assertEqual(options(draft, "route a").get("rewrite"), rewrite, (path, uri))
            self.assertEqual(draft.remainder, [])
        self.assertEqual(len(location("proxy_pass http://b:1/b;", "/a/").remainder), 1)
        self.assertEqual(len(location("proxy_pass http://$where;").remainder), 1)

    def test_identity_headers_with_names_of_their_own(self) -> None:
        draft = location(
            "auth_request /auth; proxy_pass http://b:1;"
            "auth_request_set $u $upstream_http_x_auth_username;"
            "proxy_set_header X-Remote-User $u; proxy_set_header X-Key secret;"
        )
        section = options(draft, "route a")
        self.assertEqual((section["identity"], section["identity_username_header"]), ("headers", "X-Remote-User"))
        self.assertEqual(section["request_headers"], "\n    set X-Key secret")
        self.assertEqual(left(draft), [])

    def test_named_upstreams_and_servers_of_other_names(self) -> None:
        draft = conf(
            "http { upstream back { server 10.0.0.1:80; server 10.0.0.2:81; keepalive 8; }\n"
            "server { listen 443 ssl http2; server_name a.example; location / { proxy_pass http://back; } }\n"
            "server { listen 443 ssl; server_name b.example; client_max_body_size 8m; location / { proxy_pass https://c; } } }"
        )
        self.assertEqual(draft.remainder, [])
        self.assertEqual(options(draft, "upstream back"), {"keepalive": "8", "servers": "http://10.0.0.1:80, http://10.0.0.2:81"})
        self.assertNotIn("host", options(draft, "route root"))
        self.assertEqual(options(draft, "route b.example-root")["host"], "b.example")
        self.assertEqual(options(draft, "route b.example-root")["max_body"], "8MiB")

    def test_limits(self) -> None:
        zones = (
            "limit_req_zone $binary_remote_addr zone=addr:10m rate=10r/s;limit_req_zone $remote_user zone=user:1m rate=30r/m;"
            "limit_req_zone $server_name zone=server:1m rate=5r/s;limit_conn_zone $binary_remote_addr zone=conn:1m;"
            "limit_req_zone $remote_addr zone=other:1m rate=20r/s;"
        )
        for body, rate, in_flight, remainder in (
            ("limit_req zone=addr burst=20 nodelay;", "10/s per address burst 21", None, 0),
            ("limit_req zone=user;limit_conn conn 8;", "30/m per user burst 1", "8 per address", 0),
            ("limit_req zone=addr;limit_req zone=user burst=4;", "10/s per address burst 1, 30/m per user burst 5", None, 0),
            ("limit_req zone=addr;limit_req zone=other;", "10/s per address burst 1", None, 1),
            ("limit_req zone=server;limit_conn server 8;", None, None, 2),
            ("limit_req zone=addr burst=x;limit_conn conn 0;limit_conn conn;", None, None, 2),
            ("limit_req zone=none;", None, None, 1),
        ):
            draft = conf(f"http {{ {zones} server {{ listen 80; location /a {{ proxy_pass http://b; {body} }} }} }}")
            section = options(draft, "route a")
            self.assertEqual((section.get("rate"), section.get("in_flight")), (rate, in_flight), body)
            self.assertEqual(len(draft.remainder), remainder, (body, left(draft)))

    def test_limits_around_a_location_are_inherited_unless_it_has_its_own(self) -> None:
        draft = conf(
            "http { limit_req_zone $binary_remote_addr zone=z:1m rate=10r/s; limit_req zone=z burst=9;\n"
            "server { listen 80; location /a { proxy_pass http://b; }\n"
            "location /c { proxy_pass http://b; limit_req zone=z burst=1 nodelay; } } }"
        )
        self.assertEqual(options(draft, "route a")["rate"], "10/s per address burst 10")
        self.assertEqual(options(draft, "route c")["rate"], "10/s per address burst 2")
        self.assertEqual([note.line for note in draft.remarks if "none is delayed" in note.text], [1])

    def test_what_has_no_counterpart_is_left_with_its_line(self) -> None:
        draft = conf(
            "include other.conf;\n"
            "server {\n"
            " listen 80;\n"
            " add_header X-Frame-Options DENY;\n"
            " location ~ \\.php$ { proxy_pass http://b; }\n"
            " location /a { proxy_pass http://b; proxy_cache zone; }\n"
            " error_page 404 =200 /x.html;\n"
            "}\n"
        )
        self.assertEqual([line.split(":")[0] for line in left(draft)], ["1", "5", "7", "6"])

    def test_what_is_no_configuration_is_reported_with_its_line(self) -> None:
        for text, fault in (
            ("a {\n", "ends in the middle"),
            ("a;\n}", "f:2: .*unexpected }"),
            (";", "unexpected ;"),
            ('a "b', "a quote without an end"),
            ("a { " * 30, "levels deep"),
        ):
            with self.assertRaisesRegex(ImportFault, fault):
                read_nginx(text, "f")

    def test_the_grammar(self) -> None:
        (one,) = read_nginx('a \'b c\' "d\\"e" f\\ g ${h}i # j\n  ;', "f")
        self.assertEqual(one.args, ("b c", 'd"e', "f\\ g", "${h}i"))

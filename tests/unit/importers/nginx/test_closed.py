"""Attack 48, an import that opens a door: what restricts clients in nginx, and what the imported routes are then."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.trial.unittest import TestCase

from perimeter.importers.draft import NO_CLIENT, Draft, ImportFault, Setting
from perimeter.importers.nginx import source as nginx
from perimeter.importers.nginx.tree import read as read_nginx
from tests.unit.doubles.drafts import conf, left, location, options

PASS = "proxy_pass http://b:1;"


def standing(draft: Draft, route: str) -> str:
    """``open``, ``networks``, ``asks``, ``closed``, or ``answers``: nobody gets anywhere."""
    section = options(draft, f"route {route}")
    if ("redirect" in section or "respond" in section) and section["auth"] == "none" and "networks" not in section:
        return "answers"
    if section.get("networks") == NO_CLIENT:
        return "closed"
    if section.get("auth") != "none":
        return "asks"
    return "networks" if "networks" in section or "deny" in section else "open"


def every(draft: Draft) -> dict[str, str]:
    """`standing` by path, and by host and path where a route has one."""
    return {
        (f"{options(draft, header)['host']} " if "host" in options(draft, header) else "")
        + options(draft, header)["path"]: standing(draft, header.removeprefix("route "))
        for header in draft.sections
        if header.startswith("route ")
    }


def included(text: str, files: Mapping[str, str]) -> Draft:
    draft = Draft()
    nginx.convert(text, "nginx.conf", draft, lambda name: [(files[name], name)] if name in files else None)
    return draft


class RestrictionTests(TestCase):
    """The restriction at each level where nginx allows it."""

    ASKS = ("auth_basic x;", "auth_request /q;")
    NETWORKS = ("allow 10.0.0.0/8; deny all;", "deny 192.0.2.1; allow all;", "deny 10.0.0.1; allow 10.0.0.0/8; deny all;")
    CLOSED = (
        *("deny all;", "deny 192.0.2.1; deny all;", "deny unix:; allow all;", "auth_jwt x;", "access_by_lua_file x.lua;"),
        *("access_by_lua_block { if x then y('}') end -- don't }\n }", "valid_referers none;", "secure_link $x;"),
        *("if ($x) { return 403; }", "return 403;", "return 444;", "rewrite ^ /x;", "modsecurity on;", "include missing.conf;"),
        *("set_real_ip_from 10.0.0.0/8;", "mirror /m;", "js_access x;", "unknown_to_everybody on;", "disable_symlinks on;"),
        *("proxy_method GET;", "proxy_set_header X-User $arg_user;", "proxy_set_header X_User $arg_user;", "sub_filter a b;"),
    )

    def levels(self, words: str) -> list[tuple[str, Draft]]:
        return [
            ("http", conf(f"http {{ {words}\nserver {{ listen 80; location /a {{ {PASS} }} }} }}")),
            ("excerpt", conf(f"{words}\nserver {{ listen 80; location /a {{ {PASS} }} }}")),
            ("server", conf(f"server {{ listen 80; {words}\nlocation /a {{ {PASS} }} }}")),
            ("location", location(f"{words}\n{PASS}")),
            ("around", conf(f"server {{ listen 80; location / {{ {words}\nroot /w; location /a {{ {PASS} }} }} }}")),
            ("include", included(f"server {{ listen 80; include x; location /a {{ {PASS} }} }}", {"x": words})),
        ]

    def test_attack_48_a_restriction_at_any_level_is_kept(self) -> None:
        for expected, table in (("asks", self.ASKS), ("networks", self.NETWORKS), ("closed", self.CLOSED)):
            for words in table:
                for level, draft in self.levels(words):
                    answers = words == "return 403;" and level == "location"
                    self.assertEqual(standing(draft, "a"), "answers" if answers else expected, f"{level}: {words}")
                    if expected == "closed":
                        self.assertNotIn("open to all clients", str(draft.remarks), f"{level}: {words}")

    def test_attack_48_an_unknown_directive_outside_of_http_restricts_nothing(self) -> None:
        draft = conf(f"include modules/*.conf; http {{ server {{ listen 80; location /a {{ {PASS} }} }} }}")
        self.assertEqual(standing(draft, "a"), "open")
        self.assertEqual(len(draft.remainder), 1)

    def test_directives_that_restrict_no_client_leave_a_location_open(self) -> None:
        for words in (
            "satisfy any;",
            "satisfy any; allow all;",
            "add_header X y;",
            "proxy_cache z;",
            "auth_basic off;",
            "auth_request off;",
            "satisfy all;",
            "allow all;",
        ):
            for level, draft in self.levels(words):
                self.assertEqual(standing(draft, "a"), "open", f"{level}: {words}")
                self.assertIn("location /a is open to all clients, as it is in nginx", [one.text for one in draft.remarks])

    def test_a_location_takes_back_what_its_server_asks_for(self) -> None:
        for words, back in (("auth_basic x;", "auth_basic off;"), ("auth_request /q;", "auth_request off;")):
            draft = conf(f"http {{ {words} server {{ listen 80; location /a {{ {back} {PASS} }} }} }}")
            self.assertEqual(standing(draft, "a"), "open", words)
        draft = conf(f"server {{ listen 80; access_by_lua_file x; location /a {{ access_by_lua_file y; {PASS} }} }}")
        self.assertEqual(standing(draft, "a"), "closed")

    def test_the_site_says_what_closed_a_route_and_where(self) -> None:
        draft = conf("server { listen 80;\nlocation /a {\nreturn 444; } }")
        self.assertIn(
            "; closed to all clients by networks, because this is not translated: nginx.conf:3: return 444\n", draft.text()
        )
        self.assertEqual(draft.closed, ["[route a] /a: nginx.conf:3: return 444"])
        self.assertEqual(left(draft), ["3: return 444; /a is closed to all clients"])

    def test_attack_48_a_directive_cannot_write_into_the_site(self) -> None:
        draft = conf('server { listen 80; location /a { return "x\n[route evil]\npath = /\nauth = none"; } }')
        self.assertNotIn("\n[route evil]", draft.text())
        self.assertNotIn("\n", draft.closed[0])

    def test_attack_48_the_users_of_one_location_are_not_those_of_another(self) -> None:
        staff, admins = (f"auth_basic x; auth_basic_user_file {name}; {PASS}" for name in ("staff", "admins"))
        draft = conf(f"server {{ listen 80; location /a {{ {staff} }} location /b {{ {admins} }} location /c {{ {staff} }} }}")
        self.assertEqual(every(draft), {"/a": "asks", "/b": "closed", "/c": "asks"})

    def test_attack_48_two_services_of_one_name_are_not_mixed_up(self) -> None:
        draft = conf(
            "upstream root { server 10.0.0.9; }"
            "server { listen 80; location / { proxy_pass http://pub:1; } location /a-b/ { proxy_pass http://pub:1; }"
            "location /a/b/ { auth_request /q; proxy_pass http://admin:1; } location /c/ { proxy_pass http://root; } }"
        )
        for path, server in (("/", "pub:1"), ("/a-b", "pub:1"), ("/a/b", "admin:1"), ("/c", "10.0.0.9")):
            (section,) = [one.options for one in draft.sections.values() if one.options.get("path", Setting("")).value == path]
            self.assertEqual(options(draft, f"upstream {section['upstream'].value}")["servers"], f"http://{server}", path)

    def test_credentials_or_networks_become_credentials(self) -> None:
        for level in ("satisfy any; allow 10.0.0.0/8; deny all; auth_basic x;", "auth_request /q; satisfy any; deny 10.0.0.1;"):
            draft = location(f"{level}\n{PASS}")
            self.assertEqual((standing(draft, "a"), len(draft.remainder)), ("asks", 1), level)
            self.assertNotIn("networks", options(draft, "route a"))
        draft = location(f"satisfy any; allow 10.0.0.0/8; deny all;\n{PASS}")
        self.assertEqual((standing(draft, "a"), draft.remainder), ("networks", []))
        draft = location(f"satisfy any; auth_basic x;\n{PASS}")
        self.assertEqual((standing(draft, "a"), draft.remainder), ("asks", []))
        text = (
            f"satisfy any; deny all; auth_basic x; server {{ listen 80; location /a {{ satisfy all; auth_basic off; {PASS} }} }}"
        )
        self.assertEqual(standing(conf(text), "a"), "closed")

    def test_a_rewrite_that_strips_the_prefix(self) -> None:
        for path, expression in (("/a/", "^/a/(.*)$"), ("/a", "^/a/(.*)"), ("/a/", "^/a/?(.*)$"), ("/a.b/", r"^/a\.b/(.*)$")):
            draft = location(f"rewrite {expression} /$1 break; {PASS}", path)
            (section,) = [one for header, one in draft.sections.items() if header.startswith("route ")]
            self.assertEqual((section.options["rewrite"].value, section.options["auth"].value), ("/", "none"), path)
            self.assertEqual(draft.remainder, [])
        for path, words in (
            ("/a/", "rewrite ^/b/(.*)$ /$1 break;"),
            ("/a/", "rewrite ^/a/(.*)$ /$1 last;"),
            ("/a/", "rewrite ^/a/(.*)$ /x?y=$1 break;"),
            ("/a/", "rewrite ^/A/(.*)$ /$1 break;"),
            ("/a/", "rewrite /a/(.*)$ /$1 break;"),
            ("/a/", "rewrite ^/a/x/(.*)$ /$1 break;"),
            ("/a", "rewrite ^/a/(.*)$ /$1 break; proxy_pass http://b:1/x;"),
            ("/a/", "rewrite ^/a/(.*)$ /$1 break; rewrite ^ /x;"),
            ("= /a/", "rewrite ^/a/(.*)$ /$1 break;"),
        ):
            self.assertEqual(standing(location(f"{words} {PASS}", path), "a"), "closed", words)

    def test_oauth2_proxys_own_example(self) -> None:
        draft = conf(
            "server { listen 443 ssl; location /oauth2/ { proxy_pass http://127.0.0.1:4180; }"
            "location = /oauth2/auth { internal; proxy_pass http://127.0.0.1:4180; proxy_pass_request_body off; }"
            "location / { auth_request /oauth2/auth; error_page 401 = /oauth2/sign_in;"
            "auth_request_set $user $upstream_http_x_auth_request_user; proxy_set_header X-User $user;"
            "proxy_pass http://backend:80; } }"
        )
        self.assertEqual(every(draft), {"/": "asks", "/oauth2": "open", "exact:/oauth2/auth": "closed"})
        section = options(draft, "route root")
        self.assertEqual((section["identity"], section["identity_username_header"]), ("headers", "X-User"))

    def test_attack_48_client_certificates_stay_asked_for(self) -> None:
        tls = "ssl_certificate c; ssl_certificate_key k; ssl_client_certificate ca;"
        for level in (
            f"http {{ {tls} ssl_verify_client on; server {{ listen 443 ssl; location / {{ {PASS} }} }} }}",
            f"server {{ {tls} ssl_verify_client on; listen 443 ssl; location / {{ {PASS} }} }}",
            f"server {{ {tls} ssl_verify_client optional; listen 443 ssl; server_name a; location / {{ {PASS} }} }}"
            f"server {{ {tls} ssl_verify_client on; listen 443 ssl; server_name b; location / {{ {PASS} }} }}",
        ):
            self.assertEqual(options(conf(level), "listener https")["client_certificate"], "required", level)
        draft = conf(f"server {{ {tls} ssl_verify_client on; ssl_crl x; listen 443 ssl; location / {{ {PASS} }} }}")
        self.assertEqual(standing(draft, "root"), "closed")

    def test_attack_48_what_no_route_can_serve_is_closed(self) -> None:
        for words in (
            "uwsgi_pass b:1;",
            "fastcgi_pass b:1;",
            "grpc_pass b:1;",
            "stub_status;",
            "return 444;",
            "return 200 $x;",
            "empty_gif;",
            "",
        ):
            for outer in ("", "root /w;"):
                if not words and outer:
                    continue
                draft = conf(f"server {{ listen 80; {outer} location / {{ {PASS} }} location /a/ {{ {words} }} }}")
                self.assertEqual(every(draft), {"/": "open", "/a": "closed"}, words)
        for words in ("auth_basic x; uwsgi_pass b:1;", "auth_basic x; return 444;"):
            self.assertEqual(standing(location(words), "a"), "closed")


class PlaceTests(TestCase):
    """Locations of nginx that match other paths than the gateway's routes."""

    def server(self, words: str, name: str = "") -> Draft:
        return conf(f"server {{ listen 80; {name} {words} }}")

    def test_attack_48_what_has_no_place_closes_what_is_open(self) -> None:
        for words in (
            "location ~ ^/admin { auth_basic x; }",
            r"location ~* \.php$ { fastcgi_pass b:1; }",
            r"location ~ \.(png|css)$ { root /w; }",
            "location /%61dmin { deny all; }",
            "location /a/../b { deny all; }",
            "location //x { deny all; }",
            "location /y { location ~ x { deny all; } }",
        ):
            draft = self.server(f"{words} location / {{ {PASS} }} location /in {{ auth_request /q; {PASS} }}")
            self.assertEqual((standing(draft, "root"), standing(draft, "in")), ("closed", "asks"), words)

    def test_an_expression_about_the_same_files_closes_nothing(self) -> None:
        draft = self.server(r"root /w; location / { } location ~ \.png$ { expires 30d; access_log off; }")
        self.assertEqual(every(draft), {"/": "open"})
        self.assertEqual(len(draft.remainder), 1)
        draft = self.server(r"root /w; auth_basic x; location / { auth_basic off; } location ~ \.png$ { expires 30d; }")
        self.assertEqual(every(draft), {"/": "open", r"regex:^.*(?:\.png$)": "asks"})

    def test_attack_48_a_restricted_prefix_is_for_longer_names_too(self) -> None:
        # /admin.php is /admin's in nginx, and would be /'s here
        draft = self.server(f"location / {{ {PASS} }} location /admin {{ return 403; }}")
        self.assertEqual(every(draft), {"/": "closed", "/admin": "answers"})
        for words in ("location /admin/ { return 403; }", f"location /pub {{ {PASS} }}", "location = /admin { return 403; }"):
            self.assertEqual(standing(self.server(f"location / {{ {PASS} }} {words}"), "root"), "open", words)

    def test_attack_48_files_beside_a_restricted_prefix_close_the_directory_around(self) -> None:
        for there, expected in ((False, "open"), (True, "closed")):
            draft = self.server(f"root /w; location / {{ }} location /in/adm {{ auth_request /q; {PASS} }}")
            asked: list[tuple[str, str]] = []

            def answer(path: str, needs: str, there: bool = there, asked: list[tuple[str, str]] = asked) -> bool:
                asked.append((path, needs))
                return needs != "beginning" or there

            draft.settle(answer)
            self.assertIn(("/w/in/adm", "beginning"), asked)
            self.assertEqual(every(draft), {"/": expected, "/in/adm": "asks"})

    def test_attack_48_an_exact_location_opens_nothing_below_it(self) -> None:
        inner = f"location / {{ auth_request /q; {PASS} }}"
        draft = self.server(f"{inner} location = /health {{ auth_request off; {PASS} }}")
        self.assertEqual(every(draft), {"/": "asks", "exact:/health": "open"})
        draft = self.server(f"location / {{ {PASS} }} location = /health/ {{ proxy_pass http://c:1/x; }}")
        self.assertEqual(every(draft), {"/": "open", "exact:/health/": "open"})
        self.assertEqual(options(draft, "route health")["rewrite"], "/x")
        draft = self.server(f"location = / {{ deny all; }} location / {{ {PASS} }}")
        self.assertEqual(every(draft), {"/": "open", "exact:/": "closed"})
        for words in ("proxy_pass http://c:1/x/;", "alias /w/other;", "alias /w/;", "root $x;"):
            draft = self.server(f"location / {{ {PASS} }} location = /health {{ {words} }}")
            self.assertEqual(every(draft), {"/": "open", "exact:/health": "closed"}, words)
        # nginx serves the index by the location of that file
        draft = self.server("root /w; location / { deny all; } location = /a/ { index x.html; allow all; }")
        self.assertEqual(every(draft), {"/": "closed", "exact:/a/": "closed"})

    def test_exact_files(self) -> None:
        for words in ("root /w/x;", "alias /w/x/a/b.html;"):
            draft = self.server(f"location / {{ {PASS} }} location = /a/b.html {{ {words} }}")
            directory = "/w/x/a"
            self.assertEqual((options(draft, "route a-b.html")["static"], draft.remainder), (directory, []), words)

    def test_attack_48_one_path_with_and_without_a_slash_is_the_stricter_one(self) -> None:
        for first, second in ((PASS, "auth_request /q; " + PASS), ("deny all; " + PASS, PASS)):
            for one, other in ((first, second), (second, first)):
                draft = self.server(f"location /a {{ {one} }} location /a/ {{ {other} }}")
                self.assertNotEqual(standing(draft, "a"), "open", (one, other))

    def test_attack_48_what_asks_the_question_stays_internal(self) -> None:
        question = f"location = /q {{ internal; {PASS} }}"
        for target in (PASS, "root /w;"):
            draft = self.server(f"location / {{ {target} }} {question} location /in/ {{ auth_request /q; {PASS} }}")
            self.assertEqual(every(draft), {"/": "open", "exact:/q": "closed", "/in": "asks"})
            self.assertEqual(draft.remainder, [])

    def test_attack_48_two_servers_with_one_question(self) -> None:
        question = f"location = /q {{ internal; {PASS} }} location /in/ {{ auth_request /q; {PASS} }}"
        server = f"server {{ listen 80; server_name a; {question} location / {{ {PASS} }} }}"
        self.assertEqual(every(conf(server * 2)), {"/": "open", "exact:/q": "closed", "/in": "asks"})
        other = f"server {{ listen 80; server_name a; location /q {{ {PASS} }} location / {{ {PASS} }} }}"
        self.assertEqual(every(conf(server + other))["/q"], "closed")

    def test_attack_48_files_that_a_server_tries(self) -> None:
        for words, expected in (("/nothing =404", "closed"), ("$uri.html =404", "closed"), ("$uri $uri/ =404", "open")):
            self.assertEqual(every(self.server(f"root /w; try_files {words};")), {"/": expected}, words)

    def test_attack_48_a_modifier_without_a_blank(self) -> None:
        draft = self.server(f"location / {{ {PASS} }} location =/a {{ deny all; {PASS} }}")
        self.assertEqual(every(draft), {"/": "open", "exact:/a": "closed"})
        self.assertEqual(
            every(self.server(f"location / {{ {PASS} }} location ~^/a {{ deny all; }}")), {"/": "closed", "/a": "closed"}
        )

    def test_attack_48_an_upstream_without_servers_is_no_host(self) -> None:
        for servers in ("server unix:run/a.sock;", "server 10.0.0.1 down;", ""):
            draft = conf(f"upstream app {{ {servers} }} server {{ listen 80; location / {{ proxy_pass http://app; }} }}")
            self.assertEqual(every(draft), {"/": "closed"}, servers)

    def test_attack_48_tls_on_a_unix_socket_is_closed(self) -> None:
        for service in ("https://unix:/run/a.sock", "https://unix:/run/a.sock:/x", "https://app"):
            upstream = "upstream app { server unix:/run/a.sock; }"
            draft = conf(f"{upstream} server {{ listen 80; location / {{ proxy_pass {service}; }} }}")
            self.assertEqual(every(draft), {"/": "closed"}, service)

    def test_attack_48_an_alias_that_nginx_puts_together_otherwise_is_closed(self) -> None:
        for path, alias, expected in (
            ("/a", "/w", "open"),
            ("/a/", "/w/", "open"),
            ("/a/", "/w", "closed"),
            ("/a", "/w/", "closed"),
        ):
            self.assertEqual(standing(location(f"alias {alias};", path), "a"), expected, (path, alias))


class ServerTests(TestCase):
    """Several servers, and where they listen."""

    def test_attack_48_names_that_no_route_has_are_not_served_by_other_routes(self) -> None:
        for name in ("~(alert*)", "www.*", "~^[a-z]+$", "~^(a|b).example\\.com$", "a*.example.com"):
            draft = conf(
                f"server {{ listen 80; server_name a; location / {{ {PASS} }} }}\n"
                f"server {{ listen 80; server_name {name}; location /status {{ {PASS} }} }}"
            )
            self.assertEqual(every(draft), {"/": "closed"}, name)
        draft = conf(
            f"server {{ listen 80; server_name ~(prom*); location / {{ {PASS} }} }}\n"
            f"server {{ listen 80; server_name ~(alert*); location /status {{ {PASS} }} }}"
        )
        self.assertEqual(every(draft), {"/": "closed"})

    def test_attack_48_a_named_server_does_not_fall_to_the_default_one(self) -> None:
        draft = conf(
            f"server {{ listen 80; server_name a; location / {{ {PASS} }} }}\n"
            f"server {{ listen 80; server_name b; location /x {{ {PASS} }} }}"
        )
        self.assertEqual(every(draft), {"/": "open", "b /": "closed", "b /x": "open"})
        self.assertEqual(draft.remainder, [])

    def test_attack_48_a_server_is_not_served_where_it_does_not_listen(self) -> None:
        inner = f"server {{ listen 127.0.0.1:8080; server_name in; location / {{ {PASS} }} }}"
        outer = f"server {{ listen 443 ssl; server_name out; location / {{ {PASS} }} }}"
        for text in (inner + outer, outer + inner):
            draft = conf(text)
            self.assertEqual([header for header in draft.sections if header.startswith("listener")], ["listener https"])
            self.assertEqual(every(draft), {"/": "open"})
            self.assertEqual(len(draft.remainder), 1)
        draft = conf(
            f"server {{ listen 80; listen 443 ssl; server_name a; location / {{ {PASS} }} }}\n"
            f"server {{ listen 443 ssl; server_name b; location / {{ {PASS} }} }}"
        )
        self.assertEqual([header for header in draft.sections if header.startswith("listener")], ["listener https"])

    def test_attack_48_tls_stays_tls(self) -> None:
        for text in ("ssl on; listen *:443;", "listen 443 ssl;", "listen 443; ssl on;"):
            draft = conf(
                f"server {{ listen 80; return 301 https://$host$request_uri; }} server {{ {text} location / {{ {PASS} }} }}"
            )
            self.assertEqual(options(draft, "listener https")["tls"], "yes", text)
            self.assertEqual(options(draft, "listener http")["serve"], "redirect")
        draft = conf(f"http {{ ssl on; server {{ listen 443; location / {{ {PASS} }} }} }}")
        self.assertEqual(options(draft, "listener https")["tls"], "yes")
        draft = conf(f"server {{ listen 80; listen 443 ssl; location / {{ {PASS} }} }}")
        self.assertEqual(options(draft, "listener http").get("tls"), None)

    def test_attack_48_addresses_stay_those_that_nginx_has(self) -> None:
        draft = conf(f"server {{ listen 127.0.0.1:80; listen 10.0.0.1:80; location / {{ {PASS} }} }}")
        found = [options(draft, header).get("interface") for header in draft.sections if header.startswith("listener")]
        self.assertEqual(found, ["127.0.0.1", "10.0.0.1"])
        draft = conf(f"server {{ listen unix:x.sock; location / {{ {PASS} }} }}")
        self.assertEqual([header for header in draft.sections if header.startswith(("listener", "route"))], [])

    def test_attack_48_a_proxy_in_front_closes_what_is_open(self) -> None:
        draft = conf(f"server {{ listen 80 proxy_protocol; location / {{ {PASS} }} }}")
        self.assertEqual(every(draft), {"/": "closed"})

    def test_attack_48_load_balancers_whose_addresses_are_not_known(self) -> None:
        for directives in (
            "set_real_ip_from 10.0.0.0/8;",
            "real_ip_header proxy_protocol;",
            "set_real_ip_from 10.0.0.0/8; real_ip_header X-Forwarded-For;",
            "set_real_ip_from lb.example.com; real_ip_header proxy_protocol;",
        ):
            for outside, inside in ((directives, ""), ("", directives)):
                draft = conf(f"{outside} server {{ listen 80 proxy_protocol; {inside} location / {{ {PASS} }} }}")
                self.assertEqual(every(draft), {"/": "closed"}, directives)

    def test_attack_48_a_server_that_refuses_handshakes(self) -> None:
        tls = "listen 443 ssl; ssl_certificate c; ssl_certificate_key k;"
        one = f"server {{ {tls} server_name a; location / {{ {PASS} }} }}"
        other = f"server {{ {tls} server_name b; ssl_reject_handshake on; location /b/ {{ {PASS} }} }}"
        self.assertEqual(every(conf(one + other)), {"/": "open", "b /": "closed", "b /b": "closed"})

    def test_attack_48_the_first_of_two_servers_of_a_name_still_counts(self) -> None:
        one = f"server {{ listen 80; server_name a; location / {{ auth_request /q; {PASS} }} }}"
        other = f"server {{ listen 80; server_name a; location /status/ {{ {PASS} }} }}"
        for text in (one + other, other + one):
            self.assertEqual(every(conf(text)), {"/": "asks", "/status": "closed"})

    def test_attack_48_a_return_of_the_server_closes_all_of_it(self) -> None:
        for words in ("return 403;", "return 301 http://elsewhere/;"):
            draft = conf(f"server {{ listen 80; {words} location / {{ {PASS} }} location /in {{ auth_basic x; {PASS} }} }}")
            self.assertEqual(every(draft), {"/": "closed", "/in": "closed"}, words)


class IncludeTests(TestCase):
    def test_included_locations_have_the_place_of_their_own_file(self) -> None:
        draft = included("server { listen 80; include in.conf; }", {"in.conf": f"# first\nlocation /a {{ deny unix:; {PASS} }}"})
        self.assertEqual(standing(draft, "a"), "closed")
        self.assertEqual((draft.remainder[0].file, draft.remainder[0].line), ("in.conf", 2))

    def test_what_is_missing_closes_and_types_do_not(self) -> None:
        draft = included(f"server {{ listen 80; include x; location / {{ {PASS} }} }}", {})
        self.assertEqual(every(draft), {"/": "closed"})
        draft = included(f"http {{ include /etc/nginx/mime.types; server {{ listen 80; location / {{ {PASS} }} }} }}", {})
        self.assertEqual((every(draft), draft.remainder), ({"/": "open"}, []))

    def test_attack_files_that_include_each_other_end(self) -> None:
        with self.assertRaisesRegex(ImportFault, "levels deep"):
            read_nginx("include x;", "f", lambda name: [("include x;", "x")])
        with self.assertRaisesRegex(ImportFault, "files are included"):
            read_nginx("include x;", "f", lambda name: [("a b;", "x")] * 2000)

    def test_a_lua_block_is_no_nginx(self) -> None:
        lua = "access_by_lua_block { local s = '}' -- don't {\n local t = [[ } ]] if s then ngx.exit(403) end }\n"
        one, other = read_nginx(f"{lua} deny all;", "f")
        self.assertEqual((one.name, other.name, other.line), ("access_by_lua_block", "deny", 3))
        with self.assertRaisesRegex(ImportFault, "a Lua block without an end"):
            read_nginx("access_by_lua_block { -- }", "f")

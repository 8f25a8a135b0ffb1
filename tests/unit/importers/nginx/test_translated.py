"""What is often met in nginx configurations, and what it becomes: expressions, names of servers, headers, methods, users."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from perimeter.importers.draft import Draft
from perimeter.importers.nginx import source as nginx
from perimeter.importers.nginx.tree import read
from tests.unit.doubles.drafts import conf, left, location, options
from tests.unit.importers.nginx.test_closed import PASS, every, standing

PORT = {"port": "80", "interface": "0.0.0.0"}
HASH = "$2y$05$" + "." * 53


def server(words: str) -> Draft:
    return conf(f"server {{ listen 80; {words} }}")


class ExpressionTests(TestCase):
    DENY = "allow 10.0.0.0/8; deny all;"

    def test_plain_paths_become_routes(self) -> None:
        draft = server(f"location / {{ {PASS} }} location ~ ^/(user|admin)/ {{ {self.DENY} {PASS} }}")
        self.assertEqual(every(draft), {"/": "open", "/user": "networks", "/admin": "networks"})
        self.assertEqual(draft.remainder, [])
        draft = server(f"location / {{ {PASS} }} location ~ ^/status$ {{ deny all; {PASS} }}")
        self.assertEqual(every(draft), {"/": "open", "exact:/status": "closed"})

    def test_attack_48_an_expression_comes_before_longer_plain_locations(self) -> None:
        inner = f"location /a/b/ {{ {PASS} }}"
        draft = server(f"location / {{ {PASS} }} {inner} location ~ ^/a/ {{ {self.DENY} {PASS} }}")
        self.assertEqual(every(draft), {"/": "open", "/a": "networks"})
        self.assertIn("nginx takes location ~ ^/a/ for all of its paths", str(draft.remainder))
        draft = server(f"location / {{ {PASS} }} {inner.replace('/a', '^~ /a')} location ~ ^/a/ {{ {self.DENY} {PASS} }}")
        self.assertEqual(every(draft), {"/": "open", "/a": "networks", "/a/b": "open"})

    def test_attack_48_an_expression_between_final_locations(self) -> None:
        """nginx takes the expression for what the longest location without ``^~`` is for."""
        words = f"location ^~ /a/ {{ {PASS} }} location /a/b/ {{ {PASS} }} location ~ ^/a/ {{ {self.DENY} {PASS} }}"
        self.assertEqual(every(server(f"location / {{ {PASS} }} {words}")), {"/": "open", "/a": "open", "/a/b": "networks"})
        words = f"location ^~ /a/b/ {{ {PASS} }} location /a/b/c/ {{ {PASS} }} location ~ ^/a/ {{ {self.DENY} {PASS} }}"
        self.assertEqual(
            every(server(f"location / {{ {PASS} }} {words}")),
            {"/": "open", "/a": "networks", "/a/b": "open", "/a/b/c": "networks"},
        )

    def test_attack_48_the_first_expression_counts(self) -> None:
        first, second = f"location ~ ^/a/ {{ {self.DENY} {PASS} }}", f"location ~ ^/a/b/ {{ {PASS} }}"
        self.assertEqual(every(server(f"{first} {second}")), {"/a": "networks"})
        self.assertEqual(every(server(f"{second} {first}")), {"/a/b": "open", "/a": "networks"})

    def test_attack_48_exact_locations_come_first(self) -> None:
        draft = server(f"location = /a {{ deny all; {PASS} }} location ~ ^/a$ {{ {PASS} }} location / {{ {PASS} }}")
        self.assertEqual(every(draft), {"/": "open", "exact:/a": "closed"})

    def test_final_locations_are_not_closed_by_expressions(self) -> None:
        for words, expected in (
            (r"location ~ \.php$ { deny all; }", "open"),
            ("location ~ ^/api$ { deny all; }", "open"),
            ("location ~ /api$ { deny all; }", "closed"),
            (r"location ~ (?|x { deny all; }", "closed"),
        ):
            draft = server(f"location / {{ {PASS} }} location ^~ /api/ {{ {PASS} }} {words}")
            self.assertEqual(every(draft)["/api"], expected, words)

    def test_an_expression_below_a_directory_closes_that(self) -> None:
        draft = server(
            rf"location / {{ {PASS} }} location /a/ {{ {PASS} }} location /a/b/ {{ {PASS} }}"
            r"location ~ ^/a/b/.*\.x$ { deny all; }"
        )
        closed = {r"regex:^/a/b/.*\.x$": "closed"}
        self.assertEqual(every(draft), {"/": "open", "/a": "open", "/a/b": "open", **closed})
        draft = server(rf"location / {{ {PASS} }} location ~ ^/a/b/.*\.x$ {{ deny all; }}")
        self.assertEqual(every(draft), {"/": "open", **closed})
        draft = server(rf"location / {{ {PASS} }} location /a/b/c/ {{ {PASS} }} location ~ ^/a/b/.*\.x$ {{ deny all; }}")
        self.assertEqual(every(draft), {"/": "open", "/a/b/c": "closed", "/a/b": "closed"})
        draft = server(f"location / {{ {PASS} }} location /y/ {{ {PASS} location ~ x {{ deny all; }} }}")
        self.assertEqual(every(draft), {"/": "open", "/y": "closed"})

    def test_expressions_become_routes(self) -> None:
        for words, path, expected in (
            (r"~ \.php$ { deny all; }", r"regex:^.*(?:\.php$)", "closed"),
            (r"~* ^/img/.*\.png$ { root /w; }", r"regex:(?i)^/img/.*\.png$", "open"),
            (rf"~ ^/api/(\d+)$ {{ auth_request /q; {PASS} }}", r"regex:^/api/(\d+)$", "asks"),
            (rf"~ ^/api/a|b$ {{ {self.DENY} {PASS} }}", "regex:^.*(?:^/api/a|b$)", "networks"),
            (r"~ ^/u/(\w+)$ { return 307 /people/$1; }", r"regex:^/u/(\w+)$", "answers"),
        ):
            draft = server(f"location / {{ {PASS} }} location {words}")
            self.assertEqual((every(draft), draft.remainder), ({"/": "open", path: expected}, []), words)
        draft = server(r"location / { root /v; } location ~ ^/a/b/(.*)\.x$ { root /w; }")
        (section,) = [options(draft, one) for one in draft.sections if "a-b" in one]
        self.assertEqual((section["path"], section["static"]), (r"regex:^/a/b/(.*)\.x$", "/w/a/b"))

    def test_attack_48_expressions_that_routes_take_in_another_order_close_what_is_open(self) -> None:
        php, denied = r"location ~ \.php$ { deny all; }", {r"regex:^.*(?:\.php$)": "closed"}
        root, a_x = f"location / {{ {PASS} }}", f"location ~ ^/a/.*x {{ {PASS} }}"
        for words, expected in (
            (f"{php} location /a/ {{ {PASS} }} {root}", {"/": "closed", "/a": "closed"}),
            (f"{php} location ^~ / {{ {PASS} }}", {"/": "open"}),
            (f"{php} location ^~ /a/ {{ {PASS} }} {root}", {"/": "open", "/a": "open", **denied}),
            (f"location ~ /a$ {{ deny all; }} location ^~ /a/ {{ {PASS} }} {root}", {"/": "closed", "/a": "closed"}),
            (f"{php} location ^~ /a {{ {PASS} }} {root}", {"/": "closed", "/a": "open"}),
            (f"{php} {a_x} {root}", {"/": "open", **denied, "/a": "closed"}),
            (f"{a_x} {php} {root}", {"/": "open", r"regex:^/a/.*x": "open", **denied}),
            (f"location ~ ^/a/ {{ {PASS} }} location ~ ^/a/.*x {{ deny all; }} {root}", {"/": "open", "/a": "closed"}),
        ):
            self.assertEqual(every(server(words)), expected, words)

    def test_what_returns_an_answer(self) -> None:
        for words, expected in (
            ("return 301 https://new.example$request_uri;", {"redirect": "301 https://new.example%{uri}"}),
            ("return https://$host/x$is_args$args;", {"redirect": "302 https://%{host}/x%{query}"}),
            ("auth_basic x; return 308 ${uri}/;", {"redirect": "308 %{path}/"}),
            ("return 302 $scheme://$host/c;", {"redirect": "302 /c"}),
            ("return 204;", {"respond": "204"}),
            ('return 200 "all is well";', {"respond": "200 all is well"}),
            ('default_type application/json; return 200 "{}";', {"respond": "200 {}", "respond_type": "application/json"}),
            ("default_type application/json; return 404;", {"respond": "404"}),
        ):
            draft = server(f"location / {{ {PASS} }} location /r/ {{ {words} }}")
            self.assertEqual(options(draft, "route r"), {"path": "/r", **expected, "auth": "none"}, words)
            self.assertEqual(draft.remainder, [], words)

    def test_attack_48_what_cannot_be_answered_in_the_same_way_is_closed(self) -> None:
        for words in (
            "return 444;", "return 200 $x;", "return 401;", "return 302 https://$evil/;", "return 302 https://a$uri$args;",
            "return 302 /%61;", 'return 200 " x";', 'return 200 "file:/etc/passwd";', 'return 200 "a ; b";', "return;",
            "return 302 /$1;", "if ($x) { return 403; } return 204;", "rewrite ^ /x; return 204;", "return 204; return 404;",
            "internal; return 204;", "access_by_lua_file x; return 204;",
        ):  # fmt: skip
            draft = server(f"location / {{ {PASS} }} location /r/ {{ {words} }}")
            self.assertEqual(standing(draft, "r"), "closed", words)
        draft = server(f"if ($x) {{ return 403; }} location / {{ {PASS} }} location /r/ {{ return 200 x; }}")
        self.assertEqual(standing(draft, "r"), "closed")
        draft = server(f"location / {{ {PASS} }} location /r/ {{ return 200 x; }} location ~ \\.php$ {{ deny all; }}")
        self.assertEqual(standing(draft, "r"), "closed")

    def test_hidden_files_are_served_by_no_route(self) -> None:
        deny = "location ~ %s { deny all; }"
        for expression, extra in ((r"/\.(?!ht)", {"/.well-known": "closed"}), (r"/\.(?!well-known)", {})):
            draft = server(f"root /w; location / {{ }} {deny % expression}")
            self.assertEqual(every(draft), {"/": "open", **extra}, expression)
            draft = server(f"root /w; location /a/ {{ }} {deny % expression}")
            self.assertEqual(every(draft)["/a"], "open", expression)
            self.assertEqual(every(draft).get("/a/.well-known", "none"), extra.get("/.well-known", "none"), expression)
            draft = server(f"location / {{ {PASS} }} {deny % expression}")
            self.assertEqual(every(draft), {"/": "closed", **extra}, expression)

    def test_the_directory_for_certificate_authorities(self) -> None:
        for expression in ("/.well-known", r"^/\.well-known/acme-challenge/"):
            draft = server(f"location / {{ {PASS} }} location ~ {expression} {{ root /acme; }}")
            self.assertEqual(every(draft)["/"], "open")
        draft = server(f"location / {{ {PASS} }} location ~ /.well-known {{ deny all; }}")
        self.assertEqual(every(draft), {"/": "open", "regex:^.*(?:/.well-known)": "closed"})

    def test_a_redirect_to_the_same_path_with_a_slash(self) -> None:
        for target in ("/a/", "$scheme://$host/a/", "$uri/", "https://$http_host/a/$is_args$args"):
            draft = server(f"location = /a {{ return 301 {target}; }} location /a/ {{ {PASS} }}")
            self.assertEqual((every(draft), draft.remainder), ({"/a": "open"}, []), target)
        for target in ("/b/", "https://elsewhere/a/", "/a"):
            draft = server(f"location = /a {{ return 301 {target}; }} location /a/ {{ {PASS} }}")
            self.assertEqual(every(draft), {"/a": "open", "exact:/a": "answers"}, target)


class ServerNameTests(TestCase):
    def servers(self, *names: str) -> Draft:
        inner = ("deny all;", "auth_basic x;", "allow 10.0.0.0/8; deny all;", "")
        return conf(
            "".join(
                f"server {{ listen 80; server_name {name}; location / {{ {words} {PASS} }} }}\n"
                for name, words in zip(names, inner, strict=False)
            )
        )

    def test_wildcards_become_hosts(self) -> None:
        draft = self.servers("_", "*.example.com", ".b.example.com")
        self.assertEqual(
            every(draft), {"/": "closed", "**.example.com /": "asks", "b.example.com, **.b.example.com /": "networks"}
        )
        self.assertEqual(draft.remainder, [])

    def test_expressions_become_hosts_where_nginx_takes_them(self) -> None:
        draft = self.servers("_", r"~^(a|b)\.example\.com$", "a.example.com")
        self.assertEqual(every(draft), {"/": "closed", "b.example.com /": "asks", "a.example.com /": "networks"})
        draft = self.servers("_", r"~^a\.example\.com$", "*.example.com")
        self.assertEqual(every(draft), {"/": "closed", "**.example.com /": "networks"})

    def test_attack_73_an_expression_after_one_that_is_not_understood(self) -> None:
        draft = self.servers("a", "~^x", r"~^b\.example\.com$")
        self.assertEqual(every(draft), {"/": "closed"})
        self.assertEqual(len([note for note in draft.remainder if "server_name" in note.text]), 2)

    def test_attack_73_the_default_server_has_a_name_below_a_wildcard(self) -> None:
        draft = conf(
            f"server {{ listen 80; server_name a.example.com; location / {{ deny all; {PASS} }} }}"
            f"server {{ listen 80; server_name *.example.com; location / {{ {PASS} }} }}"
        )
        self.assertEqual(every(draft), {"/": "closed", "a.example.com /": "closed", "**.example.com /": "open"})

    def test_two_expressions_are_kept_apart_or_refused(self) -> None:
        self.assertEqual(every(self.servers("~(prom*)", "~(alert*)")), {"/": "closed"})
        draft = self.servers(r"~^prom\.", r"~^(x|y)\.example\.com$")
        self.assertNotIn("open", every(draft).values())


class HeaderTests(TestCase):
    def test_attack_72_headers_that_the_gateway_does_not_set_are_dropped(self) -> None:
        draft = location(
            f"auth_request /q; auth_request_set $m $upstream_http_x_auth_request_email; {PASS}"
            "proxy_set_header X-User $remote_user; proxy_set_header X-Email $m; proxy_set_header X-Role reader;"
            "proxy_set_header X-Scheme $scheme; proxy_set_header X-Secret ''; proxy_set_header X-Key $cookie_key;"
        )
        section = options(draft, "route a")
        self.assertEqual(section["identity_username_header"], "X-User")
        self.assertEqual(section["request_headers"], "\n    set X-Role reader\n    set X-Scheme %{scheme}\n    remove X-Secret")
        self.assertEqual(options(draft, "perimeter")["identity_headers"], "default, X-Key")
        self.assertEqual(len(left(draft)), 2)

    def test_the_address_of_the_user_alone(self) -> None:
        draft = location(
            f"auth_request /q; auth_request_set $m $upstream_http_x_auth_request_email; {PASS}proxy_set_header X-WEBAUTH-USER $m;"
        )
        self.assertEqual(options(draft, "route a")["identity_username_header"], "X-WEBAUTH-USER")
        self.assertIn("the user name there", left(draft)[0])

    def test_attack_72_two_headers_for_one_option(self) -> None:
        draft = location(f"auth_basic x; {PASS} proxy_set_header X-A $remote_user; proxy_set_header X-B $remote_user;")
        self.assertEqual(options(draft, "route a")["identity_username_header"], "X-A")
        self.assertEqual(options(draft, "perimeter")["identity_headers"], "default, X-B")

    def test_attack_72_an_open_service_that_trusts_a_header(self) -> None:
        for words, expected in (
            ("proxy_set_header X-User $arg_user;", "closed"),
            ("proxy_set_header X-User guest;", "open"),
            ("proxy_set_header X-User '';", "open"),
            ("proxy_set_header X-Auth-Request-Redirect $request_uri;", "open"),
            ("proxy_set_header X_User '';", "open"),
            ("proxy_set_header X_User $arg_user;", "closed"),
            ("proxy_set_header Connection $http_connection; proxy_set_header Upgrade websocket;", "open"),
        ):
            self.assertEqual(standing(location(f"{words} {PASS}"), "a"), expected, words)

    def test_rules_for_the_service(self) -> None:
        for words, rule in (
            ("X-A plain", "set X-A plain"),
            ("X-A 'two words'", "set X-A two words"),
            ("X-A ''", "remove X-A"),
            ("Cookie ''", "remove Cookie"),
            ("Accept-Encoding ''", "remove Accept-Encoding"),
            ("X-A 100%", "set X-A 100%%"),
            ("X-A ${scheme}://$host", "set X-A %{scheme}://%{host}"),
            ("X-A $request_id-$remote_addr", "set X-A %{request_id}-%{address}"),
        ):
            draft = location(f"auth_basic x; {PASS} proxy_set_header {words};")
            self.assertEqual(options(draft, "route a")["request_headers"], f"\n    {rule}", words)
            self.assertEqual(left(draft), [], words)
        for words in ("X-A $cookie_a", "X-A $", "X-A 'a ;b'", "X-A file:x", "X-Forwarded-Port 443", "X-A é"):
            draft = location(f"auth_basic x; {PASS} proxy_set_header {words};")
            self.assertNotIn("request_headers", options(draft, "route a"), words)
            self.assertEqual(len(left(draft)), 1, words)

    def test_the_host_for_the_service(self) -> None:
        for words, host in (
            ("$proxy_host", "s:1"),
            ("app.internal", "app.internal"),
            ("$host", None),
            ("$http_host", None),
        ):
            draft = location(f"proxy_pass http://s:1; proxy_set_header Host {words};")
            self.assertEqual(options(draft, "route a").get("upstream_host"), host, words)
            self.assertEqual(left(draft), [], words)
        self.assertEqual(len(left(location("proxy_pass http://s:1; proxy_set_header Host $x;"))), 1)

    def test_rules_for_clients(self) -> None:
        for words, rules in (
            ("add_header X-A b;", ["add X-A b"]),
            ("add_header X-A b always; add_header X-A c;", ["add X-A b", "add X-A c"]),
            (
                "add_header Strict-Transport-Security 'max-age=1; includeSubDomains' always;",
                ["add Strict-Transport-Security max-age=1; includeSubDomains"],
            ),
            ("proxy_hide_header Server;", ["remove Server"]),
            ("proxy_hide_header Cache-Control; add_header Cache-Control no-store;", ["set Cache-Control no-store"]),
            ("add_header X-A '';", []),
            ("add_header X-A $scheme;", ["add X-A %{scheme}"]),
        ):
            draft = location(f"{PASS} {words}")
            found = options(draft, "route a").get("response_headers", "").split("\n    ")[1:]
            self.assertEqual((found, left(draft)), (rules, []), words)
        for words in (
            *("add_header X-A $upstream_http_a;", "add_header X-A;", "add_header X-A b c d;", "add_header Content-Length 1;"),
            "proxy_hide_header X-A; add_header X-A b; add_header X-A c;",
            "proxy_hide_header Content-Length;",
        ):
            self.assertEqual(len(left(location(f"{PASS} {words}"))), 1, words)
        draft = conf(f"server {{ listen 80; add_header X-A b; root /w; location /a {{ {PASS} }} location /b {{ }} }}")
        self.assertEqual(options(draft, "route a")["response_headers"], "\n    add X-A b")
        self.assertEqual(options(draft, "route b")["response_headers"], "\n    add X-A b")


class MethodTests(TestCase):
    def test_limit_except(self) -> None:
        for words, expected in (("GET", "method:GET, method:HEAD"), ("post GET HEAD", "method:POST, method:GET, method:HEAD")):
            draft = location(f"limit_except {words} {{ deny all; }} {PASS}")
            self.assertEqual((options(draft, "route a")["allow"], draft.remainder), (expected, []))
            self.assertEqual(options(draft, "route a")["auth"], "none")
        draft = location(f"auth_basic x; limit_except GET {{ deny all; }} {PASS}")
        self.assertNotIn("auth", options(draft, "route a"))

    def test_attack_48_what_else_limits_methods_closes(self) -> None:
        for words in ("GET { allow 10.0.0.0/8; deny all; }", "GET { auth_basic x; }", "GET { }", "G-T { deny all; }"):
            self.assertEqual(standing(location(f"limit_except {words} {PASS}"), "a"), "closed", words)
        both = "limit_except GET { deny all; } limit_except POST { deny all; }"
        self.assertEqual(standing(location(f"{both} {PASS}"), "a"), "closed")

    def test_attack_48_a_method_is_a_restriction_for_paths_beside(self) -> None:
        draft = conf(f"server {{ listen 80; location / {{ {PASS} }} location /a {{ limit_except GET {{ deny all; }} {PASS} }} }}")
        self.assertEqual(every(draft)["/"], "closed")


class PasswordFileTests(TestCase):
    def convert(self, text: str, **files: str) -> Draft:
        draft = Draft()
        found = {name: (content, f"dir/{name}") for name, content in files.items()}
        nginx.convert_all([read(text, "nginx.conf")], "nginx.conf", draft, found.get)
        return draft

    def location(self, path: str, file: str, words: str = "") -> str:
        return f"location {path} {{ auth_basic x; auth_basic_user_file {file}; {words} {PASS} }}"

    def test_one_file(self) -> None:
        draft = self.convert(f"server {{ listen 80; {self.location('/a/', 'staff')} }}", staff=f"alice:{HASH}\nbob\n")
        self.assertEqual(options(draft, "authenticator htpasswd"), {"type": "realmfile", "path": "htpasswd.realm"})
        self.assertEqual([user.name for user in draft.realms["htpasswd.realm"]], ["alice"])
        self.assertNotIn("allow", options(draft, "route a"))
        self.assertEqual([(note.file, note.line) for note in draft.remainder], [("dir/staff", 2)])

    def test_attack_48_several_files_are_several_realms(self) -> None:
        text = f"server {{ listen 80; {self.location('/a/', 'staff')} {self.location('/b/', 'admins')} }}"
        draft = self.convert(text, staff=f"alice:{HASH}", admins=f"root:{HASH}")
        self.assertEqual(options(draft, "route a")["allow"], "realm:htpasswd")
        self.assertEqual(options(draft, "route b")["allow"], "realm:htpasswd-2")
        self.assertEqual([user.name for user in draft.realms["htpasswd-2.realm"]], ["root"])
        draft = self.convert(text, staff=f"alice:{HASH}")
        self.assertEqual(every(draft), {"/a": "asks", "/b": "closed"})
        text = text.replace("admins;", "admins; limit_except GET { deny all; }")
        self.assertEqual(standing(self.convert(text, staff=HASH, admins=HASH), "b"), "closed")

    def test_attack_48_users_of_a_file_and_of_a_service(self) -> None:
        text = f"server {{ listen 80; {self.location('/a/', 'staff')} location /b/ {{ auth_request /q; {PASS} }} }}"
        self.assertEqual(every(self.convert(text, staff=f"alice:{HASH}")), {"/a": "asks", "/b": "closed"})


class ServiceTests(TestCase):
    def test_certificates_of_services(self) -> None:
        draft = location(
            "proxy_pass https://b:1; proxy_ssl_trusted_certificate ca.pem; proxy_ssl_name b.internal; proxy_ssl_verify on;"
        )
        self.assertEqual(
            options(draft, "upstream a"), {"servers": "https://b:1", "ca_certificate": "ca.pem", "server_name": "b.internal"}
        )
        self.assertEqual([one.text for one in draft.remarks if "certificate" in one.text], [])
        draft = location("proxy_pass https://b:1; proxy_ssl_name $host;")
        self.assertIn("its certificate is verified here", str(draft.remarks))
        self.assertEqual(left(draft), ["5: proxy_ssl_name $host"])

    def test_the_certificate_that_nginx_shows(self) -> None:
        draft = location("proxy_pass https://b:1; proxy_ssl_certificate own.pem; proxy_ssl_certificate_key own.key;")
        found = options(draft, "upstream a")
        self.assertEqual((found["client_certificate"], found["client_key"], left(draft)), ("own.pem", "own.key", []))

    def test_unix_sockets(self) -> None:
        for service, rewrite in (
            ("http://unix:/run/a.sock", None),
            ("http://unix:/run/a.sock:/x", "/x"),
            ("http://unix:/run/a.sock:/", "/"),
        ):
            draft = location(f"proxy_pass {service};")
            self.assertEqual(options(draft, "upstream a")["servers"], "unix:/run/a.sock", service)
            self.assertEqual(options(draft, "route a").get("rewrite"), rewrite, service)
        found, remainder = self.upstream_of("server unix:/run/a.sock weight=2;\nserver 10.0.0.1 backup;")
        self.assertEqual((found["servers"], remainder), ("unix:/run/a.sock weight=2, http://10.0.0.1 backup", []))

    def test_compression(self) -> None:
        draft = location("proxy_pass http://b:1; gzip on; gzip_types text/css text/html; gzip_min_length 256; gzip_vary on;")
        found = options(draft, "route a")
        self.assertEqual(
            (found["compression"], found["compression_types"], found["compression_min"]), ("gzip", "text/html, text/css", "256")
        )
        self.assertEqual(left(draft), [])
        self.assertEqual(options(location("proxy_pass http://b:1; gzip on;"), "route a")["compression_types"], "text/html")
        every = location("proxy_pass http://b:1; gzip on; gzip_types *;")
        self.assertNotIn("compression_types", options(every, "route a"))
        self.assertEqual(left(every), ["5: gzip_types *: the types are listed"])
        for off in ("", "gzip off; gzip_types text/css;"):
            self.assertNotIn("compression", options(location(f"proxy_pass http://b:1; {off}"), "route a"))

    def test_upstreams(self) -> None:
        draft = conf(
            "upstream b { server 10.0.0.1 max_fails=3 fail_timeout=30s; keepalive 8; keepalive_requests 9;"
            "keepalive_timeout 60s; }\n"
            "server { listen 80; location / { proxy_pass http://b; } }"
        )
        self.assertEqual((options(draft, "upstream b")["keepalive"], draft.remainder), ("8", []))

    def upstream_of(self, lines: str) -> tuple[dict[str, str], list[str]]:
        """What is made of the lines of an upstream, and what is left."""
        draft = conf(f"upstream b {{\n{lines}\n}}\nserver {{ listen 80; location / {{ proxy_pass http://b; }} }}")
        return options(draft, "upstream b"), left(draft)

    def test_weights_and_ways_to_balance(self) -> None:
        two = "server 10.0.0.1 weight=3;\nserver 10.0.0.2 backup;\n"
        servers = "http://10.0.0.1 weight=3, http://10.0.0.2 backup"
        self.assertEqual(self.upstream_of(two), ({"servers": servers}, []))
        for line, balance in (
            ("least_conn;", "least-connections"),
            ("ip_hash;", "hash(address)"),
            ("hash $remote_addr consistent;", "hash(address)"),
            ("hash $binary_remote_addr;", "hash(address)"),
            ("hash $remote_user;", "hash(user)"),
            ("hash $http_x_session_id consistent;", "hash(header:x-session-id)"),
        ):
            self.assertEqual(self.upstream_of(two + line), ({"servers": servers, "balance": balance}, []), line)
        self.assertEqual(self.upstream_of(two + "hash $request_uri;"), ({"servers": servers}, ["4: hash $request_uri"]))
        self.assertEqual(self.upstream_of("server 10.0.0.1;\nip_hash;"), ({"servers": "http://10.0.0.1"}, []))
        for words in ("weight=5000", "max_conns=0", "slow_start=30s"):
            found = self.upstream_of(f"server 10.0.0.1 {words};")
            self.assertEqual(found, ({"servers": "http://10.0.0.1"}, ["2: server 10.0.0.1"]))

    def test_a_limit_that_all_servers_have(self) -> None:
        self.assertEqual(
            self.upstream_of("server 10.0.0.1 max_conns=9;\nserver 10.0.0.2 max_conns=9;"),
            ({"servers": "http://10.0.0.1, http://10.0.0.2", "max_requests": "9"}, []),
        )
        for lines, left_out in (
            ("server 10.0.0.1 max_conns=9;\nserver 10.0.0.2 max_conns=8;", 2),
            ("server 10.0.0.1 max_conns=9;\nserver 10.0.0.2;", 1),
        ):
            found, rest = self.upstream_of(lines)
            self.assertEqual((found, len(rest)), ({"servers": "http://10.0.0.1, http://10.0.0.2"}, left_out))

    def test_the_paths_that_services_get(self) -> None:
        for path, words, expected in (
            ("/g/", "rewrite ^/g/(.*) /$1 break; proxy_pass http://b:1/;", "/"),
            ("/g/api/", "rewrite ^/g/(.*)$ /$1 break; proxy_pass http://b:1;", "/api"),
            ("/g/", "rewrite ^/g(/.*)$ $1 break; proxy_pass http://b:1;", "/"),
            ("/g/", "rewrite ^/g/(.*) /new/$1 break; proxy_pass http://b:1;", "/new"),
            ("/g/", "rewrite ^/(.*) /x/$1 break; proxy_pass http://b:1;", "/x/g"),
            ("/g/", "rewrite ^/g/(.*) /g/$1 break; proxy_pass http://b:1;", None),
        ):
            draft = location(words, path)
            (route,) = [one.options for header, one in draft.sections.items() if header.startswith("route ")]
            self.assertEqual((route.get("rewrite") and route["rewrite"].value, draft.remainder), (expected, []), words)
            self.assertEqual(route["auth"].value, "none", words)

    def test_variables_of_conditions_that_restrict_nothing(self) -> None:
        draft = location(f"if ($x) {{ set $y 1; add_header A b; }} {PASS}")
        self.assertEqual((standing(draft, "a"), len(draft.remainder)), ("open", 1))
        draft = conf(
            "map $http_upgrade $connection_upgrade { default upgrade; '' close; }"
            f"server {{ listen 80; location / {{ proxy_set_header Connection $connection_upgrade; {PASS} }} }}"
        )
        self.assertEqual((every(draft), draft.remainder), ({"/": "open"}, []))

    def test_certbots_redirect(self) -> None:
        moved = "if ($host = a.example) { return 301 https://$host$request_uri; }"
        tls = f"server {{ listen 443 ssl; location / {{ {PASS} }} }}"
        draft = conf(f"server {{ {moved} listen 80; server_name a.example; return 404; }} {tls}")
        self.assertEqual((options(draft, "listener http")["serve"], draft.remainder), ("redirect", []))
        draft = conf(f"server {{ {moved.replace('host', 'x', 1)} listen 80; return 404; }} {tls}")
        self.assertNotIn("listener http", draft.sections)


class ListeningTests(TestCase):
    def test_a_unix_socket(self) -> None:
        draft = conf(f"server {{ listen unix:/run/gw.sock; location / {{ {PASS} }} }}")
        self.assertEqual(options(draft, "listener socket"), {"interface": "unix:/run/gw.sock"})
        self.assertEqual((every(draft), draft.remainder), ({"/": "open"}, []))

    def test_the_proxy_protocol(self) -> None:
        networks, header = "set_real_ip_from 10.0.0.0/8; set_real_ip_from unix:;", "real_ip_header proxy_protocol;"
        for outside, inside in ((networks + header, ""), ("", networks + header), (header, networks)):
            draft = conf(f"{outside} server {{ listen 80 proxy_protocol; {inside} location / {{ {PASS} }} }}")
            self.assertEqual(options(draft, "listener http"), {**PORT, "proxy_protocol": "10.0.0.0/8, unix:"})
            self.assertEqual((every(draft), draft.remainder), ({"/": "open"}, []))
        # a server's own networks replace those around it
        inner = "set_real_ip_from 192.0.2.1;"
        draft = conf(f"{networks} {header} server {{ listen 80 proxy_protocol; {inner} location / {{ {PASS} }} }}")
        self.assertEqual(options(draft, "listener http")["proxy_protocol"], "192.0.2.1")
        draft = conf(f"{networks} {header} server {{ listen 80; location / {{ {PASS} }} }}")
        self.assertEqual(options(draft, "listener http"), PORT)

    def test_several_certificates(self) -> None:
        tls = "listen 443 ssl; ssl_certificate {0}.pem; ssl_certificate_key {0}.key;"
        both = f"{tls.format('/e')} ssl_certificate /r.pem; ssl_certificate_key /r.key;"
        text = "".join(
            f"server {{ {certificates} server_name {name}; location / {{ {PASS} }} }}"
            for certificates, name in ((both, "a.example"), (tls.format("/b"), "b.example"), (tls.format("/b"), "c.example"))
        )
        draft = conf(text)
        found = options(draft, "listener https")
        self.assertEqual(found["certificate"], "/e.pem\n    /r.pem\n    /b.pem")
        self.assertEqual(found["private_key"], "/e.key\n    /r.key\n    /b.key")
        draft.settle(lambda path, needs: path != "/r.key")
        self.assertIn(
            "certificate = /e.pem\n    /r.pem\n    /b.pem\n;private_key = /e.key\n;    /r.key\n;    /b.key\n", draft.text()
        )

    def test_a_certificate_without_its_key(self) -> None:
        for words in ("ssl_certificate /a.pem", "ssl_certificate_key /a.key"):
            draft = conf(f"server {{ listen 443 ssl; {words}; location / {{ {PASS} }} }}")
            self.assertIn(f"{words}: a certificate and its key go together", " ".join(left(draft)))
            self.assertNotIn("certificate", options(draft, "listener https"))

    def test_names_that_are_refused(self) -> None:
        tls = "ssl_certificate /a.pem; ssl_certificate_key /a.key;"
        one = f"server {{ listen 443 ssl; {tls} server_name a.example; location / {{ {PASS} }} }}"
        for switch, word in (("on", "refuse"), ("off", None)):
            other = f"server {{ listen 443 ssl default_server; {tls} ssl_reject_handshake {switch}; }}"
            self.assertEqual(options(conf(one + other), "listener https").get("unknown_name"), word)

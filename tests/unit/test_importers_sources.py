"""The importers, one source at a time: what becomes of each directive, and that nothing vanishes or opens a door."""

from __future__ import annotations

from pathlib import Path

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from perimeter.importers import authotron, combine, htpasswd, logback, nginx, reactor
from perimeter.importers.authotronfile import Abilities
from perimeter.importers.draft import Draft, ImportFault, plain_name, unfit
from perimeter.importers.nginxtree import read as read_nginx
from perimeter.importers.xmltree import read as read_xml
from perimeter.importers.yamltree import read as read_yaml

DATA = Path(__file__).parents[1] / "data"
ABILITIES = Abilities(
    {"ecmwf-api": frozenset({"uri", "cache"}), "jwt": frozenset({"cert_uri", "issuer", "audience"})},
    {"match": frozenset(), "plain": frozenset()},
)


def options(draft: Draft, header: str) -> dict[str, str]:
    return {name: setting.value for name, setting in draft.sections[header].options.items()}


def left(draft: Draft) -> list[str]:
    return [f"{note.line}: {note.text}" for note in draft.remainder]


def yaml(text: str) -> Draft:
    draft = Draft()
    authotron.convert(text, "config.yaml", draft, ABILITIES)
    return draft


def conf(text: str) -> Draft:
    draft = Draft()
    nginx.convert(text, "nginx.conf", draft)
    return draft


def location(body: str, path: str = "/a", outer: str = "") -> Draft:
    return conf(f"server {{\nlisten 80;\n{outer}\nlocation {path} {{\n{body}\n}}\n}}\n")


def site_xml(**properties: str) -> Draft:
    draft = Draft()
    rows = [f"<property><name>{name}</name><value>{value}</value></property>" for name, value in properties.items()]
    reactor.convert("\n".join(rows), "site.xml", draft)
    return draft


class AuthotronTests(TestCase):
    def test_the_manuals_example_leaves_nothing(self) -> None:
        draft = yaml((DATA / "authotron.yaml").read_text())
        self.assertEqual(draft.remainder, [])
        self.assertEqual(options(draft, "authentication"), {"timeout": "3s"})
        self.assertEqual(
            options(draft, "authenticator ecmwf-api-provider"),
            {"type": "ecmwf-api", "uri": "https://api.ecmwf.int/v1", "realm": "ecmwf"},
        )
        self.assertEqual(options(draft, "listener auth-o-tron"), {"port": "8080"})
        self.assertEqual(options(draft, "logging"), {"level": "debug", "format": "console"})
        (user,) = draft.realms["plain-provider.realm"]
        self.assertEqual((user.name, user.password), ("someuser", "somesecret"))

    def test_a_secret_that_is_too_short_becomes_a_key_and_a_remark(self) -> None:
        draft = yaml("jwt:\n  secret: authotron-secret-key\n")
        self.assertEqual(options(draft, "token"), {"algorithm": "ES256"})
        (remark,) = draft.remarks
        self.assertIn("20 octets", remark.text)
        self.assertNotIn("authotron-secret-key", remark.text)
        self.assertEqual(draft.files, {})

    def test_a_secret_that_is_long_enough_goes_to_a_file_of_its_own(self) -> None:
        secret = "0123456789 #abcdef;0123456789abcdef"
        draft = yaml(f'jwt: {{secret: "{secret}", exp: 60, iss: a, aud: b}}')
        self.assertEqual(
            options(draft, "token"),
            {"lifetime": "60s", "issuer": "a", "audience": "b", "algorithm": "HS256", "secret": "file:jwt.secret"},
        )
        self.assertEqual(draft.files, {"jwt.secret": secret})
        self.assertNotIn(secret, draft.text() + repr(draft))

    def test_version_two(self) -> None:
        draft = yaml("version: 2.0.0\nserver:\n  host: 127.0.0.1\n  port: 9000\nmetrics:\n  enabled: true\n  port: 9090\n")
        self.assertEqual(options(draft, "listener auth-o-tron"), {"port": "9000", "interface": "127.0.0.1"})
        self.assertEqual(left(draft), ["6: metrics: serve = metrics is not available yet"])

    def test_metrics_get_a_listener_of_their_own(self) -> None:
        able = attrs.evolve(ABILITIES, metrics=True)
        for text, port in (("enabled: true\n  port: 9191", "9191"), ("enabled: true", "9090"), ("port: 9191", "9191")):
            draft = Draft()
            authotron.convert(f"version: 2.0.0\nmetrics:\n  {text}\n", "a.yaml", draft, able)
            self.assertEqual(options(draft, "listener metrics"), {"port": port, "serve": "metrics"})
            self.assertEqual(left(draft), [])
            self.assertIn("interface", draft.remarks[-1].text)
        draft = Draft()
        authotron.convert("version: 2.0.0\nmetrics:\n  enabled: false\n  port: 9090\n", "a.yaml", draft, able)
        self.assertEqual((draft.text().count("[listener"), left(draft)), (0, []))

    def test_what_is_not_available_is_left_with_its_line(self) -> None:
        draft = yaml(
            "version: 1.0.0\n"
            "providers:\n"
            "- name: offline\n"
            "  type: openid-offline\n"
            "- name: other\n"
            "  type: jwt\n"
            "  cert_uri: https://a/certs\n"
            "  iam_realm: there\n"
            "  colour: blue\n"
            "augmenters:\n"
            "- name: groups\n"
            "  type: ldap\n"
            "services:\n"
            "- name: s\n"
            "store:\n"
            "  enabled: true\n"
            "novelty: 1\n"
        )
        self.assertEqual(
            options(draft, "authenticator other"),
            {"type": "jwt", "issuer": "*", "audience": "*", "realm": "there", "cert_uri": "https://a/certs"},
        )
        self.assertTrue(any("issuer and audience" in remark.text for remark in draft.remarks))
        self.assertEqual(
            left(draft),
            [
                "3: provider offline: type = openid-offline is not available yet",
                "9: other: colour: there is nothing like it here",
                "11: augmenter groups: type = ldap is not available yet",
                "14: services: scopes of s: there is nothing like it here",
                "16: store: API tokens are not available yet",
                "17: novelty: unknown to this importer",
            ],
        )

    def test_there_are_api_tokens_where_there_was_a_store_for_them(self) -> None:
        for text, token, perimeter in (
            ("store:\n  enabled: true\n  type: mongo\n", {}, {"state": "sqlite"}),
            ("store:\n  enabled: false\n", {"api_tokens": "no"}, {}),
        ):
            draft = Draft()
            authotron.convert(text, "config.yaml", draft, attrs.evolve(ABILITIES, state=True))
            found = [options(draft, name) if name in draft.sections else {} for name in ("token", "perimeter")]
            self.assertEqual(found, [token, perimeter], text)
            self.assertEqual(left(draft), [], text)

    def test_passwords_stay_as_they_are_written(self) -> None:
        users = "".join(
            f"  - {{username: u{n}, password: {p}}}\n" for n, p in enumerate(("yes", "007", "1e3", "0o17", "2026-11-22"))
        )
        draft = yaml(f"providers:\n- type: plain\n  users:\n{users}")
        self.assertEqual([user.password for user in draft.realms["plain.realm"]], ["yes", "007", "1e3", "0o17", "2026-11-22"])
        self.assertEqual(draft.remainder, [])

    def test_users_that_no_realm_file_could_hold_are_left(self) -> None:
        draft = yaml(
            "providers:\n- type: plain\n  users:\n"
            "  - {username: 'a:b', password: x}\n"
            "  - {username: a, password: ''}\n"
            "  - {username: b, password: x, roles: ['one,two']}\n"
            "  - {username: c, password: x, roles: [one, two]}\n"
            "  - {username: c, password: y}\n"
        )
        self.assertEqual(
            [(user.name, user.password, user.roles) for user in draft.realms["plain.realm"]], [("c", "x", ("one", "two"))]
        )
        self.assertEqual([line[:2] for line in left(draft)], ["4:", "5:", "6:", "8:"])

    def test_hashed_passwords_pass_as_they_are(self) -> None:
        good = "$argon2id$v=19$m=19456,t=2,p=1$YXV0aG90cm9uLWRvYy0wNQ$bnM0TZfPrwI0Eb2pfBCK39sjwVCHBBUZYykFUnbwWfw"
        draft = yaml(
            "providers:\n- type: plain\n  users:\n"
            f"  - {{username: a, password_hash: '{good}', roles: [x]}}\n"
            f"  - {{username: b, password_hash: '{good}', password: y}}\n"
            "  - {username: c, password_hash: '$argon2id$nonsense'}\n"
            "  - {username: d, password_hash: 'plain'}\n"
        )
        (user,) = draft.realms["plain.realm"]
        self.assertEqual((user.name, user.hashed, user.password, user.roles), ("a", good, None, ("x",)))
        self.assertEqual([line[:2] for line in left(draft)], ["5:", "6:", "7:"])

    def test_augmenters(self) -> None:
        draft = yaml(
            "augmenters:\n"
            "- type: plain_advanced\n"
            "  name: boost\n"
            "  realm: internal\n"
            "  match: {username: [admin, root], role: [superuser]}\n"
            "  augment: {roles: [full, audit], attributes: {department: engineering, clearance: top}}\n"
            "- type: plain\n"
            "  name: basic\n"
            "  realm: internal\n"
            "  roles:\n"
            "    admin: [alice, bob]\n"
            "    guest: [carol]\n"
        )
        self.assertEqual(draft.remainder, [])
        self.assertEqual(
            options(draft, "augmenter boost"),
            {
                "type": "match",
                "realm": "internal",
                "username": "admin, root",
                "role": "superuser",
                "add_roles": "full, audit",
                "add_attributes": "department=engineering, clearance=top",
            },
        )
        self.assertEqual(options(draft, "augmenter basic")["roles"], "\n    admin: alice, bob\n    guest: carol")
        self.assertIn("roles =\n    admin: alice, bob\n    guest: carol\n", draft.text())

    def test_attack_alias_bombs_are_refused(self) -> None:
        for text in ("a: &a [x]\nb: *a\n", "a: &a\n  b: *a\n"):
            with self.assertRaisesRegex(ImportFault, r"f:2: an alias"):
                read_yaml(text, "f")
        with self.assertRaisesRegex(ImportFault, "levels deep"):
            read_yaml("[" * 500_000, "f")
        with self.assertRaisesRegex(ImportFault, "larger than"):
            read_yaml("a" * (2 << 20), "f")

    def test_what_is_no_configuration_is_told_with_its_line(self) -> None:
        for text, fault in (
            ("", "empty"),
            ("a: 1\na: 2", "f:2: 'a' is there twice"),
            ("a: [", "f:1: not YAML"),
            ("a: !!python/object/apply:os.system [x]", "means nothing"),
            ("a: !!python/name:os.system x", "means nothing"),
            ("? [a]\n: b", "f:1: a key that is no text"),
            ("--- a\n--- b", "not YAML"),
        ):
            with self.assertRaisesRegex(ImportFault, fault):
                value = read_yaml(text, "f")
                for one in value.table.values():
                    self.fail(f"{text}: {one}")

    @given(st.text(max_size=200))
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        for read in (read_yaml, read_nginx, read_xml):
            try:
                read(text, "f")
            except ImportFault as fault:
                self.assertTrue(str(fault).startswith("f:"))


class ReactorTests(TestCase):
    def test_the_manuals_example_leaves_nothing(self) -> None:
        draft = Draft()
        reactor.convert((DATA / "continuuity-site.xml").read_text(), "site.xml", draft)
        self.assertEqual(draft.remainder, [])
        self.assertEqual(options(draft, "perimeter"), {"enabled": "yes"})
        self.assertEqual(
            options(draft, "listener tokens-tls"),
            {
                "port": "10010",
                "serve": "tokens",
                "tls": "yes",
                "keystore": "/home/john/keystore.jks",
                "keystore_password": "file:keystore.password",
            },
        )
        self.assertEqual(draft.files, {"keystore.password": "password"})
        self.assertEqual(
            options(draft, "authenticator directory"),
            {
                "type": "ldap",
                "debug": "yes",
                "hostname": "example.com",
                "port": "389",
                "user_base_dn": "ou=people,dc=example",
                "user_rdn_attribute": "cn",
                "user_object_class": "inetorgperson",
                "tls": "none",
            },
        )

    def test_a_realm_file_and_the_tokens_lives(self) -> None:
        draft = site_xml(
            **{
                "security.authentication.handlerClassName": "com.continuuity.security.server.BasicAuthenticationHandler",
                "security.authentication.basic.realmfile": "/etc/realm",
                "security.realm": "acme",
                "security.auth.server.address": "gw.example.com",
                "security.server.token.expiration.ms": "1500",
                "security.server.extended.token.expiration.ms": "604800000",
                "router.forward.rule": "10000:gateway",
                "zookeeper.quorum": "z:2181",
            }
        )
        self.assertEqual(draft.remainder, [])
        self.assertEqual(options(draft, "authenticator basic"), {"type": "realmfile", "path": "/etc/realm", "realm": "acme"})
        self.assertEqual(options(draft, "perimeter"), {"realm": "acme", "announce": "http://gw.example.com:10009/token"})
        self.assertEqual(options(draft, "token"), {"lifetime": "1500ms", "extended_lifetime": "604800s"})
        self.assertEqual(options(draft, "listener router"), {"port": "10000"})
        self.assertTrue(any("zookeeper.quorum" in remark.text for remark in draft.remarks))

    def test_roles_have_jettys_default_attribute(self) -> None:
        handler = "com.continuuity.security.server.LDAPAuthenticationHandler"
        base = "security.authentication.handler."
        found = {
            "security.authentication.handlerClassName": handler,
            base + "roleBaseDn": "ou=groups",
            base + "useLdaps": "true",
            base + "bindPassword": "hush hush",
            base + "ldapsVerifyCertificate": "false",
        }
        draft = site_xml(**found)
        section = options(draft, "authenticator directory")
        self.assertEqual((section["role_name_attribute"], section["tls"]), ("roleName", "ldaps"))
        self.assertEqual((section["bind_password"], draft.files), ("file:ldap.password", {"ldap.password": "hush hush"}))
        self.assertEqual(len(draft.remainder), 1)

    def test_what_has_no_counterpart_is_left_with_its_line_and_stays_closed(self) -> None:
        draft = site_xml(
            **{
                "security.enabled": "true",
                "security.authentication.handlerClassName": "com.continuuity.security.server.JASPIAuthenticationHandler",
                "security.authentication.loginmodule.className": "com.acme.Module",
                "security.novelty": "x",
                "router.bypass.auth.regex": "/open/.*",
                "security.realm": "${name}",
            }
        )
        self.assertEqual([line.split(":")[0] for line in left(draft)], ["6", "3", "5", "4"])
        self.assertEqual(options(draft, "authenticator users"), {"type": "realmfile", "path": "users.realm"})
        self.assertEqual(draft.realms, {"users.realm": []})
        self.assertNotIn("auth", options(draft, "route reactor"))

    def test_attack_document_types_and_entities_are_refused(self) -> None:
        for text in (
            '<!DOCTYPE a [<!ENTITY b "c">]><property>&b;</property>',
            '<?xml version="1.0"?>\n<!DOCTYPE configuration SYSTEM "file:///etc/passwd"><configuration/>',
            "<property>&b;</property>",
            "</excerpt><excerpt>",
        ):
            with self.assertRaises(ImportFault):
                read_xml(text, "f")
        with self.assertRaisesRegex(ImportFault, "levels deep"):
            read_xml("<a>" * 1000, "f")

    def test_lines_are_those_of_the_file(self) -> None:
        text = '<?xml version="1.0"?>\n<configuration>\n  <property>\n    <name>a</name>\n  </property>\n</configuration>\n'
        (element,) = read_xml(text, "f")
        self.assertEqual((element.line, element.children[0].line), (3, 4))


class LogbackTests(TestCase):
    def convert(self, text: str) -> Draft:
        draft = Draft()
        logback.convert(text, "logback.xml", draft)
        return draft

    def test_the_manuals_example_leaves_nothing(self) -> None:
        draft = self.convert((DATA / "logback.xml").read_text())
        self.assertEqual(draft.remainder, [])
        self.assertEqual(options(draft, "audit"), {"path": "access.log", "format": "reactor", "roll": "daily", "keep": "30"})

    def test_what_rolls_otherwise_is_left(self) -> None:
        text = (DATA / "logback.xml").read_text()
        draft = self.convert(text.replace("%d{yyyy-MM-dd}", "%d{yyyy-ww}.gz").replace("%msg%n", "%d %msg%n"))
        self.assertEqual([line.split(":")[0] for line in left(draft)], ["4", "7"])

    def test_other_loggers_are_named(self) -> None:
        draft = self.convert((DATA / "logback.xml").read_text() + '<logger name="org.apache" level="WARN"/>')
        self.assertEqual(draft.remainder, [])
        self.assertEqual([remark.text for remark in draft.remarks], ["<logger org.apache>: not of the audit log"])

    def test_a_file_without_an_audit_log(self) -> None:
        self.assertEqual(len(self.convert('<logger name="x"/>').remainder), 1)


class HtpasswdTests(TestCase):
    GOOD = "alice:$2y$05$" + "a" * 53

    def test_bcrypt_passes_and_the_rest_is_told_what_to_do(self) -> None:
        draft = Draft()
        text = (
            f"# users\n{self.GOOD}\nbob:$apr1$abcdefgh$0123456789012345678901\ncarol:{{SHA}}abc=\nalice:x\ndave:abcdefghijklm\n"
        )
        htpasswd.convert(text, ".htpasswd", draft)
        self.assertEqual([user.name for user in draft.realms["htpasswd.realm"]], ["alice"])
        self.assertEqual([note.line for note in draft.remainder], [3, 4, 5, 6])
        self.assertTrue(all("htpasswd -B" in note.text for note in draft.remainder if note.line != 5))
        self.assertIn("MD5 (apr1)", draft.remainder[0].text)
        self.assertNotIn("0123456789", str(draft.remainder))


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

    def test_attack_logs_are_not_written_where_everybody_may_read_them(self) -> None:
        draft = location("root /www; access_log /www/a/b/access.log;", "/a/b")
        self.assertEqual(options(draft, "route a-b")["audit"], "access.log")

    def test_attack_what_restricts_and_is_not_understood_closes_the_route(self) -> None:
        for body in ("auth_jwt site;", "satisfy any;", "if ($x) { return 403; }", "limit_except GET { deny all; }"):
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

    def test_attack_a_file_that_is_not_for_everybody_stays_closed(self) -> None:
        draft = conf("server { root /w; location / { index x.html; } location = /secret.html { auth_request /q; } }")
        self.assertEqual(len(draft.remainder), 1)
        section = options(draft, "route secret.html")
        self.assertEqual((section["path"], section["networks"]), ("/secret.html", "255.255.255.255/32"))

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

    def test_secrets_of_directives_are_not_told(self) -> None:
        draft = location('proxy_set_header Authorization "Basic c2VjcmV0"; proxy_pass http://user:c2VjcmV0@b;')
        self.assertEqual(len(draft.remainder), 2)
        self.assertNotIn("c2VjcmV0", draft.text() + str(draft.remarks))

    def test_networks(self) -> None:
        for body, networks in (
            ("allow 10.0.0.0/8; allow 192.0.2.1; deny all;", "10.0.0.0/8, 192.0.2.1"),
            ("deny all;", "255.255.255.255/32"),
            ("deny 192.0.2.1; allow all;", "255.255.255.255/32"),
        ):
            draft = location(f"proxy_pass http://b:1;\n{body}")
            self.assertEqual(options(draft, "route a")["networks"], networks)
        self.assertEqual(len(draft.remainder), 1)

    def test_an_open_proxy_stays_open_and_is_told(self) -> None:
        draft = location("proxy_pass http://b:1;")
        self.assertEqual(options(draft, "route a"), {"path": "/a", "upstream": "a", "auth": "none"})
        self.assertEqual([remark.text for remark in draft.remarks], ["location /a is open to everybody, as it is in nginx"])

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
        self.assertEqual(left(draft), ["5: proxy_set_header X-Key"])

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
        self.assertEqual([line.split(":")[0] for line in left(draft)], ["1", "5", "7", "4", "6"])

    def test_what_is_no_configuration_is_told_with_its_line(self) -> None:
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


class DraftTests(TestCase):
    def test_values_that_a_site_ini_cannot_hold_are_left(self) -> None:
        for value in ("a ; b", "a #b", "; a", " a", "a\nb", "", "a\x00"):
            self.assertTrue(unfit(value), value)
        self.assertEqual(unfit("500 /a\n    502 /b"), "")
        draft = yaml('jwt: {iss: "env:HOME", aud: "a ; b"}')
        self.assertEqual(len(draft.remainder), 2)
        self.assertNotIn("env:HOME", draft.text())

    def test_sources_that_contradict_each_other(self) -> None:
        draft = yaml("jwt: {iss: a}")
        authotron.convert("jwt: {iss: b}", "other.yaml", draft, ABILITIES)
        self.assertEqual([str(note) for note in draft.remainder], ["other.yaml:1: jwt.iss: [token] issuer is a already"])

    def test_nobody_is_let_in_where_no_source_knows_users(self) -> None:
        draft = location("auth_request /auth; proxy_pass http://b:1;")
        combine.complete(draft)
        self.assertEqual(options(draft, "authenticator users"), {"type": "realmfile", "path": "users.realm"})
        self.assertEqual(draft.realms, {"users.realm": []})

    @given(st.text())
    def test_names_of_sections(self, text: str) -> None:
        self.assertRegex(plain_name(text), r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")

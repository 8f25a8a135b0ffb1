"""Attacks with headers, against a running gateway: what the client claims about itself, about others and about its connection."""

from __future__ import annotations

import base64
import json
from typing import ClassVar
from urllib.parse import unquote

import jwt

from tests.integration.harness import site
from tests.integration.stage import StageCase
from tests.integration.upstreams import Connection, Received
from tests.integration.wire import Response, basic

SECRET = "0123456789abcdef0123456789abcdef"

HOSTILE = {
    "José": "Jos\\u00e9",
    "%(bindpw)s": "%(bindpw)s",
    "{env.HOME}": "{env.HOME}",
    "{username}": "{username}",
    "${HOME}": "${HOME}",
    "env%3AHOME": "env%3AHOME",
    'quo"te\\': 'quo"te\\\\',
    "two words": "two\\ words",
    "a,admin": "a,admin",
    "日本": "日本",
    "-": "-",
    "%0d%0aX-Auth-Roles%3a admin": "%0d%0aX-Auth-Roles%3a\\ admin",
}
"""User names, and their form in a realm file."""

FILES = {
    "users.realm": "alice: secret,admin,ops\nbob: hunter2\ncarol: pw,\\u0430dmin,%2cadmin,two words,{env.HOME},%(x)s,r\\u00f4le\n"
    + "dave: pw,a\\,admin\n"
    + "".join(f"{written}: pw,user\n" for written in HOSTILE.values()),
}

ROUTES = """\
[upstream service]
servers = <service>

[upstream scripted]
servers = <scripted>

[route sentinel]
host = sentinel.test
path = /
upstream = service
auth = none

[route open]
path = /pub
upstream = service
auth = none

[route optional]
path = /opt
upstream = service
auth = optional

[route secret]
path = /in
upstream = service

[route admin]
path = /admin
upstream = service
allow = role:admin

[route renamed]
path = /renamed
upstream = service
identity_username_header = Remote-User
identity_realm_header = Remote-Domain
identity_roles_header = Remote-Groups

[route assertion]
path = /jwt
upstream = service
identity = jwt

[route silent]
path = /silent
upstream = service
identity = none

[route method]
path = /readonly
upstream = service
auth = none
allow = method:GET

[route network]
path = /net
upstream = service
auth = none
networks = 10.0.0.0/8, 2001:db8::/32

[route loopback]
path = /loopback
upstream = service
auth = none
networks = 127.0.0.0/8

[route scripted]
path = /scripted
upstream = scripted
"""

TOKEN = f"[token]\nalgorithm = HS256\nsecret = {SECRET}"

REDIRECT = "[listener redirect]\nport = @redirect@\ninterface = 127.0.0.1\nserve = redirect\nredirect_to = 9443\n"

ALICE = basic("alice", "secret")
BOB = basic("bob", "hunter2")


def get(target: str, *lines: str | bytes, method: str = "GET", host: str = "gateway.test", body: bytes = b"") -> bytes:
    parts = [line if isinstance(line, bytes) else line.encode("iso-8859-1") for line in lines]
    return b"\r\n".join([f"{method} {target} HTTP/1.1".encode(), f"Host: {host}".encode(), *parts, b"", body])


def _without_id(received: Received) -> list[tuple[str, str]]:
    return [field for field in received.fields if field[0] != "x-request-id"]


def identity(received: Received, *names: str) -> list[tuple[str, str]]:
    """The headers about the client's identity, and headers that a server could take for them."""
    wanted = names or ("username", "realm", "roles", "user", "domain", "groups")
    return [(name, value) for name, value in received.fields if any(word in name for word in wanted)]


class UntrustedPeer(StageCase):
    """With the default, no proxy is trusted."""

    CONFIG = site(ROUTES, extra=f"{REDIRECT}\n{TOKEN}")
    FILES: ClassVar = FILES

    # -- forwarded headers

    def test_attack_08_forwarded_uri_on_a_protected_path(self) -> None:
        """Neither the rule nor the upstream uses a path, method or host from a header."""
        lies = (
            "X-Forwarded-Uri: /pub",
            "X-Original-Uri: /pub",
            "X-Original-Url: /pub",
            "X-Rewrite-Url: /pub",
            "X_Original_URL: /pub",
        )
        hosts = ("X-Forwarded-Host: sentinel.test", "Forwarded: host=sentinel.test", "X-Host: sentinel.test")
        methods = ("X-Forwarded-Method: OPTIONS", "X-HTTP-Method-Override: OPTIONS")
        for line in (*lies, *hosts, *methods):
            self.refused(get("/in", line), 401, closes=False)
            self.refused(get("/admin", line, BOB), 403, closes=False)
        received = self.forwarded(get("/pub/x", *lies, "x-forwarded-uri: /a", "X-FORWARDED-METHOD: PUT"))
        self.assertEqual(received.line, "GET /pub/x HTTP/1.1")
        self.assertNotIn(b"/pub\r\n", received.head)
        self.assertEqual(identity(received, "uri", "url", "method"), [])
        # if a rule depends on the method, no service may get another method
        for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "x_method_override"):
            self.assertEqual(identity(self.forwarded(get("/readonly", f"{name}: DELETE")), "method"), [])
        self.refused(get("/readonly", "X-HTTP-Method-Override: GET", method="DELETE"), 403, closes=False)

    def test_attack_100_the_id_of_another_request(self) -> None:
        """The service and the client see an id that the client has not chosen."""
        chosen = "0af7651916cd43dd8448eb211c80319c"
        for name in ("X-Request-ID", "x-request-id", "X_Request_ID"):
            received = self.forwarded(get("/pub/x", f"{name}: {chosen}"))
            self.assertRegex(received.get("x-request-id") or "", r"\A[0-9a-f]{32}\Z")
            self.assertNotIn(chosen.encode(), received.head)
        for target, status in (("/in", 401), ("/net", 403), ("/pub/%2e%2e/x", 400)):
            response = self.refused(get(target, f"X-Request-ID: {chosen}", 'X-Request-ID: "><script>'), status, closes=False)
            request_id = response.get("x-request-id") or ""
            self.assertRegex(request_id, r"\A[0-9a-f]{32}\Z")
            self.assertNotEqual(request_id, chosen)
            if status != 401:
                self.assertEqual(json.loads(response.body)["request_id"], request_id)

    def test_attack_09_spoofed_forwarded_fields(self) -> None:
        """The client's claims about its address, scheme, port, prefix and host change nothing and reach no service."""
        lies = (
            *(
                "X-Forwarded-For: 10.0.0.1",
                "X-Forwarded-For: 10.9.9.9, 10.0.0.1",
                "X_Forwarded_For: 10.0.0.1",
                "X-Real-IP: 10.0.0.1",
            ),
            *(
                "X-Forwarded-Proto: https",
                "X-Forwarded-Ssl: on",
                "X-Forwarded-Port: 1",
                "X-Forwarded-Prefix: /evil",
                "x-real_ip: 1",
            ),
            *("X-Forwarded-Host: evil.test", "X-Forwarded-Server: evil.test", "X.Forwarded.For: 10.0.0.1"),
            *('Forwarded: for=10.0.0.1;proto=https;host="evil.test"', "X-Forwarded-User: admin", "X-Forwarded-Groups: admin"),
        )
        plain = self.forwarded(get("/pub/x"))
        received = self.forwarded(get("/pub/x", *lies))
        self.assertEqual(_without_id(received), _without_id(plain))
        self.assertEqual(received.get("x-forwarded-for"), "127.0.0.1")
        self.assertEqual(received.get("x-real-ip"), "127.0.0.1")
        self.assertEqual(received.get("x-forwarded-proto"), "http")
        self.assertEqual(received.get("x-forwarded-host"), "gateway.test")
        # rules
        self.refused(get("/net", *lies), 403, closes=False)
        self.assertEqual(self.raw(get("/loopback", *lies)).status, 200)
        # auth_uri, and the claims are nowhere in the answer
        honest, spoofed = self.raw(get("/in")), self.raw(get("/in", *lies, host="evil.test"))
        self.assertEqual((spoofed.status, spoofed.body), (401, honest.body))
        self.assertNotIn(b"evil", spoofed.head)
        # Location
        answer = self.raw(get("/a?b", *lies), "redirect")
        self.assertEqual((answer.status, answer.get("location")), (301, "https://gateway.test:9443/a?b"))
        # the audited address
        lines = self.served.audit()
        self.assertGreater(len(lines), 6)
        self.assertEqual([line for line in lines if not line.startswith("127.0.0.1 ")], [])

    # -- identity headers

    def test_attack_11_absent_value_is_not_the_clients(self) -> None:
        """A user without roles cannot add roles, and a client without a user name cannot add one."""
        claims = (
            "X-Auth-Roles: admin",
            "X-Auth-Username: root",
            "X-Auth-Groups: admin",
            "X-Auth-Email: a@b",
            "X-Auth-Realm: local",
        )
        received = self.forwarded(get("/in", BOB, *claims))
        self.assertEqual(identity(received, "x-auth"), [("x-auth-username", "bob"), ("x-auth-realm", "local")])
        for path in ("/pub", "/opt"):
            self.assertEqual(identity(self.forwarded(get(path, *claims)), "x-auth"), [])
        self.assertEqual(identity(self.forwarded(get("/silent", ALICE, *claims)), "x-auth"), [])
        self.refused(get("/admin", BOB, *claims), 403, closes=False)
        received = self.forwarded(get("/opt", ALICE, "X-Auth-Roles: root"))
        self.assertEqual(received.get("x-auth-roles"), "admin,ops")

    def test_attack_12_aliases_of_identity_headers(self) -> None:
        """Spellings that a server could treat as equal to the gateway's headers, and doubles, are dropped on every route."""
        spellings = (
            "X_Auth_Username",
            "X.Auth.Username",
            "x-auth_username",
            "X-AUTH-USERNAME",
            "X~Auth~Username",
            "x!auth-username",
        )
        more = ("X_Auth_Roles", "x-auth-roles", "X_Auth_Realm", "X|Auth|Roles", "X-Auth-Request-User", "X_Remote_User")
        renamed = ("Remote-User", "remote_user", "REMOTE.USER", "Remote-Groups", "Remote_Domain")
        lines = tuple(f"{name}: root" for name in (*spellings, *more, *renamed) for _ in range(2))
        received = self.forwarded(get("/in", BOB, *lines))
        self.assertEqual(identity(received), [("x-auth-username", "bob"), ("x-auth-realm", "local")])
        received = self.forwarded(get("/renamed", ALICE, *lines))
        expected = [("remote-user", "alice"), ("remote-domain", "local"), ("remote-groups", "admin,ops")]
        self.assertEqual(identity(received), expected)
        for path in ("/pub", "/opt"):
            received = self.forwarded(get(path, *lines))
            self.assertEqual(identity(received), [])
            self.assertNotIn(b"root", received.head)
        for line in ("X-Auth-Username : root", "X-Auth-Username\t: root", " X-Auth-Username: root", "X-Auth\xadUsername: root"):
            self.refused(get("/in", BOB, line))

    def test_attack_55_identity_headers_of_other_proxies(self) -> None:
        """They are dropped whatever the names of the route's own headers are, in HTTP/1.0 and in trailers too."""
        names = ("X-Remote-User", "Remote-User", "REMOTE_USER", "X-Forwarded-User", "X-Auth-Request-User", "x_webauth_user")
        lines = tuple(f"{name}: root" for name in (*names, "OIDC_CLAIM_sub", "Ssl-Client-Verify"))
        for path in ("/in", "/pub", "/opt"):
            for request in (get(path, BOB, *lines), get(path, BOB, *lines).replace(b"HTTP/1.1", b"HTTP/1.0")):
                self.assertNotIn(b"root", self.forwarded(request).head)
            body = b"0\r\n" + "".join(f"{line}\r\n" for line in (*lines, "X-Sum: 1")).encode() + b"\r\n"
            request = get(path, BOB, "Transfer-Encoding: chunked").replace(b"GET", b"POST", 1) + body
            received = self.forwarded(request)
            self.assertNotIn(b"root", received.head + received.raw_body)
            self.assertIn(b"x-sum: 1", received.raw_body.lower())

    def test_a_token_of_the_services_own_passes(self) -> None:
        for path in ("/in", "/pub"):
            received = self.forwarded(get(path, BOB, "X-Auth-Token: gAAAA", "X-Subject-Token: x"))
            self.assertEqual((received.get("x-auth-token"), received.get("x-subject-token")), ("gAAAA", "x"))

    def test_attack_13_hop_by_hop_removal(self) -> None:
        """The gateway's headers arrive although Connection lists them. Other headers that it lists do not arrive."""
        ours = (
            "x-auth-username, X-Auth-Realm, x-auth-roles, x-forwarded-for, x-real-ip, x-forwarded-proto, x-forwarded-host, host"
        )
        for value in (
            f"close, {ours}",
            f"keep-alive,{ours}",
            f"{ours}, content-length, transfer-encoding, authorization",
            "x-auth-roles",
        ):
            received = self.forwarded(get("/in", ALICE, f"Connection: {value}", "X-Mine: 1"))
            sent = [received.get(f"x-auth-{name}") for name in ("username", "realm", "roles")]
            self.assertEqual(sent, ["alice", "local", "admin,ops"])
            self.assertEqual((received.get("x-forwarded-for"), received.get("x-real-ip")), ("127.0.0.1", "127.0.0.1"))
            self.assertEqual((received.get("host"), received.get("x-forwarded-proto")), ("gateway.test", "http"))
            self.assertEqual((received.get("connection"), received.get("x-mine")), (None, "1"))
        received = self.forwarded(
            get("/in", ALICE, "Connection: x-mine, remote-user", "X-Mine: 1", "TE: trailers", "Keep-Alive: a")
        )
        self.assertEqual([received.get(name) for name in ("x-mine", "te", "keep-alive", "connection")], [None] * 4)
        received = self.forwarded(get("/renamed", ALICE, "Connection: remote-user, Remote-Groups"))
        self.assertEqual((received.get("remote-user"), received.get("remote-groups")), ("alice", "admin,ops"))
        # the length belongs to the framing, even if Connection lists it
        body = get("/in", ALICE, "Connection: close, content-length", "Content-Length: 3", method="POST", body=b"abc")
        self.assertEqual(self.forwarded(body).body, b"abc")
        received = self.forwarded(get("/jwt", ALICE, "Connection: authorization"))
        self.assertTrue((received.get("authorization") or "").startswith("Bearer "))

        def script(connection: Connection) -> None:
            connection.request()
            connection.send(b"HTTP/1.1 200 OK\r\nConnection: close, X-Internal\r\nX-Internal: 1\r\nX-Mine: 2\r\n")
            connection.send(b"Keep-Alive: timeout=5\r\nProxy-Connection: close\r\nContent-Length: 0\r\n\r\n")

        self.play(script)
        response = self.raw(get("/scripted", ALICE))
        hops = [response.get(name) for name in ("x-internal", "keep-alive", "proxy-connection", "connection")]
        self.assertEqual((hops, response.get("x-mine")), ([None] * 4, "2"))

    def test_attack_14_identity_in_a_trailer(self) -> None:
        """Trailers carry no identity, address, credential or framing, in either direction."""
        ours = (
            "X-Auth-Username: root",
            "x_auth_roles: admin",
            "Remote-User: root",
            "X-Forwarded-For: 1.2.3.4",
            "Forwarded: for=1",
        )
        framing = ("Content-Length: 5", "Transfer-Encoding: chunked", "Host: evil.test", "Connection: close", "Trailer: a")
        secret = ("Authorization: Basic eDp5", "Cookie: a=b", "Set-Cookie: a=b", "X-Real-IP: 1.2.3.4", "Content-Type: a/b")
        trailer = "".join(f"{line}\r\n" for line in (*ours, *framing, *secret, "X-Checksum: 1")).encode()
        chunked = b"3\r\nabc\r\n0\r\n" + trailer + b"\r\n"
        request = get("/in", BOB, "Transfer-Encoding: chunked", "Trailer: X-Auth-Username", method="POST", body=chunked)
        received = self.forwarded(request)
        self.assertEqual(received.raw_body, b"3\r\nabc\r\n0\r\nx-checksum: 1\r\n\r\n")
        self.assertEqual(identity(received, "x-auth"), [("x-auth-username", "bob"), ("x-auth-realm", "local")])

        def script(connection: Connection) -> None:
            connection.request()
            connection.send(b"HTTP/1.1 200 OK\r\nX-Auth-Username: up\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked)

        self.play(script)
        response = self.raw(get("/scripted", BOB))
        self.assertEqual((response.body, response.trailers), (b"abc", (("x-checksum", "1"),)))
        self.assertIsNone(response.get("x-auth-username"))

    def token(self, **claims: object) -> str:
        """A token of alice with other claims, signed like a token of the gateway."""
        issued = json.loads(self.raw(get("/token", ALICE)).body)["access_token"]
        header = jwt.get_unverified_header(issued)
        payload = jwt.decode(issued, options={"verify_signature": False})
        headers = {"typ": header["typ"], "kid": header["kid"]}
        return "Authorization: Bearer " + jwt.encode({**payload, **claims}, SECRET, algorithm="HS256", headers=headers)

    def test_attack_15_delimiters_in_names(self) -> None:
        """No name creates a second role, header or line, however it is spelt, and each name can be decoded again."""
        for name in HOSTILE:
            received = self.forwarded(get("/in", basic(name, "pw")))
            self.assertEqual(
                [key for key, _ in identity(received, "x-auth")], ["x-auth-username", "x-auth-realm", "x-auth-roles"]
            )
            value = received.get("x-auth-username") or ""
            self.assertTrue(value.isascii())
            self.assertEqual(unquote(value), name)
            self.assertEqual(received.get("x-auth-roles"), "user")
        received = self.forwarded(get("/in", basic("carol", "pw")))
        roles = (received.get("x-auth-roles") or "").split(",")
        self.assertEqual(
            [unquote(role) for role in roles], ["\u0430dmin", "%2cadmin", "two words", "{env.HOME}", "%(x)s", "rôle"]
        )
        self.refused(get("/admin", basic("carol", "pw")), 403, closes=False)
        # in ISO-8859-1, which old clients send, it is the same user
        latin = b"Authorization: Basic " + base64.b64encode("José:pw".encode("iso-8859-1"))
        self.assertEqual(self.forwarded(get("/in", latin)).get("x-auth-username"), "Jos%C3%A9")
        # in a realm file the comma always separates roles, and no escape changes that; the next test has other sources
        self.assertEqual(self.forwarded(get("/in", basic("dave", "pw"))).get("x-auth-roles"), "a,admin")
        lines = self.served.audit()
        users = [line.split(" ")[1] for line in lines]
        for shown in ("José", "%(bindpw)s", r"quo\x22te\x5c", r"two\x20words", "日本", r"\x2d"):
            self.assertIn(shown, users)

    def test_attack_15_delimiters_from_elsewhere(self) -> None:
        """A source that accepts every character (here a signed token) creates no second role, header or line either."""
        names = ("a\r\nX-Auth-Roles: admin", "a\nb", "a\x00b", "a\x85b", "a\u2028b", " a ", "\x1b[31m", "a,b")
        for name in names:
            response = self.raw(get("/in", self.token(username=name, roles=["a,admin", "b\r\nX-Auth-Roles: admin", " c "])))
            if response.status != 200:
                self.assertEqual(response.status, 401, name)
                continue
            received = self.service.requests[-1]
            self.assertEqual(
                [key for key, _ in identity(received, "x-auth")], ["x-auth-username", "x-auth-realm", "x-auth-roles"]
            )
            value = received.get("x-auth-username") or ""
            self.assertTrue(value.isascii() and value.isprintable())
            self.assertEqual(unquote(value), name)
            roles = (received.get("x-auth-roles") or "").split(",")
            self.assertEqual([unquote(role) for role in roles], ["a,admin", "b\r\nX-Auth-Roles: admin", " c "])
            # one line, without invisible characters
            line = self.served.audit()[-1]
            self.assertTrue(line.isprintable(), line)
            self.assertRegex(line, r'^127\.0\.0\.1 [^ ]+ \[[^]]+\] "GET /in HTTP/1\.1" 200 \d+$')
        self.refused(get("/admin", self.token(roles=["a,admin"])), 403, closes=False)

    # -- leaks

    def test_attack_16_credentials_leak_nowhere(self) -> None:
        """The client's credentials reach no upstream, no error page, no redirect and no log."""
        password = "correct-horse-battery"
        wrong = base64.b64encode(f"alice:{password}".encode()).decode()
        right = ALICE.rpartition(" ")[2]
        bearer = json.loads(self.raw(get("/token", ALICE)).body)["access_token"]
        secrets = (right, wrong, bearer, password, bearer.rpartition(".")[2])
        for path in ("/in", "/opt", "/pub", "/renamed", "/jwt", "/silent"):
            for line in (ALICE, f"Authorization: Bearer {bearer}"):
                received = self.forwarded(
                    get(path, line, f"Proxy-Authorization: Basic {right}", f"proxy_authorization: Basic {right}")
                )
                for secret in secrets:
                    self.assertNotIn(secret.encode(), received.head)
                if path != "/jwt":
                    self.assertIsNone(received.get("authorization"))
        assertion = (self.forwarded(get("/jwt", ALICE)).get("authorization") or "").rpartition(" ")[2]
        # the assertion is for the upstream, and the gateway does not accept it (attack 36)
        self.refused(get("/in", f"Authorization: Bearer {assertion}"), 401, closes=False)
        answers: list[Response] = []
        for accept in ("application/json", "text/html"):
            for lines in (
                (f"Authorization: Basic {wrong}",),
                (f"Authorization: Bearer {bearer}x",),
                (f"Authorization: Basic {right}", f"Authorization: Bearer {bearer}"),
                (f"Authorization: Bearer {bearer} {right}",),
                (f"Authorization : Basic {wrong}",),
                (f"Cookie: session={wrong}",),
            ):
                answers.append(self.raw(get("/in", f"Accept: {accept}", *lines)))
            answers.append(self.raw(get("/admin", f"Accept: {accept}", f"Cookie: session={wrong}", BOB)))
            answers.append(self.raw(get("/nowhere", f"Accept: {accept}", ALICE, f"Cookie: s={wrong}")))
            answers.append(self.raw(get("/x", f"Accept: {accept}", ALICE, f"Cookie: s={wrong}"), "redirect"))
        self.assertEqual({answer.status for answer in answers}, {301, 400, 401, 403, 404})
        for answer in answers:
            for secret in secrets:
                self.assertNotIn(secret.encode(), answer.head + answer.body)
            self.assertIsNone(answer.get("set-cookie"))
        self.raw(get(f"/in?access_token={bearer}&password={password}"))
        logged = self.served.log + "\n".join(self.served.audit())
        for secret in secrets:
            self.assertNotIn(secret, logged)

    def test_attack_16_the_application_keeps_its_own_cookies(self) -> None:
        """Cookies of the service pass unchanged in both directions: the gateway itself has no cookies."""

        def script(connection: Connection) -> None:
            connection.request()
            connection.send(b"HTTP/1.1 200 OK\r\nSet-Cookie: app=2; Path=/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        upstream = self.play(script)
        response = self.raw(get("/scripted", ALICE, "Cookie: app=1"))
        self.assertEqual(response.get_all("set-cookie"), ["app=2; Path=/"])
        self.assertEqual(upstream.requests[-1].get("cookie"), "app=1")

    # -- expansion

    def test_attack_17_double_expansion(self) -> None:
        """Placeholders in names, paths and headers are text: they are not expanded in a header, the audit log or the log."""
        names = ("%(bindpw)s", "{env.HOME}", "{username}", "${HOME}", "env%3AHOME")
        for name in names:
            target = "/in/{log_failure}/$%7BHOME%7D?x={username}&y=%25(bindpw)s&z={0}"
            received = self.forwarded(get(target, basic(name, "pw"), "User-Agent: %(bindpw)s{env.HOME}{0}%s"))
            self.assertEqual(unquote(received.get("x-auth-username") or ""), name)
            self.assertEqual(received.line, f"GET {target} HTTP/1.1")
            self.assertEqual(received.get("user-agent"), "%(bindpw)s{env.HOME}{0}%s")
            self.assertIn(f" {name} [", self.served.audit()[-1])
            self.assertIn(f'"GET {target} HTTP/1.1" 200 ', self.served.audit()[-1])
            # also not for an error, which may be logged
            self.refused(get("/in", basic(name, "%(bindpw)s{env.HOME}")), 401, closes=False)
            self.refused(get("/admin/{env.HOME}", basic(name, "pw")), 403, closes=False)
        self.assertEqual(self.raw(get("/{env.HOME}/%25(x)s{0}")).status, 404)


class TrustedPeer(StageCase):
    """Behind a trusted proxy on this machine."""

    CONFIG = site(ROUTES, perimeter="trusted_proxies = 127.0.0.0/8, 192.168.0.0/16", extra=TOKEN).replace(
        "interface = 127.0.0.1", ""
    )
    FILES: ClassVar = FILES

    def test_the_id_of_a_trusted_proxy_is_kept(self) -> None:
        for sent, kept in (("proxy-1", True), ('a"b', False), ("a b", False), ("x" * 129, False)):
            received = self.forwarded(get("/pub", f"X-Request-ID: {sent}"))
            self.assertEqual(received.get("x-request-id") == sent, kept, sent)
            response = self.refused(get("/net", f"X-Request-ID: {sent}"), 403, closes=False)
            self.assertEqual(response.get("x-request-id") == sent, kept, sent)
        twice = self.forwarded(get("/pub", "X-Request-ID: one", "X-Request-ID: two"))
        self.assertNotIn(twice.get("x-request-id"), ("one", "two"))

    def test_attack_09_only_what_a_trusted_proxy_vouches_for(self) -> None:
        """The chain is trusted from its right end through all trusted proxies, and no address further."""
        cases = {
            "203.0.113.7": "203.0.113.7",
            "10.0.0.1, 203.0.113.7": "203.0.113.7",
            "10.0.0.1, 203.0.113.7, 192.168.3.4": "203.0.113.7",
            "10.0.0.1, garbage, 192.168.3.4": "192.168.3.4",
            "10.0.0.1, 203.0.113.7:1234": "203.0.113.7",
            "10.0.0.1, 203.0.113.7:": "127.0.0.1",
            "unknown": "127.0.0.1",
            "": "127.0.0.1",
            "10.0.0.1,": "127.0.0.1",
        }
        for chain, address in cases.items():
            received = self.forwarded(get("/pub", f"X-Forwarded-For: {chain}", "X-Real-IP: 10.0.0.1", "Forwarded: for=10.0.0.1"))
            self.assertEqual(received.get("x-real-ip"), address, chain)
            self.assertTrue(self.served.audit()[-1].startswith(f"{address} "), chain)
            # no untrusted address arrives, even at the left end, which some services read
            self.assertNotIn(b"10.0.0.1", received.head, chain)
            first = (received.get("x-forwarded-for") or "").split(",")[0]
            self.assertEqual(first, address, chain)
            self.refused(get("/net", f"X-Forwarded-For: {chain}"), 403, closes=False)
        # two headers are one list, in their order
        received = self.forwarded(get("/pub", "X-Forwarded-For: 10.0.0.1", "X-Forwarded-For: 203.0.113.7, 192.168.3.4"))
        self.assertEqual(received.get("x-forwarded-for"), "203.0.113.7, 192.168.3.4, 127.0.0.1")
        # host, port and prefix are passed on from a trusted proxy, and decide nothing
        told = ("X-Forwarded-Host: sentinel.test", "X-Forwarded-Port: 1", "X-Forwarded-Prefix: /outer", "X-Forwarded-Uri: /pub")
        self.refused(get("/in", "X-Forwarded-For: 203.0.113.7", *told), 401, closes=False)
        received = self.forwarded(get("/pub", "X-Forwarded-For: 203.0.113.7", *told))
        self.assertEqual((received.get("x-forwarded-host"), identity(received, "uri")), ("sentinel.test", []))
        self.assertEqual((received.get("x-forwarded-port"), received.get("x-forwarded-prefix")), ("1", "/outer"))
        # and an address may have a port
        received = self.forwarded(get("/pub", "X-Forwarded-For: 203.0.113.7:51234"))
        self.assertEqual(received.get("x-forwarded-for"), "203.0.113.7, 127.0.0.1")
        self.assertTrue(self.served.audit()[-1].startswith("203.0.113.7 "))

    def test_attack_09_scheme_from_a_trusted_proxy(self) -> None:
        """https is passed on from a trusted proxy, for every client address. A value that is no scheme is not."""
        for address in ("203.0.113.7", "127.0.0.1"):
            for value, expected in (
                ("https", "https"),
                ("HTTPS", "https"),
                ("http", "http"),
                ("gopher", "http"),
                ("https, x", "http"),
            ):
                received = self.forwarded(get("/pub", f"X-Forwarded-For: {address}", f"X-Forwarded-Proto: {value}"))
                self.assertEqual((received.get("x-forwarded-proto") or "").lower(), expected, (address, value))

    def test_attack_10_mapped_addresses(self) -> None:
        """An IPv4-mapped IPv6 address counts as the IPv4 address, from the header and from the socket."""
        for mapped in ("::ffff:10.0.0.1", "::FFFF:10.0.0.1", "::ffff:0a00:0001", "0:0:0:0:0:ffff:10.0.0.1"):
            received = self.forwarded(get("/net", f"X-Forwarded-For: {mapped}"))
            self.assertEqual(received.get("x-real-ip"), "10.0.0.1")
            self.assertTrue(self.served.audit()[-1].startswith("10.0.0.1 "))
        self.assertEqual(self.forwarded(get("/net", "X-Forwarded-For: 2001:DB8:0::1")).get("x-real-ip"), "2001:db8::1")
        for other in (
            "::ffff:11.0.0.1",
            "11.0.0.1",
            "::10.0.0.1",
            "2001:db9::1",
            "fe80::1%eth0",
            "[2001:db8::1",
            "010.0.0.1",
            "0xa.0.0.1",
        ):
            self.refused(get("/net", f"X-Forwarded-For: {other}"), 403, closes=False)
        # it is compared with the trusted networks too
        received = self.forwarded(get("/net", "X-Forwarded-For: 10.1.1.1, ::ffff:192.168.1.1"))
        self.assertEqual(received.get("x-real-ip"), "10.1.1.1")
        # a listener on all interfaces gets IPv4 clients with mapped addresses
        self.assertEqual(self.raw(get("/loopback")).status, 200)
        self.assertTrue(self.served.audit()[-1].startswith("127.0.0.1 "))


class DroppedHeadersTests(StageCase):
    """Headers that a service trusts, and that this site sets nowhere."""

    CONFIG = site(
        "[upstream service]\nservers = <service>\n[route open]\npath = /\nupstream = service\nauth = none\n"
        "[route secret]\nhost = **.sites.test\npath = /\nupstream = service\n",
        perimeter="identity_headers = default, X-Team, Remote-Team",
    )
    FILES: ClassVar = FILES

    def test_attack_72_a_header_that_a_service_trusts(self) -> None:
        """No client can send it, in any spelling."""
        for target, lines, host in (
            ("/pub", (), "gateway.test"),
            ("/x", (BOB,), "a.sites.test"),
            ("/x", (BOB,), "a.b.sites.test"),
        ):
            lies = ("X-Email: root@example.com", "x_team: root", "X.Team: root", "Remote-Team: root", "REMOTE_TEAM: root")
            received = self.forwarded(get(target, *lies, *lines, host=host))
            self.assertEqual(identity(received, "email", "team"), [])

    def test_attack_73_a_name_below_a_protected_host(self) -> None:
        for host in ("a.sites.test", "A.B.Sites.Test.:80", "x.y.z.sites.test"):
            self.refused(get("/pub", host=host), 401, closes=False)
        for host in ("sites.test", "asites.test", "a.sites.test.evil.test"):
            self.assertEqual(self.raw(get("/pub", host=host)).status, 200, host)

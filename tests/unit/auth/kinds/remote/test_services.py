"""ecmwf-api and efas-api against a correct and a faulty service."""

from __future__ import annotations

import gzip
import json
import ssl
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater
from twisted.logger import capturedLogs
from zope.interface.verify import verifyObject

from perimeter.auth.registry import authenticator_factories
from perimeter.errors import Overloaded, StartupError, Unavailable, Undecided
from perimeter.model import BasicCredentials
from perimeter.net.contexts import ServerIdentity
from perimeter.plugin.authenticator import IAuthenticator, IAuthenticatorFactory, ISchemes
from perimeter.web_client import client, pooled
from tests.integration.netkit import identity, pem
from tests.integration.upstreams import Connection, Script
from tests.unit.doubles.remote import REQUEST, RemoteCase, answering

ALICE = b'{"uid": "alice", "email": "alice@example.int"}'
EFAS = {"username": "alice", "roles": ["viewer", "a,admin"], "email": "alice@example.int"}

TOKEN = "abc+def/ghi~jkl-=="


class WhoAmITests(RemoteCase):
    async def test_ecmwf_api_knows_a_user(self) -> None:
        server = self.server(answering(200, ALICE))
        found = await self.ask(self.build("ecmwf-api", f"uri = {server.url}/v1"), "secret-token")
        assert found is not None
        self.assertEqual((found.username, found.realm, found.roles), ("alice", "elsewhere", ()))
        self.assertEqual(found.attributes, {"ecmwf-email": "alice@example.int"})
        self.assertEqual(server.requests[0].line, "GET /v1/who-am-i?token=secret-token HTTP/1.1")

    async def test_efas_api_knows_a_user_and_roles(self) -> None:
        server = self.server(answering(200, json.dumps(EFAS).encode()))
        found = await self.ask(self.build("efas-api", f"uri = {server.url}/user"), "secret-token")
        assert found is not None
        self.assertEqual((found.username, found.roles), ("alice", ("viewer", "a,admin")))
        self.assertEqual(found.attributes, {"email": "alice@example.int"})
        self.assertEqual(server.requests[0].line, "GET /user?token=secret-token HTTP/1.1")

    async def test_efas_api_needs_only_a_name(self) -> None:
        server = self.server(answering(200, b'{"username": "alice"}'))
        found = await self.ask(self.build("efas-api", f"uri = {server.url}/user?v=2"), "t")
        assert found is not None
        self.assertEqual((found.roles, found.attributes), ((), {}))
        self.assertEqual(server.requests[0].line, "GET /user?v=2&token=t HTTP/1.1")

    async def test_fault_of_the_original_the_token_is_escaped_in_the_query(self) -> None:
        server = self.server(answering(200, ALICE))
        await self.ask(self.build("ecmwf-api", f"uri = {server.url}/"), TOKEN)
        server_of_efas = self.server(answering(200, b'{"username": "alice"}'))
        await self.ask(self.build("efas-api", f"uri = {server_of_efas.url}/"), TOKEN)
        self.assertEqual(server.requests[0].line, "GET /who-am-i?token=abc%2Bdef%2Fghi~jkl-%3D%3D HTTP/1.1")
        self.assertEqual(server_of_efas.requests[0].line, "GET /?token=abc%2Bdef%2Fghi~jkl-%3D%3D HTTP/1.1")
        self.assertEqual(client.with_query("http://x", "token", "a&uid=root#é"), "http://x?token=a%26uid%3Droot%23%C3%A9")

    async def test_only_a_refusal_is_not_mine(self) -> None:
        for status in (401, 403):
            server = self.server(answering(status, b"no such token"))
            self.assertIsNone(await self.ask(self.build("ecmwf-api", f"uri = {server.url}"), "t"))
            self.assertIsNone(await self.ask(self.build("efas-api", f"uri = {server.url}"), "t"))

    async def test_a_refusal_with_a_huge_page_is_still_one(self) -> None:
        server = self.server(answering(403, b"x" * (pooled.MAX_BODY + 1)))
        self.assertIsNone(await self.ask(self.build("ecmwf-api", f"uri = {server.url}"), "t"))

    async def test_passwords_are_none_of_its_business(self) -> None:
        server = self.server(answering(200, ALICE))
        found = self.build("ecmwf-api", f"uri = {server.url}")
        self.assertIsNone(await found.authenticate(BasicCredentials("alice", "x"), REQUEST))
        self.assertEqual(server.connections, 0)
        self.assertEqual(found.schemes, ("bearer",))

    async def test_what_they_provide(self) -> None:
        for kind in ("ecmwf-api", "efas-api"):
            verifyObject(IAuthenticatorFactory, authenticator_factories()[kind])
            built = self.build(kind, "uri = https://api.example.int")
            verifyObject(IAuthenticator, built)
            verifyObject(ISchemes, built)

    async def test_settings(self) -> None:
        _, problems = self.parse("ecmwf-api", "url = https://api.example.int\ncache = soon")
        self.assertEqual(len(problems), 3, problems)
        _, problems = self.parse("efas-api", "uri = http://127.0.0.1\nca_certificate = nowhere.pem")
        self.assertIn("there is no file", problems[0])


class CacheTests(RemoteCase):
    async def test_a_verdict_is_remembered_and_a_refusal_is_not(self) -> None:
        server = self.server(answering(200, ALICE))
        found = self.build("ecmwf-api", f"uri = {server.url}")
        first, second = await self.ask(found, "t"), await self.ask(found, "t")
        self.assertIs(first, second)
        self.assertEqual(len(server.requests), 1)
        refusing = self.server(answering(403, b""))
        found = self.build("ecmwf-api", f"uri = {refusing.url}")
        await self.ask(found, "t")
        await self.ask(found, "t")
        self.assertEqual((len(refusing.requests), refusing.connections), (2, 1), "one connection, used again")

    async def test_without_a_cache_every_request_asks(self) -> None:
        server = self.server(answering(200, ALICE))
        found = self.build("ecmwf-api", f"uri = {server.url}\ncache = 0")
        await self.ask(found, "t")
        await self.ask(found, "t")
        self.assertEqual(len(server.requests), 2)

    async def test_those_who_ask_at_the_same_time_ask_once(self) -> None:
        server = self.server(answering(200, ALICE))
        found = self.build("ecmwf-api", f"uri = {server.url}\ncache = 0")
        principals = await gatherResults([self.ask(found, "t") for _ in range(20)])
        self.assertEqual({one.username for one in principals}, {"alice"})
        self.assertEqual(len(server.requests), 1)

    async def test_attack_33_tokens_and_authenticators_never_share_a_verdict(self) -> None:
        def by_token(connection: Connection) -> None:
            while True:
                try:
                    line = connection.request().line
                except EOFError:
                    return
                body = b'{"uid": "%b"}' % line.partition("token=")[2].partition(" ")[0].encode()
                connection.send(b"HTTP/1.1 200 OK\r\nSet-Cookie: who=me\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

        server = self.server(by_token)
        one = self.build("ecmwf-api", f"uri = {server.url}/a", "one")
        other = self.build("ecmwf-api", f"uri = {server.url}/b", "other")
        asked = [(authenticator, name) for authenticator in (one, other) for name in ("alice", "bob", "Alice")]
        found: Any = await gatherResults([self.ask(authenticator, name) for authenticator, name in asked])
        self.assertEqual(
            [(one.realm, one.username) for one in found], [(authenticator.realm, name) for authenticator, name in asked]
        )
        await self.ask(one, "carol")
        self.assertEqual({request.get("cookie") for request in server.requests}, {None}, "a cookie would be another user's")

    async def test_a_flood_is_not_passed_on(self) -> None:
        self.patch(client, "MAX_UNDER_WAY", 2)
        self.patch(client, "MAX_WAITING", 0)
        server = self.server(silent)
        found = self.build("ecmwf-api", f"uri = {server.url}\ntimeout = 300ms")
        waiting = [self.ask(found, f"t{number}") for number in range(2)]
        await self.refusal(lambda: self.ask(found, "one too many"), Overloaded)
        for one in waiting:
            await self.refusal(lambda one=one: one, Unavailable)  # type: ignore[misc]
        await self.refusal(lambda: self.ask(found, "and then again"), Unavailable)


def silent(connection: Connection) -> None:
    """Reads and never answers."""
    while connection.read_some():
        pass


def raw(reply: bytes, *, close: bool = True) -> Script:
    def script(connection: Connection) -> None:
        try:
            connection.request()
            connection.send(reply)
            if not close:
                silent(connection)
        except (EOFError, OSError):
            return

    return script


def endless(head: bytes, piece: bytes) -> Script:
    """Sends until the other side closes the connection."""

    def script(connection: Connection) -> None:
        try:
            connection.request()
            connection.send(head)
            for _ in range(200_000):
                connection.send(piece)
        except (EOFError, OSError):
            return
        raise AssertionError("all of it was read")

    return script


def dribbling(connection: Connection) -> None:
    """A good answer, a byte now and then."""
    try:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        connection.socket.settimeout(0.05)
        for _ in range(1000):
            connection.send(b" ")
            try:
                if not connection.read_some():
                    return
            except TimeoutError:
                continue
    except (EOFError, OSError):
        return


DEEP = b'{"uid":' + b"[" * 30_000 + b"]" * 30_000 + b"}"
HOSTILE: dict[str, Script] = {
    "an error": answering(500, b"oops"),
    "an error with a user in it": answering(503, ALICE),
    "bad gateway": answering(502, b"<html>"),
    "not found": answering(404, b"not here"),
    "too many requests": answering(429, b"", b"Retry-After: 60"),
    "accepted": answering(202, ALICE),
    "no content": raw(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "a page": answering(200, b"<html>welcome</html>"),
    "nothing": answering(200, b""),
    "a list": answering(200, b"[1]"),
    "a text": answering(200, b'"alice"'),
    "no name": answering(200, b"{}"),
    "an empty name": answering(200, b'{"uid": "", "username": ""}'),
    "a blank name": answering(200, b'{"uid": " ", "username": " "}'),
    "a number for a name": answering(200, b'{"uid": 7, "username": 7}'),
    "nobody": answering(200, b'{"uid": null, "username": null}'),
    "a name with a line feed": answering(200, b'{"uid": "a\\r\\nX-Auth-Roles: admin", "username": "a\\nb"}'),
    "a very long name": answering(200, b'{"uid": "%b", "username": "%b"}' % (b"a" * 1000, b"a" * 1000)),
    "half a surrogate": answering(200, b'{"uid": "\\ud800", "username": "\\ud800"}'),
    "an e-mail that is none": answering(200, b'{"uid": "a", "username": "a", "email": {"x": 1}}'),
    "not UTF-8": answering(200, b'{"uid": "\xff", "username": "\xff"}'),
    "deep JSON": answering(200, DEEP),
    "a long number": answering(200, b'{"uid": %b}' % (b"9" * 60_000)),
    "a large body": answering(200, b'{"uid": "alice", "username": "alice"}' + b" " * pooled.MAX_BODY),
    "two gigabytes": endless(b"HTTP/1.1 200 OK\r\nContent-Length: 2147483648\r\n\r\n", b" " * 65536),
    "a body without an end": endless(b"HTTP/1.1 200 OK\r\n\r\n", b" " * 65536),
    "chunks without an end": endless(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1;x=" + b"y" * 5000 + b"\r\n \r\n"
    ),
    "a head without an end": endless(b"HTTP/1.1 200 OK\r\n", b"X-More: " + b"y" * 5000 + b"\r\n"),
    "a line without an end": endless(b"HTTP/1.1 200 OK\r\nX: ", b"y" * 65536),
    "no decision": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "a bomb": answering(200, gzip.compress(ALICE + b" " * 50_000_000), b"Content-Encoding: gzip"),
    "a small packet": answering(200, gzip.compress(ALICE), b"Content-Encoding: gzip"),
    "half an answer": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + ALICE),
    "another protocol": raw(b"220 mail.example.com ESMTP\r\n"),
    "garbage": raw(b"\x00\xff" * 5000),
    "the end": raw(b""),
    "silence": silent,
    "a byte now and then": dribbling,
}


class HostileTests(RemoteCase):
    """Attacks 23 and 41: every answer that is neither a user nor a refusal is "could not decide", in time, and admits no user."""

    async def unavailable(self, name: str) -> None:
        for kind in ("ecmwf-api", "efas-api"):
            server = self.server(HOSTILE[name])
            found = self.build(kind, f"uri = {server.url}\ntimeout = 1s")
            began = reactor.seconds()  # type: ignore[attr-defined]
            error = await self.refusal(lambda found=found: self.ask(found, TOKEN), Unavailable, Undecided)  # type: ignore[misc]
            self.assertLess(reactor.seconds() - began, 3)  # type: ignore[attr-defined]
            for secret in (TOKEN, "token=", "alice", server.url):
                self.assertNotIn(secret, str(error))

    async def test_no_server_listens(self) -> None:
        server = self.server()
        server.close()
        await self.refusal(lambda: self.ask(self.build("ecmwf-api", f"uri = {server.url}"), "t"), Unavailable)

    async def test_an_unknown_host(self) -> None:
        found = self.build("ecmwf-api", "uri = http://no-such-host.invalid\ntimeout = 2s")
        await self.refusal(lambda: self.ask(found, "t"), Unavailable)

    async def test_a_redirect_takes_the_token_nowhere(self) -> None:
        thief = self.server(answering(200, ALICE))
        for status in (301, 302, 303, 307, 308):
            for place in (thief.url, "/elsewhere"):
                server = self.server(answering(status, b"", b"Location: %b" % place.encode()))
                found = self.build("ecmwf-api", f"uri = {server.url}")
                await self.refusal(lambda found=found: self.ask(found, "t"), Unavailable)  # type: ignore[misc]
                self.assertEqual(len(server.requests), 1)
        self.assertEqual(thief.connections, 0)

    async def test_a_failure_is_forgotten_at_once(self) -> None:
        replies = [answering(500, b""), answering(200, ALICE)]
        server = self.server(lambda connection: replies[min(connection.number, 1)](connection))
        found = self.build("ecmwf-api", f"uri = {server.url}")
        await self.refusal(lambda: self.ask(found, "t"), Unavailable)
        await self.services.web.trusting(None).close()
        await deferLater(reactor, 0.05)
        self.assertIsNotNone(await self.ask(found, "t"))

    async def test_attack_42_no_token_in_any_log(self) -> None:
        with capturedLogs() as events:
            for script in (answering(200, ALICE), answering(500, b""), raw(b"junk")):
                server = self.server(script)
                found = self.build("ecmwf-api", f"uri = {server.url}\ntimeout = 1s")
                try:
                    await self.ask(found, "very-secret-token")
                except Unavailable:
                    continue
        self.assertNotIn("very-secret-token", str(events))


def _add(name: str) -> None:
    async def test(self: HostileTests) -> None:
        await self.unavailable(name)

    setattr(HostileTests, "test_attack_23_" + name.replace(" ", "_").replace("-", "_"), test)


for _name in HOSTILE:
    _add(_name)


CA = identity("CA", ca=True, common="CA")
SERVICE = identity("localhost", issuer=CA)
STRANGER = identity("localhost")
OTHER_NAME = identity("other.example.com", issuer=CA)


class TlsTests(RemoteCase):
    """TLS is verified before the token is sent."""

    def tls_server(self, who: ServerIdentity) -> tuple[str, list[bytes]]:
        """A server in this reactor: its URL, and the data that it received."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        path = Path(self.mktemp())
        key = who.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(key + pem(*who.chain))
        context.load_cert_chain(path)
        said: list[bytes] = []

        def script(connection: Connection) -> None:
            try:
                with context.wrap_socket(connection.socket, server_side=True) as peer:
                    said.append(peer.recv(65536))
                    peer.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(ALICE), ALICE))
            except (OSError, ValueError):
                return

        return f"https://localhost:{self.server(script).port}", said

    def ca(self) -> Path:
        path = Path(self.mktemp()).absolute()
        path.write_bytes(pem(CA.chain[0]))
        return path

    async def test_the_configured_ca_is_trusted(self) -> None:
        url, said = self.tls_server(SERVICE)
        found = await self.ask(self.build("ecmwf-api", f"uri = {url}\nca_certificate = {self.ca()}"), "t")
        assert found is not None
        self.assertEqual((found.username, len(said)), ("alice", 1))

    async def test_the_certificate_of_the_server_is_a_trust_anchor(self) -> None:
        url, said = self.tls_server(SERVICE)
        path = Path(self.mktemp()).absolute()
        path.write_bytes(pem(SERVICE.chain[0]))
        found = await self.ask(self.build("ecmwf-api", f"uri = {url}\nca_certificate = {path}"), "t")
        assert found is not None
        self.assertEqual((found.username, len(said)), ("alice", 1))

    async def test_no_other_server_gets_the_token(self) -> None:
        for who, ca in ((SERVICE, ""), (STRANGER, self.ca()), (OTHER_NAME, self.ca())):
            url, said = self.tls_server(who)
            found = self.build("ecmwf-api", f"uri = {url}" + (f"\nca_certificate = {ca}" if ca else ""))
            await self.refusal(lambda found=found: self.ask(found, "t"), Unavailable)  # type: ignore[misc]
            self.assertEqual([one for one in said if one], [])

    async def test_an_unusable_ca_stops_the_start(self) -> None:
        path = Path(self.mktemp()).absolute()
        path.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        self.assertRaises(StartupError, self.build, "ecmwf-api", f"uri = https://localhost\nca_certificate = {path}")
        path.write_text("nothing")
        self.assertRaises(StartupError, self.build, "ecmwf-api", f"uri = https://localhost\nca_certificate = {path}")

    async def test_plain_http_is_warned_of(self) -> None:
        with capturedLogs() as events:
            self.build("ecmwf-api", "uri = http://api.example.int")
            self.build("ecmwf-api", "uri = http://127.0.0.1:1")
        self.assertEqual(str(events).count("in plain text"), 1)


class BreakerTests(RemoteCase):
    async def test_one_strange_account_shuts_no_other_user_out(self) -> None:
        server = self.server(HOSTILE["a name with a line feed"])
        await self.refusal(lambda: self.ask(self.build("ecmwf-api", f"uri = {server.url}"), "t"), Undecided)

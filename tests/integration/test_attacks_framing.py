"""Attacks on the end of a message, against a running gateway: smuggling in both directions, pipelining, changes of protocol."""

from __future__ import annotations

import contextlib
import threading
from typing import ClassVar

from tests.integration.harness import USERS, site
from tests.integration.stage import StageCase
from tests.integration.upstreams import Connection, Upstream, replying
from tests.integration.wire import Response, basic

ROUTES = """\
[upstream service]
servers = <service>

[upstream scripted]
servers = <scripted>

[route open]
path = /
upstream = service
auth = none

[route admin]
path = /admin
upstream = service
allow = role:admin

[route scripted]
path = /scripted
upstream = scripted
auth = none
"""

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def await_end(connection: Connection) -> None:
    """Read until the gateway closes or resets the connection."""
    with contextlib.suppress(ConnectionError):
        while connection.read_some():
            pass


def post(*lines: bytes, body: bytes = b"", line: bytes = b"POST /x HTTP/1.1", target: bytes = b"") -> bytes:
    return b"\r\n".join([b"POST %b HTTP/1.1" % target if target else line, b"Host: a", *lines, b"", body])


class Requests(StageCase):
    CONFIG = site(ROUTES)
    FILES: ClassVar = USERS

    def test_attack_18_ambiguous_length(self) -> None:
        """A length that two parsers could read differently is refused, and the following bytes are not read as a request."""
        lengths = (
            b"+5",
            b"-5",
            b"0x5",
            b"5,5",
            b"5, 5",
            b"5 5",
            b"5;",
            b"",
            b" ",
            b"5.0",
            b"1e1",
            b"'5'",
            b"\xb2",
            b"9" * 19,
            b"5\x0b",
        )
        for length in lengths:
            self.refused(post(b"Content-Length: " + length, body=b"hello" + SMUGGLED))
        for pair in ((b"5", b"5"), (b"5", b"6"), (b"0", b"5"), (b"5", b"")):
            self.refused(post(*(b"Content-Length: " + length for length in pair), body=b"hello" + SMUGGLED))
        self.refused(post(b"Content-Length: 5", b"content-length: 5", body=b"hello" + SMUGGLED))

    def test_attack_18_ambiguous_coding(self) -> None:
        """Every coding is refused, except a single ``chunked`` in HTTP/1.1 without a length."""
        body = b"0\r\n\r\n" + SMUGGLED
        codings = (
            *(
                b"xchunked",
                b"chunked, chunked",
                b"chunked,",
                b",chunked",
                b"gzip",
                b"gzip, chunked",
                b"chunked, gzip",
                b"identity",
            ),
            *(b"chunked, identity", b"chunkedx", b'"chunked"', b"chunked;q=1", b"chunked\x0b", b"\x0bchunked", b"", b"ch unked"),
            *(b"cow", b"trailers", b"chun\xe2\x84\xaaed", b"chunked\x00"),
        )
        for coding in codings:
            self.refused(post(b"Transfer-Encoding: " + coding, body=body))
        for name in (
            b"Transfer-Encoding ",
            b" Transfer-Encoding",
            b"Transfer-Encoding\t",
            b"Transfer Encoding",
            b"Transfer-Encoding\x00",
        ):
            self.refused(post(name + b": chunked", body=body))
        self.refused(post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=body))
        self.refused(post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=body))
        self.refused(post(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=body))
        self.refused(post(b"Content-Length: 0", b"Transfer-Encoding: chunked", body=body))
        self.refused(post(b"Content-Length: 5", b"Transfer-Encoding: xchunked", body=body))
        for line in (b"POST /x HTTP/1.0", b"GET /x HTTP/1.0"):
            self.refused(post(b"Transfer-Encoding: chunked", b"Connection: keep-alive", line=line, body=body))

    def test_attack_18_malformed_head(self) -> None:
        """Names, folds, control characters, line ends and hosts that violate RFC 9112."""
        for line in (
            b": v",
            b" : v",
            b"\t: v",
            b"A B: v",
            b"A : v",
            b"A\t: v",
            b"novalue",
            b"",
            b"A\xe9: v",
            b"A(: v",
            b'"A": v',
            b"A;B: v",
        ):
            if line:
                self.refused(post(line, b"B: c"))
        for line in (b"A: b\r\n c", b"A: b\r\n\tc", b"A: b\r\n ", b" A: b", b"\tA: b"):
            self.refused(post(line, b"B: c"))
            self.refused(post(line))
        for byte in b"\x00\x01\x07\x08\x0b\x0c\x0e\x1b\x1f\x7f\r":
            self.refused(post(b"A: b%cc" % byte))
            self.refused(post(b"A%cb: c" % byte))
            self.refused(post(line=b"GET /a%cb HTTP/1.1" % byte))
        # a bare LF is refused as soon as it arrives
        for text in (b"A: b\nC: d", b"A: b\n\n", b"A: b\n\r", b"A: b\r\r\n", b"\n"):
            self.refused(post(text))
        for head in (
            b"GET /x HTTP/1.1\nHost: a\n\n",
            b"GET /x HTTP/1.1\nHost: a\r\n\r\n",
            b"\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n",
        ):
            self.refused(head)
        self.refused(b"GET /x HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        hosts = ((b"Host: a",), (b"Host: b",), (b"host: A",), (b"HOST: a", b"Host: a"))
        for more in hosts:
            self.refused(post(*more))
        for line in (b"GET /x", b"GET /x HTTP/1.1 x", b"GET /x HTTP/1.", b"GET /x http/1.1", b"GET /x HTTP/1.10"):
            self.refused(post(line=line))
        for line in (b" GET /x HTTP/1.1", b"G(T /x HTTP/1.1", b"G\xcbT /x HTTP/1.1", b"/x HTTP/1.1", b"GET /x HTTP/1.1\x20"):
            self.refused(post(line=line))
        for line in (b"GET /x HTTP/2.0", b"PRI /x HTTP/2.0", b"GET /x HTTP/3", b"GET /x HTTP/0.9", b"GET /x HTTP/01.1"):
            self.refused(post(line=line), 505)

    def bad_body(self, chunks: bytes, upstream: Upstream) -> None:
        """A malformed body: the client gets 400 and the end of the connection, the upstream an unfinished request and the end."""
        before = len(upstream.raw)
        with self.served.connect("http") as wire:
            # the part that arrives in time is forwarded already
            wire.send(post(b"Transfer-Encoding: chunked", target=b"/scripted", body=b"3\r\nabc\r\n"))
            self.arrived.acquire(timeout=10)
            wire.send(chunks + b"0\r\n\r\n" + SMUGGLED)
            response = wire.response()
            self.assertEqual((response.status, response.get("connection")), (400, "close"), chunks)
            self.assertEqual(wire.read_all(), b"", chunks)
        self.assertTrue(self.dropped.acquire(timeout=10), (chunks, "the upstream's connection is still there"))
        self.assertEqual(len(upstream.raw), before + 1)
        head, _, body = upstream.raw[-1].partition(b"\r\n\r\n")
        self.assertEqual(head.count(b"POST "), 1)
        self.assertNotIn(b"\r\n0\r\n", b"\r\n" + body)
        self.assertNotIn(b"smuggled", body)

    def test_attack_18_malformed_chunks(self) -> None:
        """Sizes, extensions, overflows and ends of chunks. The upstream never sees the end of such a body."""
        self.arrived, self.dropped = threading.Semaphore(0), threading.Semaphore(0)

        def script(connection: Connection) -> None:
            connection.read_until(b"abc\r\n")
            self.arrived.release()
            await_end(connection)
            self.dropped.release()

        upstream = self.play(script)
        sizes = (
            b"+3",
            b"-3",
            b"0x3",
            b" 3",
            b"\t3",
            b"g",
            b"",
            b"3_0",
            b"3,",
            b"\xb3",
            b"3\x00",
            b"f" * 16,
            b"0" * 64 + b"3",
        )
        for size in (*sizes, b"ffffffffffffffff3", b"10000000000000003"):
            self.bad_body(size + b"\r\nabc\r\n", upstream)
        for extension in (
            b";",
            b";=b",
            b";a=",
            b';a="b',
            b'; a="b"c',
            b';a="\r\n"',
            b" a",
            b";a\n",
            b';a="\n"',
            b";" + b"a" * 5000,
        ):
            self.bad_body(b"3" + extension + b"\r\nabc\r\n", upstream)
        for chunks in (
            b"3\nabc\r\n",
            b"3\r\nabc\n",
            b"3\r\nabcd\r\n",
            b"3\r\nabc",
            b"3\r\nabc\r\r\n",
            b"3\r\r\nabc\r\n",
            b"3\r\nabcXY",
        ):
            self.bad_body(chunks, upstream)
        for trailer in (b"A : b", b": b", b"A: b\nC: d", b" A: b", b"A: b\r\n c", b"A: \x00", b"A"):
            self.bad_body(b"0\r\n" + trailer + b"\r\n\r\n", upstream)

    def test_attack_18_one_canonical_framing_toward_the_upstream(self) -> None:
        """A valid request reaches the upstream in one spelling, however the client spelt and split it."""
        for length in (b"5", b"05", b"000000000000000005", b" \t5\t "):
            received = self.forwarded(post(b"CONTENT-length:" + length, body=b"hello"))
            self.assertEqual((received.get("content-length"), received.body), ("5", b"hello"))
            self.assertIsNone(received.get("transfer-encoding"))
        spellings = (
            b"1\r\nh\r\n4\r\nello\r\n0\r\n\r\n",
            b"005\r\nhello\r\n000\r\n\r\n",
            b"5\r\nhello\r\n0\r\nX_Auth_Roles: a\r\n\r\n",
        )
        for chunked in spellings:
            received = self.forwarded(post(b"transfer-ENCODING:\tChunked ", body=chunked))
            self.assertEqual((received.get("transfer-encoding"), received.body), ("chunked", b"hello"))
            self.assertIsNone(received.get("content-length"))
            self.assertRegex(received.raw_body, rb"\A(?:[1-9a-f][0-9a-f]*\r\n(?s:.)+?\r\n)+0\r\n\r\n\Z")
        # other spellings of the framing headers have no effect, and are dropped
        aliases = (b"Content_Length: 9", b"Transfer_Encoding: chunked", b"transfer.encoding: chunked", b"X-Content-Length: 9")
        received = self.forwarded(post(*aliases, b"Content-Length: 5", body=b"hello"))
        framing = [field for field in received.fields if "length" in field[0] or "encoding" in field[0]]
        self.assertEqual(framing, [("x-content-length", "9"), ("content-length", "5")])
        for line in (b"GET /x HTTP/1.1", b"HEAD /x HTTP/1.1"):
            received = self.forwarded(post(line=line))
            self.assertEqual([field for field in received.fields if "length" in field[0] or "encoding" in field[0]], [])
        # the body of a GET is a body, not a second request
        received = self.forwarded(post(b"Content-Length: %d" % len(SMUGGLED), line=b"GET /x HTTP/1.1", body=SMUGGLED))
        self.assertEqual(received.body, SMUGGLED)
        # HTTP/1.0 becomes HTTP/1.1 with a Host
        received = self.forwarded(b"GET /x HTTP/1.0\r\n\r\n")
        self.assertEqual((received.line, received.get("host")), ("GET /x HTTP/1.1", self.service.url.removeprefix("http://")))

    def test_attack_18_empty_lines_before_a_request(self) -> None:
        """They are accepted (RFC 9112, section 2.2), and do not hide a request before or after them."""
        self.assertEqual(self.forwarded(b"\r\n" + post()).line, "POST /x HTTP/1.1")
        with self.served.connect("http") as wire:
            wire.send(post() + b"\r\n" + post(line=b"GET /y HTTP/1.1"))
            self.assertEqual([wire.response().status, wire.response().status], [200, 200])
        self.assertEqual(self.forwarded(b"\r\n" * 10_000 + post()).line, "POST /x HTTP/1.1")
        self.refused(b"\r\n\n" + post())
        self.refused(b"\r\n \r\n" + post())
        self.refused(b"\r\r\n" + post())

    # -- pipelining

    def test_attack_19_replies_in_order(self) -> None:
        """First a slow, then a fast request: the responses come in the order of the requests, whichever service answers."""
        release = threading.Event()
        self.addCleanup(release.set)

        def script(connection: Connection) -> None:
            connection.request()
            release.wait(10)
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow")

        upstream = self.play(script)
        alice = basic("alice", "secret").encode()
        requests = (
            post(target=b"/scripted/1", line=b""),
            b"GET /status HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /admin/1 HTTP/1.1\r\nHost: a\r\n\r\n",
            post(b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED, target=b"/scripted/2"),
            b"GET /admin/2 HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % alice,
            b"HEAD /status HTTP/1.1\r\nHost: a\r\n\r\n",
            post(b"Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\n\r\n", target=b"/scripted/3"),
            b"GET /token HTTP/1.1\r\nHost: a\r\nAuthorization: Basic eDp5\r\n\r\n",
            b"GET /status HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            b"GET /admin/never HTTP/1.1\r\nHost: a\r\n\r\n",
        )
        served = len(self.service.requests)
        for size in (1 << 20, 7):  # at once, and in pieces that do not match the requests
            release.clear()
            with self.served.connect("http") as wire:
                wire.dribble(b"".join(requests), size)
                upstream.next()
                self.assertEqual(upstream.requests[-1].line, "POST /scripted/1 HTTP/1.1")
                # no request and no response overtakes the slow one
                self.assertEqual(len(self.service.requests), served)
                wire.socket.settimeout(0.2)
                self.assertRaises(TimeoutError, wire.socket.recv, 1)
                wire.socket.settimeout(10)
                release.set()
                methods = [request.partition(b" ")[0].decode() for request in requests[:-1]]
                answers = [wire.response(method) for method in methods]
                self.assertEqual(wire.read_all(), b"")
            self.assertEqual([answer.status for answer in answers], [200, 200, 401, 200, 200, 200, 200, 401, 200])
            bodies = [answers[at].body for at in (0, 1, 3, 5, 6, 8)]
            self.assertEqual(bodies, [b"slow", b"OK", b"slow", b"", b"slow", b"OK"])
            self.assertEqual([upstream.next().line for _ in range(2)], ["POST /scripted/2 HTTP/1.1", "POST /scripted/3 HTTP/1.1"])
            self.assertEqual([request.line for request in self.service.requests[served:]], ["GET /admin/2 HTTP/1.1"])
            served = len(self.service.requests)

    def test_attack_19_a_malformed_request_behind_a_slow_one(self) -> None:
        """The first request is answered completely before the second is refused. No request after the refused one is served."""
        release = threading.Event()
        self.addCleanup(release.set)

        def script(connection: Connection) -> None:
            connection.request()
            release.wait(10)
            connection.send(OK)

        upstream = self.play(script)
        served = len(self.service.requests)
        with self.served.connect("http") as wire:
            bad = post(b"Content-Length: 5", b"Content-Length: 6", body=b"hello")
            wire.send(post(target=b"/scripted/1") + bad + SMUGGLED + SMUGGLED)
            upstream.next()
            release.set()
            answers = [wire.response(), wire.response()]
            self.assertEqual([answer.status for answer in answers], [200, 400])
            self.assertEqual((answers[0].body, answers[1].get("connection")), (b"ok", "close"))
            self.assertEqual(wire.read_all(), b"")
        self.assertEqual(len(self.service.requests), served)

    # -- changes of protocol

    def test_attack_20_connect(self) -> None:
        """CONNECT is refused in every form, with or without a body, and the following bytes are not read as a request."""
        for line in (b"CONNECT a:443 HTTP/1.1", b"CONNECT /x HTTP/1.1", b"CONNECT http://a/x HTTP/1.1", b"CONNECT a HTTP/1.0"):
            self.refused(post(line=line) + SMUGGLED)
            self.refused(post(b"Content-Length: %d" % len(SMUGGLED), line=line, body=SMUGGLED))
            self.refused(post(b"Transfer-Encoding: chunked", line=line, body=b"0\r\n\r\n" + SMUGGLED))
            self.refused(post(b"Connection: upgrade", b"Upgrade: websocket", line=line) + SMUGGLED)

    def test_attack_20_upgrade_to_another_http(self) -> None:
        """An offer of h2c is ignored and not passed on, so what follows is one more request, which the gateway judges."""
        settings = b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"
        for value in (b"h2c", b"H2C", b"h2", b"HTTP/2.0", b"TLS/1.0", b"h2c/1", b"h2c-14", b"foo"):
            for option in (b"Upgrade, HTTP2-Settings", b"upgrade", b"x, UPGRADE"):
                for line in (b"GET /x HTTP/1.1", b"POST /x HTTP/1.1"):
                    received = self.forwarded(post(b"Connection: " + option, b"Upgrade: " + value, settings, line=line))
                    self.assertEqual([received.get(name) for name in ("upgrade", "connection", "http2-settings")], [None] * 3)
        for several in ((b"Upgrade: websocket, h2c",), (b"Upgrade: h2c", b"Upgrade: websocket")):
            received = self.forwarded(post(b"Connection: upgrade", *several, line=b"GET /x HTTP/1.1"))
            self.assertEqual(received.get("upgrade"), "websocket")
        self.refused(post(b"Connection: upgrade", b"Upgrade: h2c", settings, line=b"GET /admin HTTP/1.1"), 401, closes=False)
        received = self.forwarded(post(b"Upgrade: h2c", settings))
        self.assertEqual([received.get(name) for name in ("upgrade", "connection", "http2-settings")], [None] * 3)

    def test_attack_20_connection_of_an_upgrade_is_never_pooled(self) -> None:
        """However the upstream answers an upgrade, no other client's request is sent on that connection."""
        upgrade = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13")
        for line, expected in ((upgrade, 200), ((*upgrade, b"Content-Length: 5"), 200)):
            dropped = threading.Semaphore(0)

            def script(connection: Connection, dropped: threading.Semaphore = dropped) -> None:
                connection.request()
                connection.send(OK)
                await_end(connection)
                dropped.release()

            upstream = self.play(script)
            with self.served.connect("http") as wire:
                body = b"hello" if len(line) > 3 else b""
                response = wire.send(post(*line, target=b"/scripted/ws", body=body)).response()
                self.assertEqual(response.status, expected)
                asked = upstream.requests[-1].get("upgrade")
                self.assertEqual(asked, None if body else "websocket")  # a request with a body cannot be upgraded
                # it is refused, so the client's connection still speaks HTTP
                self.assertEqual(wire.send(b"GET /status HTTP/1.1\r\nHost: a\r\n\r\n").response().body, b"OK")
            if not body:
                self.assertTrue(dropped.acquire(timeout=10), "the connection was kept")

    def switched(self, reply: bytes, *lines: bytes) -> Response:
        """What the client gets if the upstream answers with ``reply``. The upstream's connection must end."""
        dropped = threading.Semaphore(0)

        def script(connection: Connection) -> None:
            connection.request()
            connection.send(reply)
            await_end(connection)
            dropped.release()

        self.play(script)
        response = self.raw(post(*lines, target=b"/scripted/ws", line=b""))
        self.assertTrue(dropped.acquire(timeout=10), (reply, "the connection was kept"))
        return response

    def test_attack_20_switch_that_the_client_did_not_request(self) -> None:
        """A 101 is accepted only for a protocol that the client asked for and the gateway forwarded."""
        switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\n"
        smuggled = OK + OK
        self.assertEqual(self.switched(switch % b"websocket" + smuggled).status, 502)
        self.assertEqual(self.switched(switch % b"websocket" + smuggled, b"Upgrade: websocket").status, 502)
        asked = (b"Connection: upgrade", b"Upgrade: websocket")
        self.assertEqual(
            self.switched(switch % b"websocket" + smuggled, *asked, b"Transfer-Encoding: chunked\r\n\r\n0").status, 502
        )
        for protocol in (b"h2c", b"HTTP/2.0", b"websocket, h2c", b""):
            self.assertEqual(self.switched(switch % protocol + smuggled, *asked).status, 502, protocol)


class Replies(StageCase):
    CONFIG = site(ROUTES)
    FILES: ClassVar = USERS

    def reply(self, reply: bytes, method: bytes = b"GET", *, closing: bool = False) -> tuple[bytes, bool]:
        """Everything that the client gets if the upstream sends ``reply``, and whether the upstream's connection was dropped.

        ``closing``: the upstream closes its end afterwards.
        """
        dropped = threading.Semaphore(0)

        def script(connection: Connection) -> None:
            connection.request()
            with contextlib.suppress(ConnectionError):
                connection.send(reply)
                if closing:
                    return
            await_end(connection)
            dropped.release()

        self.play(script)
        with self.served.connect("http") as wire:
            wire.send(b"%b /scripted/r HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % method)
            received = wire.read_all()
        return received, closing or dropped.acquire(timeout=10)

    def test_attack_18_ambiguous_reply(self) -> None:
        """The client gets 502 and no part of the reply, and the connection is dropped."""
        bad: list[bytes] = []
        lengths = (b"+2", b"-2", b"0x2", b"2, 2", b"2,2", b"2 2", b"", b"2.0", b"9" * 19, b"\xb2")
        bad += [b"HTTP/1.1 200 OK\r\nContent-Length: " + length for length in lengths]
        doubles = ((b"2", b"2"), (b"2", b"3"))
        bad += [b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\nContent-Length: %b" % pair for pair in doubles]
        codings = (b"xchunked", b"gzip", b"gzip, chunked", b"chunked, chunked", b"identity", b"", b"chunked,", b"\x0bchunked")
        bad += [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: " + coding for coding in codings]
        bad += [
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked",
            b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked",
            b"HTTP/1.1 204 No Content\r\nContent-Length: 2",
            b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked",
        ]
        good = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
        fields = (
            b"A : b",
            b": b",
            b"A B: c",
            b"A: b\r\n c",
            b" A: b",
            b"novalue",
            b"A: b\rC: d",
            b"A: \x00",
            b"A: \x1b",
            b"A\xe9: b",
        )
        bad += [good + field for field in fields]
        bad += [b"HTTP/1.1 200 OK\nContent-Length: 2", b"HTTP/1.1 200 OK\r\nContent-Length: 2\nA: b", good + b"A: b\n"]
        statuses = (
            b"HTTP/1.1 20 OK",
            b"HTTP/1.1 2000 OK",
            b"HTTP/1.1 099 OK",
            b"HTTP/1.1  200 OK",
            b"HTTP/2 200 OK",
            b"HTTP/1.10 200 OK",
        )
        more = (
            b"ICY 200 OK",
            b"http/1.1 200 OK",
            b" HTTP/1.1 200 OK",
            b"HTTP/1.1 200 O\x00K",
            b"HTTP/1.1 +20 OK",
            b"HTTP/1.1\t200 OK",
            b"ok",
        )
        bad += [status + b"\r\nContent-Length: 2" for status in (*statuses, *more)]
        bad += [good + b"A: b\r\n" * 1000, good + b"A: " + b"b" * 100_000]
        bad += [
            b"HTTP/1.1 103 Early Hints\r\n\r\n" * 20 + good + b"A: b",
            b"HTTP/1.1 100 Continue\r\nA : b\r\n\r\n" + good + b"B: c",
        ]
        for head in bad:
            received, dropped = self.reply(head + b"\r\n\r\nok" + OK)
            final = received.rpartition(b"HTTP/1.1 103 \r\n\r\n")[2]
            self.assertTrue(final.startswith(b"HTTP/1.1 502 "), (head[:200], received))
            self.assertEqual(final.count(b"HTTP/1.1 "), 1, head[:200])
            self.assertTrue(dropped, (head[:200], "the connection was kept"))

    def test_attack_18_malformed_reply_body(self) -> None:
        """If the client has the head already, the connection is aborted before the end of the body."""
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
        sizes = (b"+2", b"-2", b"0x2", b" 2", b"", b"g", b"2;", b"2;a=", b"2 a", b"f" * 16, b"2\x00")
        for chunks in (*(size + b"\r\nok\r\n" for size in sizes), b"2\nok\r\n", b"2\r\nok\n", b"2\r\nokk\r\n", b"2\r\nok\r\r\n"):
            received, dropped = self.reply(head + chunks + b"0\r\n\r\n" + OK)
            self.assertFalse(received.endswith(b"0\r\n\r\n"), (chunks, received))
            self.assertNotIn(b"ok", received.lower().replace(b"200 ok", b""), chunks)
            self.assertTrue(dropped, (chunks, "the connection was kept"))
        for trailer in (b"A : b", b"A: b\nC: d", b" A: b", b"A"):
            received, dropped = self.reply(head + b"0\r\n" + trailer + b"\r\n\r\n" + OK)
            self.assertFalse(received.endswith(b"0\r\n\r\n"), (trailer, received))
            self.assertTrue(dropped, (trailer, "the connection was kept"))
        # a body that ends early is not completed
        for short in (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", head, head + b"5\r\nab", head + b"0\r\n"):
            received, _ = self.reply(short, closing=True)
            self.assertFalse(received.endswith(b"0\r\n\r\n"), (short, received))
            self.assertFalse(b"Content-Length: 3" in received, (short, received))

    def test_chunk_extensions_and_padding_are_dropped(self) -> None:
        """RFC 9112, section 7.1.1: they are ignored, from the service and from the client, and not passed on."""
        head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        for padding in (b"   ", b"\t", b";a", b';a="b"', b" ; a = b", b";chunk-signature=" + b"f" * 64):
            received, _ = self.reply(head + b"2" + padding + b"\r\nok\r\n0" + padding + b"\r\n\r\n")
            self.assertTrue(received.endswith(b"\r\n\r\n2\r\nok\r\n0\r\n\r\n"), (padding, received))
            body = b"0002" + padding + b"\r\nok\r\n0" + padding + b"\r\n\r\n"
            with self.served.connect("http") as wire:
                self.assertEqual(wire.send(post(b"Transfer-Encoding: chunked", body=body)).response().status, 200, padding)
            self.assertEqual(self.service.requests[-1].raw_body, b"2\r\nok\r\n0\r\n\r\n", padding)

    def test_attack_18_more_than_one_reply(self) -> None:
        """Bytes after a reply are dropped together with the connection."""
        second = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
        replies = (
            (b"GET", OK, b"ok"),
            (b"GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"0\r\n\r\n"),
            (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"\r\n\r\n"),
            (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nok", b"\r\n\r\n"),
            (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", b"\r\n\r\n"),
        )
        for method, first, end in replies:
            received, dropped = self.reply(first + second, method)
            self.assertTrue(received.endswith(end), (method, first, received))
            self.assertNotIn(b"evil", received)
            self.assertEqual(received.count(b"HTTP/1.1 "), 1, received)
            self.assertTrue(dropped, (first, "the connection was kept"))

    def test_attack_18_reply_without_a_request(self) -> None:
        """Bytes on an idle connection do not become the next client's response."""
        poison, poisoned = threading.Event(), threading.Event()

        def script(connection: Connection) -> None:
            connection.request()
            connection.send(OK)
            poison.wait(10)
            with contextlib.suppress(ConnectionError):
                connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
            await_end(connection)
            poisoned.set()

        self.play(script)
        first = self.raw(b"GET /scripted/1 HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(first.body, b"ok")
        poison.set()
        self.assertTrue(poisoned.wait(10), "the connection was kept")
        self.play(replying(OK.replace(b"Content", b"Connection: close\r\nContent")))
        self.assertEqual(self.raw(b"GET /scripted/2 HTTP/1.1\r\nHost: a\r\n\r\n").body, b"ok")

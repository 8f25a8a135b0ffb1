"""Message heads: which are accepted, which are refused, and that nothing else can happen. Attack 18 by its sub-cases."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from perimeter.errors import (
    BadRequest,
    ExpectationFailed,
    HeadTooLarge,
    MethodRefused,
    UpstreamBadReply,
    VersionNotSupported,
)
from perimeter.http.grammar import (
    has_bare_lf,
    offered_protocols,
    parse_block,
    parse_request,
    parse_request_line,
    parse_response_head,
    split_fields,
)
from perimeter.model import RequestHead, Version
from tests.unit.doubles.properties import reached, reaches

HOST = b"Host: gw.example\r\n"

#: Header blocks that both directions refuse, by what is wrong with them.
BAD_BLOCKS = {
    "two Content-Length fields": b"Content-Length: 5\r\nContent-Length: 5\r\n",
    "two different Content-Length fields": b"Content-Length: 5\r\nContent-Length: 6\r\n",
    "a list in Content-Length": b"Content-Length: 5, 5\r\n",
    "a sign in Content-Length": b"Content-Length: +5\r\n",
    "a negative Content-Length": b"Content-Length: -5\r\n",
    "hexadecimal Content-Length": b"Content-Length: 0x5\r\n",
    "an underscore in Content-Length": b"Content-Length: 1_0\r\n",
    "an empty Content-Length": b"Content-Length: \r\n",
    "white space in Content-Length": b"Content-Length: 1 0\r\n",
    "a fraction in Content-Length": b"Content-Length: 5.0\r\n",
    "Arabic digits in Content-Length": b"Content-Length: \xd9\xa5\r\n",
    "a huge Content-Length": b"Content-Length: " + b"9" * 30 + b"\r\n",
    "Content-Length and Transfer-Encoding": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding and Content-Length": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    "Transfer-Encoding and Content-Length of 0": b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
    "xchunked": b"Transfer-Encoding: xchunked\r\n",
    "chunked twice": b"Transfer-Encoding: chunked, chunked\r\n",
    "two Transfer-Encoding fields": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "two Transfer-Encoding fields, one identity": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "not ending in chunked": b"Transfer-Encoding: chunked, gzip\r\n",
    "gzip, chunked": b"Transfer-Encoding: gzip, chunked\r\n",
    "identity": b"Transfer-Encoding: identity\r\n",
    "an empty Transfer-Encoding": b"Transfer-Encoding: \r\n",
    "a parameter of chunked": b"Transfer-Encoding: chunked;x=1\r\n",
    "a quoted chunked": b'Transfer-Encoding: "chunked"\r\n',
    "a vertical tab before chunked": b"Transfer-Encoding: \x0bchunked\r\n",
    "an empty name": b": x\r\n",
    "white space before the colon": b"Transfer-Encoding : chunked\r\n",
    "a tab before the colon": b"X\t: y\r\n",
    "white space in a name": b"X Y: z\r\n",
    "white space before the first field": b" X: y\r\n",
    "no colon": b"X\r\n",
    "a folded line": b"X: y\r\n z\r\n",
    "a line folded with a tab": b"X: y\r\n\tz\r\n",
    "a bare CR in a value": b"X: y\rZ: z\r\n",
    "a bare CR before CR LF": b"X: y\r\r\n",
    "a bare LF in a value": b"X: y\nZ: z\r\n",
    "a bare LF at the end": b"X: y\n",
    "NUL in a value": b"X: y\x00z\r\n",
    "NUL in a name": b"X\x00: y\r\n",
    "DEL in a value": b"X: y\x7f\r\n",
    "ESC in a value": b"X: \x1b[2J\r\n",
    "a byte above ASCII in a name": b"X\xe9: y\r\n",
    "a separator in a name": b"X(Y): z\r\n",
    "a connection option that is no token": b"Connection: close;x\r\n",
}

BAD_REQUEST_BLOCKS = {
    "two Host fields": HOST + HOST,
    "two different Host fields": HOST + b"Host: other\r\n",
    "an empty Host": b"Host: \r\n",
    "thousands of labels in Host (attack 54)": b"Host: " + b"a." * 4000 + b"\r\n",
    "a Host of 256 bytes": b"Host: " + b"a" * 256 + b"\r\n",
    "a user in Host": b"Host: user@gw\r\n",
    "a path in Host": b"Host: gw/x\r\n",
    "two names in Host": b"Host: gw, other\r\n",
    "white space in Host": b"Host: gw other\r\n",
    "markup in Host": b"Host: <b>\r\n",
    "an endless port in Host": b"Host: gw:123456\r\n",
    "letters for a port": b"Host: gw:http\r\n",
    "no IPv6 in brackets": b"Host: [gw]\r\n",
    "an open bracket": b"Host: [::1\r\n",
    "a percent sign in Host": b"Host: gw%00\r\n",
    "a backslash in Host": b"Host: gw\\@evil\r\n",
    "two Expect fields": HOST + b"Expect: 100-continue\r\nExpect: 100-continue\r\n",
}

BAD_LINES = [
    b"",
    b"GET",
    b"GET /",
    b"GET / ",
    b"GET /  HTTP/1.1",
    b"GET  / HTTP/1.1",
    b" GET / HTTP/1.1",
    b"GET / HTTP/1.1 ",
    b"GET\t/\tHTTP/1.1",
    b"GET / HTTP/1.10",
    b"GET / HTTP/1.",
    b"GET / HTTP/1.a",
    b"GET / http/1.1",
    b"GET / HTTP/1.1\r",
    b"GET / HTTP/1.1\nX: y",
    b"GET /a b HTTP/1.1",
    b"GET /\x00 HTTP/1.1",
    b"GET /\x7f HTTP/1.1",
    b"GET /caf\xc3\xa9 HTTP/1.1",
    b"G(T / HTTP/1.1",
    b"G\x00T / HTTP/1.1",
    b"GET / HTTP/+1.1",
    b"\xef\xbb\xbfGET / HTTP/1.1",
]

TARGETS_REFUSED = {
    "no slash": b"GET xadmin HTTP/1.1",
    "asterisk": b"OPTIONS * HTTP/1.1",
    "authority": b"CONNECT gw:443 HTTP/1.1",
    "CONNECT with a path": b"CONNECT /x HTTP/1.1",
    "CONNECT with a URL": b"CONNECT http://gw/ HTTP/1.1",
    "another scheme": b"GET ftp://gw/ HTTP/1.1",
    "a user": b"GET http://user@gw/ HTTP/1.1",
    "no authority": b"GET http:///x HTTP/1.1",
    "a backslash in the authority": b"GET http://gw\\x/ HTTP/1.1",
    "a fragment": b"GET /#x HTTP/1.1",
    "a fragment after a query": b"GET /a?x#/status HTTP/1.1",
    "a fragment after an authority": b"GET http://gw#x HTTP/1.1",
}


def request(line: bytes, block: bytes = HOST) -> RequestHead:
    return parse_request(line, parse_block(block, 100))


class RequestLineTests(unittest.TestCase):
    def test_parts(self) -> None:
        self.assertEqual(parse_request_line(b"GET /a?b HTTP/1.1"), (b"GET", b"/a?b", Version.HTTP_1_1))
        self.assertEqual(parse_request_line(b"X-ODD! * HTTP/1.0"), (b"X-ODD!", b"*", Version.HTTP_1_0))

    def test_malformed(self) -> None:
        for line in BAD_LINES:
            with self.assertRaises(BadRequest, msg=repr(line)) as raised:
                parse_request_line(line)
            self.assertEqual(raised.exception.status, 400, line)
            self.assertTrue(raised.exception.close)

    def test_other_versions(self) -> None:
        for line in (b"GET / HTTP/2.0", b"PRI * HTTP/2.0", b"GET / HTTP/0.9", b"GET / HTTP/3", b"GET / HTTP/1"):
            with self.assertRaises(VersionNotSupported, msg=repr(line)) as raised:
                parse_request_line(line)
            self.assertEqual(raised.exception.status, 505)


class RequestTests(unittest.TestCase):
    def test_attack_18_header_blocks(self) -> None:
        for what, block in BAD_BLOCKS.items():
            for whole in (block, HOST + block, block + HOST):
                with self.assertRaises(BadRequest, msg=what) as raised:
                    request(b"POST / HTTP/1.1", whole)
                self.assertEqual(raised.exception.status, 400, what)
                self.assertTrue(raised.exception.close)

    def test_attack_18_host(self) -> None:
        for what, block in BAD_REQUEST_BLOCKS.items():
            with self.assertRaises(BadRequest, msg=what) as raised:
                request(b"GET / HTTP/1.1", block)
            self.assertEqual(raised.exception.status, 400, what)
        with self.assertRaises(BadRequest):
            request(b"GET / HTTP/1.1", b"X: y\r\n")
        self.assertEqual(request(b"GET / HTTP/1.0", b"X: y\r\n").host, b"")

    def test_attack_18_transfer_encoding_in_http_1_0(self) -> None:
        with self.assertRaises(BadRequest):
            request(b"POST / HTTP/1.0", HOST + b"Transfer-Encoding: chunked\r\n")

    def test_attack_54_the_longest_host(self) -> None:
        for host in (b"a" * 255, b"a" * 255 + b":65535", b"a." * 127 + b"a"):
            self.assertEqual(parse_request(b"GET / HTTP/1.1", parse_block(b"Host: %b\r\n" % host, 10)).host, host)
            self.assertEqual(parse_request(b"GET http://%b/ HTTP/1.1" % host, parse_block(HOST, 10)).host, host)
            self.assertRaises(BadRequest, parse_block, b"Host: a%b\r\n" % host, 10)
            self.assertRaises(BadRequest, parse_request, b"GET http://a%b/ HTTP/1.1" % host, parse_block(HOST, 10))

    def test_attack_2_target_forms(self) -> None:
        for what, line in TARGETS_REFUSED.items():
            with self.assertRaises(BadRequest, msg=what) as raised:
                request(line)
            self.assertEqual(raised.exception.status, 400, what)
        # An ordinary path: the text after two slashes is not a host.
        head = request(b"GET //other/x HTTP/1.1")
        self.assertEqual((head.target, head.host), (b"//other/x", b"gw.example"))

    def test_attack_2_absolute_form_takes_the_place_of_host(self) -> None:
        for line, host, target in (
            (b"GET http://other/admin HTTP/1.1", b"other", b"/admin"),
            (b"GET HTTPS://Other:8443/a?b HTTP/1.1", b"Other:8443", b"/a?b"),
            (b"GET http://other HTTP/1.1", b"other", b"/"),
            (b"GET http://other?q HTTP/1.1", b"other", b"/?q"),
            (b"GET http://[::1]:80/x HTTP/1.0", b"[::1]:80", b"/x"),
        ):
            head = request(line)
            self.assertEqual((head.host, head.target), (host, target), line)

    def test_methods_refused(self) -> None:
        with self.assertRaises(MethodRefused) as raised:
            request(b"TRACE / HTTP/1.1")
        self.assertEqual(raised.exception.status, 501)

    def test_values(self) -> None:
        head = request(
            b"PUT /x HTTP/1.1",
            b"hOST: gw:9443\r\nX-A: \t a b \t\r\nX-A:c\r\nX-Empty:\r\ncontent-LENGTH: 007\r\nConnection: Close, ,x-A\r\n"
            b"Authorization: Basic x\r\nauthorization: Bearer y\r\nX-Auth-Realm: r\r\nExpect: 100-Continue\r\nX-L: caf\xe9\r\n",
        )
        headers = head.headers
        self.assertEqual(head.host, b"gw:9443")
        self.assertEqual(headers.get_all(b"x-a"), [b"a b", b"c"])
        self.assertEqual(headers.get(b"x-empty"), b"")
        self.assertEqual(headers.get(b"x-l"), b"caf\xe9")
        self.assertEqual(headers.content_length, 7)
        self.assertEqual(headers.connection, {b"close", b"x-a"})
        self.assertTrue(headers.close)
        self.assertFalse(headers.keep_alive)
        self.assertTrue(headers.narrowed)
        self.assertTrue(headers.expect_continue)
        self.assertEqual(headers.authorization, (b"Basic x", b"Bearer y"))

    def test_chunked_in_any_case(self) -> None:
        self.assertTrue(request(b"POST / HTTP/1.1", HOST + b"Transfer-Encoding: Chunked\r\n").headers.chunked)

    def test_several_connection_headers_are_one_list(self) -> None:
        headers = parse_block(b"Host: gw\r\nConnection: x-a\r\nConnection: close, X-B\r\n", 10)
        self.assertEqual((headers.connection, headers.close, headers.keep_alive), ({b"x-a", b"close", b"x-b"}, True, False))

    def test_upgrade_counts_where_connection_names_it(self) -> None:
        self.assertIsNone(request(b"GET / HTTP/1.1", HOST + b"Upgrade: websocket\r\n").headers.upgrade)
        head = request(b"GET / HTTP/1.1", HOST + b"Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n")
        self.assertEqual(head.headers.upgrade, b"websocket")
        head = request(b"GET / HTTP/1.1", HOST + b"Upgrade: a/1, b\r\nConnection: upgrade\r\nUpgrade: c\r\n")
        self.assertEqual(head.headers.upgrade, b"a/1, b,c")

    def test_for_how_long_an_idle_connection_is_kept(self) -> None:
        for value, seconds in (
            (b"timeout=5", 5),
            (b"timeout=5, max=100", 5),
            (b"max=100,Timeout = 15", 15),
            (b'timeout="7"', 7),
            (b"timeout=0", 0),
            (b"timeout=999999", 999999),
            (b"timeout=1000000", None),
            (b"xtimeout=5", None),
            (b"timeout=-5", None),
            (b"timeout", None),
            (b"", None),
        ):
            headers = parse_response_head(b"HTTP/1.1 200 OK\r\nKeep-Alive: %b\r\n\r\n" % value, 10).headers
            self.assertEqual(headers.kept_idle, seconds, value)
        self.assertIsNone(parse_response_head(b"HTTP/1.1 200 OK\r\n\r\n", 10).headers.kept_idle)

    def test_offered_protocols(self) -> None:
        for value, protocols in (
            (b"websocket", [b"websocket"]),
            (b"\t SPDY/3.1 ,h2c,\t,, WebSocket ", [b"SPDY/3.1", b"h2c", b"WebSocket"]),
            (b"a b, a/, /a, a/b/c, a/b", [b"a/b"]),
            (b"", []),
            (b"w" * 512, [b"w" * 512]),
            (b"w" * 513, []),
        ):
            self.assertEqual(offered_protocols(value), protocols, value)

    def test_a_higher_minor_version_is_the_highest_known_one(self) -> None:
        for minor in range(1, 10):
            line = b"GET / HTTP/1.%d" % minor
            self.assertIs(request(line, HOST + b"Transfer-Encoding: chunked\r\n").version, Version.HTTP_1_1, line)
            with self.assertRaises(BadRequest, msg="1.1 needs Host") as raised:
                request(line, b"X: y\r\n")
            self.assertEqual(raised.exception.status, 400)
        self.assertIs(request(b"GET / HTTP/1.0", HOST).version, Version.HTTP_1_0)
        for line in (b"GET / HTTP/2.0", b"GET / HTTP/0.9", b"GET / HTTP/2.1", b"GET / HTTP/11.1"):
            with self.assertRaises(VersionNotSupported, msg=line):
                request(line, HOST)

    def test_expectations(self) -> None:
        with self.assertRaises(ExpectationFailed) as raised:
            request(b"GET / HTTP/1.1", HOST + b"Expect: 200-ok\r\n")
        self.assertEqual(raised.exception.status, 417)
        for field, expects in ((b"Expect:", False), (b"Expect: \t", False), (b"Expect: 100-CONTINUE", True)):
            head = request(b"GET / HTTP/1.1", HOST + field + b"\r\n")
            self.assertIs(head.headers.expect_continue, expects, field)
        for value in (b"100-continue, x", b"x, 100-continue", b"100-continue;a=b", b'""', b"100"):
            with self.assertRaises(ExpectationFailed, msg=value):
                request(b"GET / HTTP/1.1", HOST + b"Expect: " + value + b"\r\n")

    def test_attack_23_header_count(self) -> None:
        block = HOST + b"X: y\r\n" * 99
        self.assertEqual(len(parse_block(block, 100).fields), 100)
        with self.assertRaises(HeadTooLarge):
            parse_block(block + b"X: y\r\n", 100)

    def test_attack_23_regexes_do_not_backtrack(self) -> None:
        """A backtracking expression would take minutes for these inputs: the test is that it ends."""
        for size in (1_000, 100_000):
            for block in (b"a" * size, b"a:" * size, (b"a: b\r\n" * size) + b"c", b"a:" + b" \t" * size + b"\x00"):
                with self.assertRaises(BadRequest):
                    split_fields(block, 10)
            for line in (b"!" * size, b"GET " + b"/" * size, b"GET " * size, b"GET http://" + b"a:" * size + b"@ HTTP/1.1"):
                with self.assertRaises(BadRequest):
                    request(line)


class ResponseTests(unittest.TestCase):
    def test_attack_18_header_blocks(self) -> None:
        for what, block in BAD_BLOCKS.items():
            with self.assertRaises(UpstreamBadReply, msg=what) as raised:
                parse_response_head(b"HTTP/1.1 200 OK\r\n" + block + b"\r\n", 100)
            self.assertEqual(raised.exception.status, 502)

    def test_status_lines_refused(self) -> None:
        for line in (
            b"",
            b"HTTP/1.1",
            b"HTTP/1.1 ",
            b"HTTP/1.1 2OO OK",
            b"HTTP/1.1 20 OK",
            b"HTTP/1.1 2000 OK",
            b"HTTP/1.1 099 OK",
            b"HTTP/1.1  200 OK",
            b"HTTP/1.1 200\tOK",
            b"HTTP/2.0 200 OK",
            b"HTTP/1.10 200 OK",
            b"HTTP/1. 200 OK",
            b"HTTP/0.9 200 OK",
            b"http/1.1 200 OK",
            b"ICY 200 OK",
            b" HTTP/1.1 200 OK",
            b"HTTP/1.1 200 O\x00K",
            b"HTTP/1.1 200 O\rK",
            b"HTTP/1.1 200 O\nK",
            b"HTTP/1.1 +200 OK",
        ):
            with self.assertRaises(UpstreamBadReply, msg=repr(line)):
                parse_response_head(line + b"\r\nX: y\r\n\r\n", 100)

    def test_status_lines(self) -> None:
        for line, status, reason, minor in (
            (b"HTTP/1.1 200 OK", 200, b"OK", 1),
            (b"HTTP/1.0 404 ", 404, b"", 0),
            *((b"HTTP/1.%d 200 OK" % higher, 200, b"OK", 1) for higher in range(2, 10)),
            (b"HTTP/1.1 500", 500, b"", 1),
            (b"HTTP/1.1 299 tr\xe8s  bien ", 299, b"tr\xe8s  bien ", 1),
        ):
            head = parse_response_head(line + b"\r\nContent-Length: 3\r\n\r\n", 100)
            self.assertEqual((head.status, head.reason, head.minor), (status, reason, minor))
            self.assertEqual(head.headers.content_length, 3)

    def test_no_fields(self) -> None:
        self.assertEqual(parse_response_head(b"HTTP/1.1 200 OK\r\n\r\n", 100).headers.fields, ())

    def test_attack_18_transfer_encoding_in_http_1_0(self) -> None:
        with self.assertRaises(UpstreamBadReply):
            parse_response_head(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 100)

    def test_attack_23_header_count(self) -> None:
        with self.assertRaises(UpstreamBadReply):
            parse_response_head(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 101 + b"\r\n", 100)


#: Pieces of hostile header blocks.
CRUMBS = st.sampled_from(
    [
        *b"Host Content-Length Transfer-Encoding chunked Connection close Expect 100-continue Upgrade".split(),
        *b"Authorization gw X 5".split(),
        *(b": ", b":", b" ", b"\t", b"\r\n", b"\n", b"\r", b"\x00", b",", b"\xff", b"-", b"_"),
    ]
)
#: Requests with at most one invalid part.
FIELDS = st.sampled_from(
    [
        *(b"X: y\r\n", b"X-Y:\t \r\n", b"Connection: x, close\r\n"),
        *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"),
    ]
)
METHODS = [b"GET", b"g", b"CONNECT", b""]
TARGETS = [b"/a?b", b"/%2e", b"//", b"/a b", b"*", b"http://h/a", b"/#", b"\xff"]
VERSIONS = [b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2", b"HTTP/1.1 "]
BLOCKS = st.lists(FIELDS, max_size=3).map(b"".join)
LINES = st.one_of(
    st.sampled_from(METHODS).map(lambda method: b"%b / HTTP/1.1" % method),
    st.sampled_from(TARGETS).map(lambda target: b"GET %b HTTP/1.1" % target),
    st.sampled_from(VERSIONS).map(lambda version: b"POST / %b" % version),
)
BYTES = st.one_of(st.binary(max_size=60), st.lists(CRUMBS, max_size=20).map(b"".join))


class ArbitraryBytesTests(unittest.TestCase):
    @reaches(12)
    @given(st.one_of(BYTES, BLOCKS, st.tuples(BLOCKS, BYTES, BLOCKS).map(b"".join)))
    @settings(max_examples=300, deadline=None)
    @example(b"Host: gw\r\n")
    def test_blocks_raise_nothing_else(self, block: bytes) -> None:
        try:
            headers = parse_block(block, 10)
        except BadRequest:
            return
        reached(self)
        self.assertEqual(len(headers.fields), block.count(b"\r\n"))
        self.assertFalse(has_bare_lf(block))
        for name, value in headers.fields:
            self.assertRegex(name, rb"\A[!#$%&'*+\-.^_`|~0-9a-z]+\Z")
            self.assertNotRegex(value, rb"[\x00-\x08\x0a-\x1f\x7f]")
            self.assertEqual(value, value.strip(b" \t"))

    @reaches(1)
    @given(BYTES | LINES, BYTES | BLOCKS.map(b"Host: gw\r\n".__add__))
    @settings(max_examples=300, deadline=None)
    def test_requests_raise_nothing_else(self, line: bytes, block: bytes) -> None:
        try:
            head = parse_request(line, parse_block(block, 10))
        except BadRequest:
            return
        reached(self)
        self.assertTrue(head.target.startswith(b"/"))

    @reaches(5)
    @given(BYTES | BLOCKS)
    @settings(max_examples=200, deadline=None)
    def test_responses_raise_nothing_else(self, block: bytes) -> None:
        for text in (block + b"\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + block + b"\r\n\r\n"):
            try:
                head = parse_response_head(text[: text.index(b"\r\n\r\n") + 4], 10)
            except UpstreamBadReply:
                continue
            reached(self)
            self.assertTrue(100 <= head.status <= 999)

    @given(st.binary(max_size=40))
    @settings(max_examples=100, deadline=None)
    def test_bare_lf(self, data: bytes) -> None:
        self.assertEqual(has_bare_lf(data), b"\n" in data.replace(b"\r\n", b""))

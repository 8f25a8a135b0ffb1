"""Which requests a browser sent on behalf of another site, and which origins are the gateway's own."""

from __future__ import annotations

from twisted.trial import unittest

from perimeter.gate.cross_site import SAFE_METHODS, asks_for_websocket, from_another_site, own_origins, serialised
from perimeter.http.grammar import parse_block
from perimeter.model import ClientConnection, HeaderBlock, RequestHead, Version

OWN = frozenset((b"https://gw.example", b"https://gw.example:9443"))
ALLOWED = frozenset((b"https://app.example",))


def block(*lines: str) -> HeaderBlock:
    return parse_block("".join(f"{line}\r\n" for line in ("Host: gw.example", *lines)).encode("latin-1"), 20)


class SiteTests(unittest.TestCase):
    def test_attack_50_where_the_page_comes_from(self) -> None:
        for lines, foreign in (
            ((), False),
            (("Origin: https://gw.example",), False),
            (("Origin: HTTPS://GW.example",), False),
            (("Origin: https://gw.example:9443",), False),
            (("Origin: https://app.example",), False),
            (("Origin: https://evil.example",), True),
            (("Origin: http://gw.example",), True),
            (("Origin: https://gw.example:444",), True),
            (("Origin: https://gw.example.evil.example",), True),
            (("Origin: https://sister.gw.example",), True),
            (("Origin: https://gw.example https://evil.example",), True),
            (("Origin:",), True),
            (("Origin: null",), True),
            (("Origin: null", "Sec-Fetch-Site: same-origin"), False),
            (("Origin: null", "Sec-Fetch-Site: none"), True),
            (("Origin: null", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: same-origin"), True),
            (("Origin: https://evil.example", "Sec-Fetch-Site: same-origin"), True),
            (("Origin: https://gw.example", "Origin: https://gw.example"), True),
            # some browsers compare wss with https, and call a WebSocket of the own page foreign
            (("Origin: https://gw.example", "Sec-Fetch-Site: cross-site"), False),
            (("Sec-Fetch-Site: cross-site",), True),
            (("Sec-Fetch-Site: same-site",), True),
            (("Sec-Fetch-Site: same-origin",), False),
            (("Sec-Fetch-Site: none",), False),
            (("Sec-Fetch-Site: none", "Sec-Fetch-Site: cross-site"), True),
        ):
            self.assertEqual(from_another_site(block(*lines), OWN, ALLOWED), foreign, lines)

    def test_safe_methods(self) -> None:
        self.assertEqual(SAFE_METHODS, {b"GET", b"HEAD", b"OPTIONS"})

    def test_a_question_about_a_websocket(self) -> None:
        for line, asks in (("Sec-WebSocket-Key: x", True), ("Upgrade: websocket", True), ("Connection: upgrade", False)):
            self.assertEqual(asks_for_websocket(block(line)), asks, line)


class OwnOriginTests(unittest.TestCase):
    def own(self, host: str, *lines: str, tls: bool = True, relayed: bool = False, question: bool = False) -> set[bytes]:
        connection = ClientConnection("192.0.2.7", 1, "https", 443, "TLSv1.3" if tls else "")
        head = RequestHead(b"POST", b"/", Version.HTTP_1_1, block(*lines), host.encode())
        return set(own_origins(head, connection, relayed, question))

    def test_of_a_connection(self) -> None:
        for host, tls, own in (
            ("GW.example", True, b"https://gw.example"),
            ("gw.example", False, b"http://gw.example"),
            ("gw.example:443", True, b"https://gw.example"),
            ("gw.example:80", False, b"http://gw.example"),
            ("gw.example:80", True, b"https://gw.example:80"),
            ("gw.example:443", False, b"http://gw.example:443"),
            ("[::1]:9443", True, b"https://[::1]:9443"),
        ):
            self.assertEqual(self.own(host, tls=tls), {own})

    def test_attack_50_a_client_names_no_origin_of_its_own(self) -> None:
        lines = ("X-Forwarded-Host: evil.example", "X-Forwarded-Proto: http", "X-Forwarded-Port: 1")
        self.assertEqual(self.own("gw.example", *lines), {b"https://gw.example"})

    def test_behind_a_trusted_proxy(self) -> None:
        for lines, own in (
            ((), {b"http://in"}),
            (("X-Forwarded-Proto: https",), {b"https://in"}),
            (("X-Forwarded-Proto: HTTPS",), {b"https://in"}),
            (("X-Forwarded-Proto: gopher",), {b"http://in"}),
            (("X-Forwarded-Proto: https, http",), {b"https://in"}),
            (("X-Forwarded-Proto: https", "X-Forwarded-Proto: http"), {b"https://in"}),
            (("X-Forwarded-Proto: wss",), {b"https://in"}),
            (("X-Forwarded-Proto: ws",), {b"http://in"}),
            (("X-Forwarded-Proto: https", "X-Forwarded-Host: Gw:9443"), {b"https://in", b"https://gw:9443"}),
            (("X-Forwarded-Host: gw , other",), {b"http://in", b"http://gw", b"http://other"}),
            (
                ("X-Forwarded-Proto: https", "X-Forwarded-Host: gw:1, [::1]", "X-Forwarded-Port: 443"),
                {b"https://in", b"https://gw:1", b"https://[::1]"},
            ),
            (("X-Forwarded-Port: 8080",), {b"http://in", b"http://in:8080"}),
            (("X-Forwarded-Proto:", "X-Original-URL: https://gw/"), {b"http://in"}),
        ):
            self.assertEqual(self.own("in", *lines, tls=False, relayed=True), own, lines)
        self.assertEqual(self.own("in", relayed=True), {b"https://in"})

    def test_of_a_question(self) -> None:
        for lines, own in (
            ((), {b"http://gw", b"https://gw"}),
            (("X-Forwarded-Proto: https",), {b"https://gw"}),
            (("X-Original-URL: HTTP://gw/",), {b"http://gw"}),
            (("X-Original-URL: /x",), {b"http://gw", b"https://gw"}),
            (("X-Forwarded-Proto: https", "X-Original-URL: http://gw/"), {b"https://gw"}),
        ):
            self.assertEqual(self.own("gw", *lines, tls=False, relayed=True, question=True), own, lines)

    def test_default_ports(self) -> None:
        self.assertEqual(serialised(b"app", b"x:80"), b"app://x:80")

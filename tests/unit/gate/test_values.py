"""What placeholders stand for in a request."""

from __future__ import annotations

from twisted.trial import unittest

from perimeter.config.language.placeholders import template
from perimeter.gate.decision import Admitted, Located
from perimeter.gate.values import header_value, is_secure, value_of
from perimeter.http.exchange import Exchange
from perimeter.model import Principal
from tests.unit.doubles.http_rig import Client, Holding, Site

ALICE = Principal("al,ice", "lo%cal", ("a,b", "c"), attributes={"mail": "a@b", "empty": ""})


class ValueTests(unittest.TestCase):
    def exchange(
        self, *lines: str, principal: Principal | None = ALICE, relayed: tuple[str, ...] = (), tls: str = ""
    ) -> Exchange:
        target = Holding()
        site = Site(target)
        site.next_id_line = lambda: b"X-Request-ID: 01,2\r\n"
        client = Client(site, tls)
        client.get("/", *lines)
        (exchange,) = target.exchanges
        exchange.decision = Admitted(site.route, principal, b"/", b"", "192.0.2.9", relayed)
        return exchange

    def test_values(self) -> None:
        exchange = self.exchange()
        for text, value, header in (
            ("user", "al,ice", b"al%2Cice"),
            ("realm", "lo%cal", b"lo%25cal"),
            ("roles", "a%2Cb,c", b"a%2Cb,c"),
            ("attribute:mail", "a@b", b"a@b"),
            ("attribute:empty", None, None),
            ("attribute:other", None, None),
            ("address", "192.0.2.9", b"192.0.2.9"),
            ("request_id", "01,2", b"01%2C2"),
            ("host", "gw.example", b"gw.example"),
            ("scheme", "http", b"http"),
        ):
            made = template(f"%{{{text}}}")
            self.assertEqual(value_of(exchange, made.placeholders[0]), value, text)
            self.assertEqual(header_value(made, exchange), header, text)

    def test_what_does_not_exist(self) -> None:
        nobody = self.exchange(principal=None)
        for text in ("user", "realm", "roles", "attribute:mail"):
            self.assertIsNone(header_value(template(f"x%{{{text}}}"), nobody), text)
        self.assertIsNone(header_value(template("%{roles}"), self.exchange(principal=Principal("a", "b"))))
        exchange = self.exchange()
        exchange.id_line = b""
        self.assertIsNone(header_value(template("%{request_id}"), exchange))
        self.assertEqual(header_value(template("x"), nobody), b"x")

    def test_secure(self) -> None:
        https, http, both = "X-Forwarded-Proto: HTTPS", "X-Forwarded-Proto: http", "X-Forwarded-Proto: https, http"
        proxy = ("192.0.2.7",)
        self.assertFalse(is_secure(self.exchange(https)))
        self.assertTrue(is_secure(self.exchange(http, tls="TLSv1.3")))
        self.assertTrue(is_secure(self.exchange(https, relayed=proxy)))
        self.assertFalse(is_secure(self.exchange(http, relayed=proxy, tls="TLSv1.3")))
        self.assertTrue(is_secure(self.exchange(both, relayed=proxy, tls="TLSv1.3")))
        self.assertFalse(is_secure(self.exchange(both, relayed=proxy)))
        self.assertFalse(is_secure(self.exchange(relayed=proxy)))
        exchange = self.exchange(https, relayed=proxy)
        exchange.decision = Located(exchange.decision.route, None, b"/", "192.0.2.9", proxy)  # type: ignore[union-attr, arg-type]
        self.assertFalse(is_secure(exchange))

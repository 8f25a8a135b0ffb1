"""The client's address: X-Forwarded-For is believed from trusted proxies only (attacks 8 to 10)."""

from __future__ import annotations

from ipaddress import ip_network

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from perimeter.config.language.net_types import in_networks
from perimeter.gate.forwarded import vouched_chain, vouched_https
from perimeter.http.grammar import parse_block

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"))


def chain(*values: str) -> tuple[str, ...]:
    lines = "".join(f"X-Forwarded-For: {value}\r\n" for value in values)
    headers = parse_block(f"Host: gw\r\n{lines}".encode("latin-1"), 10)
    return vouched_chain("10.0.0.1", headers, TRUSTED)


class VouchedChainTests(unittest.TestCase):
    def test_attack_9_addresses_from_untrusted_proxies_are_left_out(self) -> None:
        for values, expected in (
            ((), ()),
            (("192.0.2.1",), ("192.0.2.1",)),
            (("192.0.2.1, 10.0.0.2",), ("192.0.2.1", "10.0.0.2")),
            (("192.0.2.1", "10.0.0.2"), ("192.0.2.1", "10.0.0.2")),
            (("6.6.6.6, 192.0.2.1, 10.0.0.2",), ("192.0.2.1", "10.0.0.2")),
            (("10.0.0.3, 10.0.0.2",), ("10.0.0.3", "10.0.0.2")),
            (("192.0.2.1, nonsense, 10.0.0.2",), ("10.0.0.2",)),
            (("192.0.2.1, nonsense",), ()),
            (("",), ()),
            (("192.0.2.1,",), ()),
            (("caf\xe9",), ()),
            (("unknown",), ()),
            (("2001:db8::5",), ("2001:db8::5",)),
            (("2001:0DB9:0::5",), ("2001:db9::5",)),
            (("\t192.0.2.1 ",), ("192.0.2.1",)),
            (("2001:db9::a",), ("2001:db9::a",)),
            (("m192.0.2.1",), ()),
        ):
            self.assertEqual(chain(*values), (*expected, "10.0.0.1"), values)

    def test_addresses_with_a_port_or_in_brackets(self) -> None:
        """As Azure's gateways, HAProxy's option and others write them."""
        for value, expected in (
            ("192.0.2.1:80", "192.0.2.1"),
            ("192.0.2.1:0", "192.0.2.1"),
            ("192.0.2.1:51234", "192.0.2.1"),
            ("[2001:db9::1]:443", "2001:db9::1"),
            ("[2001:db9::1]", "2001:db9::1"),
            ("[2001:0DB9::1%eth0]:1", "2001:db9::1"),
            ("[::ffff:192.0.2.1]:443", "192.0.2.1"),
            ("2001:db9::1:443", "2001:db9::1:443"),  # without brackets there is no port
            ("6.6.6.6:1, 192.0.2.1:2", "192.0.2.1"),
            ("192.0.2.1:1, 10.0.0.2:2, [2001:db8::5]:3", "192.0.2.1"),
        ):
            self.assertEqual(chain(value)[0], expected, value)
        self.assertEqual(chain("192.0.2.1:1, [2001:db8::5]:3"), ("192.0.2.1", "2001:db8::5", "10.0.0.1"))

    def test_attack_9_what_only_looks_like_an_address_is_none(self) -> None:
        for value in (
            *("192.0.2.1:", "192.0.2.1:123456", "192.0.2.1:x", ":80", "192.0.2:80", "[192.0.2.1]:80", "[192.0.2.1]"),
            *("[2001:db9::1", "2001:db9::1]", "[2001:db9::1]443", "[2001:db9::1]:", "[[2001:db9::1]]", "[]:1", "[g::1]"),
            *("192.0.2.1:80:80", "192.0.2.1 :80", "192.0.2.1: 80", '"192.0.2.1"', '"[2001:db9::1]:1"', "_hidden", "a.test:80"),
        ):
            self.assertEqual(chain(value), ("10.0.0.1",), value)
            self.assertEqual(chain(f"{value}, 192.0.2.9")[0], "192.0.2.9", value)

    def test_attack_10_mapped_addresses(self) -> None:
        self.assertEqual(chain("192.0.2.1, ::ffff:10.0.0.2")[0], "192.0.2.1")
        self.assertEqual(chain("::ffff:192.0.2.1")[0], "192.0.2.1")

    @given(st.text(alphabet="0123456789.:af, %xz\t\xe9", max_size=40))
    @settings(max_examples=200, deadline=None)
    def test_any_value_gives_addresses(self, value: str) -> None:
        for address in chain(value):
            in_networks(address, TRUSTED)

    def test_networks(self) -> None:
        self.assertTrue(in_networks("10.1.2.3", TRUSTED))
        self.assertFalse(in_networks("11.1.2.3", TRUSTED))
        self.assertTrue(in_networks("2001:db8::1", TRUSTED))
        self.assertFalse(in_networks("::1", TRUSTED))
        self.assertFalse(in_networks("10.0.0.1", ()))


class SchemeTests(unittest.TestCase):
    """What a trusted proxy says of the client's scheme (attack 80)."""

    def test_what_proxies_say(self) -> None:
        for said, lines in (
            (None, ""),
            (True, "X-Forwarded-Proto: https"),
            (True, "X-Forwarded-Proto: HTTPS"),
            (True, "X-Forwarded-Proto: wss"),
            (False, "X-Forwarded-Proto: http"),
            (False, "X-Forwarded-Proto: ws"),
            (False, "X-Forwarded-Proto: "),
            (False, "X-Forwarded-Proto: httpsx"),
            (True, "X-Forwarded-Proto:  https , http"),
            (False, "X-Forwarded-Proto: http, https"),
            (False, "X-Forwarded-Proto: http\r\nX-Forwarded-Proto: https"),
            (True, "X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http"),
            (True, "X-Original-URL: https://gw/x"),
            (True, "X-Original-URL: WSS://gw/x"),
            (False, "X-Original-URL: http://gw/x"),
            (None, "X-Original-URL: /https"),
            (False, "X-Forwarded-Proto: https\r\nX-Original-URL: http://gw/x"),
            (False, "X-Forwarded-Proto: http\r\nX-Original-URL: https://gw/x"),
            (True, "X-Forwarded-Proto: https\r\nX-Original-URL: https://gw/x"),
            (True, "X-Forwarded-Proto: https\r\nX-Original-URL: /x"),
        ):
            headers = parse_block(f"Host: gw\r\n{lines}\r\n".encode() if lines else b"Host: gw\r\n", 20)
            self.assertIs(vouched_https(headers), said, lines)

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest
from zope.interface.verify import verifyObject

from perimeter.gate.target import ITarget
from perimeter.targets.redirect import RedirectTarget
from tests.unit.doubles.exchange_rig import Rig
from tests.unit.doubles.properties import reached, reaches


def redirect(port: int, host: bytes, target: bytes, *, decided: bool = False) -> Rig:
    rig = Rig("GET / HTTP/1.1", target=target, decided=decided)
    rig.exchange.head.host = host
    if not decided:
        rig.exchange.head.target = target
    RedirectTarget(port).handle(rig.exchange)
    return rig


class RedirectTests(unittest.TestCase):
    def test_is_a_target(self) -> None:
        self.assertTrue(verifyObject(ITarget, RedirectTarget(443)))

    def test_locations(self) -> None:
        for port, host, target, expected in (
            (443, b"gw.example", b"/", "https://gw.example/"),
            (443, b"gw.example:80", b"/a?b=c", "https://gw.example/a?b=c"),
            (9443, b"gw.example:8080", b"/a%20b", "https://gw.example:9443/a%20b"),
            (9443, b"192.0.2.1", b"/", "https://192.0.2.1:9443/"),
            (443, b"[2001:db8::1]:80", b"/", "https://[2001:db8::1]/"),
            (8443, b"[::1]", b"/", "https://[::1]:8443/"),
            (443, b"localhost", b"//evil.example/", "https://localhost//evil.example/"),
            (443, b"under_score.example.", b"/", "https://under_score.example./"),
        ):
            for decided in (True, False):
                reply = redirect(port, host, target, decided=decided).reply
                self.assertEqual((reply.status, reply.get("location"), reply.body), (301, expected, b""))

    def test_attack_09_what_is_no_host_is_refused(self) -> None:
        for host in (
            b"", b"a b", b"user@evil.example", b"evil.example/x", b"a:b:c", b"gw:99999999", b"[::1", b"[zz]", b"[1.2.3.4]",
            b"<b>", b"gw\r\nSet-Cookie: a=b", b"gw#", b"gw?", b"gw\\", b"g%77", b"-gw", b".gw", b"gw:", b"\xc3\xa9", b"a" * 300,
        ):  # fmt: skip
            rig = redirect(443, host, b"/")
            self.assertEqual(rig.reply.status, 400, host)
            self.assertNotIn(b"Location", rig.written)

    def test_attack_24_no_line_breaks_or_schemes_in_the_path(self) -> None:
        for target in (
            b"*",
            b"",
            b"x",
            b"http://evil.example/",
            b"/a\r\nX: y",
            b"/a b",
            b"/\\evil",
            b"/\xff",
            b"javascript:alert(1)",
        ):
            self.assertEqual(redirect(443, b"gw", target).reply.status, 400, target)

    @reaches(2)
    @given(
        st.binary(max_size=20) | st.just(b"gw:80"), st.binary(max_size=20) | st.text("aZ0/?%.~\r\n", max_size=8).map(str.encode)
    )
    @settings(max_examples=200, deadline=None)
    def test_never_a_second_line(self, host: bytes, target: bytes) -> None:
        rig = redirect(443, host, b"/" + target)
        location = rig.reply.get("location")
        if location is not None:
            reached(self)
            self.assertRegex(location, r"\Ahttps://[A-Za-z0-9_.:\[\]-]+/[!-~]*\Z")
            self.assertEqual(len(rig.written.split(b"\r\n\r\n")[0].split(b"\r\n")), 4)

"""The gateway's own cookies: found by one rule, taken out in every spelling, and never set by a service."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from perimeter.http import cookies as cookies_module
from perimeter.http.cookies import (
    SESSION,
    SESSION_LENGTH,
    foreign_lines,
    is_own,
    mentions_own,
    own_value,
    session_value,
    without_own,
)
from perimeter.http.grammar import parse_block, parse_response_head

VALUE = "aZ09-_" + "x" * 37
OTHER = "y" * 43
PRE = b"__Host-perimeter-pre"


def session(*cookies: str) -> bytes | None:
    """The session of a request with these Cookie headers."""
    lines = "".join(f"Cookie: {value}\r\n" for value in cookies)
    return parse_block(f"Host: gw\r\n{lines}".encode("latin-1"), 100).session


class SessionTests(unittest.TestCase):
    def test_where_the_session_is_found(self) -> None:
        for cookies in (
            (f"__Host-perimeter={VALUE}",),
            (f"__Host-perimeter={VALUE}; a=b",),
            (f"__Host-perimeter={VALUE};a=b",),
            (f"__Host-perimeter={VALUE};",),
            (f"a=b; __Host-perimeter={VALUE}",),
            (f"a=b;__Host-perimeter={VALUE}",),
            (f"a=b; \t __Host-perimeter={VALUE}; c=d",),
            ("a=b", f"__Host-perimeter={VALUE}"),
            (f"__Host-perimeter={VALUE}", "a=b"),
            (f"  __Host-perimeter={VALUE}  ",),
            # other cookies of the gateway's own, and other cookies that look like it
            (f"__Host-perimeter-pre={OTHER}; __Host-perimeter={VALUE}",),
            (f"__host-perimeter={OTHER}; __Host-perimeter={VALUE}",),
            (f"a=__Host-perimeter={OTHER}; __Host-perimeter={VALUE}",),
            (f"a=b __Host-perimeter={OTHER}; __Host-perimeter={VALUE}; x__Host-perimeter={OTHER}",),
            (f'a="; __Host-perimeter={VALUE}; b="',),
        ):
            self.assertEqual(session(*cookies), VALUE.encode(), cookies)

    def test_where_there_is_no_session(self) -> None:
        for cookies in (
            (),
            ("",),
            ("a=b",),
            ("__Host-perimeter",),
            ("__Host-perimeter=",),
            (f"__Host-perimeter={VALUE[1:]}",),
            (f"__Host-perimeter={VALUE}x",),
            (f"__Host-perimeter={VALUE} ; a=b",),
            (f"__Host-perimeter={VALUE},a=b",),
            (f"__Host-perimeter={VALUE[:-1]}=",),
            (f"__Host-perimeter={VALUE[:-1]}+",),
            (f"__Host-perimeter={VALUE[:-1]}\xe9",),
            (f'__Host-perimeter="{VALUE}"',),
            (f'__Host-perimeter="{VALUE[2:]}"',),
            (f"__Host-perimeter = {VALUE}",),
            (f"__Host-perimeter ={VALUE}",),
            (f"__Host-perimeter= {VALUE}",),
            (f"__host-perimeter={VALUE}",),
            (f"__HOST-PERIMETER={VALUE}",),
            (f"__Host-Perimeter={VALUE}",),
            (f"perimeter={VALUE}",),
            (f"x__Host-perimeter={VALUE}",),
            (f"a=b, __Host-perimeter={VALUE}",),
            (f"a=b __Host-perimeter={VALUE}",),
            (f"a=__Host-perimeter={VALUE}",),
            (f"=__Host-perimeter={VALUE}",),
            (f"__Host-perimeter-pre={VALUE}",),
            (f'$Version="1"; __Host-perimeter={VALUE}',),
            (f"$Version=1; a=b; __Host-perimeter={VALUE}; $Path=/",),
            ("__Host-perimeter;" * 3,),
        ):
            self.assertIsNone(session(*cookies), cookies)

    def test_attack_25_two_cookies_of_the_name_are_no_session(self) -> None:
        for cookies in (
            (f"__Host-perimeter={VALUE}; __Host-perimeter={OTHER}",),
            (f"__Host-perimeter={VALUE}; a=b; __Host-perimeter={VALUE}",),
            (f"__Host-perimeter=bad; __Host-perimeter={VALUE}",),
            (f"__Host-perimeter={VALUE}; __Host-perimeter=bad",),
            (f"__Host-perimeter={VALUE}", f"__Host-perimeter={OTHER}"),
            (f"a=b; __Host-perimeter={VALUE}", f"__Host-perimeter={VALUE}; c=d"),
            (f"__Host-perimeter={VALUE}", "__Host-perimeter="),
            (f'$Version="1"; __Host-perimeter={OTHER}', f"__Host-perimeter={VALUE}"),
        ):
            self.assertIsNone(session(*cookies), cookies)

    def test_only_cookie_carries_one(self) -> None:
        for name in ("Set-Cookie", "Cookie2", "X-Cookie"):
            block = parse_block(f"Host: gw\r\n{name}: __Host-perimeter={VALUE}\r\n".encode(), 10)
            self.assertIsNone(block.session, name)
            self.assertEqual(block.own_cookies, name == "Set-Cookie")

    def test_what_a_block_says_of_its_cookies(self) -> None:
        for line, own in (("a=b", False), ("__host-PERIMETER-x", True), ("perimeter=1", False)):
            self.assertEqual(parse_block(f"Host: gw\r\nCookie: {line}\r\n".encode(), 10).own_cookies, own, line)
        self.assertFalse(parse_block(b"Host: gw\r\n", 10).own_cookies)
        for line, own in (("a=b; Path=/", False), ("__Host-perimeter=x", True)):
            head = parse_response_head(f"HTTP/1.1 200 OK\r\nSet-Cookie: {line}\r\n\r\n".encode(), 10)
            self.assertEqual((head.headers.own_cookies, head.headers.session), (own, None), line)

    def test_a_cookie_of_another_name_and_length(self) -> None:
        value = "p" * 22
        cookies = [f"__Host-perimeter={VALUE}; __Host-perimeter-pre={value}".encode()]
        self.assertEqual(own_value(cookies, PRE, 22), value.encode())
        self.assertIsNone(own_value(cookies, PRE, 21))
        self.assertIsNone(own_value(cookies, PRE, 23))
        self.assertEqual(own_value(cookies, SESSION, SESSION_LENGTH), VALUE.encode())

    def test_many_cookies_take_no_long(self) -> None:
        """Linear: blanks before a name are looked at once, whatever there is of them (a quarter of a second at the worst)."""
        for value in (b" " * 30_000 + b"__Host-perimeter=", b"x__Host-perimeter=" * 60_000, b";" * 1_000_000):
            self.assertIsNone(own_value([value], SESSION, SESSION_LENGTH))
            without_own(value)


class TakenOutTests(unittest.TestCase):
    def test_attack_28_own_cookies_are_taken_out_and_the_others_stay(self) -> None:
        own = f"__Host-perimeter={VALUE}"
        for given_, kept in (
            (own, ""),
            (f"{own}; a=b", "a=b"),
            (f"a=b; {own}", "a=b"),
            (f"a=b; {own}; c=d", "a=b; c=d"),
            (f"a=b;{own};c=d", "a=b;c=d"),
            (f"{own}; {own}", ""),
            (f"{own};", ""),
            (f"a=b; {own.lower()}; c=d", "a=b; c=d"),
            (f"a=b; {own.upper()}; c=d", "a=b; c=d"),
            ("__Host-perimeter-pre=x; __Host-perimeter-flow-4=y; __Host-perimeter2=z; __Host-perimeter", ""),
            (f"a=b, {own}, c=d; e=f", "a=b, c=d; e=f"),
            (f"={own}; a=b", "a=b"),
            ('a="1,2"; b=%20; c', 'a="1,2"; b=%20; c'),
            (f"a={own}; b= x__Host-perimeter=1", f"a={own}; b= x__Host-perimeter=1"),
            ("__Host-perimetre=1; perimeter=2", "__Host-perimetre=1; perimeter=2"),
        ):
            self.assertEqual(without_own(given_.encode()), kept.encode(), given_)

    @given(
        st.lists(
            st.sampled_from(["a=b", "c", "__Host-perimeter=1", "__HOST-perimeter-x", " ", "", "\xe9=1", "d=1,2"]), max_size=8
        )
    )
    def test_nothing_of_them_is_left(self, cookies: list[str]) -> None:
        kept = without_own("; ".join(cookies).encode("latin-1"))
        self.assertFalse(mentions_own(kept))
        names = [one.strip() for one in kept.split(b";") if one.strip()]
        self.assertEqual(names, [one.encode("latin-1") for one in cookies if one.strip() and "erimeter" not in one])

    def test_whose_cookie_is_set(self) -> None:
        for cookie, own in (
            ("__Host-perimeter=x; Path=/", True),
            ("__host-PERIMETER-anything; Secure", True),
            (" \t__Host-perimeter=x", True),
            ("=__Host-perimeter=x", True),
            (" = __Host-perimeter", True),
            ("__Host-perimete=x", False),
            ("a=__Host-perimeter", False),
            ("", False),
        ):
            self.assertEqual(is_own(cookie.encode()), own, cookie)


class RepeatedTests(unittest.TestCase):
    """A browser sends the same cookies with each request: what was found in them is found again."""

    def test_the_answer_is_the_same_again(self) -> None:
        value = b"a=1; __Host-perimeter=" + b"A" * 43
        planted = value + b"; __Host-perimeter=" + b"B" * 43
        line = ((b"cookie", value), b"Cookie: " + value)
        for _ in range(3):
            self.assertEqual(session_value([value]), b"A" * 43)
            self.assertIsNone(session_value([planted]))
            self.assertIsNone(session_value([value, value]))
            self.assertEqual(foreign_lines([line]), [((b"cookie", b"a=1"), b"Cookie: a=1")])
            self.assertEqual(foreign_lines([((b"cookie", value[5:]), b"Cookie: " + value[5:])]), [])

    def test_long_values_are_not_kept(self) -> None:
        for size, kept in ((1024, True), (1025, False)):
            value = b"__Host-perimeter=%b; a=" % (b"A" * 43)
            value += b"1" * (size - len(value))
            self.assertEqual(session_value([value]), b"A" * 43)
            foreign_lines([((b"cookie", value), b"Cookie: " + value)])
            self.assertEqual((value in cookies_module._sessions, value in cookies_module._rests), (kept, kept))

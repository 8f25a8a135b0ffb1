"""Where a browser may go after the sign-in: this host only, and there the very path and query that it asked for."""

from __future__ import annotations

from urllib.parse import parse_qs, urljoin, urlsplit

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from perimeter.gate.return_path import LONGEST, Again, referring_path, safe_path, with_return
from perimeter.http.grammar import parse_block, parse_request

KEPT = (
    "/",
    "/a",
    "/a/",
    "/a/b?c=d",
    "/?",
    "/?a=b&c=%20d%26",
    "/a%20b/%C3%A9",
    "/a?to=https://evil.example/",
    "/a?x=%5C%0d%0a%09",
    "/a?x=//evil",
    "/a//b",
    "/a;x=1?y",
    "/@evil.example",
    "/good.com.evil",
    "/javascript:alert(1)",
    "/https://evil.example/",
    "/a%2Fb",
    "/a%2F%2Fb",
)
REFUSED = (
    "",
    "a",
    "?a",
    "evil.example",
    "good.com.evil",
    "//evil",
    "///evil",
    "//evil/..",
    "/\\evil",
    "\\\\evil",
    "\\/evil",
    "/\\/evil",
    "/%5Cevil",
    "/%5cevil",
    "/%2Fevil",
    "/%2fevil",
    "/%2F%2Fevil",
    "/%252Fevil",
    "/%255Cevil",
    "/%09/evil",
    "/\t/evil",
    "/%0a/evil",
    "/\n/evil",
    "/%0D%0ALocation:%20https://evil",
    "/\r\nLocation: https://evil",
    "/a\r\n",
    "/a\n",
    "/%00",
    "/\x7f",
    "/%7f",
    "/ /evil",
    " /a",
    "/a b",
    "/a?b c",
    "/a?b\tc",
    "/a?b\\c",
    "/a#b",
    "/a?b#//evil",
    "#",
    "https://evil",
    "https:/evil",
    "https:evil",
    "HTTPS://evil",
    "https://gw:443%252f@evil/",
    "https://gw@evil/",
    "//gw@evil/",
    "javascript:alert(1)",
    "JavaScript:alert(1)",
    "data:text/html,x",
    "/..//evil",
    "/.//evil",
    "/a/..//evil",
    "/%2e%2e//evil",
    "/%2e/evil",
    "/..%2F/evil",
    "/%C0%AFevil",
    "/\u2215evil",
    "/\u3000/evil",
    "/\xa0/evil",
    "/caf\xe9",
    "/%",
    "/%zz",
)


class SafePathTests(unittest.TestCase):
    def test_paths_of_this_host_stay_as_they_are(self) -> None:
        for text in KEPT:
            self.assertEqual(safe_path(text), text)

    def test_attack_24_only_a_path_on_this_host(self) -> None:
        for text in REFUSED:
            self.assertEqual(safe_path(text), "/", text)

    def test_attack_24_encoded_once_more(self) -> None:
        """The parameter ``to`` is decoded once; what was encoded twice is judged as what it is then."""
        for text in REFUSED:
            location = with_return(b"/login", text.encode()) if text.isascii() else b"/login?to=%2F"
            self.assertEqual(parse_qs(location.decode().partition("?")[2])["to"], ["/"], text)

    def test_length(self) -> None:
        longest = "/" + "a" * (LONGEST - 1)
        self.assertEqual(LONGEST, 2000)
        self.assertEqual(safe_path(longest), longest)
        self.assertEqual(safe_path(longest + "a"), "/")

    @given(st.text(st.sampled_from("/\\.%2F5cCeE09aAdD:@?#;&= \t\r\n\x00\x7fé\u2215"), max_size=12))
    def test_attack_24_a_browser_stays_on_this_host(self, text: str) -> None:
        path = safe_path(text)
        self.assertIn(path, (text, "/"))
        # the steps of a browser: tabs and line ends go, a backslash is a slash (WHATWG URL)
        read = path.replace("\\", "/")
        for away in "\t\r\n":
            read = read.replace(away, "")
        found = urlsplit(urljoin("https://gw.example/login", read.strip(" ")))
        self.assertEqual((found.scheme, found.netloc), ("https", "gw.example"))


class WithReturnTests(unittest.TestCase):
    def test_path_and_query_arrive_byte_for_byte(self) -> None:
        for target, location in (
            (b"/", b"/.perimeter/login?to=/"),
            (b"/a%20b/c?d=e&f=%26#"[:-1], b"/.perimeter/login?to=/a%2520b/c%3Fd%3De%26f%3D%2526"),
            (b"/a?b=//x+y", b"/.perimeter/login?to=/a%3Fb%3D//x%2By"),
        ):
            self.assertEqual(with_return(b"/.perimeter/login", target), location)
            self.assertEqual(parse_qs(location.decode().partition("?")[2])["to"], [target.decode()])

    def test_the_sign_in_page_is_shown_again(self) -> None:
        for again, more in ((None, b""), (Again.SAME_USER, b"&again=1"), (Again.OTHER_USER, b"&again=other")):
            self.assertEqual(with_return(b"/l", b"/a", again=again), b"/l?to=/a" + more)

    def test_the_page_from_which_a_form_was_sent(self) -> None:
        for referrer, path in (
            ("https://gw.example:9443/a?b=c", b"/a?b=c"),
            ("http://GW.example:9443/", b"/"),
            ("https://gw.example/a", b"/"),
            ("https://evil.example/a", b"/"),
            ("https://gw.example:9443@evil.example/a", b"/"),
            ("https://gw.example:9443", b"/"),
            ("//gw.example:9443/a", b"/"),
            ("/a", b"/"),
            ("about:blank", b"/"),
            ("", b"/"),
            ("https://gw.example:9443/a b", b"/"),
        ):
            block = parse_block(f"Host: gw.example:9443\r\nReferer: {referrer}\r\n".encode(), 5)
            self.assertEqual(referring_path(parse_request(b"POST /x HTTP/1.1", block)), path, referrer)
        block = parse_block(b"Host: gw.example\r\n", 5)
        self.assertEqual(referring_path(parse_request(b"POST /x HTTP/1.1", block)), b"/")

    def test_what_is_not_safe_leads_to_the_front_page(self) -> None:
        for target in (b"//evil", b"/\\evil", b"/" + b"a" * LONGEST):
            self.assertEqual(with_return(b"/l", target), b"/l?to=/", target)

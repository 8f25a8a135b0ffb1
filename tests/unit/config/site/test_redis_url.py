"""The URL of the store that several machines share."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from perimeter.config.language.datatypes import BadValue
from perimeter.config.site.redis_url import REDIS_URL, RedisUrl, parse_redis_url

GOOD = (
    ("redis://localhost", RedisUrl((("localhost", 6379),))),
    ("redis://LOCALHOST:7000/", RedisUrl((("localhost", 7000),))),
    ("rediss://redis.example.com/3", RedisUrl((("redis.example.com", 6379),), tls=True, database=3)),
    ("redis://:pw@10.0.0.1", RedisUrl((("10.0.0.1", 6379),), password="pw")),
    ("redis://gw:p%40%2F%3A%25%C3%A9@h", RedisUrl((("h", 6379),), username="gw", password="p@/:%é")),
    ("redis://gw:a:b@c@h", RedisUrl((("h", 6379),), username="gw", password="a:b@c")),
    ("redis://gw@h", RedisUrl((("h", 6379),), username="gw")),
    ("rediss://[FD00::1]:65535/0", RedisUrl((("fd00::1", 65535),), tls=True)),
    ("redis+sentinel://a,b:7,[::1]/site", RedisUrl((("a", 26379), ("b", 7), ("::1", 26379)), primary="site")),
    (
        "rediss+sentinel://gw:pw@a:1,b:2/my-site.1/15",
        RedisUrl((("a", 1), ("b", 2)), True, "my-site.1", "gw", "pw", 15),
    ),
    ("redis+sentinel://a/site/", RedisUrl((("a", 26379),), primary="site")),
)

BAD = (
    ("localhost:6379", "expected redis://HOST"),
    ("http://h", "expected redis://HOST"),
    ("redis://", "HOST or HOST:PORT"),
    ("redis://h:0", "HOST or HOST:PORT"),
    ("redis://h:65536", "HOST or HOST:PORT"),
    ("redis://h:x", "HOST or HOST:PORT"),
    ("redis://fd00::1", "in brackets"),
    ("redis://[fd00::x]", "in brackets"),
    ("redis://[1:2]", "an IPv6 address"),
    ("redis://a b", "HOST or HOST:PORT"),
    ("redis://*.example.com", "one host"),
    ("redis://h/x", "expected redis://HOST"),
    ("redis://h/1/2", "expected redis://HOST"),
    ("redis://h/12345", "expected redis://HOST"),
    ("redis://h?db=1", "without ? and #"),
    ("redis://a,b", "several are Sentinels"),
    ("redis+sentinel://a,,b/site", "HOST or HOST:PORT"),
    ("redis+sentinel://a,a:26379/site", "each Sentinel once"),
    ("redis+sentinel://a", "the name by which the Sentinels know"),
    ("redis+sentinel://a//0", "the name by which the Sentinels know"),
    ("redis+sentinel://a/si te/0", "the name by which the Sentinels know"),
    ("redis://gw:hunter2%@h", "%25"),
    ("redis://gw:hunter2%zz@h", "%25"),
    ("redis://gw:hunter2%ff@h", "UTF-8"),
    ("redis://gw:hunter2/hunter2@h", "/ is %2F"),
    ("redis://gw:hunter2#hunter2@h", "%23"),
    ("redis://gw:1/hunter2", "expected redis://HOST"),
)


class RedisUrlTests(SynchronousTestCase):
    def test_good(self) -> None:
        for text, value in GOOD:
            with self.subTest(text=text):
                self.assertEqual(value, parse_redis_url(text))
                self.assertEqual(value, REDIS_URL.convert(text, Path()))

    def test_bad(self) -> None:
        """The message says what is expected, and has no part of a password."""
        for text, words in BAD:
            with self.subTest(text=text):
                with self.assertRaises(BadValue) as caught:
                    parse_redis_url(text)
                self.assertIn(words, str(caught.exception))
                self.assertNotIn("hunter2", repr(caught.exception.__dict__) + repr(caught.exception.args))

    def test_what_was_meant(self) -> None:
        for text, meant in (
            ("REDIS://h", "redis://"),
            ("redis-sentinel://h/x", "redis+sentinel://"),
            ("rediss-sentinel://h/x", "rediss+sentinel://"),
            ("valkey://h", "redis://"),
            ("valkeys://h", "rediss://"),
            ("https://h", ""),
        ):
            with self.assertRaises(BadValue) as caught:
                parse_redis_url(text)
            self.assertEqual(meant, caught.exception.suggestion)

    def test_password_is_not_shown(self) -> None:
        self.assertNotIn("hunter2", repr(parse_redis_url("redis://gw:hunter2@h")))
        self.assertTrue(REDIS_URL.secret)

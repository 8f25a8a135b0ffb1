from __future__ import annotations

import socket
from pathlib import Path

from twisted.trial.unittest import TestCase

from perimeter.config.language.datatypes import BadValue
from perimeter.config.site.node import NODE, own_name
from perimeter.config.site.redis_url import parse_redis_url
from tests.unit.doubles.site import SiteCase


class NodeTests(TestCase):
    def test_names(self) -> None:
        for name in ("a", "gw-1.example_x", "9", "a" * 64, ""):
            self.assertEqual(NODE.convert(name, Path()), name)
        for name in ("a" * 65, "-a", "a b", "a/b", "é"):
            with self.assertRaises(BadValue):
                NODE.convert(name, Path())

    def test_the_host_name_is_made_a_name(self) -> None:
        for host, name in (("gw-1.example", "gw-1.example"), ("-a b", "a-b"), ("", "node"), ("x" * 70, "x" * 64)):
            self.patch(socket, "gethostname", lambda host=host: host)
            self.assertEqual(own_name(), name)


class NodeOfSiteTests(SiteCase):
    def test_the_name_that_is_set_or_the_host_name(self) -> None:
        self.assertEqual(self.load(self.with_option("perimeter", "node", "gw-7")).perimeter.node_name, "gw-7")
        self.assertEqual(self.load(self.with_option("perimeter", "realm", "x")).perimeter.node_name, own_name())
        (found,) = self.problems(self.with_option("perimeter", "node", "a b"))
        self.assertIn("[perimeter] node: expected a name of letters, digits and _ . -, at most 64 characters", found)


class RedisUrlInWordsTests(TestCase):
    def test_one_server(self) -> None:
        self.assertEqual(parse_redis_url("redis://h").in_words, "h:6379, without TLS, as the user default")
        self.assertEqual(parse_redis_url("rediss://gw:secret@[::1]:7/3").in_words, "[::1]:7, database 3, with TLS, as user gw")

    def test_sentinels(self) -> None:
        self.assertEqual(
            parse_redis_url("redis+sentinel://gw:x@a,b:7/main").in_words,
            "the primary main that Sentinels know (a:26379, b:7), without TLS, as user gw",
        )

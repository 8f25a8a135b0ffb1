from __future__ import annotations

from collections.abc import Iterable

from twisted.trial.unittest import TestCase

from perimeter.config.site.redis_url import parse_redis_url
from perimeter.doctor.finding import Finding
from perimeter.doctor.redis_facts import facts, of_info, of_url

GOOD = {
    "connected_slaves": "1",
    "min_slaves_good_slaves": "1",
    "maxmemory": "0",
    "maxmemory_policy": "noeviction",
    "aof_enabled": "1",
    "aof_last_write_status": "ok",
    "rdb_last_bgsave_status": "ok",
}


def said(findings: Iterable[Finding]) -> list[tuple[str, str]]:
    return [(str(one.name), one.grade.word) for one in findings]


class UrlTests(TestCase):
    def found(self, url: str) -> list[tuple[str, str]]:
        return said(of_url(parse_redis_url(url)))

    def test_tls_and_a_user(self) -> None:
        self.assertEqual(self.found("rediss://gw:x@redis.example"), [])
        self.assertEqual(self.found("rediss+sentinel://gw:x@a,b,c/main"), [])

    def test_no_tls_to_another_machine(self) -> None:
        self.assertEqual(self.found("redis://gw:x@redis.example"), [("redis-without-tls", "open")])
        self.assertEqual(self.found("redis://gw:x@10.0.0.1"), [("redis-without-tls", "open")])
        self.assertEqual(self.found("redis+sentinel://gw:x@127.0.0.1,b,c/main"), [("redis-without-tls", "open")])
        for host in ("127.0.0.1", "127.9.9.9", "[::1]", "localhost"):
            self.assertEqual(self.found(f"redis://gw:x@{host}"), [], host)

    def test_the_user_default(self) -> None:
        self.assertEqual(self.found("rediss://a"), [("redis-user", "soon")])
        self.assertEqual(self.found("rediss://default:x@a"), [("redis-user", "soon")])

    def test_fewer_than_three_sentinels(self) -> None:
        self.assertEqual(self.found("rediss+sentinel://gw:x@a,b/main"), [("redis-replicas", "advice")])

    def test_no_finding_has_the_password(self) -> None:
        for one in of_url(parse_redis_url("redis+sentinel://default:wonderland@a,b/main")):
            self.assertNotIn("wonderland", one.message + one.remedy)


class InfoTests(TestCase):
    def found(self, sentinels: bool = False, **more: str) -> list[tuple[str, str]]:
        return said(of_info({**GOOD, **more}, "h:6379", sentinels))

    def test_lines(self) -> None:
        self.assertEqual(facts(b"# Server\r\nredis_version:7.0\r\nos:a:b\r\n"), {"redis_version": "7.0", "os": "a:b"})
        self.assertEqual(facts(None), {})

    def test_as_it_should_be(self) -> None:
        self.assertEqual(self.found(), [])
        self.assertEqual(self.found(sentinels=True), [])
        self.assertEqual(said(of_info({}, "h", False)), [])

    def test_one_server_without_replicas_needs_none(self) -> None:
        info = {name: value for name, value in GOOD.items() if name != "min_slaves_good_slaves"}
        self.assertEqual(said(of_info({**info, "connected_slaves": "0"}, "h", False)), [])
        self.assertEqual(said(of_info({**info, "connected_slaves": "x"}, "h", False)), [])
        self.assertEqual(said(of_info({**info, "connected_slaves": "1"}, "h", False)), [("redis-replicas", "soon")])

    def test_failovers_that_lose_changes(self) -> None:
        info = {name: value for name, value in GOOD.items() if name != "min_slaves_good_slaves"}
        self.assertEqual(said(of_info(info, "h", True)), [("redis-replicas", "soon")])
        self.assertEqual(self.found(sentinels=True, connected_slaves="0"), [("redis-replicas", "soon")])

    def test_eviction(self) -> None:
        self.assertEqual(self.found(maxmemory_policy="allkeys-lru"), [("redis-evicts", "soon")])
        self.assertEqual(self.found(maxmemory_policy="volatile-ttl", maxmemory="100"), [("redis-evicts", "fails")])
        self.assertEqual(self.found(maxmemory="100"), [])

    def test_what_is_not_written(self) -> None:
        self.assertEqual(self.found(aof_enabled="0"), [("redis-volatile", "soon")])
        self.assertEqual(self.found(aof_last_write_status="err"), [("redis-volatile", "fails")])
        self.assertEqual(self.found(rdb_last_bgsave_status="err"), [("redis-volatile", "fails")])

"""The client of Redis with real Sentinels: a primary that is lost, one that was cut off, and one that became a replica."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from perimeter.config.site.redis_url import parse_redis_url
from perimeter.errors import StateUnavailable
from perimeter.net.contexts import ClientTLS
from perimeter.redis.client import RedisClient
from tests.integration.directories import Authority
from tests.integration.ldapkit import shared
from tests.integration.redispeer import SentinelSet


def pause(seconds: float) -> Deferred[None]:
    return deferLater(reactor, seconds)


class Secured(SentinelSet):
    """All of them with TLS."""

    def __init__(self, directory: Path) -> None:
        self.authority = Authority(directory)
        files = (*self.authority.issue("localhost", "127.0.0.1"), self.authority.certificate)
        super().__init__(directory, replicas=2, tls=files)


class SentinelTest(TestCase):
    timeout: ClassVar[int] = 40  # type: ignore[misc]

    def begin(self) -> tuple[Secured, RedisClient]:
        peers: Secured = shared(Secured)
        tls = ClientTLS("redis", peers.authority.certificate, alpn=())
        client = RedisClient(reactor, parse_redis_url(peers.url()), tls=tls, timeout=0.5)
        self.addCleanup(client.stop)
        client.start()
        return peers, client

    @inlineCallbacks
    def other_than(self, place: str, client: RedisClient) -> Any:
        """Wait until calls are answered by another primary. In between they fail in time."""
        began = reactor.seconds()
        while True:
            asked = reactor.seconds()
            try:
                yield client.call("SET", "perimeter:b", 2)
            except StateUnavailable:
                self.assertLess(reactor.seconds() - asked, 2.0)
            else:
                if client.primary != place:
                    return
            self.assertLess(reactor.seconds() - began, 20.0)
            yield pause(0.05)

    @inlineCallbacks
    def test_primaries_that_are_lost(self) -> Any:
        """One is made a replica by an operator, one freezes and comes back, one is killed and started again.

        Each time the client goes to the new one, which has what the old one had.
        """
        peers, client = self.begin()
        yield client.call("SET", "perimeter:a", 1)
        seen = [client.primary]

        peers.sentinels[0].ask("SENTINEL", "FAILOVER", peers.sentinels[0].name)
        yield self.other_than(seen[-1], client)
        seen.append(client.primary)

        frozen = peers.at(seen[-1])
        frozen.freeze()
        try:
            yield self.other_than(seen[-1], client)
        finally:
            frozen.thaw()
        seen.append(client.primary)

        killed, first = peers.at(seen[-1]), client.run_id
        self.assertEqual(1, (yield client.call("WAIT", 1, 400)))
        killed.kill()
        yield self.other_than(seen[-1], client)
        seen.append(client.primary)
        killed.start()

        self.assertNotEqual(first, client.run_id)
        # on a busy machine the Sentinels may find the new primary slow, and take another one
        began = reactor.seconds()
        while client.primary != f"127.0.0.1:{peers.primary().port}":
            self.assertLess(reactor.seconds() - began, 10.0)
            yield pause(0.1)
        self.assertEqual(b"1", (yield client.call("GET", "perimeter:a")))

"""The client of Redis with real Sentinels: a primary that is lost, one that was cut off, and one that became a replica."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
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
        super().__init__(directory, tls=files)


class SentinelTest(TestCase):
    timeout: ClassVar[int] = 30  # type: ignore[misc]

    @inlineCallbacks
    def test_failover(self) -> Any:
        """The primary is killed. The client finds the new one by itself, with what the replica had. It finds all of it with TLS."""
        peers: Secured = yield deferToThread(shared, Secured)
        tls = ClientTLS("redis", peers.authority.certificate, alpn=())
        changes: list[str] = []
        client = RedisClient(
            reactor, parse_redis_url(peers.url()), tls=tls, timeout=0.5, primary_changed=lambda: changes.append(client.primary)
        )
        self.addCleanup(client.stop)
        client.start()
        primary = peers.primary()
        yield client.call("SET", "perimeter:a", 1)
        self.assertEqual(f"127.0.0.1:{primary.port}", client.primary)
        yield client.call("WAIT", 1, 400)
        first = client.run_id
        primary.kill()
        began = reactor.seconds()
        while True:
            try:
                self.assertEqual(b"1", (yield client.call("GET", "perimeter:a")))
                break
            except StateUnavailable:
                self.assertLess(reactor.seconds() - began, 15.0)
                yield pause(0.05)
        self.assertEqual(2, len(changes))
        self.assertNotEqual(first, client.run_id)
        self.assertNotEqual(f"127.0.0.1:{primary.port}", client.primary)
        # the old one comes back as a primary of its own at first; nobody goes there
        primary.start()
        self.assertEqual(b"1", (yield client.call("GET", "perimeter:a")))
        self.assertEqual(2, len(changes))

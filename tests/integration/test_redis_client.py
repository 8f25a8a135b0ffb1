"""The client of Redis against a real server: calls, scripts, a primary that is lost and comes back."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, ClassVar

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from perimeter.config.site.redis_url import parse_redis_url
from perimeter.errors import StateUnavailable
from perimeter.redis.client import RedisClient
from perimeter.redis.errors import ErrorReply
from perimeter.redis.script import Script
from tests.integration.directories import Authority
from tests.integration.ldapkit import shared
from tests.integration.redispeer import FLAVOUR, RedisPeer

USERS = {"gateway": "on >secret resetchannels ~perimeter:* -@all +@all -@dangerous +role +info"}


def pause(seconds: float) -> Deferred[None]:
    return deferLater(reactor, seconds)


class ServerTest(TestCase):
    """One server for all tests of the class. Each has to leave it running."""

    flavour: ClassVar[str] = FLAVOUR

    def setUp(self) -> None:
        cls = type(self)
        if "server" not in cls.__dict__:
            cls.server = shared(lambda directory: RedisPeer(directory / "redis", users=USERS, flavour=cls.flavour))
        self.server: RedisPeer = cls.server

    def client(self, url: str | None = None, **options: Any) -> RedisClient:
        client = RedisClient(reactor, parse_redis_url(url or self.server.url("gateway", "secret")), **options)
        self.addCleanup(client.stop)
        client.start()
        return client


class CallsTest(ServerTest):
    @inlineCallbacks
    def test_calls(self) -> Any:
        """Calls made before there is a connection wait for it; replies come in order."""
        client = self.client()
        replies = yield gatherResults(
            [
                client.call("SET", "perimeter:a", b"\x00\r\n\xff"),
                client.call("GET", "perimeter:a"),
                client.call("GET", "perimeter:b"),
            ]
        )
        self.assertEqual([b"OK", b"\x00\r\n\xff", None], replies)
        yield client.call("DEL", "perimeter:h")
        yield client.call("HSET", "perimeter:h", "a", 1)
        self.assertEqual({b"a": b"1"}, (yield client.call("HGETALL", "perimeter:h")))
        self.assertEqual(40, len(client.run_id))
        self.assertEqual(f"127.0.0.1:{self.server.port}", client.primary)
        self.assertLess(abs(client.offset), 1.0)
        self.assertEqual("", client.problem)

    @inlineCallbacks
    def test_scripts(self) -> Any:
        """A script runs also on a server that does not know it yet."""
        client = self.client()
        self.server.ask("SCRIPT", "FLUSH")
        script = Script("return {KEYS[1], ARGV[1]}")
        for _ in range(2):
            self.assertEqual([b"perimeter:k", b"7"], (yield client.run(script, ["perimeter:k"], [7])))
        failure = yield self.assertFailure(client.run(Script("return redis.error_reply('OOM x')"), [], []), ErrorReply)
        self.assertEqual("OOM", failure.code)

    @inlineCallbacks
    def test_what_the_rules_forbid(self) -> Any:
        """An error about a call fails the call alone."""
        client = self.client()
        for forbidden in (
            ("FLUSHALL",),
            ("CONFIG", "GET", "*"),
            ("KEYS", "*"),
            ("ACL", "LIST"),
            ("CLIENT", "KILL", "TYPE", "normal"),
            ("SHUTDOWN",),
        ):
            failure = yield self.assertFailure(client.call(*forbidden), ErrorReply)
            self.assertEqual("NOPERM", failure.code, forbidden)
        wrong, right = client.call("GET", "other:a"), client.call("SET", "perimeter:a", 1)
        failure = yield self.assertFailure(wrong, ErrorReply)
        self.assertEqual("NOPERM", failure.code)
        self.assertNotIn("other:a", str(failure))
        self.assertEqual(b"OK", (yield right))

    @inlineCallbacks
    def test_wrong_password(self) -> Any:
        client = self.client(self.server.url("gateway", "wrong-password"), timeout=0.5)
        failure = yield self.assertFailure(client.call("GET", "perimeter:a"), StateUnavailable)
        self.assertIn("it refuses the user or the password of redis_url", failure.detail)
        self.assertNotIn("wrong-password", failure.detail)

    @inlineCallbacks
    def test_plain_text_to_a_server_with_tls(self) -> Any:
        directory = Path(self.mktemp()).absolute()
        directory.mkdir(parents=True)
        authority = Authority(directory)
        files = (*authority.issue("localhost"), authority.certificate)
        secured = RedisPeer(authority.certificate.parent / "redis", tls=files, flavour=self.flavour)
        self.addCleanup(secured.close)
        client = self.client(f"redis://localhost:{secured.port}", timeout=0.5)
        yield self.assertFailure(client.call("GET", "perimeter:a"), StateUnavailable)
        self.assertIn("if it speaks TLS, write rediss:// in redis_url", client.problem)

    @inlineCallbacks
    def test_reader(self) -> Any:
        """A reader waits for an entry while the client makes other calls."""
        client = self.client()
        yield client.call("DEL", "perimeter:log")
        yield client.call("XADD", "perimeter:log", "1-1", "m", "a")
        reader = client.reader()
        waiting = reader.call("XREAD", "BLOCK", 4000, "STREAMS", "perimeter:log", "1-1", patience=4.0)
        yield client.call("XADD", "perimeter:log", "1-2", "m", "b")
        self.assertEqual({b"perimeter:log": [[b"1-2", [b"m", b"b"]]]}, (yield waiting))
        self.assertEqual(None, (yield reader.call("XREAD", "BLOCK", 50, "STREAMS", "perimeter:log", "1-2", patience=0.05)))
        reader.stop()


if shutil.which("valkey-server"):

    class ValkeyCallsTest(CallsTest):
        """The same on Valkey, where a package has it."""

        flavour = "valkey"


class ReplicasTest(ServerTest):
    @inlineCallbacks
    def test_primary_without_its_replicas(self) -> Any:
        """It takes no changes, and answers what only reads, on the same connection."""
        self.server.ask("SET", "perimeter:a", 1)
        self.server.ask("CONFIG", "SET", "min-replicas-to-write", 1)
        self.addCleanup(self.server.ask, "CONFIG", "SET", "min-replicas-to-write", 0)
        client = self.client()
        wrong, right = client.call("SET", "perimeter:a", 2), client.call("GET", "perimeter:a")
        failure = yield self.assertFailure(wrong, ErrorReply)
        self.assertIn("too few replicas", failure.detail)
        self.assertEqual(b"1", (yield right))
        self.assertEqual("", client.problem)


class LossTest(ServerTest):
    @inlineCallbacks
    def test_server_that_is_killed_and_comes_back(self) -> Any:
        """What is under way fails; then calls fail at once; after the start they are answered again, by another run."""
        client = self.client(timeout=0.5)
        yield client.call("SET", "perimeter:a", 1)
        before = client.run_id
        self.server.kill()
        yield self.assertFailure(client.call("GET", "perimeter:a"), StateUnavailable)
        yield pause(0.6)
        self.failureResultOf(client.call("GET", "perimeter:a"), StateUnavailable)
        self.assertIn("connection refused", client.problem)
        self.server.start()
        while client.problem:
            yield pause(0.05)
        self.assertEqual(b"1", (yield client.call("GET", "perimeter:a")))
        self.assertNotEqual(before, client.run_id)

    @inlineCallbacks
    def test_server_that_freezes(self) -> Any:
        """A call fails in time, and so do those behind it. The connection is left."""
        client = self.client(timeout=0.4)
        yield client.call("SET", "perimeter:a", 1)
        self.server.freeze()
        try:
            calls = [client.call("GET", "perimeter:a") for _ in range(3)]
            began = reactor.seconds()
            for call in calls:
                failure = yield self.assertFailure(call, StateUnavailable)
                self.assertIn("did not answer in time", failure.detail)
            self.assertLess(reactor.seconds() - began, 0.8)
        finally:
            self.server.thaw()
        while client.problem:
            yield pause(0.05)
        self.assertEqual(b"1", (yield client.call("GET", "perimeter:a")))

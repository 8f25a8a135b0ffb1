"""States of several machines in this process, over a real Redis."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from perimeter.cluster import follower
from perimeter.cluster.engine import RedisEngine
from perimeter.cluster.local import LocalStore, with_followed
from perimeter.cluster.state import ClusterState
from perimeter.config.site.redis_url import parse_redis_url
from perimeter.redis.client import RedisClient
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.secrets_key import SecretsKey
from perimeter.state.freshness import Freshness
from perimeter.state.kinds import Kinds
from tests.integration.redispeer import RedisPeer

KEY = SecretsKey(b"k" * 32)
USERS = {"gateway": "on >secret ~perimeter:* resetchannels +@all"}


async def hears(node: ClusterState) -> None:
    """Wait until ``node`` has read the log to an end that it has from now on."""
    begin = reactor.seconds()  # type: ignore[attr-defined]
    await until(lambda: node.freshness.silent < reactor.seconds() - begin)  # type: ignore[attr-defined]


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until ``condition`` holds."""
    end = reactor.seconds() + seconds  # type: ignore[attr-defined]
    while not condition():
        assert reactor.seconds() < end, "it did not happen in time"  # type: ignore[attr-defined]
        await deferLater(reactor, 0.002)


class NodesCase(TestCase):
    """Tests with a Redis of their own, which they may end. It has after a crash what it had at the last ``SAVE``."""

    timeout = 60

    def setUp(self) -> None:
        self.patch(follower, "NEW", 0.0)
        self.patch(follower, "_BLOCK", 200)
        self.patch(follower, "HEARTBEAT", 1.0)
        self.redis = RedisPeer(Path(self.mktemp()).resolve(), "appendonly no", users=USERS)
        self.addCleanup(self.redis.close)

    def node(self, name: str, kinds: Kinds = STATE_KINDS, key: SecretsKey = KEY, url: str = "") -> ClusterState:
        """A machine of this name, which keeps its store when it is made again."""
        directory = Path("nodes-" + self.id().rpartition(".")[2]).resolve() / name
        directory.mkdir(parents=True, exist_ok=True)
        client = RedisClient(reactor, parse_redis_url(url or self.redis.url("gateway", "secret")), timeout=1.0)
        every = with_followed(kinds)
        engine = RedisEngine(client, key, every, reactor.seconds)  # type: ignore[attr-defined]
        state = ClusterState(LocalStore(directory, every), every, reactor, engine, Freshness("redis", 60.0))
        state.replace(state.load())
        state.start()
        stopped: list[Deferred[None]] = []

        def stop() -> Deferred[None]:
            if not stopped:
                stopped.append(ClusterState.stop(state))
            return stopped[0]

        state.stop = stop  # type: ignore[method-assign]
        self.addCleanup(stop)
        return state

    async def nodes(self, *names: str, **options: Any) -> list[ClusterState]:
        """Machines that follow the log."""
        made = [self.node(name, **options) for name in names]
        for node in made:
            await until(lambda node=node: not node.stale)
        return made

    def entries(self) -> int:
        """How many entries the log has."""
        return int(self.redis.ask("XLEN", "perimeter:log"))

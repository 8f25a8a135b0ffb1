"""Makes the state of a machine with ``state = redis`` from its settings."""

from __future__ import annotations

from typing import Any

from perimeter.cluster.engine import RedisEngine
from perimeter.cluster.local import LocalStore, with_followed
from perimeter.cluster.state import ClusterState
from perimeter.config.site.perimeter import PerimeterSettings
from perimeter.net.contexts import ClientTLS
from perimeter.redis.client import RedisClient
from perimeter.secrets_key import SecretsKey
from perimeter.state.freshness import Freshness
from perimeter.state.kinds import Kinds


def open_cluster(reactor: Any, settings: PerimeterSettings, kinds: Kinds) -> tuple[ClusterState, LocalStore]:
    """The state and the store of this machine (`perimeter.state.stores.Shared`). Blocks. Raises `StartupError`."""
    every = with_followed(kinds)
    engine = engine_of(reactor, settings, every)
    store = LocalStore(settings.state_dir, every)
    assert settings.redis_url is not None
    freshness = Freshness(settings.redis_url.in_words, settings.stale_limit)
    return ClusterState(store, every, reactor, engine, freshness), store


def engine_of(reactor: Any, settings: PerimeterSettings, kinds: Kinds) -> RedisEngine:
    """What is common to all machines. Blocks. Raises `StartupError`."""
    url = settings.redis_url
    assert url is not None  # the datatypes have checked it
    tls = ClientTLS(url.servers[0][0], settings.redis_ca, alpn=()) if url.tls else None
    client = RedisClient(reactor, url, tls=tls, timeout=settings.redis_timeout)
    secrets_key = SecretsKey.open(settings.state_dir, settings.cluster_secret)
    return RedisEngine(client, secrets_key, kinds, reactor.seconds, replicas=bool(url.primary))

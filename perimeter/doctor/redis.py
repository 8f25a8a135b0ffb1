"""The Redis or Valkey that keeps the state of several machines, and the nodes that share it. Asks it, on the reactor."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Final

import attrs
from twisted.internet.defer import Deferred, DeferredList, TimeoutError

from perimeter.cluster.comparison import MOST_SKEW, NOTICED_SKEW, NodeFault, Trouble, faults
from perimeter.cluster.configuration import configuration_hash
from perimeter.cluster.registry import Nodes, Registry
from perimeter.cluster.sealing import PURPOSE, Sealing
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.redis_url import RedisUrl
from perimeter.doctor.finding import Finding, Grade, Name
from perimeter.doctor.redis_facts import SECTION, facts, of_info, of_url
from perimeter.errors import StateUnavailable
from perimeter.net.contexts import ClientTLS
from perimeter.secrets_key import SecretsKey, cluster_keys

if TYPE_CHECKING:  # they need hiredis
    from perimeter.redis.client import RedisClient
    from perimeter.redis.dialling import Dialler

SECONDS: Final = 5.0
"""Time for all questions to Redis."""

_BRIEF: Final = 1.0
"""Time for a question that Redis should refuse."""

_FOREIGN: Final = "perimeter-doctor"
"""A key that is not below ``perimeter:``, and that does not exist."""

_NODES: Final = {
    Trouble.SILENT: (Name.NODE_SILENT, "start the gateway there, or find out why it cannot reach Redis"),
    Trouble.BEHIND: (Name.NODE_REFUSES, "perimeter status on that machine says what is wrong with its connection to Redis"),
    Trouble.CLOCK: (Name.CLOCK_DIFFERS, "run chrony, ntpd or systemd-timesyncd there, and on the machines of Redis"),
    Trouble.CONFIGURATION: (Name.NODE_DIFFERS, "give all machines the same site.ini, then perimeter reload on each"),
    Trouble.UNREADABLE: (Name.NODE_UNREADABLE, "give all machines the same cluster_secret"),
}


async def see(config: SiteConfig, reactor: Any) -> list[Finding]:
    """The findings; none if this machine has its state for itself. Changes nothing."""
    url = config.perimeter.redis_url
    if url is None:
        return []
    found = list(of_url(url))
    asked = Deferred.fromCoroutine(_collect(_ask(config, url, reactor), found))
    try:
        await asked.addTimeout(SECONDS, reactor)
    except TimeoutError:
        found.append(_down(f"Redis has not answered all questions within {SECONDS:g} s"))
    return found


async def _collect(some: AsyncIterator[Finding], found: list[Finding]) -> None:
    async for one in some:
        found.append(one)


def _down(message: str) -> Finding:
    remedy = "start Redis, or correct redis_url and redis_ca; the gateway answers 503 until Redis answers"
    return Finding(Name.REDIS_DOWN, Grade.FAILS, SECTION, message, remedy)


async def _ask(config: SiteConfig, url: RedisUrl, reactor: Any) -> AsyncIterator[Finding]:
    client = _client(config, url, reactor)
    try:
        try:
            info = facts(await client.call("INFO"))
        except StateUnavailable as error:
            yield _down(error.detail)
            return
        for finding in of_info(info, client.primary, bool(url.primary)):
            yield finding
        for finding in _clock(client.offset, client.primary):
            yield finding
        sealing = Sealing(*SecretsKey(*cluster_keys(config.perimeter.cluster_secret)).derive_all(PURPOSE))
        nodes = await Registry(client, sealing).read()
        for finding in _of_nodes(config, nodes, reactor.seconds() + client.offset):
            yield finding
        if url.username not in ("", "default") and await _allows_more(client):
            message = f"the user {url.username} may use keys of other programs in Redis, or change its settings"
            remedy = "give it the rules of etc/cluster/users.acl"
            yield Finding(Name.REDIS_USER, Grade.SOON, client.primary, message, remedy)
    except StateUnavailable as error:
        yield _down(error.detail)
    finally:
        client.stop()
    for finding in await _of_sentinels(config, url, reactor):
        yield finding
    if await _is_open(config, url, reactor):
        message = "Redis answers without a password: everybody who can connect to it can delete or hold back what is in it"
        remedy = "user default off in the ACL file of Redis, or requirepass in redis.conf"
        yield Finding(Name.REDIS_OPEN, Grade.OPEN, SECTION, message, remedy)


def _client(config: SiteConfig, url: RedisUrl, reactor: Any, most: float = SECONDS / 2) -> RedisClient:
    """A client that takes ``most`` seconds for a question at most."""
    from perimeter.redis.client import RedisClient

    client = RedisClient(reactor, url, tls=_tls(config, url), timeout=min(config.perimeter.redis_timeout, most))
    client.start()
    return client


def _tls(config: SiteConfig, url: RedisUrl) -> ClientTLS | None:
    return ClientTLS(url.servers[0][0], config.perimeter.redis_ca, alpn=()) if url.tls else None


def _clock(offset: float, place: str) -> Iterator[Finding]:
    if abs(offset) <= NOTICED_SKEW:
        return
    message = f"the clock of this machine is {abs(offset):.1f} s {'behind' if offset > 0 else 'ahead of'} Redis' clock"
    refuses = abs(offset) > MOST_SKEW
    message += ": the gateway refuses tokens and sessions" if refuses else ""
    yield Finding(Name.CLOCK_DIFFERS, Grade.FAILS if refuses else Grade.SOON, place, message, _NODES[Trouble.CLOCK][1])


def _of_nodes(config: SiteConfig, nodes: Nodes, now: float) -> Iterator[Finding]:
    own = configuration_hash(config.sections)
    for one in nodes.all:
        if one.name == config.perimeter.node_name and not one.silent(now) and one.configuration != own:
            message = f"the gateway here runs with another configuration ({one.configuration}) than the file has ({own})"
            yield Finding(Name.NODE_DIFFERS, Grade.SOON, f"node {one.name}", message, "perimeter reload")
    unreadable = [
        NodeFault(Trouble.UNREADABLE, name, "its record was written with another cluster_secret") for name in nodes.unreadable
    ]
    for fault in (*unreadable, *faults(nodes.all, now, config.perimeter.stale_limit)):
        name, remedy = _NODES[fault.trouble]
        yield Finding(name, Grade.FAILS if fault.refuses else Grade.SOON, f"node {fault.name}", fault.message, remedy)


async def _allows_more(client: RedisClient) -> bool:
    """Whether the user may do what no gateway does: look at a key of another program, or read a setting."""
    for command in (("EXISTS", _FOREIGN), ("CONFIG", "GET", "maxmemory")):
        try:
            await client.call(*command)
        except StateUnavailable as error:
            if getattr(error, "code", "") != "NOPERM":
                raise
        else:
            return True
    return False


async def _of_sentinels(config: SiteConfig, url: RedisUrl, reactor: Any) -> list[Finding]:
    """Sentinels that do not answer, which is noticed only at a failover, and those that ask for no password."""
    if not url.primary:
        return []
    from perimeter.redis.dialling import Dialler

    dialler = Dialler(reactor, _tls(config, url), _BRIEF)
    asked = [Deferred.fromCoroutine(_of_sentinel(dialler, host, port)) for host, port in url.servers]
    return [finding for _, findings in await DeferredList(asked, consumeErrors=True) for finding in findings]


async def _of_sentinel(dialler: Dialler, host: str, port: int) -> list[Finding]:
    place = f"Sentinel [{host}]:{port}" if ":" in host else f"Sentinel {host}:{port}"
    try:
        connection = await dialler.dial(host, port, lambda reason: None)
    except StateUnavailable as error:
        message = f"it cannot be asked ({error.detail}): without a majority of the Sentinels there is no failover"
        return [Finding(Name.REDIS_DOWN, Grade.SOON, place, message, "start it, or correct redis_url")]
    try:
        await connection.call("PING")
    except StateUnavailable:
        return []
    finally:
        connection.drop("the look is over")
    message = "it answers without a password: everybody who can connect to it can name another primary"
    remedy = "user default off in sentinel.conf, and a user for the gateways, as in etc/cluster/sentinel.conf"
    return [Finding(Name.REDIS_OPEN, Grade.OPEN, place, message, remedy)]


async def _is_open(config: SiteConfig, url: RedisUrl, reactor: Any) -> bool:
    """Whether Redis answers a client that has neither user nor password."""
    client = _client(config, attrs.evolve(url, username="", password=""), reactor, _BRIEF)
    try:
        await client.call("PING")
    except StateUnavailable:
        return False
    finally:
        client.stop()
    return True

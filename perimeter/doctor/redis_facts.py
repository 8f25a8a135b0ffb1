"""What Redis says about itself, judged for a gateway that keeps its state there. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address

from perimeter.config.site.redis_url import RedisUrl
from perimeter.doctor.finding import Finding, Grade, Name

SECTION = "[perimeter]"
"""The subject of findings about the URL."""


def facts(info: object) -> dict[str, str]:
    """The lines of the reply to ``INFO``, by their names."""
    text = info.decode("utf-8", "replace") if isinstance(info, bytes) else ""
    return {name: value.strip() for name, found, value in (line.partition(":") for line in text.splitlines()) if found}


def of_url(url: RedisUrl) -> Iterator[Finding]:
    """What ``redis_url`` alone shows."""
    remote = [host for host, _ in url.servers if not _of_this_machine(host)]
    if remote and not url.tls:
        message = (
            f"redis_url has no TLS: everybody on the way to {remote[0]} can read its password and the names of users, and can "
            "keep revocations from the gateway"
        )
        remedy = "set tls-port in redis.conf (and in sentinel.conf), and use rediss:// with redis_ca"
        yield Finding(Name.REDIS_PLAIN, Grade.OPEN, SECTION, message, remedy)
    if url.username in ("", "default"):
        message = "the gateway uses Redis as the user default, who may do everything there"
        remedy = "make a user in Redis for the gateway (etc/cluster/users.acl), name it in redis_url, and turn default off"
        yield Finding(Name.REDIS_USER, Grade.SOON, SECTION, message, remedy)
    if url.primary and len(url.servers) < 3:
        message = (
            f"redis_url names {len(url.servers)} Sentinels: with fewer than three on three machines, the loss of one can stop all"
        )
        yield Finding(Name.REDIS_REPLICAS, Grade.ADVICE, SECTION, message, "run three Sentinels, and name all of them")


def of_info(info: Mapping[str, str], place: str, sentinels: bool) -> Iterator[Finding]:
    """What the primary at ``place`` says of itself in ``info``. ``sentinels`` is whether Sentinels watch it."""
    replicas = int(info.get("connected_slaves", "0")) if info.get("connected_slaves", "0").isdigit() else 0
    # The line is there only if both min-replicas-to-write and min-replicas-max-lag are set.
    if (sentinels or replicas) and "min_slaves_good_slaves" not in info:
        message = (
            "Redis takes changes that no replica has (min-replicas-to-write is 0): a failover can lose sessions and one-time "
            "values, and a primary that is cut off goes on"
        )
        remedy = "min-replicas-to-write 1 and min-replicas-max-lag 10 in redis.conf, on all servers"
        yield Finding(Name.REDIS_REPLICAS, Grade.SOON, place, message, remedy)
    if sentinels and not replicas:
        message = "the primary has no replica: Sentinels have nothing to switch to"
        yield Finding(Name.REDIS_REPLICAS, Grade.SOON, place, message, "start a replica, or find out why it is not connected")
    policy = info.get("maxmemory_policy", "")
    if policy not in ("", "noeviction"):
        full = info.get("maxmemory", "0") != "0"
        effect = "drops sessions, tokens and revocations" if full else "would drop sessions, tokens and revocations"
        message = f"Redis {effect} when its memory is full (maxmemory-policy {policy})"
        remedy = "maxmemory-policy noeviction; give the gateway a Redis that no cache uses"
        yield Finding(Name.REDIS_EVICTS, Grade.FAILS if full else Grade.SOON, place, message, remedy)
    yield from _persistence(info, place)


def _persistence(info: Mapping[str, str], place: str) -> Iterator[Finding]:
    if info.get("aof_enabled") == "0":
        message = (
            "Redis writes no append-only file: when it is started again, what was written since its last snapshot is lost, "
            "revocations among it"
        )
        yield Finding(Name.REDIS_VOLATILE, Grade.SOON, place, message, "appendonly yes in redis.conf, on all servers")
    bad = [name for name in ("aof_last_write_status", "rdb_last_bgsave_status") if info.get(name, "ok") != "ok"]
    if bad:
        message = f"Redis cannot write to its disk ({', '.join(bad)})"
        yield Finding(
            Name.REDIS_VOLATILE, Grade.FAILS, place, message, "make room on the disk of Redis; its log says what is wrong"
        )


def _of_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False

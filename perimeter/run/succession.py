"""Replaces one assembly by the next: what the new one takes over, and how the old one stops."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from perimeter.http.connections import Connections
from perimeter.metrics.sources import ScrapeSources
from perimeter.net.contexts import ServerIdentity
from perimeter.run.build.assembly import Assembly
from perimeter.run.build.runtime import Runtime
from perimeter.run.steps import run_all

Identities = Mapping[str, Iterable[ServerIdentity]]
"""The certificates that each listener serves."""


def measured(
    assembly: Assembly | None, connections: Mapping[str, Connections], identities: Identities, runtime: Runtime
) -> ScrapeSources | None:
    """The sources of a scrape in ``assembly``; None if there is none. ``connections`` and ``identities`` are by listener."""
    if assembly is None:
        return None
    return ScrapeSources(
        connections=connections,
        pools=assembly.pools,
        audit_failing=bool(assembly.audit.problems()),
        authenticators=assembly.chain.guarded,
        keys=assembly.keyring.entries,
        queues={"work": runtime.offload, "hashing": runtime.hashing, "blocking": runtime.blocking},
        sessions=len(assembly.sessions),
        certificates={
            name: min(one.not_valid_after_utc.timestamp() for identity in several for one in identity.chain)
            for name, several in identities.items()
        },
        freshness=assembly.state.freshness,
    )


def go_on(old: Assembly | None, new: Assembly) -> None:
    """Take over the health and addresses of servers that both configurations have."""
    known = {} if old is None else {one.pool.name: one for one in old.upkeep}
    for one in new.upkeep:
        if one.pool.name in known:
            one.adopt(known[one.pool.name])


def retire(assembly: Assembly) -> None:
    """Stop the parts that requests in flight do not need; the audit files still take their records."""
    run_all(
        "a part of the old configuration is still in use",
        assembly.chain.stop,
        *(one.stop for one in assembly.upkeep),
        *(() if assembly.tracer is None else (assembly.tracer.exporter.stop,)),
        *(pool.close for pool in assembly.pools),
        assembly.audit.close,
    )

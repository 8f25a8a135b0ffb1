"""This gateway among those that share its state: its own record, and the records of all of them for the operator."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Protocol

from twisted.internet.defer import Deferred, TimeoutError, succeed

import perimeter
from perimeter.cluster.announcing import Announcer
from perimeter.cluster.comparison import NodeFault, Trouble, faults
from perimeter.cluster.configuration import configuration_hash
from perimeter.cluster.nodes import Node
from perimeter.cluster.registry import Client, Nodes, Registry
from perimeter.cluster.sealing import Sealing
from perimeter.cluster.shown import rows
from perimeter.errors import StateUnavailable
from perimeter.state.state import State

if TYPE_CHECKING:
    from perimeter.run.build.assembly import Assembly
    from perimeter.run.build.runtime import Runtime

LONGEST: Final = 1.0
"""Seconds that the operator waits for the records of the nodes."""

_UNREADABLE: Final = "its record cannot be read: another cluster_secret, or no gateway has written it"


class _Client(Client, Protocol):
    """The part of `perimeter.redis.client.RedisClient` that is shown."""

    @property
    def primary(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def problem(self) -> str: ...

    @property
    def offset(self) -> float: ...

    @property
    def local(self) -> str: ...


class _Engine(Protocol):
    """The part of `perimeter.cluster.engine.RedisEngine` that the record of a node needs."""

    @property
    def client(self) -> _Client: ...

    @property
    def sealing(self) -> Sealing: ...


def engine_of(state: State) -> _Engine | None:
    """What several machines share the state over; None if this machine has it for itself."""
    engine: _Engine | None = getattr(state, "engine", None)
    return engine


class OwnRecord:
    """Keeps the record of this node up to date while the state in force is a shared one."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._started = runtime.reactor.seconds()
        place = runtime.place
        self._instance = secrets.token_hex(8) if place is None else sha256(bytes(place.page.secret)).hexdigest()[:16]
        self._running = False
        self._assembly: Assembly | None = None
        self._engine: _Engine | None = None
        self._announcer: Announcer | None = None

    def start(self) -> None:
        """Write the record from now on."""
        self._running = True
        if self._announcer is not None:
            self._announcer.start()

    def put_in_force(self, assembly: Assembly | None) -> Deferred[None]:
        """Write the record of ``assembly`` from now on, None for none. Fires when the one before is removed, if it has to be."""
        before, engine = self._announcer, None if assembly is None else engine_of(assembly.state)
        self._assembly = assembly
        if engine is self._engine:
            return succeed(None)
        self._engine, self._announcer = engine, None
        if engine is not None:
            registry = Registry(engine.client, engine.sealing)
            self._announcer = Announcer(registry, self._described, self._leads, self._runtime.reactor)
            if self._running:
                self._announcer.start()
        return succeed(None) if before is None else before.stop()

    def problem(self) -> str:
        """What is wrong with the record of this node, for the operator; "" if nothing is."""
        return "" if self._announcer is None else self._announcer.problem()

    def _leads(self) -> bool:
        return self._runtime.place is None or self._runtime.place.leads

    def _described(self) -> Node:
        assembly, engine = self._assembly, self._engine
        assert assembly is not None, "only an announcer asks"
        assert engine is not None, "only an announcer asks"
        now = self._runtime.reactor.seconds()
        return Node(
            name=assembly.config.perimeter.node_name,
            instance=self._instance,
            version=perimeter.__version__,
            configuration=configuration_hash(assembly.config.sections),
            address=engine.client.local,
            started=self._started + engine.client.offset,
            heard=min(assembly.state.freshness.silent, now - self._started),
            clock=-engine.client.offset,
            written=now + engine.client.offset,
        )


async def shared_status(assembly: Assembly, reactor: Any) -> dict[str, Any]:
    """``redis`` and ``nodes`` of ``perimeter status``; {} if this machine has its state for itself. Never raises."""
    engine = engine_of(assembly.state)
    if engine is None:
        return {}
    client, settings = engine.client, assembly.config.perimeter
    found = await _read(engine, reactor)
    return {
        "redis": {
            "node": settings.node_name,
            "primary": client.primary,
            "version": client.version,
            "problem": client.problem,
        },
        "nodes": rows(found, reactor.seconds() + client.offset, settings.stale_limit),
    }


async def node_faults(assembly: Assembly, reactor: Any) -> Sequence[NodeFault]:
    """What is wrong among the nodes. Never raises: if Redis does not answer, the state reports it."""
    engine = engine_of(assembly.state)
    if engine is None:
        return ()
    found = await _read(engine, reactor)
    return [
        *(NodeFault(Trouble.UNREADABLE, name, _UNREADABLE) for name in found.unreadable),
        *faults(found.all, reactor.seconds() + engine.client.offset, assembly.config.perimeter.stale_limit),
    ]


async def _read(engine: _Engine, reactor: Any) -> Nodes:
    reading = Deferred.fromCoroutine(Registry(engine.client, engine.sealing).read())
    try:
        return await reading.addTimeout(LONGEST, reactor)
    except (StateUnavailable, TimeoutError):
        return Nodes()

"""The listeners: bound, kept or replaced at a reload, and closed.

A listener whose address stays the same keeps its socket and its connections; only what these serve is replaced. All that can fail
is in `Listeners.bind`, which changes nothing of the listeners in use and accepts no connection.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from functools import partial
from ipaddress import ip_address
from itertools import islice
from math import inf
from operator import itemgetter
from typing import Any

import attrs
from twisted.logger import Logger

from perimeter.config.site.limits import LimitSettings
from perimeter.config.site.listener import ListenerSettings, Serve
from perimeter.descriptors import clients_share, descriptor_limit
from perimeter.errors import StartupError
from perimeter.http.connections import Connections
from perimeter.http.exchange import Exchange
from perimeter.net.connection_limits import ConnectionLimits
from perimeter.net.contexts import ServerContexts, ServerIdentity
from perimeter.net.listeners import ListeningPort, listen
from perimeter.net.share import MAKE_ROOM, SharedLimits, SharedPort, limit_for_one
from perimeter.run.build.assembly import Assembly
from perimeter.run.build.prepared import Contexts
from perimeter.run.build.runtime import Runtime
from perimeter.run.operations import ListenerStatus
from perimeter.run.site import ConnectionFactory, Site
from perimeter.run.sockets import Sockets
from perimeter.run.steps import run_all

_log = Logger()

ROOM = 16
"""One of so many silent connections is closed at a time."""

LOOK = 5e-6
"""Seconds between two searches that find little, for each connection: so they take a tenth of the time at most."""


def described(settings: ListenerSettings, number: int) -> str:
    """The listener with its port, and with the URL to open in a browser if it serves routes."""
    if settings.socket_path:
        return f"{settings.name} on {settings.interface}"
    text = f"{settings.name} on port {number}"
    if settings.serve is not Serve.GATEWAY:
        return text
    everywhere = not settings.interface or ip_address(settings.interface).is_unspecified
    host = "localhost" if everywhere else settings.interface
    host = f"[{host}]" if ":" in host else host
    return f"{text} (http{'s' * settings.tls}://{host}:{number}/)"


@attrs.define(eq=False)
class ActiveListener:
    """A listener in use."""

    settings: ListenerSettings
    site: Site
    port: ListeningPort
    number: int = attrs.field(init=False, default=attrs.Factory(lambda self: int(self.port.getHost().port), takes_self=True))
    """Number of the port, also when it is closed. If the configuration says 0, the system has chosen it."""

    def start(self) -> None:
        """Accept connections."""
        self.port.startListening()

    def same_socket(self, settings: ListenerSettings) -> bool:
        """Whether ``settings`` need no other socket."""
        old = self.settings
        return (old.address, old.tls) == (settings.address, settings.tls)

    def stop(self, successor: ActiveListener | None = None) -> None:
        """Accept no more, also if `start` was not called. ``successor`` is the same listener on another socket."""
        # A handshake under way must not end in a connection that follows rules which are no longer in force.
        self.port.build_protocol = lambda *_: None
        if successor is not None:
            self.port.successor = successor.port
        self.port.close()

    def put_in_force(self, assembly: Assembly, contexts: ServerContexts | None) -> None:
        """Serve by ``assembly`` from now on."""
        self.site.put_in_force(assembly, self.settings.name)
        before, self.port.contexts = self.port.contexts, contexts
        settings = next(one for one in assembly.config.listeners if one.name == self.settings.name)
        told = settings.proxy_protocol != self.settings.proxy_protocol
        if told or any(one is not None and one.clients is not None for one in (before, contexts)):
            # Connections whose certificates or addresses no longer count, or that have none, are to be made anew (attack 39).
            self.site.connections.shut_down()
        for one in list(self.port.waiting) if told else ():
            one.close_now()
        if settings.mode != self.settings.mode:
            os.chmod(settings.socket_path, settings.mode)
        self.settings = settings
        self.port.balancers = settings.proxy_protocol
        self.port.handshake_timeout = assembly.config.limits.handshake_timeout


@attrs.frozen(eq=False)
class BoundListeners:
    """An assembly and its listeners: ``opened`` ones are new, ``kept`` ones are in use already."""

    assembly: Assembly
    contexts: Contexts
    opened: Mapping[str, ActiveListener]
    kept: Mapping[str, ActiveListener]

    def undo(self) -> None:
        """Close what was opened."""
        for listening in self.opened.values():
            listening.stop()


def _connection_limits(runtime: Runtime, make_room: Callable[[str | None], int]) -> ConnectionLimits:
    place = runtime.place
    if place is None:
        return ConnectionLimits(make_room=make_room)
    place.handlers[MAKE_ROOM] = lambda _: make_room(None)
    return SharedLimits(place, runtime.reactor, make_room)


class Listeners:
    """All listeners of the gateway, by name. ``limits`` are the first ones; ``sockets`` has the sockets to listen on."""

    def __init__(self, runtime: Runtime, limits: LimitSettings, sockets: Sockets) -> None:
        self._runtime = runtime
        self._sockets = sockets
        self._limits = _connection_limits(runtime, self._make_room)
        self._limits.change(limits.connections, limits.connections_per_address)
        #: silent connections that were closed to make room; the last search for some, and how long there is no other
        self._crowded = 0
        self._looked_at = -inf
        self._pause = 0.0
        self._listening: dict[str, ActiveListener] = {}
        #: those that accept no more, and still have connections
        self._leaving: list[ActiveListener] = []
        self._paused = False

    # -- from one configuration to the next

    def bind(self, assembly: Assembly, contexts: Contexts) -> BoundListeners:
        """Open the listeners that are not there yet. Raises `StartupError`, and has opened nothing then."""
        kept: dict[str, ActiveListener] = {}
        opened: dict[str, ActiveListener] = {}
        try:
            for settings in assembly.config.listeners:
                name = settings.name
                present = self._listening.get(name)
                if present is not None and present.same_socket(settings):
                    kept[name] = present
                else:
                    opened[name] = self._listen(settings, assembly, contexts.get(name))
        except StartupError:
            for listening in opened.values():
                listening.stop()
            raise
        return BoundListeners(assembly, contexts, opened, kept)

    def put_in_force(self, bound: BoundListeners) -> None:
        """Serve by the assembly that ``bound`` is for, on its sockets and no others."""
        leaving = [listening for name, listening in self._listening.items() if name not in bound.kept]
        self._listening = {**bound.kept, **bound.opened}
        self._leaving = [listening for listening in (*self._leaving, *leaving) if listening.site.connections]
        limits = bound.assembly.config.limits
        self._limits.change(limits.connections, limits.connections_per_address)
        workers = bound.assembly.config.perimeter.workers
        wanted = limit_for_one(limits.connections, workers)
        share = clients_share(wanted)
        if share < wanted:
            _log.warn(
                "the process may have {limit} file descriptors, and half of them are kept for services and files: at most "
                "{share} clients can be connected{each}, not {wanted}. Raise the limit (LimitNOFILE= of the service, ulimit -n), "
                "or set [limits] connections = {possible}",
                limit=descriptor_limit(),
                share=share,
                each=" to each worker" if workers > 1 else "",
                wanted=wanted,
                possible=share * workers,
            )
        run_all(
            "a listener does not follow the configuration",
            *(partial(listening.stop, bound.opened.get(listening.settings.name)) for listening in leaving),
            *(listening.site.connections.shut_down for listening in leaving),
            *(partial(one.put_in_force, bound.assembly, bound.contexts.get(name)) for name, one in bound.kept.items()),
            *(one.start for one in bound.opened.values()),
        )
        self.pause(self._paused)

    def pause(self, paused: bool) -> None:
        """Accept no connections for the time being, or accept some again. Present connections go on."""
        changed, self._paused = self._paused != paused, paused
        for listening in self._listening.values() if changed or paused else ():
            listening.port.pause(paused)

    def _listen(self, settings: ListenerSettings, assembly: Assembly, contexts: ServerContexts | None) -> ActiveListener:
        limits = assembly.config.limits
        reactor: Any = self._runtime.reactor
        site = Site(
            limits=limits,
            deadlines=self._runtime.deadlines,
            turns=self._runtime.turns,
            clock=reactor.seconds,
            next_id_line=assembly.next_id_line,
            dispatch=assembly.dispatch(settings.name),
            answers=assembly.answers,
            audit=assembly.default_sink,
            refusals=self._runtime.refusals,
        )
        factory = ConnectionFactory(site, settings.name)
        port = listen(
            reactor,
            settings,
            factory,
            contexts,
            self._limits,
            self._runtime.deadlines,
            limits.handshake_timeout,
            self._socket(settings),
            self._runtime.handshakes,
            ListeningPort if self._runtime.place is None else SharedPort,
        )
        factory.port = port.getHost().port
        port.build_protocol = factory.build
        return ActiveListener(settings, site, port)

    def _socket(self, settings: ListenerSettings) -> socket.socket:
        """The socket of a new listener: the one in use, if a listener is renamed, or changes to or from TLS.

        So no client finds the address closed in between.
        """
        if settings.address.place is not None:
            for listening in self._listening.values():
                if listening.settings.address.place == settings.address.place:
                    shared: socket.socket = listening.port.listening.dup()
                    return shared
        return self._sockets.socket_for(settings, [one.port.listening for one in self._listening.values()])

    # -- when there is no room for another connection

    def _make_room(self, address: str | None) -> int:
        """Close some of the connections that have sent nothing for the longest time (attack 58); see `ConnectionLimits`.

        Finding them takes a look at each connection, so several are closed at a time, and there is a pause if it found only few.
        """
        now = self._runtime.reactor.seconds()
        if abs(now - self._looked_at) < self._pause:
            return 0
        silent: list[tuple[float, Callable[[], bool]]] = []
        connections = 0
        for listening in self._listening.values():
            waiting, served = listening.port.waiting, listening.site.connections
            connections += len(waiting) + len(served)
            silent += [
                (since, transport.make_room)
                for transport, since in waiting.items()
                if address is None or transport.getPeer().host == address
            ]
            silent += [
                (since, connection.make_room)
                for connection in served
                if (address is None or connection.address == address) and (since := connection.silent_since) < inf
            ]
        silent.sort(key=itemgetter(0))
        wanted = max(1, len(silent) // ROOM)
        closed = sum(islice((1 for _, make_room in silent if make_room()), wanted))
        self._looked_at, self._pause = now, 0.0 if closed * ROOM * 2 > connections else connections * LOOK
        before, self._crowded = self._crowded, self._crowded + closed
        if self._crowded.bit_length() > before.bit_length():
            # At 1, 2, 4, 8…, so that a flood of connections does not flood the log.
            _log.warn("no room for another connection: silent ones are closed ({count} so far)", count=self._crowded)
        return closed

    # -- the end

    def drain(self) -> int:
        """Accept no more, and let each connection end after its present request or the next one, which may be on its way.

        To be called repeatedly: handshakes under way become connections. Returns how many of both there are.
        """
        for listening in self._listening.values():
            listening.port.close()
            listening.site.connections.shut_down(idle=False)
        return sum(len(one.port.waiting) + len(one.site.connections) for one in self._listening.values())

    def stop(self) -> None:
        """Accept no more, and let each connection end after the request that it is serving; close those that serve none."""
        for listening in self._listening.values():
            listening.stop()
        for listening in self._listening.values():
            listening.site.connections.shut_down()

    def clear(self) -> None:
        """Forget listeners that were stopped."""
        self._listening.clear()

    # -- for the operator and the metrics

    def exchanges(self) -> list[Exchange]:
        """Every exchange under way."""
        listening = (*self._listening.values(), *self._leaving)
        return [exchange for one in listening for exchange in one.site.connections.exchanges()]

    def connections(self) -> dict[str, Connections]:
        """The connections of each listener, as they come and go."""
        return {name: listening.site.connections for name, listening in self._listening.items()}

    def listeners(self) -> list[ListenerStatus]:
        """The listeners, and how many connections each has."""
        return [
            ListenerStatus(name, one.number, len(one.site.connections), one.settings.socket_path)
            for name, one in self._listening.items()
        ]

    def identities(self) -> dict[str, tuple[ServerIdentity, ...]]:
        """The certificates that each listener with TLS serves."""
        contexts = {name: listening.port.contexts for name, listening in self._listening.items()}
        return {name: one.identities for name, one in contexts.items() if one is not None}

    def __str__(self) -> str:
        return ", ".join(described(listening.settings, listening.number) for listening in self._listening.values())

"""The listeners: bound, kept or replaced at a reload, and closed.

A listener whose socket stays the same keeps it, with its connections; only what these serve is exchanged. What fails does so in
`Listeners.bind`, before anything of the old has changed; what follows only assigns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from perimeter.config.site.config import SiteConfig
from perimeter.config.site.limits import LimitSettings
from perimeter.config.site.listener import ListenerSettings
from perimeter.errors import StartupError
from perimeter.http.h1.connection import Channel
from perimeter.net.certificates import load_identity
from perimeter.net.contexts import ClientAuthentication, ServerContexts
from perimeter.net.listeners import ConnectionLimits, ListeningPort, listen
from perimeter.run.build.assembly import Assembly
from perimeter.run.build.surroundings import Surroundings
from perimeter.run.operations import Place
from perimeter.run.site import ChannelFactory, Site

Contexts = Mapping[str, ServerContexts]
"""What each TLS listener serves with, by its name."""


def server_contexts(config: SiteConfig) -> Contexts:
    """Load the certificates and keys. Raises `StartupError`."""
    state_dir = config.perimeter.state_dir
    return {
        settings.name: ServerContexts([load_identity(settings, state_dir)], _clients(settings))
        for settings in config.listeners
        if settings.tls
    }


def _clients(settings: ListenerSettings) -> ClientAuthentication | None:
    if settings.client_ca is None:
        return None
    return ClientAuthentication(settings.client_ca, settings.client_certificate == "required")


@attrs.define(eq=False)
class Listening:
    """A listener at work."""

    settings: ListenerSettings
    site: Site
    port: ListeningPort

    @property
    def number(self) -> int:
        """The port's, of use where the configuration asked for port 0."""
        return int(self.port.getHost().port)

    def same_socket(self, settings: ListenerSettings) -> bool:
        """Whether ``settings`` ask for the socket that there is."""
        old = self.settings
        return (old.interface, old.port, old.tls) == (settings.interface, settings.port, settings.tls)

    def stop(self) -> None:
        """Accept no more."""
        # A handshake that is under way must not end in a channel that lives on by rules which are no longer in force.
        self.port.build_protocol = lambda _: None
        self.port.stopListening()  # type: ignore[no-untyped-call]

    def put_in_force(self, assembly: Assembly, contexts: ServerContexts | None) -> None:
        """Serve by ``assembly`` from now on."""
        self.site.put_in_force(assembly, self.settings.name)
        before, self.port.contexts = self.port.contexts, contexts
        if any(one is not None and one.clients is not None for one in (before, contexts)):
            # Who was let in by certificates that count no more, or without one, has to come again (attack 39).
            self.site.shut_down()
        self.port.handshake_timeout = assembly.config.limits.handshake_timeout


@attrs.frozen(eq=False)
class Bound:
    """An assembly and its sockets: those that are new, and those that it has in common with the one before."""

    assembly: Assembly
    contexts: Contexts
    opened: Mapping[str, Listening]
    kept: Mapping[str, Listening]


class Listeners:
    """All listeners of the gateway, by name. ``limits`` are those that they begin with."""

    def __init__(self, around: Surroundings, limits: LimitSettings) -> None:
        self._around = around
        self._limits = ConnectionLimits(limits.connections, limits.connections_per_address)
        self._listening: dict[str, Listening] = {}

    # -- from one configuration to the next

    def bind(self, assembly: Assembly, contexts: Contexts) -> Bound:
        """Open what there is not yet. Raises `StartupError`, and then has opened nothing."""
        kept: dict[str, Listening] = {}
        opened: dict[str, Listening] = {}
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
        return Bound(assembly, contexts, opened, kept)

    def put_in_force(self, bound: Bound) -> None:
        """Serve by the assembly that ``bound`` is for, on its sockets and no others."""
        for name, listening in self._listening.items():
            if name not in bound.kept:
                listening.stop()
                listening.site.shut_down()
        for name, listening in bound.kept.items():
            listening.put_in_force(bound.assembly, bound.contexts.get(name))
        self._listening = {**bound.kept, **bound.opened}
        limits = bound.assembly.config.limits
        self._limits.total = limits.connections
        self._limits.per_address = limits.connections_per_address

    def _listen(self, settings: ListenerSettings, assembly: Assembly, contexts: ServerContexts | None) -> Listening:
        limits = assembly.config.limits
        reactor: Any = self._around.reactor
        site = Site(
            limits=limits,
            deadlines=self._around.deadlines,
            turns=self._around.turns,
            clock=reactor.seconds,
            dispatch=assembly.gates[settings.name].dispatch,
            answers=assembly.answers,
            audit=assembly.default_sink,
        )
        factory = ChannelFactory(site, settings.name)
        port = listen(
            reactor,
            settings,
            factory,
            contexts,
            self._limits,
            self._around.deadlines,
            limits.handshake_timeout,
            self._predecessor(settings),
        )
        factory.port = port.getHost().port
        return Listening(settings, site, port)

    def _predecessor(self, settings: ListenerSettings) -> ListeningPort | None:
        """What listens on the very address that a new listener asks for: it was renamed, or changes to or from TLS."""
        if settings.port:
            for listening in self._listening.values():
                if (listening.settings.interface, listening.settings.port) == (settings.interface, settings.port):
                    return listening.port
        return None

    # -- the end

    def stop(self) -> None:
        """Accept no more, and let each connection end with the request that it is at."""
        for listening in self._listening.values():
            listening.stop()
        for listening in self._listening.values():
            listening.site.shut_down()

    def clear(self) -> None:
        """Forget listeners that were stopped."""
        self._listening.clear()

    # -- what there is

    def channels(self) -> list[Channel]:
        """Every connection."""
        return [channel for listening in self._listening.values() for channel in listening.site.channels]

    def connections(self) -> dict[str, set[Channel]]:
        """The connections of each listener, as they come and go."""
        return {name: listening.site.channels for name, listening in self._listening.items()}

    def places(self) -> list[Place]:
        """The listeners, and how many connections each has."""
        return [Place(name, listening.number, len(listening.site.channels)) for name, listening in self._listening.items()]

    def __str__(self) -> str:
        return ", ".join(f"{name} on port {listening.number}" for name, listening in self._listening.items())

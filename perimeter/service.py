"""The daemon: one gateway, started, reloaded and stopped.

What is served is built in `perimeter.assembly`; here it is bound to listeners, exchanged whole at a reload, and brought to an
end in order. Start: everything that can fail does so before the first client is accepted. Reload (SIGHUP): a faulty file
changes nothing. Stop: idle connections close, requests in flight get `DRAIN` seconds.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from perimeter.assembly import Assembly, Surroundings, assemble
from perimeter.auth.chain import AuthenticatorChain
from perimeter.auth.registry import authenticator_factories
from perimeter.config.load import load_site
from perimeter.config.values import LimitSettings, ListenerSettings, SiteConfig
from perimeter.control import ControlPort
from perimeter.errors import StartupError
from perimeter.http.answers import Answers
from perimeter.http.channel import Channel
from perimeter.http.exchange import Exchange
from perimeter.interfaces import IAuditSink
from perimeter.metrics.inforce import InForce
from perimeter.net.certificates import load_identity
from perimeter.net.contexts import ClientAuthentication, ServerContexts
from perimeter.net.deadlines import Deadlines
from perimeter.net.listeners import ConnectionLimits, ListeningPort, listen
from perimeter.notify import Notifier, Watchdog
from perimeter.offload import Offload
from perimeter.operations import Place, answer

_log = Logger()

#: Seconds that requests in flight have to finish when the daemon stops.
DRAIN = 10.0
#: Seconds between two looks at whether a signing key is due for rotation, or was rotated or discarded by somebody else, and
#: whether somebody else has written to the state: for as long a stolen key goes on working.
_CHECK = 5.0


#: Seconds after which what flows to the holder of a revoked token is cut. Every connection is looked at for it, which takes 2 ms
#: for 10,000 of them: so whoever revokes in a loop takes no more than that of each tenth of a second.
_CUT = 0.1


@attrs.define(eq=False)
class Site:
    """What the connections of one listener share (`perimeter.http.channel.ChannelSite`). A reload replaces its parts."""

    limits: LimitSettings
    deadlines: Deadlines
    clock: Callable[[], float]
    dispatch: Callable[[Exchange], None]
    answers: Answers
    audit: IAuditSink
    channels: set[Channel] = attrs.field(factory=set)


class ChannelFactory(Factory):
    """Makes the channels of one listener."""

    noisy = False

    def __init__(self, site: Site, listener: str) -> None:
        self.site = site
        self.listener = listener
        self.port = 0

    def buildProtocol(self, addr: IAddress | None) -> Channel:
        """A channel for a new connection."""
        return Channel(self.site, self.listener, self.port)


@attrs.define(eq=False)
class _Listening:
    settings: ListenerSettings
    site: Site
    port: ListeningPort


class Gateway(Service):
    """The whole gateway as a Twisted service. ``config_file`` is read again at each reload."""

    def __init__(self, config_file: Path, config: SiteConfig, reactor: Any, notifier: Notifier) -> None:
        self._config_file = config_file
        self._config = config
        self._reactor = reactor
        self._notifier = notifier
        self._watchdog = Watchdog(notifier, reactor)
        self._around = Surroundings(reactor, Offload(reactor), Deadlines(reactor))
        self._around.metrics.in_force = self._parts
        self._limits = ConnectionLimits(config.limits.connections, config.limits.connections_per_address)
        self._assembly: Assembly | None = None
        self._listening: dict[str, _Listening] = {}
        self._checks = [LoopingCall(self._check_keys), LoopingCall(self.look_at_state)]
        for check in self._checks:
            check.clock = reactor
        self._cutting = False
        self._drained: Deferred[None] | None = None
        self._control: ControlPort | None = None
        self._started = 0.0

    # -- start

    def privilegedStartService(self) -> None:
        """Bind the listeners, while the process may still use low ports. A fault is told in one line, and ends the process."""
        try:
            self._open(self._config)
        except StartupError as error:
            _log.critical("{error}", error=str(error))
            sys.exit(1)

    def startService(self) -> None:
        """Serve."""
        if self._assembly is None:
            self.privilegedStartService()
        super().startService()  # type: ignore[no-untyped-call]
        self._around.offload.start()
        self._around.blocking.start()
        assert self._assembly is not None
        self._assembly.chain.start()
        for check in self._checks:
            check.start(_CHECK, now=False)
        # twistd starts services before the reactor runs, which only then knows whether there are signals to be caught.
        self._reactor.callWhenRunning(self._ready)

    def _ready(self) -> None:
        if not self.running:
            return
        self._catch_signals()
        self._started = self._reactor.seconds()
        self._open_control(self._config.perimeter.state_dir)
        # What is there by now stays: the collector need not look through it again and again.
        gc.collect()
        gc.freeze()
        self._watchdog.startService()
        self._notifier.ready(self._status())
        _log.info("ready: {status}", status=self._status())

    def _open(self, config: SiteConfig) -> None:
        prepare_state_dir(config.perimeter.state_dir)
        contexts = self._contexts(config)
        assembly = assemble(config, self._around)
        assembly.audit.open()
        try:
            for settings in config.listeners:
                self._listening[settings.name] = self._listen(settings, assembly, contexts.get(settings.name))
        except StartupError:
            for listening in self._listening.values():
                _stop_listening(listening)
            self._listening.clear()
            assembly.audit.close()
            raise
        self._assembly = assembly
        self._watch_state(assembly, None)
        for warning in config.warnings:
            _log.warn("{warning}", warning=warning)

    @staticmethod
    def _contexts(config: SiteConfig) -> dict[str, ServerContexts]:
        """What each TLS listener serves with, by name."""
        state_dir = config.perimeter.state_dir
        return {
            settings.name: ServerContexts([load_identity(settings, state_dir)], _clients(settings))
            for settings in config.listeners
            if settings.tls
        }

    def _listen(self, settings: ListenerSettings, assembly: Assembly, contexts: ServerContexts | None) -> _Listening:
        limits = assembly.config.limits
        site = Site(
            limits=limits,
            deadlines=self._around.deadlines,
            clock=self._reactor.seconds,
            dispatch=assembly.gates[settings.name].dispatch,
            answers=assembly.answers,
            audit=assembly.default_sink,
        )
        factory = ChannelFactory(site, settings.name)
        port = listen(
            self._reactor,
            settings,
            factory,
            contexts,
            self._limits,
            self._around.deadlines,
            limits.handshake_timeout,
            self._predecessor(settings),
        )
        factory.port = port.getHost().port
        return _Listening(settings, site, port)

    def _predecessor(self, settings: ListenerSettings) -> ListeningPort | None:
        """What listens on the very address that a new listener asks for: it was renamed, or changes to or from TLS."""
        if settings.port:
            for listening in self._listening.values():
                if (listening.settings.interface, listening.settings.port) == (settings.interface, settings.port):
                    return listening.port
        return None

    def _status(self) -> str:
        places = ", ".join(
            f"{listening.settings.name} on port {listening.port.getHost().port}" for listening in self._listening.values()
        )
        return f"listening: {places}"

    def ports(self) -> dict[str, int]:
        """The port of each listener, by name: of use where the configuration asked for port 0."""
        return {name: listening.port.getHost().port for name, listening in self._listening.items()}

    # -- for the operator (`perimeter.operations.Running`)

    def _open_control(self, state_dir: Path) -> None:
        if self._control is not None:
            if self._control.directory == state_dir:
                return
            self._control.close()
        self._control = ControlPort(state_dir, lambda question: answer(self, question), self._reactor)
        self._control.open()

    def places(self) -> list[Place]:
        """The listeners, and how many connections each has."""
        return [
            Place(name, listening.port.getHost().port, len(listening.site.channels))
            for name, listening in self._listening.items()
        ]

    def in_force(self) -> tuple[SiteConfig, AuthenticatorChain]:
        """The configuration, and the chain that was made from it. Raises ValueError while the gateway stops."""
        if self._assembly is None:
            raise ValueError("the gateway is not running")
        return self._config, self._assembly.chain

    def _parts(self) -> InForce | None:
        """What `perimeter.metrics` looks at."""
        assembly = self._assembly
        if assembly is None:
            return None
        return InForce(
            connections={name: listening.site.channels for name, listening in self._listening.items()},
            pools=assembly.pools,
            audit_failing=assembly.audit.failing,
            authenticators=assembly.chain.asked,
            keys=assembly.keyring.entries,
            queues={"work": self._around.offload, "blocking": self._around.blocking},
        )

    def uptime(self) -> float:
        """Seconds since the start."""
        return float(self._reactor.seconds() - self._started)

    def _catch_signals(self) -> None:
        if not getattr(self._reactor, "_installSignalHandlers", True):
            return
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self.reload))
        signal.signal(signal.SIGUSR1, lambda *_: self._reactor.callFromThread(self.reopen_logs))

    # -- reload

    def reload(self) -> None:
        """Read the configuration again and put it in force, whole or not at all."""
        self._notifier.reloading("reading the configuration")
        try:
            config = load_site(self._config_file, authenticators=authenticator_factories())
            self._exchange(config)
        except StartupError as error:
            for line in str(error).splitlines():
                _log.error("not reloaded: {error}", error=line)
            self._notifier.ready(f"not reloaded: {str(error).splitlines()[0]}")
            self._around.metrics.count_reload(False)
            return
        except Exception:
            _log.failure("not reloaded")
            self._notifier.ready("not reloaded: see the log")
            self._around.metrics.count_reload(False)
            return
        self._around.metrics.count_reload(True)
        _log.info("reloaded: {status}", status=self._status())
        self._notifier.ready(self._status())

    def _exchange(self, config: SiteConfig) -> None:
        """Everything that can fail comes first; what follows only assigns."""
        old = self._assembly
        assert old is not None
        prepare_state_dir(config.perimeter.state_dir)
        contexts = self._contexts(config)
        assembly = assemble(config, self._around)
        assembly.audit.open()
        kept = {
            settings.name: self._listening[settings.name]
            for settings in config.listeners
            if settings.name in self._listening and _same_socket(self._listening[settings.name].settings, settings)
        }
        opened: dict[str, _Listening] = {}
        try:
            for settings in config.listeners:
                if settings.name not in kept:
                    opened[settings.name] = self._listen(settings, assembly, contexts.get(settings.name))
        except StartupError:
            for listening in opened.values():
                _stop_listening(listening)
            assembly.audit.close()
            raise
        for name, listening in self._listening.items():
            if name not in kept:
                _stop_listening(listening)
                for channel in list(listening.site.channels):
                    channel.shut_down()
        for name, listening in kept.items():
            _put_in_force(listening, assembly, contexts.get(name))
        self._listening = kept | opened
        self._limits.total = config.limits.connections
        self._limits.per_address = config.limits.connections_per_address
        self._assembly = assembly
        self._config = config
        self._open_control(config.perimeter.state_dir)
        assembly.chain.start()
        old.stop()
        self._watch_state(assembly, old)
        for warning in config.warnings:
            _log.warn("{warning}", warning=warning)

    def reopen_logs(self) -> None:
        """Turn to the audit files that are at their paths now."""
        if self._assembly is not None:
            self._assembly.audit.reopen()

    # -- while it runs

    def _watch_state(self, assembly: Assembly, old: Assembly | None) -> None:
        if old is not None:
            old.state.on_revoked.discard(self._revoked)
        assembly.state.on_revoked.add(self._revoked)
        self._around.states.keep(assembly.state)

    def _revoked(self) -> None:
        """Tokens were revoked: what still flows to their holders is cut, all of it at once for all that come so soon."""
        if not self._cutting:
            self._cutting = True
            self._reactor.callLater(_CUT, self._cut_revoked)

    def _cut_revoked(self) -> None:
        self._cutting = False
        if self._assembly is not None:
            good = self._assembly.state.good
            for channel in self._channels():
                channel.cut_unless(good)

    def look_at_state(self) -> Deferred[None]:
        """See what somebody else has written to the state, and fire when it is in force."""
        return succeed(None) if self._assembly is None else self._assembly.state.look()

    def _check_keys(self) -> Deferred[None] | None:
        assembly = self._assembly
        if assembly is None:
            return None
        checking = self._around.offload.run(assembly.keyring.rotate_if_due)

        def checked(changed: bool) -> None:
            if changed:
                assembly.keys_changed()
                _log.info("the signing keys have changed")

        return checking.addCallback(checked).addErrback(
            lambda failure: _log.error("the signing keys were not checked: {error}", error=failure.getErrorMessage())
        )

    # -- stop

    def stopService(self) -> Deferred[None]:
        """Stop accepting, let requests in flight finish for `DRAIN` seconds, then cut what is left."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._notifier.stopping("requests in flight finish")
        for check in self._checks:
            if check.running:
                check.stop()
        if self._control is not None:
            self._control.close()
        for listening in self._listening.values():
            _stop_listening(listening)
        for channel in self._channels():
            channel.shut_down()
        done: Deferred[None] = Deferred()
        self._await_drained(done, self._reactor.seconds() + DRAIN)
        return done.addCallback(self._close)

    def _channels(self) -> list[Channel]:
        return [channel for listening in self._listening.values() for channel in listening.site.channels]

    def _await_drained(self, done: Deferred[None], deadline: float) -> None:
        channels = self._channels()
        if channels and self._reactor.seconds() < deadline:
            self._reactor.callLater(0.05, self._await_drained, done, deadline)
            return
        for channel in channels:
            channel.transport.abortConnection()
        # One turn more, in which the cut connections write their records.
        self._reactor.callLater(0, done.callback, None)

    def _close(self, _: None) -> None:
        assembly, self._assembly = self._assembly, None
        if assembly is not None:
            assembly.stop()
            self._around.states.keep(None)
            for pool in assembly.pools:
                for connection in list(pool.connections):
                    connection.drop()
        self._listening.clear()
        self._watchdog.stopService()
        self._around.offload.stop()
        self._around.blocking.stop()


def _stop_listening(listening: _Listening) -> None:
    # A handshake that is under way must not end in a channel that lives on by rules which are no longer in force.
    listening.port.build_protocol = lambda _: None
    listening.port.stopListening()  # type: ignore[no-untyped-call]


def _same_socket(old: ListenerSettings, new: ListenerSettings) -> bool:
    return (old.interface, old.port, old.tls) == (new.interface, new.port, new.tls)


def _clients(settings: ListenerSettings) -> ClientAuthentication | None:
    if settings.client_ca is None:
        return None
    return ClientAuthentication(settings.client_ca, settings.client_certificate == "required")


def _put_in_force(listening: _Listening, assembly: Assembly, contexts: ServerContexts | None) -> None:
    site = listening.site
    site.limits = assembly.config.limits
    site.dispatch = assembly.gates[listening.settings.name].dispatch
    site.answers = assembly.answers
    site.audit = assembly.default_sink
    before, listening.port.contexts = listening.port.contexts, contexts
    if any(one is not None and one.clients is not None for one in (before, contexts)):
        # Who was let in by certificates that count no more, or without one, has to come again (attack 39).
        for channel in list(site.channels):
            channel.shut_down()
    listening.port.handshake_timeout = assembly.config.limits.handshake_timeout


def prepare_state_dir(path: Path) -> None:
    """Make the state directory, for nobody but the daemon. Raises `StartupError` where it cannot be written."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        raise StartupError(f"state_dir {path}: {(problem.strerror or str(problem)).lower()}") from problem
    if not os.access(path, os.W_OK | os.X_OK):
        raise StartupError(f"state_dir {path}: not writable")

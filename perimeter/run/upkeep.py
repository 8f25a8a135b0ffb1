"""What goes on beside the requests: keys are rotated, the state is read again, and what was revoked is cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from perimeter.http.connections import withdraw_unless
from perimeter.http.exchange import Exchange
from perimeter.run.build.assembly import Assembly
from perimeter.run.build.surroundings import Surroundings

_log = Logger()

#: Seconds between two looks at whether a signing key is due for rotation, or was rotated or discarded by somebody else, and
#: whether somebody else has written to the state: for as long a stolen key goes on working.
_CHECK = 5.0

#: Seconds after which what flows to the holder of a revoked token is cut. Every connection is looked at for it, which takes 2 ms
#: for 10,000 of them: so whoever revokes in a loop takes no more than that of each tenth of a second.
_CUT = 0.1


class Upkeep:
    """Looks after the keys and the state of the assembly in force; ``exchanges`` returns those under way."""

    def __init__(self, around: Surroundings, exchanges: Callable[[], Iterable[Exchange]]) -> None:
        self._around = around
        self._exchanges = exchanges
        self._assembly: Assembly | None = None
        self._cutting = False
        self._checks = [LoopingCall(self._check_keys), LoopingCall(self.look_at_state)]
        for check in self._checks:
            check.clock = around.reactor

    def start(self) -> None:
        """Look again and again."""
        for check in self._checks:
            check.start(_CHECK, now=False)

    def stop(self) -> None:
        """Look no more."""
        for check in self._checks:
            if check.running:
                check.stop()

    def turn_to(self, assembly: Assembly | None) -> Deferred[None]:
        """Look after ``assembly`` from now on, and let go of every state but its own; fires when those have written the rest."""
        if self._assembly is not None:
            self._assembly.state.on_revoked.discard(self._revoked)
        self._assembly = assembly
        if assembly is not None:
            assembly.state.on_revoked.add(self._revoked)
        return self._around.states.keep(None if assembly is None else assembly.state)

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

    def _revoked(self) -> None:
        """Tokens were revoked: what still flows to their holders is cut, all of it at once for all that come so soon."""
        if not self._cutting:
            self._cutting = True
            self._around.reactor.callLater(_CUT, self._cut_revoked)

    def _cut_revoked(self) -> None:
        self._cutting = False
        if self._assembly is not None:
            withdraw_unless(self._assembly.state.good, self._exchanges())

"""Work beside the requests: keys are rotated, certificates are renewed, changes of the state are followed, and what was revoked
is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from perimeter.acme.renewals import Renewals
from perimeter.gate.review import Reviewer
from perimeter.http.connections import withdraw_unless
from perimeter.http.exchange import Exchange
from perimeter.run.build.assembly import Assembly
from perimeter.run.build.prepared import TORN
from perimeter.run.build.runtime import Runtime
from perimeter.run.nodes import OwnRecord
from perimeter.tokens.key_news import KEY_NEWS

_log = Logger()

#: Seconds between checks whether keys are to be rotated, and between attempts to repeat failed writes.
_CHECK = 5.0

#: Seconds between checks for changes of other processes: one query for the state, one check of the key file. A
#: discarded key keeps working for at most this long.
_FOLLOW = 1.0

#: Seconds between looks for what is open for long and has to be judged again. 10,000 open exchanges take 10 ms of each.
_REVIEW = 1.0

#: Seconds from a revocation to the end of what flows to the token's holder. Every connection is looked at for it, which takes
#: 2 ms for 10,000 of them: revocations in a loop cost no more than that in each tenth of a second.
_CUT = 0.1


class Upkeep:
    """Looks after the keys, the certificates and the state of the assembly in force; ``exchanges`` returns those under way.

    ``renewed`` is called with the certificates that have been renewed.
    """

    def __init__(
        self,
        runtime: Runtime,
        exchanges: Callable[[], Iterable[Exchange]],
        renewed: Callable[[list[Path]], object] = lambda paths: None,
    ) -> None:
        self._runtime = runtime
        self._exchanges = exchanges
        self._assembly: Assembly | None = None
        self._cutting = False
        self._users_revoked = 0
        self._doubts = 0
        self._reviewer = Reviewer(runtime.reactor, exchanges)
        self._record = OwnRecord(runtime)
        self._renewals = Renewals(runtime.reactor, runtime.challenges, runtime.place, renewed)
        self._checks = {
            LoopingCall(self._review): _REVIEW,
            LoopingCall(self._rotate_keys): _CHECK,
            LoopingCall(self._refresh_keys): _FOLLOW,
            LoopingCall(self._tend_state): _CHECK,
            LoopingCall(self.follow_state): _FOLLOW,
            LoopingCall(self._age_state): _FOLLOW,
        }
        for check in self._checks:
            check.clock = runtime.reactor
        if runtime.place is not None:
            runtime.place.handlers[TORN] = self._audit_torn

    def start(self) -> None:
        """Begin all periodic checks."""
        for check, seconds in self._checks.items():
            check.start(seconds, now=False)
        self._renewals.start()
        self._record.start()

    def stop(self) -> None:
        """End all periodic checks."""
        for check in self._checks:
            if check.running:
                check.stop()
        self._reviewer.stop()
        self._renewals.stop()

    def look_after(self, assembly: Assembly | None) -> Deferred[None]:
        """Look after ``assembly`` from now on, and stop every state except its own; fires when those have written the rest."""
        if self._assembly is not None:
            self._assembly.state.on_removed.discard(self._revoked)
            self._assembly.sessions.keep_all_uses()  # its state may be stopped now
        self._assembly = assembly
        if assembly is not None:
            assembly.state.on_removed.add(self._revoked)
            assembly.chain.users_changed = self._reviewer.everything
            assembly.chain.revoked_at = assembly.tokens.revoked_at
            assembly.keys.changed = self._keys_changed
            assembly.state.view(KEY_NEWS).heard = assembly.keys.announced
            assembly.keys.announced()
            self._users_revoked = assembly.tokens.users_revoked
            self._doubts = _doubts(assembly)
            self._renewals.put_in_force(assembly.config)
            remember = assembly.config.authentication.remember_password
            self._reviewer.put_in_force(assembly.gates, assembly.gate_of_routes, assembly.identifier, remember)
        removed = self._record.put_in_force(assembly)
        return removed.addCallback(lambda _: self._runtime.states.keep(None if assembly is None else assembly.state))

    def own_record(self) -> str:
        """What is wrong with the record of this node among those that share the state, for the operator; "" if nothing is."""
        return self._record.problem()

    def follow_state(self) -> Deferred[None]:
        """Fires when what other processes have written to the state is in force."""
        return succeed(None) if self._assembly is None else self._assembly.state.follow()

    def _audit_torn(self, told: Mapping[str, str]) -> None:
        if self._assembly is not None:
            self._assembly.audit.torn(told["path"])

    def _review(self) -> None:
        try:
            self._reviewer.sweep()
        except Exception:  # a LoopingCall would end, and nothing would be judged again
            _log.failure("what is open for long was not reviewed")

    def _tend_state(self) -> Deferred[None]:
        if self._assembly is None:
            return succeed(None)
        self._assembly.sessions.keep_uses()
        return self._assembly.state.tend()

    def _age_state(self) -> None:
        if self._assembly is not None and self._assembly.state.grow_old():
            self._reviewer.everything()

    def _rotate_keys(self) -> Deferred[None]:
        return succeed(None) if self._assembly is None else self._assembly.keys.rotate_if_due()

    def _refresh_keys(self) -> Deferred[None]:
        return succeed(None) if self._assembly is None else self._assembly.keys.refresh()

    def _keys_changed(self) -> None:
        if self._assembly is not None:
            self._assembly.keys_changed()
            self._reviewer.everything()

    def _revoked(self) -> None:
        """Tokens were revoked: cut what flows to their holders, in one pass for all revocations of the next tenth of a second."""
        if self._assembly is not None and self._assembly.tokens.users_revoked != self._users_revoked:
            self._assembly.chain.doubt_users()
        if not self._cutting:
            self._cutting = True
            self._runtime.reactor.callLater(_CUT, self._cut_revoked)

    def _cut_revoked(self) -> None:
        self._cutting = False
        assembly = self._assembly
        if assembly is None:
            return
        tokens = assembly.tokens
        if tokens.users_revoked != self._users_revoked:
            self._users_revoked = tokens.users_revoked
            assembly.chain.forget_revoked()
        if _doubts(assembly) != self._doubts:
            self._doubts = _doubts(assembly)
            self._reviewer.everything()
        withdraw_unless(assembly.still_good, self._exchanges())


def _doubts(assembly: Assembly) -> int:
    """How often the end of a token or session that is not in memory may have been missed."""
    return assembly.tokens.doubts + assembly.sessions.doubts

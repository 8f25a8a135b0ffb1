"""Renews certificates while the gateway runs: looks regularly whether one is due, in a thread, in one process for all.

The other processes show the same proofs. A new certificate is taken into use as any renewed file (`perimeter.run.file_watch`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import blockingCallFromThread
from twisted.logger import Logger

from perimeter.acme.fault import AcmeFault
from perimeter.acme.orders import moment
from perimeter.acme.pending import Pending, Proof
from perimeter.acme.record import Record
from perimeter.acme.renewal import Wanted, attend, wanted
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.renewed import versions
from perimeter.offload import Offload
from perimeter.workers.place import Place

_log = Logger()

INTERVAL: Final = 30.0
"""Seconds between two looks."""

FIRST: Final = 1.0
"""Seconds from the start, or from a new configuration, to the first look: by then all workers serve."""

SHOW: Final = "acme-show"
"""The message to the other workers with the proofs that they are to show."""

_SHOWN: Final = 3.0
"""Seconds that the other workers have to show a proof."""

Attend = Callable[[Wanted, Callable[[Sequence[Proof]], None]], Record | None]


class Renewals:
    """Keeps the certificates of the configuration in force fresh.

    ``pending`` is what this process shows. With a ``place`` among several workers, the first one orders. ``renewed`` is called
    with the files that have been replaced.
    """

    def __init__(
        self,
        reactor: Any,
        pending: Pending,
        place: Place | None,
        renewed: Callable[[list[Path]], object],
        attend: Attend = attend,
    ) -> None:
        self._reactor = reactor
        self._pending = pending
        self._place = place
        self._renewed = renewed
        self._attend = attend
        self._wanted: tuple[Wanted, ...] = ()
        self._thread: Offload | None = None
        self._running = False
        self._busy = False
        #: whether the configuration has changed during a look
        self._again = False
        self._next: Any = None
        if place is not None:
            place.handlers[SHOW] = self._told

    def start(self) -> None:
        """Look from now on."""
        self._running = True
        self._look_soon()

    def put_in_force(self, config: SiteConfig) -> None:
        """Look after the certificates of ``config`` and no others."""
        self._wanted = wanted(config)
        self._look_soon()

    def stop(self) -> None:
        """Look no more. An order under way goes on in its thread until the process ends."""
        self._running = False
        self._cancel()
        if self._thread is not None:
            self._thread.stop()
            self._thread = None

    def _cancel(self) -> None:
        if self._next is not None and self._next.active():
            self._next.cancel()

    def _look_soon(self) -> None:
        if self._busy:
            self._again = True
        elif self._running:
            self._look_in(FIRST)

    def _look_in(self, seconds: float) -> None:
        self._cancel()
        if self._running and self._wanted:
            self._next = self._reactor.callLater(seconds, self._look)

    def _look(self) -> None:
        if self._place is not None and not self._place.leads:
            self._look_in(INTERVAL)
            return
        if self._thread is None:
            self._thread = Offload(self._reactor, threads=1, queue=1)
            self._thread.start()
        self._busy, self._again = True, False
        looked = self._thread.run(self._look_after_all, self._wanted)
        looked.addCallbacks(self._take, lambda failure: _log.failure("the certificates were not looked after", failure))
        looked.addCallback(self._looked)

    def _take(self, replaced: list[Path]) -> None:
        if replaced and self._running:
            self._renewed(replaced)

    def _looked(self, _: object) -> None:
        self._busy = False
        self._look_in(FIRST if self._again else INTERVAL)

    # -- in the thread

    def _look_after_all(self, several: Iterable[Wanted]) -> list[Path]:
        """Returns the files that were replaced."""
        replaced = []
        for one in several:
            before = versions([one.path])
            try:
                record = self._attend(one, self._show_everywhere)
            except AcmeFault as fault:
                _log.error("the certificate for {name} cannot be renewed: {fault}", name=one.names[0], fault=str(fault))
            else:
                if record is not None:
                    _report(one, record)
            if versions([one.path]) != before:
                replaced.append(one.path)
        return replaced

    def _show_everywhere(self, proofs: Sequence[Proof]) -> None:
        try:
            blockingCallFromThread(self._reactor, self._show, proofs)
        except Exception as error:
            raise AcmeFault(f"the other workers cannot show the proof ({type(error).__name__})") from None

    # -- on the reactor thread

    def _show(self, proofs: Sequence[Proof]) -> Deferred[Any]:
        self._pending.replace(proofs)
        if self._place is None:
            return succeed(None)
        return self._place.gather(SHOW, _SHOWN, proofs=[attrs.astuple(proof) for proof in proofs])

    def _told(self, told: Mapping[str, Any]) -> None:
        self._pending.replace(Proof(*one) for one in told["proofs"])


def _report(one: Wanted, record: Record) -> None:
    names = ", ".join(one.names)
    if record.failures:
        again = moment(record.try_at)
        _log.error(
            "no new certificate for {names}: {fault}; the next try is at {again}", names=names, fault=record.fault, again=again
        )
    else:
        _log.info("the certificate for {names} is renewed at {moment}", names=names, moment=moment(record.renew_at))

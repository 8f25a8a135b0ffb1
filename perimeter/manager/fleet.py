"""All workers of a gateway: one in each slot, kept alive; reloaded all or none; ended together."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.task import deferLater
from twisted.logger import Logger

from perimeter.descriptors import system_reason
from perimeter.manager.adopted import Adopted, handed_over
from perimeter.manager.backoff import Backoff
from perimeter.manager.child import FAULTS, Child, Generation
from perimeter.manager.handover import InheritedWorker
from perimeter.manager.listening import close_sockets
from perimeter.manager.relay import Relay
from perimeter.run.log_target import LogTarget
from perimeter.workers.channel import Refused
from perimeter.workers.page import SharedPage, SlotState
from perimeter.workers.shares import Shares

_log = Logger()

TRIES: Final = 3
"""After this many failed starts of a slot, the start no longer waits for it if another worker serves."""

GRACE: Final = 5.0
"""Seconds after ``drain_timeout`` in which workers end by themselves."""


@attrs.define(eq=False)
class Slot:
    """A slot for a worker: the present worker, if there is one, and the results of its starts."""

    number: int
    child: Child | None = None
    backoff: Backoff = attrs.field(factory=Backoff)
    starts: int = 0
    pause: Deferred[None] | None = None
    kept: Deferred[None] | None = None

    @property
    def serves(self) -> bool:
        """Whether its worker has begun to serve."""
        return self.child is not None and self.child.serving and bool(self.child.status)


class Fleet:
    """Keeps the workers of ``generation`` running. ``changed`` is called when a worker serves, or could not be started."""

    def __init__(self, reactor: Any, page: SharedPage, file: Path, log: LogTarget, generation: Generation) -> None:
        self.slots: list[Slot] = []
        self.generation = generation
        self.fault = ""
        self.relay = Relay(self.serving)
        self.shares = Shares(self.with_clients, self.described, reactor.seconds)
        self.changed: Any = lambda: None
        self._reactor = reactor
        self._page = page
        self._file = file
        self._log = log
        self._first = DeferredLock()
        self._proven = False
        #: the first worker has refused the configuration, which the others would refuse, too
        self.hopeless = False
        self._leaving: set[Slot] = set()
        #: workers of the earlier program, which serve until all new ones do
        self.before: list[Slot] = []

    def serving(self) -> list[Child]:
        """The workers that serve, by their slots; workers of the earlier program come last."""
        return [slot.child for slot in (*self.slots, *self.before) if slot.child is not None and slot.child.serving]

    def with_clients(self) -> list[Child]:
        """The workers that serve, and the workers that finish their requests."""
        draining = [child for child in self.all_children() if self._page.slots[child.number].state is SlotState.DRAINING]
        return [*self.serving(), *draining]

    def described(self) -> list[dict[str, Any]]:
        """The members of a `perimeter.workers.gathered.WorkerNow` for each worker."""
        found = []
        for slot in self._all_slots():
            child, row = slot.child, self._page.slots[slot.number]
            state = SlotState.EMPTY if child is None else row.state
            found.append(
                {
                    "slot": slot.number,
                    "pid": 0 if child is None else child.pid,
                    "state": state.name.lower(),
                    "connections": row.held,
                    "since": 0.0 if child is None else child.since,
                    "restarts": max(0, slot.starts - 1),
                    "generation": row.generation,
                }
            )
        return found

    # -- the number of workers

    def resize(self) -> None:
        """Have as many workers as the configuration in force says; surplus workers finish their requests and end."""
        wanted = self.generation.plan.workers
        for slot in self.slots[wanted:]:
            self._leave(slot)
        del self.slots[wanted:]
        taken = {slot.number for slot in self._all_slots()}
        free = (number for number in range(len(self._page.slots)) if number not in taken)
        while len(self.slots) < wanted:
            slot = Slot(next(free))
            self.slots.append(slot)
            slot.kept = Deferred.fromCoroutine(self._keep(slot))
        for slot in self.slots:
            self._pin(slot)

    def _leave(self, slot: Slot) -> None:
        self._leaving.add(slot)
        if slot.pause is not None:
            slot.pause.cancel()
        if slot.child is not None:
            slot.child.leave()

    def _pin(self, slot: Slot) -> None:
        allowed = sorted(os.sched_getaffinity(0))
        if slot.child is not None and slot.child.pid:
            pinned = self.generation.plan.pin
            slot.child.pin({allowed[self.slots.index(slot) % len(allowed)]} if pinned else set(allowed))

    # -- the life of a slot

    async def _keep(self, slot: Slot) -> None:
        """Keep a worker in the slot until the slot is given up."""
        while not self._is_leaving(slot):
            child = slot.child = Child(slot.number, self._page, {}, self._reactor)
            child.channel.handlers = {**self.relay.handlers(child), **self.shares.handlers(child)}
            child.closed.addCallback(partial(self._closed, child))
            slot.starts += 1
            began, fault = self._reactor.seconds(), ""
            try:
                child.spawn(self._file, self._log)
                self._pin(slot)
                await self._start(child)
                began = self._reactor.seconds()
                self.changed()
            except FAULTS as error:
                fault = system_reason(error) if isinstance(error, OSError) and error.errno else str(error)
                self.hopeless = isinstance(error, Refused) and not self._proven
                if isinstance(error, TimeoutError):
                    child.end()  # it hangs
                else:
                    child.signal(signal.SIGKILL)
            how = await child.ended
            slot.child = None
            if self._is_leaving(slot):
                break
            served = 0.0 if fault else self._reactor.seconds() - began
            wait = slot.backoff.ended(served)
            self.fault = fault or f"worker {slot.number} has ended {how}"
            if fault:
                _log.error("worker {slot} could not be started: {error}", slot=slot.number, error=fault, counted=True)
            else:
                _log.error("worker {slot} has ended {how}: another one is started", slot=slot.number, how=how, counted=True)
            self.changed()
            await self._pause(slot, wait)
        self._leaving.discard(slot)

    def _closed(self, child: Child, _: None) -> None:
        self.shares.ended(child)

    def _is_leaving(self, slot: Slot) -> bool:
        return slot in self._leaving

    async def _pause(self, slot: Slot, seconds: float) -> None:
        if seconds and not self._is_leaving(slot):
            slot.pause = deferLater(self._reactor, seconds)
            with suppress(CancelledError):
                await slot.pause
            slot.pause = None

    async def _start(self, child: Child) -> None:
        """Let a new worker serve by the configuration in force."""
        prepared = await self._prepare_first(child)
        while prepared is not self.generation:  # another one has come into force meanwhile, or there is none yet
            prepared = self.generation
            await child.prepare(prepared)
        await child.commit()

    async def _prepare_first(self, child: Child) -> Generation | None:
        """Let one worker create keys, certificate and database in ``state_dir`` if they are missing, before the others begin.

        Returns the generation that ``child`` has prepared, None if another worker was the first.
        """
        await self._first.acquire()
        try:
            if self._proven:
                return None
            generation = self.generation
            await child.prepare(generation)
            self._proven = True
            return generation
        finally:
            self._first.release()

    # -- an upgrade

    def adopt(self, workers: Iterable[InheritedWorker]) -> None:
        """Adopt the workers of the earlier program."""
        for worker in workers:
            child = Adopted(worker, self._page, {}, self._reactor)
            child.channel.handlers = {**self.relay.handlers(child), **self.shares.handlers(child)}
            child.closed.addCallback(partial(self._closed, child))
            self.shares.tally.keep(child, worker.counts)
            slot = Slot(worker.slot, child)
            if worker.leaving:
                self._leaving.add(slot)
            else:
                self.before.append(slot)
            slot.kept = child.ended.addCallback(partial(self._adopted_ended, slot))
            child.adopt()

    def _adopted_ended(self, slot: Slot, _: str) -> None:
        slot.child = None
        self._leaving.discard(slot)
        if slot in self.before:
            self.before.remove(slot)

    def retire(self) -> None:
        """Let the workers of the earlier program finish their requests: the new ones serve."""
        before, self.before = self.before, []
        for slot in before:
            self._leave(slot)

    def kept(self) -> tuple[InheritedWorker, ...]:
        """The workers that the next program goes on with."""
        return tuple(
            handed_over(slot.child, slot in self._leaving, self.shares.tally.last(slot.child))
            for slot in self._all_slots()
            if slot.child is not None and slot.child.pid and slot.child.status
        )

    def starting(self) -> list[Child]:
        """The workers that do not serve yet: they are of no use to the next program."""
        return [child for child in self.all_children() if child.pid and not child.status]

    def follow(self, new: Generation) -> None:
        """``new`` is the configuration in force from now on. Slots that wait for their next start start at once."""
        before, self.generation = self.generation, new
        self.resize()
        close_sockets(before.sockets, new.sockets)
        for slot in self.slots:
            if slot.pause is not None:
                slot.pause.cancel()

    # -- the end

    def all_children(self) -> list[Child]:
        """Every process, also of slots that are given up."""
        return [slot.child for slot in self._all_slots() if slot.child is not None]

    def _all_slots(self) -> list[Slot]:
        return [*self.slots, *self.before, *self._leaving]

    def watch(self) -> None:
        """To be called once a second."""
        for child in self.all_children():
            child.watch()

    def tell(self, name: str, /, **arguments: Any) -> None:
        """Send a message to all workers."""
        for child in self.all_children():
            child.channel.tell(name, **arguments)

    async def stop(self) -> None:
        """Accept no more connections; let requests finish for ``drain_timeout``; then end the remaining workers.

        The reactor's ``stop_now`` (a second signal) ends it sooner.
        """
        close_sockets(self.generation.sockets, {})
        kept = [slot.kept for slot in self._all_slots() if slot.kept is not None]
        for slot in (*self.slots, *self.before):
            self._leave(slot)
        self.slots.clear()
        self.before.clear()
        deadline = self._reactor.seconds() + self.generation.plan.drain_timeout + GRACE
        hurried = False
        while not all(one.called for one in kept):
            if self._reactor.stop_now and not hurried:
                hurried = True
                for child in self.all_children():
                    child.leave(now=True)
                deadline = self._reactor.seconds() + GRACE
            if self._reactor.seconds() > deadline:
                for child in self.all_children():
                    child.signal(signal.SIGKILL)
            await deferLater(self._reactor, 0.05)

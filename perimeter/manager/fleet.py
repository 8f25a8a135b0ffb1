"""All workers of a gateway: one in each slot, kept alive; reloaded all or none; ended together."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import attrs
from twisted.internet.defer import CancelledError, Deferred, DeferredLock, FirstError, gatherResults
from twisted.internet.task import deferLater
from twisted.logger import Logger

from perimeter.errors import StartupError
from perimeter.manager.backoff import Backoff
from perimeter.manager.child import Child, Generation
from perimeter.manager.listening import close_sockets
from perimeter.manager.relay import Relay
from perimeter.workers.channel import ChannelClosed, Refused
from perimeter.workers.page import SharedPage

_log = Logger()

TRIES: Final = 3
"""A slot whose worker could not be started so often is no longer waited for at the start, if another one serves."""

GRACE: Final = 5.0
"""Seconds after ``drain_timeout`` in which workers end by themselves."""

START_FAULTS: Final = (Refused, ChannelClosed, TimeoutError, OSError)
"""What fails when a worker cannot be started, or cannot use a configuration."""


@attrs.define(eq=False)
class Slot:
    """A slot that is to have a worker: the present one, if there is any, and how the starts went."""

    number: int
    child: Child | None = None
    backoff: Backoff = attrs.field(factory=Backoff)
    starts: int = 0
    pause: Deferred[None] | None = None
    kept: Deferred[None] | None = None


class Fleet:
    """Keeps the workers of ``generation`` running. ``changed`` is called when a worker serves, or could not be started."""

    def __init__(self, reactor: Any, page: SharedPage, file: Path, log: str, generation: Generation) -> None:
        self.slots: list[Slot] = []
        self.generation = generation
        self.fault = ""
        self.relay = Relay(self.serving)
        self.changed: Any = lambda: None
        self._reactor = reactor
        self._page = page
        self._file = file
        self._log = log
        self._first = DeferredLock()
        self._proven = False
        self._leaving: set[Slot] = set()

    def serving(self) -> list[Child]:
        """The workers that serve, by their slots."""
        return [slot.child for slot in self.slots if slot.child is not None and slot.child.serving]

    # -- the number of workers

    def resize(self) -> None:
        """Have as many workers as the configuration in force says; those that are too many finish their requests."""
        wanted = self.generation.plan.workers
        for slot in self.slots[wanted:]:
            self._leave(slot)
        del self.slots[wanted:]
        taken = {slot.number for slot in (*self.slots, *self._leaving)}
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
            slot.child.serving = False
            slot.child.channel.tell("stop")

    def _pin(self, slot: Slot) -> None:
        allowed = sorted(os.sched_getaffinity(0))
        if slot.child is not None and slot.child.pid:
            pinned = self.generation.plan.pin
            slot.child.pin({allowed[self.slots.index(slot) % len(allowed)]} if pinned else set(allowed))

    # -- the life of a slot

    async def _keep(self, slot: Slot) -> None:
        """Keep a worker in the slot until it is to leave."""
        while not self._is_leaving(slot):
            child = slot.child = Child(slot.number, self._page, {}, self._reactor)
            child.channel.handlers = self.relay.handlers(child)
            slot.starts += 1
            began, fault = self._reactor.seconds(), ""
            try:
                child.spawn(self._file, self._log)
                self._pin(slot)
                await self._start(child)
                began = self._reactor.seconds()
                self.changed()
            except START_FAULTS as error:
                fault = str(error)
                child.end()
            how = await child.ended
            slot.child = None
            if self._is_leaving(slot):
                break
            served = 0.0 if fault else self._reactor.seconds() - began
            wait = slot.backoff.ended(served)
            if fault:
                self.fault = fault
                _log.error("worker {slot} could not be started: {error}", slot=slot.number, error=fault, counted=True)
                self.changed()
            else:
                _log.error("worker {slot} has ended {how}: another one is started", slot=slot.number, how=how, counted=True)
            await self._pause(slot, wait)
        self._leaving.discard(slot)

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
        while prepared is not self.generation:  # there is another one meanwhile, or there is none yet
            prepared = self.generation
            await child.prepare(prepared)
        await child.commit()

    async def _prepare_first(self, child: Child) -> Generation | None:
        """What is missing in ``state_dir`` (keys, a certificate, the database) is made by one worker, before the others begin.

        Returns what ``child`` has prepared, None if another one was the first.
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

    # -- another configuration

    async def put_in_force(self, new: Generation) -> None:
        """Let all workers serve by ``new``, or none. Raises `StartupError` with the fault and the slot that has it."""
        prepared: list[Child] = []
        try:
            # The first one alone: what is missing on disk is made once, and a fault is reported once.
            while missing := [child for child in self.serving() if child not in prepared]:
                missing = missing if prepared else missing[:1]
                await gatherResults([Deferred.fromCoroutine(self._prepare(child, new)) for child in missing], consumeErrors=True)
                prepared += missing
        except FirstError as error:
            self.tell("abort", self.serving())
            error.subFailure.raiseException()
        before, self.generation = self.generation, new
        commits = [Deferred.fromCoroutine(self._commit(child)) for child in prepared if child.serving]
        self.resize()
        close_sockets(before.sockets, new.sockets)
        await gatherResults(commits)

    async def _prepare(self, child: Child, new: Generation) -> None:
        try:
            await child.prepare(new)
        except START_FAULTS as error:
            raise StartupError(f"worker {child.number}: {error}") from None

    async def _commit(self, child: Child) -> None:
        try:
            await child.commit()
        except START_FAULTS as error:
            _log.error(
                "worker {slot} does not follow the configuration: {error}", slot=child.number, error=str(error), counted=True
            )
            child.end()

    # -- the end

    def all_children(self) -> list[Child]:
        """Every process, also of slots that are being left."""
        return [slot.child for slot in (*self.slots, *self._leaving) if slot.child is not None]

    def watch(self) -> None:
        """To be called once a second."""
        for child in self.all_children():
            child.watch()

    def tell(self, name: str, children: Iterable[Child], **arguments: Any) -> None:
        """Tell several workers something."""
        for child in children:
            child.channel.tell(name, **arguments)

    async def stop(self) -> None:
        """Accept no more; let requests in flight finish for ``drain_timeout``; then end what is left.

        The reactor's ``stop_now`` (a second signal) ends it sooner.
        """
        close_sockets(self.generation.sockets, {})
        kept = [slot.kept for slot in (*self.slots, *self._leaving) if slot.kept is not None]
        for slot in self.slots:
            self._leave(slot)
        self.slots.clear()
        deadline = self._reactor.seconds() + self.generation.plan.drain_timeout + GRACE
        hurried = False
        while not all(one.called for one in kept):
            if self._reactor.stop_now and not hurried:
                hurried = True
                self.tell("stop", self.all_children())
                deadline = self._reactor.seconds() + GRACE
            if self._reactor.seconds() > deadline:
                for child in self.all_children():
                    child.signal(signal.SIGKILL)
            await deferLater(self._reactor, 0.05)

"""Puts another configuration in force in all workers, or in none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.logger import Logger

from perimeter.errors import StartupError
from perimeter.manager.child import FAULTS, Child, Generation
from perimeter.manager.fleet import Fleet
from perimeter.manager.listening import close_sockets, open_sockets
from perimeter.manager.planning import plan_file
from perimeter.workers.plan import Plan

_log = Logger()


async def reload(fleet: Fleet, file: Path | None, reactor: Any) -> None:
    """Put ``file`` in force, or the present configuration again (None) if its files have changed. Raises `StartupError`."""
    before = fleet.generation
    plan, text = _same(before) if file is None else await plan_file(file, reactor)
    try:
        sockets = open_sockets(plan.listeners, before.sockets)
        try:
            await put_in_force(fleet, Generation(before.number + 1, text, plan, sockets))
        except BaseException:
            close_sockets(sockets, before.sockets)
            raise
    except BaseException:
        os.close(text)
        raise
    os.close(before.text)


def _same(present: Generation) -> tuple[Plan, int]:
    """The plan and the text in force. Its warnings have been reported."""
    return attrs.evolve(present.plan, warnings=()), os.dup(present.text)


async def put_in_force(fleet: Fleet, new: Generation) -> None:
    """Let all workers of ``fleet`` serve by ``new``, or none. Raises `StartupError` with the fault and the slot that has it.

    A worker that begins to serve meanwhile has to prepare it as well. The commits are sent in the same turn of the reactor as the
    last answer.
    """
    prepared: list[Child] = []
    try:
        # First one worker alone: it creates missing files, and a fault is reported once.
        while missing := [child for child in fleet.serving() if child not in prepared]:
            missing = missing if prepared else missing[:1]
            await gatherResults([Deferred.fromCoroutine(_prepare(child, new)) for child in missing], consumeErrors=True)
            prepared += missing
    except FirstError as error:
        fleet.tell("abort")
        error.subFailure.raiseException()
    commits = [Deferred.fromCoroutine(_commit(child)) for child in prepared if child.serving]
    fleet.follow(new)
    await gatherResults(commits)


async def _prepare(child: Child, new: Generation) -> None:
    try:
        await child.prepare(new)
    except FAULTS as error:
        raise StartupError(f"worker {child.number}: {error}") from None


async def _commit(child: Child) -> None:
    try:
        await child.commit()
    except FAULTS as error:
        fault = str(error)
        _log.error("worker {slot} does not follow the configuration: {error}", slot=child.number, error=fault, counted=True)
        child.end()

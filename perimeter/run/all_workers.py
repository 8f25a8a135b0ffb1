"""Answers the operator's questions for all worker processes, in the worker that gets the question."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from perimeter.errors import Unavailable
from perimeter.metrics.figures import Totals
from perimeter.proxy.health import ServerState
from perimeter.run.overview import limits_so_far, requests_so_far
from perimeter.run.problems import Examination, Problem, Severity, Subject, problems
from perimeter.web.endpoints.operator.gateway import Reload
from perimeter.workers.channel import ChannelClosed, Refused
from perimeter.workers.gathered import SLOW, Gathered, WorkerNow, gathered, known
from perimeter.workers.place import Place


async def all_problems(subject: Examination) -> list[Problem]:
    """`problems` of this process, problems that the other workers report, and problems of the workers. Never raises.

    The worst is first. Takes as long as `problems`.
    """
    place = subject.runtime.place
    if place is None:
        return await problems(subject)
    asked = Deferred.fromCoroutine(gathered(place, "noticed", {}))
    own = await problems(subject)
    try:
        found = await asked
    except Unavailable as error:
        return merged_problems([*own, Problem(Severity.SOME_REQUESTS_FAIL, Subject.WORKER, "manager", error.detail)], {})
    others = {slot: [known(Problem, one) for one in share["problems"]] for slot, share in found.shares.items()}
    return merged_problems([*own, *_of_workers(found.workers)], others)


def merged_problems(own: Iterable[Problem], others: Mapping[int, Iterable[Problem]]) -> list[Problem]:
    """``own`` problems, and further problems of the ``others`` (by slot), with their slots."""
    known = list(own)
    subjects = {_what(one) for one in known}
    more: dict[object, list[tuple[int, Problem]]] = {}
    for slot, several in others.items():
        for one in several:
            if _what(one) not in subjects:
                more.setdefault(_what(one), []).append((slot, one))
    for found in more.values():
        slots = sorted({slot for slot, _ in found})
        where = f"(worker {slots[0]})" if len(slots) == 1 else f"(workers {', '.join(map(str, slots))})"
        known.append(attrs.evolve(found[0][1], message=f"{found[0][1].message} {where}"))
    return sorted(known, key=lambda one: one.severity)


def _what(problem: Problem) -> object:
    """The key of a problem: two workers may describe it with different numbers. A server is named by the message."""
    server = problem.message.partition(": ")[0] if problem.subject == Subject.UPSTREAM else ""
    return problem.subject, problem.name, server


def _of_workers(workers: Sequence[WorkerNow]) -> Iterable[Problem]:
    for one in workers:
        if one.slow:
            message = f"process {one.pid} does not answer"
            yield Problem(Severity.SOME_REQUESTS_FAIL, Subject.WORKER, str(one.slot), message)
        elif one.state in ("empty", "starting") and one.restarts:
            message = f"it has ended and is started again (restart {one.restarts})"
            yield Problem(Severity.WORKS_FOR_NOW, Subject.WORKER, str(one.slot), message)


async def known_reload(place: Place) -> Reload:
    """The last reload that the other workers know, for a worker that has begun to serve after it."""
    try:
        replies = await place.gather("last_reload", SLOW)
    except (ChannelClosed, Refused, TimeoutError):
        return Reload()
    return max((Reload(*one.value) for one in replies if one.value is not None), key=lambda one: one.at, default=Reload())


async def all_status(place: Place, own: Mapping[str, Any], totals: Totals) -> dict[str, Any]:
    """The status of all workers. ``own`` is that of this one, and ``totals`` are its requests."""
    try:
        found = await gathered(place, "status", totals.counts())
    except Unavailable:  # which is one of the problems
        return dict(own)
    return merged_status(own, found)


def merged_status(own: Mapping[str, Any], found: Gathered) -> dict[str, Any]:
    """The status of all workers: connections are added up, a state is the worst one."""
    several = [own, *(share["status"] for share in found.shares.values())]
    reloads = [one["last_reload"] for one in several if one["last_reload"] is not None]
    so_far = Totals.from_counts(found.counts)
    return {
        **own,
        **limits_so_far(so_far),
        **(requests_so_far(so_far) if "requests" in own else {}),
        "last_reload": max(reloads, key=lambda one: str(one["at"]), default=None),
        "uptime": int(found.uptime),
        "sessions": max(one["sessions"] for one in several),
        "listeners": _rows(several, "listeners", ("name",), {"connections": sum}),
        "upstreams": _rows(several, "upstreams", ("name",), {"waiting": sum, "servers": _servers}),
        "authenticators": _rows(several, "authenticators", ("name", "realm"), {"down": any, "next_try": max}),
        "waiting": _rows(several, "waiting", ("kind", "value", "realm"), {"wrong_passwords": max, "seconds": max}),
        "workers": [attrs.asdict(one) for one in found.workers],
    }


def _servers(several: Iterable[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The servers of an upstream: the worst state of each, with its fault, and its connections and requests in all workers."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for one in (one for servers in several for one in servers):
        found.setdefault(one["url"], []).append(one)
    worse = tuple(map(str, ServerState))
    return [
        {
            **max(same, key=lambda one: worse.index(one["state"])),
            **{member: sum(one[member] for one in same) for member in ("active", "busy", "idle")},
        }
        for same in found.values()
    ]


def _rows(
    several: Sequence[Mapping[str, Any]], name: str, key: Sequence[str], merges: Mapping[str, Callable[[Iterable[Any]], Any]]
) -> list[dict[str, Any]]:
    """The rows ``name`` of all, one for each value of ``key``; other members are merged, or are those of the first row."""
    found: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in (row for status in several for row in status.get(name, ())):
        found.setdefault(tuple(row[each] for each in key), []).append(row)

    def merged(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {**rows[0], **{member: merge(row[member] for row in rows) for member, merge in merges.items()}}

    return [merged(rows) for rows in found.values()]

"""Logins with an LDAP directory: of users whose logins are cached, and of users who log in for the first time."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import attrs

from bench import directory
from bench.clients.start import Client
from bench.directory import Directory
from bench.errors import BenchError
from bench.figures import Measurement
from bench.material import PASSWORD, USER, basic
from bench.peers.base import Peer
from bench.peers.perimeter import Perimeter, other_user
from bench.processes import cpu_seconds
from bench.run import CPU, MICROSECONDS, Load, Run
from bench.scenarios.base import Scenario
from bench.scenarios.growth import taking_turns
from bench.scenarios.latency import thinking
from bench.scenarios.requests import SMALL

_RATE = 1_000
_REMEMBERED = 200
_CLIENTS = 256
"""So many clients that the time of an answer is short compared with the time that each client waits before its next request."""
_CONNECTING = 1.5
_SETTLING = 3.0
"""Seconds until all clients are connected, and until all send requests. CPU time is counted from then on."""
_LEAVING = 0.5
_FIRST = 100
_OPEN_TIMEOUT = _ANSWER_TIMEOUT = 240.0
_MILLISECONDS = 1e3


@contextmanager
def _asking(run: Run, peers: Sequence[Peer], name: str, section: str) -> Iterator[Mapping[str, Perimeter]]:
    """Gateways of the peers' checkouts with the authenticator ``section``, by the names of the peers."""
    gateways = {
        peer.name: Perimeter(f"{peer.name}-{name}", peer.checkout, authenticator=section)
        for peer in peers
        if isinstance(peer, Perimeter)
    }
    try:
        for gateway in gateways.values():
            run.start(gateway)
        yield gateways
    finally:
        for gateway in gateways.values():
            if gateway in run.peers:
                run.dismiss(gateway)


@attrs.frozen
class Mark:
    """A snapshot of a gateway: the number of ``requests`` answered, and seconds of ``cpu`` taken, at a point in time."""

    requests: int
    cpu: float
    at: float

    @classmethod
    def of(cls, run: Run, gateway: Perimeter) -> Mark:
        """Take a snapshot now."""
        return cls(gateway.answered(run.around), cpu_seconds(gateway.processes), time.monotonic())

    def rate(self, later: Mark) -> float:
        """Requests per second between this snapshot and ``later``."""
        return (later.requests - self.requests) / (later.at - self.at)

    def cpu_each(self, later: Mark) -> float:
        """Microseconds of CPU per request between this snapshot and ``later``. Raises `BenchError` if there were no requests."""
        if later.requests <= self.requests:
            raise BenchError("there were no requests to count CPU for")
        return (later.cpu - self.cpu) / (later.requests - self.requests) * MICROSECONDS


@attrs.frozen
class _Stretch:
    """The result of one round of a gateway: CPU and latencies as reported."""

    cpu: float
    p50: float
    p99: float
    refused: float
    rate: float


def _stretch(run: Run, gateway: Perimeter, load: Load) -> _Stretch:
    marks: list[Mark] = []

    def watch() -> None:
        for seconds in (_SETTLING, run.options.seconds):
            time.sleep(seconds)
            marks.append(Mark.of(run, gateway))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        # longer than the measurement, because the clients do not end at the same moment
        outcome = run.send(gateway, load, _SETTLING + run.options.seconds + _LEAVING)
    finally:
        watcher.join()
    begin, end = marks
    return _Stretch(begin.cpu_each(end), outcome.p50, outcome.p99, float(outcome.other_statuses), begin.rate(end))


def first_logins_of(run: Run, gateway: Perimeter, users: Sequence[str]) -> dict[str, Any]:
    """Log ``users`` in at the same moment. Returns the client's report, and the gateway's ``cpu`` in seconds."""
    file = run.around.directory / f"{gateway.name}.credentials"
    file.write_text("\n".join(basic(user, PASSWORD) for user in users) + "\n")
    with Client(run.around, "logins", str(gateway.port), SMALL, str(file)) as client:
        client.line(_OPEN_TIMEOUT)
        before = cpu_seconds(gateway.processes)
        client.go()
        found = client.line(_ANSWER_TIMEOUT)
        return {**found, "cpu": cpu_seconds(gateway.processes) - before}


def _remembered(run: Run, peers: Sequence[Peer]) -> list[Measurement]:
    users = [USER, *(other_user(number) for number in range(1, _REMEMBERED))]
    load = taking_turns(run, "logins", [basic(user, PASSWORD) for user in users])
    load = attrs.evolve(load, connections=_CLIENTS, script=f"{load.script}\n{thinking(_RATE, _CLIENTS, _CONNECTING)}")
    with (
        Directory(run.around, users) as server,
        _asking(run, peers, "logins", directory.authenticator(server.port, None)) as gateways,
    ):
        for name, gateway in gateways.items():
            refused = first_logins_of(run, gateway, users)["refused"]
            if refused:
                raise BenchError(f"{name} refused {refused} users whose logins should be cached")
        # from here on, a user whose login is not cached is refused
        server.stop()
        found: dict[str, list[_Stretch]] = {name: [] for name in gateways}
        for _ in range(run.options.rounds):
            for name, gateway in gateways.items():
                found[name].append(_stretch(run, gateway, load))
    rates = ", ".join(f"{name} {statistics.median(one.rate for one in rounds):,.0f}" for name, rounds in found.items())
    run.say(f"logins: {rates} requests a second")
    note = (
        f"logins are of {_REMEMBERED} users of a directory whose logins are cached, and the directory is stopped; "
        f"the clients aim at {_RATE:,} requests a second; reached: {rates}"
    )
    kinds = (("", CPU, "cpu"), (" p50", "ms", "p50"), (" p99", "ms", "p99"), (" refused", "requests", "refused"))
    return [
        Measurement(
            f"logins{what}",
            unit,
            {name: [getattr(one, field) for one in rounds] for name, rounds in found.items()},
            next(iter(found)),
            note,
        )
        for what, unit, field in kinds
    ]


def _first(run: Run, peers: Sequence[Peer]) -> list[Measurement]:
    # no user logs in twice, because the verdict would be cached
    crowds = [
        [other_user(number) for number in range(start, start + _FIRST)]
        for start in range(1, 1 + _FIRST * run.options.rounds, _FIRST)
    ]
    measurements = []
    with Directory(run.around, [USER, *(user for crowd in crowds for user in crowd)]) as server:
        for kind, ca in (("plain", None), ("StartTLS", run.around.certificate.chain)):
            section = directory.authenticator(server.port, ca)
            with _asking(run, peers, f"first-{kind.lower()}", section) as gateways:
                found: dict[str, list[dict[str, Any]]] = {name: [] for name in gateways}
                for crowd in crowds:
                    for name, gateway in gateways.items():
                        found[name].append(first_logins_of(run, gateway, crowd))
            measurements += first_login_measurements(f"{_FIRST} first logins, {kind}", found)
    return measurements


def first_login_measurements(title: str, found: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Measurement]:
    """The figures of each gateway's rounds, under ``title``. Raises `BenchError` if a login was refused."""
    for name, rounds in found.items():
        for one in rounds:
            if one["refused"]:
                raise BenchError(f"{name} refused {one['refused']} of {title}, with {one['statuses']}")
    kinds = (
        ("all answered", "ms", lambda one: one["seconds"] * _MILLISECONDS),
        ("slowest", "ms", lambda one: one["slowest"] * _MILLISECONDS),
        ("each", CPU, lambda one: one["cpu"] / one["logins"] * MICROSECONDS),
        ("refused", "requests", lambda one: float(one["refused"])),
    )
    return [
        Measurement(
            f"{title}: {what}", unit, {name: [of(one) for one in rounds] for name, rounds in found.items()}, next(iter(found))
        )
        for what, unit, of in kinds
    ]


SCENARIOS = (
    Scenario(
        "logins",
        f"{_RATE:,} logins a second of {_REMEMBERED} users of a directory, all of them remembered",
        ("perimeter",),
        _remembered,
        missing=directory.missing,
    ),
    Scenario(
        "first-logins",
        f"{_FIRST} users at once who were never seen before, by a directory, plain and with StartTLS",
        ("perimeter",),
        _first,
        missing=directory.missing,
    ),
)

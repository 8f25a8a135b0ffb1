"""Measures users who all log in at once, as after a restart, with passwords that cost time: bcrypt of two costs.

All of them have to get in, within about the time that their hashes take. Meanwhile another client reads a static file.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence

import attrs
import bcrypt

from bench.errors import BenchError
from bench.figures import Measurement
from bench.material import PASSWORD, ROLES, USER
from bench.peers.base import Peer
from bench.peers.perimeter import Perimeter, other_user
from bench.run import Run
from bench.scenarios.base import Scenario
from bench.scenarios.guessing import BYSTANDER, SMALL_FILE, TimedClient, site_with
from bench.scenarios.logins import first_logins_of
from perimeter.run.build.runtime import HASHING_THREADS

_COSTS = (10, 12)
_USERS = 200
_PAUSE = 0.05
_MILLISECONDS = 1e3


@attrs.frozen
class Crowd:
    """What one round has shown: ``refused`` users, seconds until the last ``answered``, the file's p95 in ms."""

    refused: int
    answered: float
    file: float


def _beside(run: Run, gateway: Peer, over: threading.Event, times: list[float]) -> None:
    client = TimedClient(run, gateway, BYSTANDER)
    try:
        while not over.is_set():
            began = time.monotonic()
            if client.get(SMALL_FILE) != 200:
                raise BenchError(f"{gateway.name} refused a file")
            times.append((time.monotonic() - began) * _MILLISECONDS)
            time.sleep(_PAUSE)
    finally:
        client.close()


def _round(run: Run, gateway: Perimeter, users: Sequence[str]) -> Crowd:
    over, times = threading.Event(), list[float]()
    reader = threading.Thread(target=_beside, args=(run, gateway, over, times))
    reader.start()
    try:
        found = first_logins_of(run, gateway, users)
    finally:
        over.set()
        reader.join()
    if not times:
        raise BenchError(f"{gateway.name} did not serve the file")
    return Crowd(found["refused"], found["seconds"], sorted(times)[len(times) * 19 // 20])


def hash_seconds(hashed: bytes) -> float:
    """Seconds that one verification takes on an idle processor."""
    began = time.monotonic()
    bcrypt.checkpw(b"x", hashed)
    return time.monotonic() - began


def _measure(run: Run, peers: Sequence[Peer]) -> list[Measurement]:
    measurements = []
    for cost in _COSTS:
        hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(cost))
        ideal = _USERS * hash_seconds(hashed) / HASHING_THREADS
        found: dict[str, list[Crowd]] = {}
        for peer in peers:
            if not isinstance(peer, Perimeter):
                continue
            name = f"{peer.name}-crowd-{cost}"
            names = [other_user(number) for number in range(1, 1 + _USERS * run.options.rounds)]
            lines = "".join(f"{user}: {hashed.decode()},{','.join(ROLES)}\n" for user in (USER, *names))
            gateway = Perimeter(name, peer.checkout, authenticator=site_with(run, name, lines))
            run.start(gateway)
            try:
                crowds = [names[start : start + _USERS] for start in range(0, len(names), _USERS)]
                found[peer.name] = [_round(run, gateway, crowd) for crowd in crowds]
            finally:
                run.dismiss(gateway)
        measurements += crowd_measurements(f"{_USERS} users at once, bcrypt {cost}", ideal, found)
    return measurements


def crowd_measurements(title: str, ideal: float, found: Mapping[str, Sequence[Crowd]]) -> list[Measurement]:
    """The figures of each gateway's rounds. ``ideal`` is the seconds that the hashes alone take."""
    note = f"the hashes alone take {ideal:.1f} s of all threads; a file is read every {_PAUSE * _MILLISECONDS:.0f} ms meanwhile"
    kinds = (
        ("refused", "requests", lambda one: float(one.refused)),
        ("all answered", "ms", lambda one: one.answered * _MILLISECONDS),
        ("a file meanwhile, p95", "ms", lambda one: one.file),
    )
    return [
        Measurement(
            f"{title}: {what}",
            unit,
            {name: [of(one) for one in rounds] for name, rounds in found.items()},
            next(iter(found)),
            note,
        )
        for what, unit, of in kinds
    ]


SCENARIOS = (
    Scenario(
        "crowds",
        f"{_USERS} users with bcrypt hashes (costs {' and '.join(map(str, _COSTS))}) who log in at once, and a file meanwhile",
        ("perimeter",),
        _measure,
    ),
)

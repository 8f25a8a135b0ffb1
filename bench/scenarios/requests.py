"""Requests over keep-alive connections: small requests, refused requests, and bodies in both directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.figures import Measurement
from bench.peers.base import Peer
from bench.run import Load, Run
from bench.scenarios.base import Measure, Scenario
from bench.upstream import PREFIX

SMALL = f"{PREFIX}/small"
ALL = ("perimeter", "nginx-plain", "nginx-tuned", "nginx-seed", "haproxy", "twisted-web")
# peers without authentication forward the requests that the others refuse
FORWARDS = {"nginx-plain": 200, "twisted-web": 200}


def _measured(name: str, load: Callable[[Run], Load], note: str = "") -> Measure:
    def measure(run: Run, peers: Sequence[Peer]) -> list[Measurement]:
        return [run.cpu_per_request(name, load(run), peers, note)]

    return measure


def _scenario(
    name: str,
    title: str,
    load: Callable[[Run], Load],
    *,
    peers: tuple[str, ...] = ALL,
    note: str = "",
    short: bool = False,
) -> Scenario:
    return Scenario(name, title, peers, _measured(name, load, note), short)


def _download(size: str) -> Callable[[Run], Load]:
    return lambda run: Load(f"{PREFIX}/files/{size}", (run.bearer,), connections=8)


def _upload(size: int) -> Callable[[Run], Load]:
    return lambda run: Load(f"{PREFIX}/upload", (run.bearer,), connections=8, method="POST", body=size)


SCENARIOS = (
    _scenario(
        "bearer", "small JSON, Bearer token, 32 connections kept alive", lambda run: Load(SMALL, (run.bearer,)), short=True
    ),
    _scenario("bearer-256", "the same over 256 connections", lambda run: Load(SMALL, (run.bearer,), connections=256)),
    _scenario("token", "GET /token with name and password", lambda run: Load("/token", (run.basic,)), peers=("perimeter",)),
    _scenario("basic", "small JSON, name and password", lambda run: Load(SMALL, (run.basic,))),
    _scenario(
        "refused",
        "no credentials: 401",
        lambda run: Load(SMALL, status=401, statuses=FORWARDS),
        note="nginx-plain and twisted-web, which do not authenticate, forward these requests",
        short=True,
    ),
    _scenario("download-64k", "answers of 64 KiB, 8 connections", _download("64k")),
    _scenario("download-1m", "answers of 1 MiB, 8 connections", _download("1m"), short=True),
    _scenario("upload-64k", "request bodies of 64 KiB, 8 connections", _upload(64 << 10)),
    _scenario("upload-1m", "request bodies of 1 MiB, 8 connections", _upload(1 << 20)),
)

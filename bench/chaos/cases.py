"""The faults: each is a coroutine that disturbs a `Scene` while clients send requests, and returns when the fault is over."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs

from bench import directory, programs
from bench.chaos.gateway import Gateway
from bench.directory import Directory
from bench.errors import BenchError
from bench.material import make_certificate
from bench.peers.base import Surroundings
from bench.processes import Cores
from perimeter.errors import StartupError

CALM = 1.5
"""Seconds of load before and after a fault."""

TMPFS = "64m"


@attrs.define
class Scene:
    """The processes and files that a case may disturb."""

    gateway: Gateway
    service: subprocess.Popen[bytes]
    folder: Path
    directory: Directory | None = None
    notes: list[str] = attrs.field(factory=list)


@attrs.frozen
class Case:
    """A fault. ``workers`` is the least number of workers that it needs.

    While ``unrecorded``, an answer of 503 needs no record: it says that the audit log cannot be written.
    ``prepare`` is called with the folder before the gateway starts, and may return sections of site.ini.
    With ``clock`` the gateway's clock can be moved.
    ``tidy`` is called with the folder at the end.
    """

    name: str
    title: str
    disturb: Callable[[Scene], Awaitable[None]]
    workers: int = 1
    prepare: Callable[[Path], str] = lambda folder: ""
    tidy: Callable[[Path], None] = lambda folder: None
    clock: bool = False
    directory: bool = False
    unrecorded: bool = False


async def _nothing(scene: Scene) -> None:
    await asyncio.sleep(3)


async def _kill_workers(scene: Scene) -> None:
    killed = 0
    began = time.monotonic()
    while killed < 20:
        with contextlib.suppress(StartupError):  # no worker serves at the moment
            workers = await scene.gateway.workers_that_serve()
            if len(workers) == scene.gateway.workers:
                scene.gateway.signal(signal.SIGKILL, workers[killed % len(workers)])
                killed += 1
        if time.monotonic() - began > 300:
            raise BenchError(f"only {killed} workers could be killed in 300 s: they do not come back")
        await asyncio.sleep(0.5)
    await scene.gateway.serving()


async def _kill_manager(scene: Scene) -> None:
    for _ in range(3):
        starts = scene.gateway.starts
        scene.gateway.signal(signal.SIGKILL)
        while scene.gateway.starts == starts:
            await asyncio.sleep(0.05)
        await scene.gateway.serving()
        await asyncio.sleep(2)


async def _stop_worker(scene: Scene) -> None:
    stopped = (await scene.gateway.workers_that_serve())[0]
    scene.gateway.signal(signal.SIGSTOP, stopped)
    began = time.monotonic()
    while Path(f"/proc/{stopped}").exists() and time.monotonic() - began < 20:
        await asyncio.sleep(0.1)
    if Path(f"/proc/{stopped}").exists():
        scene.gateway.signal(signal.SIGCONT, stopped)
        scene.notes.append("the worker was not replaced within 20 s")
    else:
        scene.notes.append(f"the worker was replaced after {time.monotonic() - began:.1f} s")


async def _stop_service(scene: Scene) -> None:
    scene.service.send_signal(signal.SIGSTOP)
    await asyncio.sleep(5)
    scene.service.send_signal(signal.SIGCONT)


def _small_disk(name: str) -> Callable[[Path], str]:
    def prepare(folder: Path) -> str:
        (folder / name).mkdir(parents=True, mode=0o700)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={TMPFS},mode=700", "tmpfs", str(folder / name)], capture_output=True, text=True
        )
        if done.returncode:
            raise BenchError(f"a file system of its own needs root: {done.stderr.strip()}")
        return ""

    return prepare


def _unmount(name: str) -> Callable[[Path], None]:
    def tidy(folder: Path) -> None:
        subprocess.run(["umount", "--lazy", str(folder / name)], check=True)

    return tidy


def _fill(folder: Path) -> Path:
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            pass
    return ballast


async def _full_audit(scene: Scene) -> None:
    for _ in range(2):
        ballast = await asyncio.to_thread(_fill, scene.gateway.audit)
        await asyncio.sleep(2)
        ballast.unlink()
        await asyncio.sleep(1)


async def _full_state(scene: Scene) -> None:
    _, id = await scene.gateway.api_token("bob", "builder")
    ballast = await asyncio.to_thread(_fill, scene.gateway.state)
    status = await scene.gateway.revoke("bob", "builder", id)
    scene.notes.append(f"a revocation on a full disk: {status}")
    await asyncio.sleep(2)
    ballast.unlink()
    await asyncio.sleep(6)  # failed writes are repeated every 5 s
    await scene.gateway.api_token("bob", "builder")


async def _directory_away(scene: Scene) -> None:
    assert scene.directory is not None
    await asyncio.to_thread(scene.directory.stop)
    await asyncio.sleep(4)
    await asyncio.to_thread(scene.directory.__enter__)
    await asyncio.sleep(12)  # the breaker asks again


def _clock(folder: Path, shift: float) -> None:
    """Move the gateway's clock to ``shift`` seconds beside the right time."""
    with (folder / "clock").open("r+b" if (folder / "clock").exists() else "wb") as file:
        file.write(struct.pack("d", shift))


async def _move_clock(scene: Scene) -> None:
    for shift in (3600.0, -3600.0, 0.0):
        _clock(scene.folder, shift)
        await asyncio.sleep(3)


async def _midnight(scene: Scene) -> None:
    await asyncio.sleep(9)
    days = {file.name for file in scene.gateway.audit.glob("access.log*") if not file.name.endswith(".lock")}
    scene.notes.append(f"audit files: {len(days)}")
    if len(days) != 2:
        raise BenchError(f"midnight did not roll the audit log: {sorted(days)}")


async def _reloads(scene: Scene) -> None:
    text = scene.gateway.site.read_text()
    for turn in range(100):
        changed = f"{text}\n[route more{turn}]\npath = /more{turn}\nupstream = service\n"
        scene.gateway.site.write_text(changed if turn % 10 != 9 else f"{changed}\nnonsense = 1\n")
        scene.gateway.signal(signal.SIGHUP)
        await asyncio.sleep(0.2)
    scene.gateway.site.write_text(text)
    scene.gateway.signal(signal.SIGHUP)
    await asyncio.sleep(1)


async def _upgrades(scene: Scene) -> None:
    for _ in range(3):
        before = set(await scene.gateway.workers_that_serve())
        scene.gateway.signal(signal.SIGUSR2)
        began = time.monotonic()
        while time.monotonic() - began < 60:
            await asyncio.sleep(0.2)
            with contextlib.suppress(StartupError):  # the one program has gone, the other does not answer yet
                present = set(await scene.gateway.workers_that_serve())
                if len(present) == scene.gateway.workers and not present & before:
                    break
        else:
            raise BenchError("the workers were not replaced within 60 s")
        scene.notes.append(f"new workers after {time.monotonic() - began:.1f} s")


def _moved(shift: float) -> Callable[[Path], str]:
    def prepare(folder: Path) -> str:
        source = Path(__file__).with_name("clock.c")
        programs.run(("gcc", "-shared", "-fPIC", "-O2", "-o", str(folder / "clock.so"), str(source)))
        _clock(folder, shift)
        return ""

    return prepare


def _before_midnight(folder: Path) -> str:
    now = time.localtime()
    left = 86400 - (now.tm_hour * 3600 + now.tm_min * 60 + now.tm_sec)
    return _moved(left - 8.0)(folder)


CASES = (
    Case("calm", "no fault", _nothing),
    Case("worker-killed", "kill -9 of a worker, 20 times", _kill_workers, workers=2),
    Case("manager-killed", "kill -9 of the started process, 3 times", _kill_manager),
    Case("worker-stopped", "SIGSTOP of a worker", _stop_worker, workers=2),
    Case("service-stopped", "SIGSTOP of the service for 5 s", _stop_service),
    Case(
        "audit-full",
        "full disk under the audit log, twice for 2 s",
        _full_audit,
        1,
        _small_disk("audit"),
        _unmount("audit"),
        unrecorded=True,
    ),
    Case("state-full", "full disk under the state for 2 s", _full_state, 1, _small_disk("state"), _unmount("state")),
    Case("directory-away", "the directory is stopped for 4 s", _directory_away, directory=True),
    Case("clock", "the clock is moved by an hour, both ways", _move_clock, 1, _moved(0.0), clock=True),
    Case("midnight", "midnight", _midnight, 1, _before_midnight, clock=True),
    Case("reloads", "100 reloads, 10 of them with a fault in site.ini", _reloads),
    Case("upgrades", "3 upgrades", _upgrades, workers=2),
)


def surroundings(folder: Path) -> Surroundings:
    """The users of the directory."""
    return Surroundings(folder, Cores.of_this_machine(), make_certificate(folder), 0, folder, folder)


def directory_section(port: int) -> str:
    """The gateway's section for the directory."""
    return directory.authenticator(port, None).replace("realm = local", "realm = directory") + "timeout = 1s\n"


def service(port: int, folder: Path) -> subprocess.Popen[bytes]:
    """Start the service."""
    with (folder / "service.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "bench.chaos.service", str(port)],
            cwd=Path(__file__).parents[2],
            env=dict(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )

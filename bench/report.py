"""A run as JSON: the figures, and the versions of all programs."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import attrs
from OpenSSL import SSL

from bench import programs
from bench.figures import Measurement
from bench.peers.base import Peer
from perimeter.interpreter import built_with_pgo

_PACKAGES = ("twisted", "pyopenssl", "cryptography")


@attrs.frozen
class Report:
    """The results of a run. ``left_out`` has the reason for each peer or scenario that was left out, ``failed`` for each scenario
    that failed.
    """

    measurements: Sequence[Measurement]
    left_out: Mapping[str, str]
    failed: Mapping[str, str]
    versions: Mapping[str, str]
    machine: Mapping[str, str]
    date: str
    seconds: float
    rounds: int

    @property
    def notes(self) -> list[str]:
        """The notes about the figures, without repetitions."""
        return list(dict.fromkeys(measurement.note for measurement in self.measurements if measurement.note))

    def as_json(self) -> str:
        """All results, with every round."""
        return json.dumps(
            {
                "date": self.date,
                "machine": dict(self.machine),
                "versions": dict(self.versions),
                "seconds": self.seconds,
                "rounds": self.rounds,
                "left_out": dict(self.left_out),
                "failed": dict(self.failed),
                "measurements": [_measurement(measurement) for measurement in self.measurements],
            },
            indent=1,
            ensure_ascii=False,
        )


def _measurement(measurement: Measurement) -> dict[str, Any]:
    peers = {
        peer: {
            "median": measurement.median(peer),
            "best": measurement.best(peer),
            "ratio": measurement.ratio(peer),
            "samples": list(measurement.samples[peer]),
        }
        for peer in measurement.peers
    }
    return {
        "scenario": measurement.scenario,
        "unit": measurement.unit,
        "baseline": measurement.baseline,
        "growth": measurement.growth,
        "note": measurement.note,
        "peers": peers,
    }


def today() -> str:
    """The date of a run."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def interpreter() -> str:
    """The version of Python, and whether it was built with profile-guided optimisation."""
    return f"{platform.python_version()} ({'with' if built_with_pgo() else 'without'} PGO, as far as it says)"


def versions(peers: Sequence[Peer]) -> dict[str, str]:
    """The versions of the peers, of the gateway's libraries, and of the load generators."""
    found = {
        "python": interpreter(),
        **{name: _package(name) for name in _PACKAGES},
        "openssl of the gateway": str(SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode()),
        "openssl of the system": programs.version(("openssl", "version"), r"(OpenSSL \S+)"),
        "wrk": programs.version(("wrk", "-v"), r"wrk (\S+)"),
    }
    if programs.have("slapd"):
        found["slapd"] = programs.slapd_version()
    for peer in peers:
        found |= peer.versions()
    return found


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def machine() -> dict[str, str]:
    """The machine of the run."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {"processor": model, "cores": str(len(os.sched_getaffinity(0))), "system": f"{platform.system()} {platform.release()}"}

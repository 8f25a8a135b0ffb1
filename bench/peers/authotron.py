"""Auth-o-tron, from its crate: built once with cargo into a cache, then started beside the nginx that asks it.

The crate is ``authotron``. (``auth-o-tron`` on crates.io is somebody else's program, for one-time passwords.)
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

from bench.errors import BenchError
from bench.material import PASSWORD, REALM, ROLES, USER
from bench.peers.base import Surroundings
from bench.ports import free_port
from bench.processes import Process
from bench.programs import have

CRATE, VERSION = "authotron", "0.3.7"


def _root() -> Path:
    cache = os.environ.get("PERIMETER_BENCH_CACHE")
    return (Path(cache) if cache else Path.home() / ".cache" / "perimeter-bench") / f"{CRATE}-{VERSION}"


def _binary() -> Path:
    return _root() / "bin" / CRATE


def missing() -> str | None:
    """Why Auth-o-tron cannot be had right now, or None."""
    if _binary().exists():
        return None
    if not have("cargo"):
        return f"Auth-o-tron is built from its crate, and cargo is not installed (install Rust, or put a binary at {_binary()})"
    return "Auth-o-tron is not built yet (python -m bench --build does so, once)"


def build() -> None:
    """Build it, unless that was done before; takes a quarter of an hour on a small machine. Raises `BenchError`."""
    if not _binary().exists() and not have("cargo"):
        raise BenchError(str(missing()))
    root = _root()
    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("w") as lock:
        # another run may be at it
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _binary().exists():
            return
        log = root / "build.log"
        print(f"building {CRATE} {VERSION}, once; the log is {log}", file=sys.stderr, flush=True)
        command = ["nice", "cargo", "install", "--locked", "--root", str(root), f"{CRATE}@{VERSION}"]
        with log.open("wb") as output:
            status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False).returncode
    if status:
        raise BenchError(f"Auth-o-tron could not be built, see {log}")


def start(name: str, around: Surroundings, *, log_level: str) -> tuple[Process, int]:
    """An Auth-o-tron with the users of the run, and its port.

    It logs every request in several lines at ``debug``, which is what the guide's configuration says, and none at ``warn``.
    """
    port = free_port()
    own = around.directory / name
    own.mkdir()
    (own / "config.yaml").write_text(_config(port, free_port(), around.upstream, log_level))
    process = Process(name, [str(_binary())], around.cores.gateway, own, {"AOT_CONFIG_PATH": str(own / "config.yaml")})
    process.wait_for_port(port)
    return process, port


def _config(port: int, metrics: int, upstream: int, log_level: str) -> str:
    """The guide's configuration in the crate's present version of the format, which lets the port of the metrics be chosen."""
    return f"""\
version: 2.0.0
logging:
  level: "{log_level}"
  format: "console"
auth:
  timeout_in_ms: 3000
providers:
  - name: "ecmwf-api-provider"
    type: "ecmwf-api"
    uri: http://127.0.0.1:{upstream}
    realm: "ecmwf"
  - name: "plain-provider"
    type: "plain"
    realm: "{REALM}"
    users:
      - username: "{USER}"
        password: "{PASSWORD}"
        roles: [{", ".join(ROLES)}]
store:
  enabled: false
services: []
jwt:
  exp: 3600
  iss: authotron-issuer
  secret: authotron-secret-key
  aud: authotron-audience
include_legacy_headers: True
server:
  host: 0.0.0.0
  port: {port}
metrics:
  port: {metrics}
"""

"""The settings that every nginx of a run shares: one worker, all files in the run's directory, many connections."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from bench.processes import Process


def start(name: str, http: str, core: int, directory: Path) -> Process:
    """An nginx whose http block contains ``http``."""
    own = directory / name
    own.mkdir()
    file = own / "nginx.conf"
    # when started as root, the workers would switch to a user that cannot read the run's directory
    user = "user root;" if os.geteuid() == 0 else ""
    places = "\n".join(f"    {kind}_temp_path {own}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "scgi", "uwsgi"))
    file.write_text(
        f"""\
daemon off;
{user}
worker_processes 1;
pid {own}/nginx.pid;
error_log {own}/error.log error;
events {{ worker_connections {resource.getrlimit(resource.RLIMIT_NOFILE)[0]}; }}
http {{
{places}
{http}
}}
"""
    )
    return Process(name, ["nginx", "-p", str(own), "-c", str(file), "-e", str(own / "error.log")], core, directory)

"""The service behind all gateways: an nginx that answers at once, on another core than the gateways.

It also replaces the identity provider that Auth-o-tron asks about a token once a minute: the real one is on the internet, and its
CPU time is not measured.
"""

from __future__ import annotations

import sys
from pathlib import Path

import attrs

from bench import nginx
from bench.material import USER
from bench.ports import free_port
from bench.processes import Cores, Process

_ROOT = Path(__file__).parents[1]
PREFIX = "/v1/ecflow"
SMALL = '{"status":"active","node":"/suite/family/task","state":"queued","try":12}'
"""The small answer: 73 bytes."""
SIZES = {"64k": 64 << 10, "1m": 1 << 20}


@attrs.frozen
class Upstream:
    """A running upstream."""

    port: int
    processes: tuple[Process, ...]

    def stop(self) -> None:
        """Stop the upstream."""
        for process in self.processes:
            process.stop()


def start(directory: Path, cores: Cores) -> Upstream:
    """Start the upstream."""
    port = free_port()
    files = directory / "files"
    files.mkdir()
    for name, size in SIZES.items():
        (files / name).write_bytes(b"0123456789abcdef" * (size // 16))
    echo = free_port()
    command = [sys.executable, "-m", "bench.clients.websocket", "serve", str(echo)]
    service = Process("echo", command, cores.upstream, directory, {"PYTHONPATH": str(_ROOT)})
    service.wait_for_port(echo)
    process = nginx.start("upstream", _http(port, echo, files), cores.upstream, directory)
    process.wait_for_port(port)
    return Upstream(port, (service, process))


def _http(port: int, echo: int, files: Path) -> str:
    return f"""\
    access_log off;
    default_type application/octet-stream;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=16;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    upstream sink {{ server 127.0.0.1:{port}; keepalive 64; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        listen [::1]:{port} backlog=4096;
        listen 127.0.0.2:{port} backlog=4096;
        listen 127.0.0.3:{port} backlog=4096;
        location = {PREFIX}/small {{ default_type application/json; return 200 '{SMALL}'; }}
        location = {PREFIX}/identity {{ return 200 "$http_x_auth_username $http_x_auth_realm $http_x_auth_roles"; }}
        location {PREFIX}/files/ {{ alias {files}/; }}
        # nginx reads the whole body first, and then answers with the small answer
        location = {PREFIX}/upload {{
            client_body_buffer_size 2m;
            proxy_pass http://sink{PREFIX}/small;
            proxy_method GET;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header Connection "";
            proxy_http_version 1.1;
        }}
        location = {PREFIX}/echo {{
            proxy_pass http://127.0.0.1:{echo};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
        }}
        location = /who-am-i {{ default_type application/json; return 200 '{{"uid":"{USER}","email":"{USER}@example.int"}}'; }}
    }}"""

"""Auth-o-tron (`bench.auth_o_tron`), started for the nginx that asks it."""

from __future__ import annotations

from bench.auth_o_tron import binary
from bench.material import PASSWORD, REALM, ROLES, USER
from bench.peers.base import Surroundings
from bench.ports import free_port
from bench.processes import Process


def start(name: str, around: Surroundings, *, log_level: str) -> tuple[Process, int]:
    """An Auth-o-tron with the users of the run, and its port.

    At ``debug``, the level of the guide's configuration, it logs several lines per request; at ``warn`` none.
    """
    port = free_port()
    own = around.directory / name
    own.mkdir()
    (own / "config.yaml").write_text(_config(port, free_port(), around.upstream, log_level))
    process = Process(name, [str(binary())], around.cores.gateway, own, {"AOT_CONFIG_PATH": str(own / "config.yaml")})
    process.wait_for_port(port)
    return process, port


def _config(port: int, metrics: int, upstream: int, log_level: str) -> str:
    """The guide's configuration in the format of the crate's present version, which allows a port for the metrics."""
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

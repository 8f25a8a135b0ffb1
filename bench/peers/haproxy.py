"""HAProxy without other programs: ``http-request auth`` for passwords, ``jwt_verify`` with the gateway's key for tokens."""

from __future__ import annotations

from bench.material import CIPHERSUITES, PASSWORD, REALM, ROLES, USER
from bench.peers.base import Peer, Surroundings
from bench.processes import Process
from bench.programs import not_installed, version


class HAProxy(Peer):
    """One thread. HAProxy verifies a token's signature with every request, since it caches none."""

    name = "haproxy"

    def missing(self) -> str | None:
        """It needs haproxy."""
        return not_installed("haproxy")

    def versions(self) -> dict[str, str]:
        """The version of HAProxy."""
        return {"haproxy": version(("haproxy", "-v"), r"HAProxy version (\S+)")}

    def start(self, around: Surroundings) -> None:
        """One process, which logs every request to its standard output."""
        config = around.directory / "haproxy.cfg"
        config.write_text(self._config(around))
        process = Process(self.name, ["haproxy", "-db", "-f", str(config)], around.cores.gateway, around.directory)
        self.processes = [process]
        process.wait_for_port(self.port)

    def _config(self, around: Surroundings) -> str:
        roles = ",".join(ROLES)
        return f"""\
global
    nbthread 1
    maxconn 12000
    no strict-limits
    log stdout format raw local0
    ssl-default-bind-ciphersuites {CIPHERSUITES}
    ssl-default-bind-options ssl-min-ver TLSv1.2

defaults
    mode http
    log global
    option httplog
    option http-keep-alive
    timeout connect 10s
    timeout client 1h
    timeout server 500s
    timeout http-request 10s
    timeout http-keep-alive 1h
    timeout tunnel 1h

userlist local
    user {USER} insecure-password {PASSWORD}

frontend gateway
    bind 127.0.0.1:{self.port} ssl crt {around.certificate.bundle} alpn http/1.1 backlog 4096
    acl with_token req.hdr(Authorization) -m beg -i "Bearer "
    http-request auth realm {REALM} if !with_token !{{ http_auth(local) }}
    http-request set-header X-Auth-Username {USER} if !with_token
    http-request set-var(txn.token) http_auth_bearer if with_token
    http-request deny deny_status 401 if with_token !{{ var(txn.token),jwt_header_query('$.alg') -m str ES256 }}
    http-request deny deny_status 401 if with_token !{{ var(txn.token),jwt_verify("ES256","{around.token_key}") -m int 1 }}
    http-request set-var(txn.now) date() if with_token
    http-request set-var(txn.left) var(txn.token),jwt_payload_query('$.exp','int'),sub(txn.now) if with_token
    http-request deny deny_status 401 if with_token !{{ var(txn.left) -m int gt 0 }}
    http-request set-header X-Auth-Username %[var(txn.token),jwt_payload_query('$.username')] if with_token
    http-request set-header X-Auth-Realm {REALM}
    http-request set-header X-Auth-Roles {roles}
    http-request set-header X-Forwarded-For %[src]
    http-request set-header X-Forwarded-Proto https
    default_backend service

backend service
    http-reuse always
    server service 127.0.0.1:{around.upstream} pool-max-conn 512
"""

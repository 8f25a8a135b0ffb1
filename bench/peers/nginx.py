"""nginx in three configurations: alone, with Auth-o-tron as in ecFlow's guide, and the latter with tuned keep-alives.

All three write nginx's default access log.
"""

from __future__ import annotations

from bench import auth_o_tron, nginx
from bench.material import CIPHERSUITES
from bench.peers import authotron
from bench.peers.base import Peer, Surroundings
from bench.programs import nginx_version, not_installed
from bench.upstream import PREFIX

# By default nginx closes connections after a thousand requests, to clients and to upstreams. These keep them open.
_KEPT = "keepalive_timeout 1h; keepalive_requests 1000000000;"
_FORWARDED = """\
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header Host $host;"""
_IDENTITY = """\
            auth_request_set $authorization $upstream_http_authorization;
            proxy_set_header Authorization $authorization;
            auth_request_set $auth_username $upstream_http_x_auth_username;
            proxy_set_header X-Auth-Username $auth_username;
            auth_request_set $auth_realm $upstream_http_x_auth_realm;
            proxy_set_header X-Auth-Realm $auth_realm;
            auth_request_set $auth_roles $upstream_http_x_auth_roles;
            proxy_set_header X-Auth-Roles $auth_roles;"""
# The fastest settings for bodies: streamed, as by the gateway, not through temporary files (3.0 ms for an upload of 1 MiB with
# them, 1.8 without), in buffers of the size of a TLS record (1.8 ms for a download with the default of 4 KiB, 1.5 with these).
_STREAMED = """\
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_request_buffering off;
            proxy_max_temp_file_size 0;
            proxy_buffer_size 16k;
            proxy_buffers 8 16k;
            proxy_busy_buffers_size 32k;
            client_max_body_size 0;"""


def _server(port: int, around: Surroundings) -> str:
    return f"""\
        listen 127.0.0.1:{port} ssl backlog=4096;
        server_name localhost;
        ssl_certificate {around.certificate.chain};
        ssl_certificate_key {around.certificate.key};"""


def _websocket() -> str:
    return f"""\
        location = {PREFIX}/echo {{
            proxy_pass http://service;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
        }}"""


def _tls_like_the_gateway() -> str:
    return f"""\
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_conf_command Ciphersuites {CIPHERSUITES};
        ssl_prefer_server_ciphers on;"""


class NginxPlain(Peer):
    """Only a TLS proxy: no authentication, tuned keep-alives. This is the lower bound."""

    name = "nginx-plain"
    authenticates = False

    def missing(self) -> str | None:
        """It needs nginx."""
        return not_installed("nginx")

    def versions(self) -> dict[str, str]:
        """The version of nginx."""
        return {"nginx": nginx_version()}

    def start(self, around: Surroundings) -> None:
        """Start one nginx."""
        http = f"""\
    access_log {around.directory}/{self.name}-access.log;
    {_KEPT}
    upstream service {{ server 127.0.0.1:{around.upstream}; keepalive 512; {_KEPT} }}
    server {{
{_server(self.port, around)}
{_tls_like_the_gateway()}
{_websocket()}
        location {PREFIX} {{
            proxy_pass http://service;
{_FORWARDED}
{_STREAMED}
        }}
    }}"""
        process = nginx.start(self.name, http, around.cores.gateway, around.directory)
        self.processes = [process]
        process.wait_for_port(self.port)


class NginxSeed(Peer):
    """nginx with auth_request and Auth-o-tron, as in the guide: a new connection for each subrequest and each request."""

    name = "nginx-seed"
    _log_level = "debug"

    def missing(self) -> str | None:
        """It needs nginx and Auth-o-tron."""
        return not_installed("nginx") or auth_o_tron.missing()

    def versions(self) -> dict[str, str]:
        """The versions of both."""
        return {"nginx": nginx_version(), auth_o_tron.CRATE: auth_o_tron.VERSION}

    def start(self, around: Surroundings) -> None:
        """Start both."""
        service, port = authotron.start(f"{self.name}-authotron", around, log_level=self._log_level)
        self.processes = [service]
        process = nginx.start(self.name, self._http(around, port), around.cores.gateway, around.directory)
        self.processes.append(process)
        process.wait_for_port(self.port)

    def _http(self, around: Surroundings, authotron_port: int) -> str:
        return f"""\
    server {{
{_server(self.port, around)}
        location = /auth {{
            internal;
            proxy_pass http://localhost:{authotron_port}/authenticate;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header X-Original-URI $request_uri;
        }}
        location {PREFIX} {{
            proxy_read_timeout 500s;
            proxy_connect_timeout 90s;
            auth_request /auth;
            proxy_pass http://localhost:{around.upstream}{PREFIX};
{_IDENTITY}
{_FORWARDED}
            proxy_redirect default;
            access_log {around.directory}/{self.name}-access.log;
        }}
    }}"""


class NginxTuned(NginxSeed):
    """The same with every connection kept alive, bodies streamed, and an Auth-o-tron that logs warnings only."""

    name = "nginx-tuned"
    _log_level = "warn"

    def _http(self, around: Surroundings, authotron_port: int) -> str:
        return f"""\
    access_log {around.directory}/{self.name}-access.log;
    {_KEPT}
    upstream service {{ server 127.0.0.1:{around.upstream}; keepalive 512; {_KEPT} }}
    upstream authotron {{ server 127.0.0.1:{authotron_port}; keepalive 512; {_KEPT} }}
    server {{
{_server(self.port, around)}
{_tls_like_the_gateway()}
        location = /auth {{
            internal;
            # nginx keeps a subrequest's connection only where its answer has no body, and Auth-o-tron's to GET have one
            proxy_method HEAD;
            proxy_pass http://authotron/authenticate;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header X-Original-URI $request_uri;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
        location {PREFIX} {{
            auth_request /auth;
            proxy_pass http://service;
{_IDENTITY}
{_FORWARDED}
{_STREAMED}
        }}
    }}"""

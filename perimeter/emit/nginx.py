"""nginx: ``auth_request``, of the module ngx_http_auth_request_module, which Debian's packages contain. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from perimeter.config.site.route_matching import ANY_DEPTH, ONE_LABEL, WILDCARDS, below_of
from perimeter.config.site.server import ServerScheme, ServerSettings
from perimeter.emit.plan import METHOD_HEADERS, PRIVATE, TELLING, Place, Plan

_HEAD = """\
# Asks Perimeter before each request. For the http block, such as /etc/nginx/conf.d/perimeter.conf.

# WebSocket is the only protocol to upgrade to
map $http_upgrade $perimeter_upgrade {
    default "";
    "~*^websocket$" websocket;
}
map $perimeter_upgrade $perimeter_connection {
    default "";
    websocket upgrade;
}
"""

_SERVER = """
server {{
{listen}
    server_name {name};
{any}
    # nginx drops headers that a service could take for X-Auth-*: X_Auth_Username, X.Auth.Username
    underscores_in_headers off;
    ignore_invalid_headers on;

    location = /.perimeter-question {{
        internal;
        proxy_pass {gateway}/authenticate;
{tls}{buffers}        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_pass_request_body off;
        proxy_set_header Content-Length "";
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Request-ID $request_id;
        proxy_set_header X-Original-Method $request_method;
        proxy_set_header X-Original-URI $request_uri;
        # the origin that the client used, for requests that browsers send
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Forwarded-Host $http_host;
        # no other header may name the request that is asked about
{cleared}
    }}
{pages}{locations}}}
"""

_BUFFERS = """\
        # the answer has the cookies that are for the service
        proxy_buffer_size 32k;
        proxy_buffers 4 32k;
        proxy_busy_buffers_size 32k;
"""

_PAGES = """
    # the gateway's own pages, on which people sign in
    location ^~ {path}/ {{
        proxy_pass {gateway};
{tls}        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Request-ID $request_id;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Forwarded-Host $http_host;
{cleared}
        proxy_buffering off;
    }}

    # a browser that asks for a page is redirected to the sign-in page, other requests get 401
    location @perimeter_login {{
        absolute_redirect off;
        add_header Cache-Control no-store always;
        add_header Vary "Sec-Fetch-Mode, Sec-Fetch-Dest, Accept, Cookie" always;
        if ($perimeter_login) {{
            return 302 $perimeter_login;
        }}
        return 401;
    }}
"""

_LOGIN = """\
        auth_request_set $perimeter_login $upstream_http_x_perimeter_login;
        error_page 401 = @perimeter_login;
"""

_EMPTY = '""'

_ANY = """\
    # any name: another server of the port may be the default one
    server_name ~^;
"""

_TLS = """\
        proxy_ssl_server_name on;
        proxy_ssl_name {host};
        proxy_ssl_verify on;
        proxy_ssl_trusted_certificate /etc/ssl/certs/ca-certificates.crt;
"""

_LOCATION = """
    # {name}
    location {match} {{
        auth_request /.perimeter-question;
{login}{taken}
        proxy_http_version 1.1;
{upgrade}
        proxy_set_header Host $host;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Request-ID $request_id;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Forwarded-Host $host;
        # an empty value removes the header, so nothing that the client sent arrives
{sent}
{hidden}
        proxy_pass {target};
    }}
"""

_NOTHING = """
    # {name}: not for another proxy
    location {match} {{
        return 404;
    }}
"""

_UPGRADE = """\
        proxy_set_header Upgrade $perimeter_upgrade;
        proxy_set_header Connection $perimeter_connection;"""
_NO_UPGRADE = """\
        proxy_set_header Upgrade "";
        proxy_set_header Connection "";"""


def render(plan: Plan) -> str:
    """The configuration."""
    gateway = plan.gateway
    text = _HEAD
    text += _upstream("perimeter_gateway", (gateway.authority,))
    for place in plan.places:
        text += _upstream(f"perimeter_{place.name}", tuple(map(_server, place.servers)))
    tls = _TLS.format(host=gateway.host) if gateway.scheme is ServerScheme.HTTPS else ""
    base = f"{gateway.scheme}://perimeter_gateway"
    asked = [name for name in TELLING if name not in ("X-Original-Method", "X-Original-URI", "X-Forwarded-Host")]
    identity = [name for name in (*plan.headers, *plan.dropped) if not name.endswith("*")]
    private = [*(name for name in TELLING if name != "X-Forwarded-Host"), *PRIVATE, *identity]
    pages = _PAGES.format(path=plan.pages, gateway=base, tls=tls, cleared=_cleared(private)) if plan.pages else ""
    for host, names, places in _servers(plan):
        exact = {place.prefix for place in places if place.exact}
        locations = "".join(_locations(place, plan, place.exact or place.prefix not in exact) for place in places)
        if not any(place.prefix == "" for place in places):
            locations += "\n    location / {\n        return 404;\n    }\n"
        text += _SERVER.format(
            listen="\n".join(f"    listen {one.shown.removeprefix(':')};" for one in plan.listens),
            name=names,
            any=_ANY if host == "*" and names == "_" else "",
            gateway=base,
            tls=tls,
            buffers=_BUFFERS if plan.pages else "",
            cleared=_cleared(asked),
            pages=pages,
            locations=locations,
        )
    return text


def _servers(plan: Plan) -> list[tuple[str, str, tuple[Place, ...]]]:
    """Each server of nginx: the host, the words of ``server_name``, and the places.

    The server for any host is the first one, which nginx takes for requests without a host. nginx has no wildcard for one label,
    and tries its own wildcards before expressions, and these in their order: so with such a wildcard all are expressions, and the
    one for any host is the last.
    """
    first = [("*", "_", places) for host, places in plan.hosts if host == "*"]
    others = [(host, places) for host, places in plan.hosts if host != "*"]
    if not any(host.startswith(ONE_LABEL) for host, _ in others):
        return [
            *first,
            *((host, host.removeprefix("*") if host.startswith(ANY_DEPTH) else host, places) for host, places in others),
        ]
    named = [(host, _name(host), places) for host, places in others]
    return [*((host, '""', places) for host, _, places in first), *named, *((host, "~^", places) for host, _, places in first)]


def _name(host: str) -> str:
    if not host.startswith(WILDCARDS):
        return host
    return f"~^{'[^.]+' if host.startswith(ONE_LABEL) else '.+'}\\.{re.escape(below_of(host))}$"


def _cleared(names: Iterable[str]) -> str:
    return "\n".join(f'        proxy_set_header {name} "";' for name in names)


def _server(server: ServerSettings) -> str:
    weight = f" weight={server.weight}" if server.weight != 1 else ""
    return f"{server.url if server.path else server.authority}{weight}{' backup' if server.backup else ''}"


def _upstream(name: str, lines: tuple[str, ...]) -> str:
    servers = "".join(f"    server {line};\n" for line in lines)
    return f"\nupstream {name} {{\n{servers}    keepalive 64;\n}}\n"


def _locations(place: Place, plan: Plan, own: bool) -> str:
    """The path itself (``own``: unless an exact place has it) and everything below it, but not /application for /app."""
    if not place.servers:
        matches = [f"= {place.prefix}"] if place.prefix and own else []
        matches += [] if place.exact else [f"{place.prefix}/"]
        return "".join(_NOTHING.format(name=place.name, match=match) for match in matches)
    base = f"{place.scheme}://perimeter_{place.name}"
    rewrite = place.rewrite
    text = ""
    if place.prefix and own:
        exact = base if rewrite is None else f"{base}{rewrite or '/'}"
        text += _location(place, plan, f"= {place.prefix}", exact)
    if place.exact:
        return text
    return text + _location(place, plan, f"{place.prefix}/", base if rewrite is None else f"{base}{rewrite}/")


def _location(place: Place, plan: Plan, match: str, target: str) -> str:
    names = ("Authorization", *(("Cookie",) if plan.pages else ()), *place.headers)
    taken, sent = [], []
    for number, name in enumerate(names):
        variable = name.lower().replace("-", "_")
        taken.append(f"        auth_request_set $perimeter_{number} $upstream_http_{variable};")
        sent.append(f"        proxy_set_header {name} $perimeter_{number};")
    # nginx removes no headers by their beginning
    others = [name for name in (*plan.headers, *plan.dropped) if name not in place.headers and not name.endswith("*")]
    for name in (*others, *(METHOD_HEADERS if place.by_method else ()), *TELLING[:-1], *PRIVATE):
        value = place.hidden_prefix if name == "X-Forwarded-Prefix" else ""
        sent.append(f"        proxy_set_header {name} {value or _EMPTY};")
    hidden = "\n".join(f"        proxy_hide_header {name};" for name in plan.headers)
    return _LOCATION.format(
        upgrade=_UPGRADE if place.websocket else _NO_UPGRADE,
        name=place.name,
        match=match,
        login=_LOGIN if place.browser_login else "",
        taken="\n".join(taken),
        sent="\n".join(sent),
        hidden=hidden,
        target=target,
    )

"""Caddy: the long form of its ``forward_auth``. Pure.

In several versions of Caddy, ``copy_headers`` of the short form leaves the client's own header where the answer has none. Headers
that are set before ``reverse_proxy`` are removed if the client's ``Connection`` lists them, so that header is set here as well.
"""

from __future__ import annotations

import re

from perimeter.config.site.server import ServerSettings
from perimeter.emit.plan import METHOD_HEADERS, PRIVATE, Place, Plan, refuse_wildcards
from perimeter.errors import StartupError

_SITE = """
{address} {{
{bind}	route {{
		# headers of other proxies, which no client may send
		request_header -X-Original-*
		request_header -X-Request-ID
{pages}
		reverse_proxy {gateway} {{
			method GET
			rewrite /authenticate
			header_up X-Forwarded-Method {{method}}
			header_up X-Forwarded-Uri {{uri}}
			header_up -Content-Length
			header_up -Transfer-Encoding

			@admitted status 200
			handle_response @admitted {{
				# what a service could take for the identity or for the client's address, in any spelling
{cleared}
{handles}			}}
			# any other answer is the gateway's, and goes to the client
		}}
	}}
}}
"""

_PAGES = """
		# the gateway's own pages, on which people sign in
		@perimeter_pages path_regexp {pattern}
		handle @perimeter_pages {{
{cleared}
			reverse_proxy {gateway}
		}}
"""

_HANDLE = """
				@{name} path_regexp {pattern}
				handle @{name} {{
{matchers}					route {{
{before}						reverse_proxy {servers} {{
							header_up X-Real-IP {{remote_host}}
{hidden}
						}}
					}}
				}}
"""

_NOTHING = """
				@{name} path_regexp {pattern}
				handle @{name} {{
					respond 404
				}}
"""

_WEBSOCKET = """\
					@{name}_websocket {{
						header_regexp Upgrade "(?i)^websocket$"
						header_regexp Connection "(?i)(^|,)[ \\t]*upgrade[ \\t]*(,|$)"
					}}
					@{name}_other not {{
						header_regexp Upgrade "(?i)^websocket$"
						header_regexp Connection "(?i)(^|,)[ \\t]*upgrade[ \\t]*(,|$)"
					}}
"""


def render(plan: Plan) -> str:
    """The Caddyfile."""
    refuse_wildcards(plan, "Caddy")
    gateway = plan.gateway
    addresses, ports = {one.address for one in plan.listens}, sorted({one.port for one in plan.listens})
    if len(addresses) * len(ports) != len(set(plan.listens)) or (len(addresses) > 1 and "" in addresses):
        raise StartupError("Caddy listens on every port of every address: give each --listen the same ports")
    spellings = ["X_Auth*", "X.Auth*", "X-Auth_*", "X-Auth.*"]
    spellings += [form for name in (*plan.headers, *plan.dropped) for form in _spellings(name)]
    spellings += ["X-Forwarded-Method", "X-Forwarded-Uri", "X_Forwarded*", *_spellings("X-Real-IP"), *PRIVATE]
    cleared = "\n".join(f"\t\t\t\trequest_header -{name}" for name in spellings)
    base = f"{gateway.scheme}://{gateway.authority}"
    pages = ""
    if plan.pages:
        removed = "\n".join(f"\t\t\trequest_header -{name}" for name in spellings)
        pages = _PAGES.format(pattern=f"^{re.escape(plan.pages)}/", cleared=removed, gateway=base)
    text = "# Asks Perimeter before each request: a Caddyfile, or a part of one.\n"
    for host, places in plan.hosts:
        handles = "".join(_handle(place, plan) for place in places)
        if not any(place.prefix == "" for place in places):
            handles += "\t\t\t\thandle {\n\t\t\t\t\trespond 404\n\t\t\t\t}\n"
        text += _SITE.format(
            address=", ".join(_address(host, port) for port in ports),
            bind=f"\tbind {' '.join(sorted(addresses))}\n" if addresses != {""} else "",
            gateway=base,
            pages=pages,
            cleared=cleared,
            handles=handles,
        )
    return text


def _address(host: str, port: int) -> str:
    if host == "*":
        return ":80" if port == 80 else f"http://:{port}"
    return f"http://{host}" if port == 80 else f"http://{host}:{port}"


def _spellings(name: str) -> list[str]:
    return list(dict.fromkeys((name, name.replace("-", "_"), name.replace("-", "."))))


def _handle(place: Place, plan: Plan) -> str:
    # not `path`, which takes capital letters for small ones, as the gateway does not
    pattern = f"^{re.escape(place.prefix)}{'$' if place.exact else '(/|$)'}" if place.prefix else "^/"
    if not place.servers:
        return _NOTHING.format(name=f"perimeter_{place.name}", pattern=pattern)
    before = []
    if place.rewrite is not None and place.exact:
        before.append(f"rewrite * {place.rewrite}?{{query}}")
    elif place.rewrite is not None:
        if place.prefix:
            before.append(f"uri strip_prefix {place.prefix}")
        if place.rewrite:
            before.append(f"rewrite * {place.rewrite}{{uri}}")
    if place.hidden_prefix:
        before.append(f"request_header X-Forwarded-Prefix {place.hidden_prefix}")
    if place.by_method:
        before += [f"request_header -{name}" for name in METHOD_HEADERS]
    name = f"perimeter_{place.name}"
    if place.websocket:
        before += [f"request_header @{name}_other -{one}" for one in ("Upgrade", "Connection")]
        before.append(f"request_header @{name}_websocket Connection Upgrade")
    else:
        before += ["request_header -Upgrade", "request_header -Connection"]
    matchers = _WEBSOCKET.format(name=name) if place.websocket else ""
    for number, header in enumerate(("Authorization", *(("Cookie",) if plan.pages else ()), *place.headers)):
        # Caddy leaves a variable as it is written if the answer does not have that header
        matchers += f'\t\t\t\t\t@{name}_{number} header_regexp {header} "^[{{]http[.]reverse_proxy[.]header[.]{header}[}}]$"\n'
        before.append(f"request_header {header} {{http.reverse_proxy.header.{header}}}")
        before.append(f"request_header @{name}_{number} -{header}")
    return _HANDLE.format(
        name=name,
        pattern=pattern,
        matchers=matchers,
        before="".join(f"\t\t\t\t\t\t{line}\n" for line in before),
        servers=" ".join(_server(server) for server in place.servers if not server.backup),
        hidden="\n".join(f"\t\t\t\t\t\t\theader_down -{name}" for name in plan.headers),
    )


def _server(server: ServerSettings) -> str:
    return f"unix/{server.path}" if server.path else server.url

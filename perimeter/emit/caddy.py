"""Caddy: what its ``forward_auth`` stands for, spelt out. Pure.

The short form's ``copy_headers`` lets a client's own field through, in several of Caddy's versions, where the answer has none.
And a field that is set before ``reverse_proxy`` can be named away by the client's ``Connection``; one of ``header_up`` cannot.
"""

from __future__ import annotations

import re

from perimeter.emit.plan import METHOD_HEADERS, PRIVATE, Place, Plan

_SITE = """
{address} {{
	route {{
		# another proxy's fields, which no client may send
		request_header -X-Original-*

		reverse_proxy {gateway} {{
			method GET
			rewrite /authenticate
			header_up X-Forwarded-Method {{method}}
			header_up X-Forwarded-Uri {{uri}}
			header_up -Content-Length
			header_up -Transfer-Encoding

			@admitted status 200
			handle_response @admitted {{
				# what a service could mistake for the identity, in any spelling
{cleared}
{handles}			}}
			# any other answer is the gateway's, and goes to the client
		}}
	}}
}}
"""

_HANDLE = """
				@{name} path_regexp {pattern}
				handle @{name} {{
					@{name}_upgrade {{
						header Upgrade *
{websocket}					}}
					route {{
						request_header @{name}_upgrade -Upgrade
{before}						reverse_proxy {servers} {{
{sent}
{hidden}
						}}
					}}
				}}
"""


def render(plan: Plan) -> str:
    """The Caddyfile."""
    gateway = plan.gateway
    spellings = ["X-Auth-*", "X_Auth*", "X.Auth*", "X-Auth_*", "X-Auth.*"]
    spellings += [form for name in plan.fields if not name.lower().startswith("x-auth-") for form in _spellings(name)]
    spellings += ["X-Forwarded-Method", "X-Forwarded-Uri", *PRIVATE]
    cleared = "\n".join(f"\t\t\t\trequest_header -{name}" for name in spellings)
    text = "# Asks Perimeter before each request: a Caddyfile, or a part of one.\n"
    for host, places in plan.hosts:
        handles = "".join(_handle(place, plan) for place in places)
        if not any(place.prefix == "" for place in places):
            handles += "\t\t\t\thandle {\n\t\t\t\t\trespond 404\n\t\t\t\t}\n"
        text += _SITE.format(
            address=":80" if host == "*" else f"http://{host}",
            gateway=f"{gateway.scheme}://{gateway.authority}",
            cleared=cleared,
            handles=handles,
        )
    return text


def _spellings(name: str) -> set[str]:
    return {name, name.replace("-", "_"), name.replace("-", ".")}


def _handle(place: Place, plan: Plan) -> str:
    # not `path`, which takes capital letters for small ones, as the gateway does not
    pattern = f"^{re.escape(place.prefix)}(/|$)" if place.prefix else "^/"
    before = []
    if place.rewrite is not None:
        if place.prefix:
            before.append(f"uri strip_prefix {place.prefix}")
        if place.rewrite:
            before.append(f"rewrite * {place.rewrite}{{uri}}")
    if place.by_method:
        before += [f"request_header -{name}" for name in METHOD_HEADERS]
    sent = []
    for name in ("Authorization", *place.fields):
        sent.append(f"header_up {name} {{http.reverse_proxy.header.{name}}}")
        # What the answer does not have Caddy leaves as it is written here. Nothing cannot be put in its place, but a blank can,
        # and no blank is left at the end of a field's value.
        sent.append(f'header_up {name} "^[{{]http[.]reverse_proxy[.]header[.]{name}[}}]$" " "')
    return _HANDLE.format(
        name=f"perimeter_{place.name}",
        pattern=pattern,
        websocket='\t\t\t\t\t\tnot header_regexp Upgrade "(?i)^websocket$"\n' if place.websocket else "",
        before="".join(f"\t\t\t\t\t\t{line}\n" for line in before),
        servers=" ".join(f"{place.scheme}://{address}" for address in place.addresses),
        sent="\n".join(f"\t\t\t\t\t\t\t{line}" for line in sent),
        hidden="\n".join(f"\t\t\t\t\t\t\theader_down -{name}" for name in plan.fields),
    )

"""Envoy: the filter ``ext_authz`` with its HTTP service, and a Lua filter that removes headers that no client may send. Pure.

Envoy asks with the method and host of the request, at ``/authenticate`` followed by its path. If a request is admitted and gets
no assertion, ``x-envoy-auth-headers-to-remove`` of the answer removes the credentials of the client.
"""

from __future__ import annotations

import re

from perimeter.config.site.server import ServerScheme
from perimeter.emit.plan import METHOD_HEADERS, GatewayAddress, Place, Plan, folded_forms, refuse_sockets, refuse_wildcards
from perimeter.errors import StartupError

_HEAD = """\
# Asks Perimeter before each request.
static_resources:
  listeners:
    - name: perimeter
      address: {{ socket_address: {{ address: "{address}", port_value: {port} }} }}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: perimeter
                use_remote_address: true
                normalize_path: true
                merge_slashes: true
                upgrade_configs: [{{ upgrade_type: websocket }}]
                path_with_escaped_slashes_action: REJECT_REQUEST
                common_http_protocol_options: {{ headers_with_underscores_action: DROP_HEADER }}
                http_filters:
                  - name: envoy.filters.http.lua
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
                      default_source_code:
                        inline_string: |
                          local PRIVATE = {{ {private} }}
                          local BEGINNINGS = {{ {beginnings} }}
                          local function private(form)
                            for _, beginning in ipairs(BEGINNINGS) do
                              if form:sub(1, #beginning) == beginning then
                                return true
                              end
                            end
                            return PRIVATE[form]
                          end
                          function envoy_on_request(handle)
                            local found = {{}}
                            for name, _ in pairs(handle:headers()) do
                              local form = name:lower():gsub("[^a-z0-9]", "-")
                              if private(form) then
                                found[#found + 1] = name
                              end
                            end
                            for _, name in ipairs(found) do
                              handle:headers():remove(name)
                            end
                          end
                  - name: envoy.filters.http.ext_authz
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
                      failure_mode_allow: false
                      allowed_headers:
                        patterns:
                          - {{ exact: authorization }}
                          - {{ exact: accept }}
                          - {{ exact: user-agent }}
                          - {{ exact: x-forwarded-for }}
                          - {{ exact: x-forwarded-proto }}
                          - {{ exact: origin }}
                          - {{ exact: x-requested-with }}
                          - {{ prefix: sec-fetch- }}
                          - {{ exact: sec-purpose }}
                          - {{ exact: purpose }}
                          - {{ exact: sec-websocket-key }}
{asked}                      http_service:
                        path_prefix: /authenticate
                        server_uri: {{ uri: "{url}", cluster: perimeter_gateway, timeout: 15s }}
                        authorization_response:
                          allowed_upstream_headers:
                            patterns:
{upstream}
                          allowed_client_headers:
                            patterns:
                              - {{ exact: www-authenticate, ignore_case: true }}
                              - {{ exact: retry-after, ignore_case: true }}
                              - {{ exact: cache-control, ignore_case: true }}
                              - {{ exact: content-type, ignore_case: true }}
                              - {{ exact: vary, ignore_case: true }}
                              - {{ exact: content-security-policy, ignore_case: true }}
                              - {{ exact: referrer-policy, ignore_case: true }}
                  - name: envoy.filters.http.router
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
                route_config:
                  response_headers_to_remove: [{hidden}]
                  virtual_hosts:
{hosts}  clusters:
{clusters}"""

_PAGES = """\
                        # the gateway's own pages, on which people sign in
                        - match: {{ prefix: "{path}/" }}
                          route: {{ cluster: "perimeter_gateway" }}
                          typed_per_filter_config:
                            envoy.filters.http.ext_authz:
                              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute
                              disabled: true
"""

_CLUSTER = """\
    - name: perimeter_{name}
      type: STRICT_DNS
      connect_timeout: 10s
{tls}      load_assignment:
        cluster_name: perimeter_{name}
        endpoints:
          - lb_endpoints:
{servers}"""

_TLS = """\
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
          sni: "{host}"
          common_tls_context:
            validation_context:
              trusted_ca: {{ filename: /etc/ssl/certs/ca-certificates.crt }}
              match_typed_subject_alt_names: [{{ san_type: DNS, matcher: {{ exact: "{host}" }} }}]
"""


def render(plan: Plan) -> str:
    """The configuration."""
    refuse_wildcards(plan, "Envoy")
    refuse_sockets(plan, "Envoy")
    gateway = plan.gateway
    if len(plan.listens) != 1:
        raise StartupError("this configuration for Envoy has one listener: give one --listen")
    (listen,) = plan.listens
    telling = ("X-Forwarded-Method", "X-Forwarded-Uri", "X-Forwarded-Host", "X-Rewrite-URL", "Forwarded", "X-Original-*")
    private, beginnings = folded_forms((*plan.headers, *plan.dropped, *telling))
    clusters = _cluster("gateway", gateway.scheme, ((gateway.host, gateway.port),))
    for place in plan.places:
        clusters += _cluster(place.name, place.scheme, tuple((one.host, one.port) for one in place.servers if not one.backup))
    names = ("Authorization", *(("Cookie",) if plan.pages else ()), *plan.headers)
    return _HEAD.format(
        address=listen.address or "0.0.0.0",  # noqa: S104 - written, not bound
        port=listen.port,
        private=", ".join(f'["{name}"] = true' for name in private),
        beginnings=", ".join(f'"{one}"' for one in beginnings),
        url=_url(gateway),
        asked="                          - { exact: cookie }\n" if plan.pages else "",
        upstream="\n".join(f"                              - {{ exact: {name}, ignore_case: true }}" for name in names),
        hidden=", ".join(plan.headers),
        hosts="".join(_host(host, places, number, plan.pages) for number, (host, places) in enumerate(plan.hosts)),
        clusters=clusters,
    )


def _url(gateway: GatewayAddress) -> str:
    return f"{gateway.scheme}://{gateway.authority}"


def _host(host: str, places: tuple[Place, ...], number: int, pages: str) -> str:
    domains = '"*"' if host == "*" else f'"{host}", "{host}:*"'
    text = f"                    - name: perimeter_{number}\n                      domains: [{domains}]\n"
    if not places and not pages:
        return text + "                      routes: []\n"
    own = _PAGES.format(path=pages) if pages else ""
    return text + "                      routes:\n" + own + "".join(_route(place) for place in places)


def _route(place: Place) -> str:
    match = f'path_separated_prefix: "{place.prefix}"' if place.prefix else 'prefix: "/"'
    if place.exact:
        match = f'path: "{place.prefix}"'
    if not place.servers:
        return f"                        - match: {{ {match} }}\n                          direct_response: {{ status: 404 }}\n"
    rewrite = ""
    if place.rewrite is not None and place.exact:
        rewrite = f', prefix_rewrite: "{place.rewrite}"'
    elif place.rewrite is not None:
        pattern = f"^{re.escape(place.prefix)}/?(.*)$"
        rewrite = f", regex_rewrite: {{ pattern: {{ regex: '{pattern}' }}, substitution: '{place.rewrite}/\\1' }}"
    text = f"                        - match: {{ {match} }}\n"
    upgrade = "" if place.websocket else ", upgrade_configs: [{ upgrade_type: websocket, enabled: false }]"
    text += f'                          route: {{ cluster: "perimeter_{place.name}"{rewrite}{upgrade} }}\n'
    if place.by_method:
        removed = ", ".join(name.lower() for name in METHOD_HEADERS)
        text += f"                          request_headers_to_remove: [{removed}]\n"
    return text


def _cluster(name: str, scheme: ServerScheme, servers: tuple[tuple[str, int], ...]) -> str:
    return _CLUSTER.format(
        name=name,
        tls=_TLS.format(host=servers[0][0]) if scheme is ServerScheme.HTTPS else "",
        servers="".join(
            "              - endpoint: { address: { socket_address: { address: "
            f'"{host.strip("[]")}", port_value: {port} }} }} }}\n'
            for host, port in servers
        ),
    )

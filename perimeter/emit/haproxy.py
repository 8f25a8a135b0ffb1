"""HAProxy: a Lua action asks the gateway with HAProxy's HTTP client (2.5 and later), because no built-in action can. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from perimeter.config.site.route_matching import ANY_DEPTH, ONE_LABEL, below_of
from perimeter.config.site.server import ServerScheme, ServerSettings
from perimeter.emit.plan import METHOD_HEADERS, Place, Plan, folded_forms

_MOST_WEIGHT = 256
"""HAProxy's largest weight of a server."""

_HEAD = """\
# Asks Perimeter before each request. Write the script with `perimeter emit haproxy-lua` to the place named here.
global
    lua-load /etc/haproxy/perimeter.lua

frontend perimeter
{binds}    mode http
    timeout client 60s
    timeout http-request 10s
    # A trailer could forge the identity. Before HAProxy 3.2 trailers cannot be removed, so a request body needs a
    # Content-Length there. `proto h1`, because HTTP/2 does not announce trailers.
.if version_atleast(3.2)
    option http-drop-request-trailers
.else
    acl chunked req.hdr(transfer-encoding) -m found
    http-request return status 411 content-type text/plain string "A body needs a Content-Length" if chunked
.endif
    http-request del-header x-request-id
{asks}{rules}    default_backend perimeter_nowhere

backend perimeter_nowhere
    mode http
    http-request deny deny_status 404
"""

_PAGES = """\
    # the gateway's own pages, on which people sign in
    acl pages path_beg {path}/
    http-request lua.perimeter_pages if pages
    http-request lua.perimeter unless pages
    use_backend perimeter_gateway if pages
"""

_GATEWAY = """
backend perimeter_gateway
    mode http
    timeout connect 10s
    timeout server 60s
    server s1 {address}{secure}
"""

_BACKEND = """
backend perimeter_{name}
    mode http
    timeout connect 10s
    timeout server 60s
{rules}{hidden}{servers}"""

_LUA = """\
-- Asks Perimeter whether a request may pass, and as whom. Loaded by lua-load, used by `http-request lua.perimeter`.
-- Any answer but 200 from the gateway ends the request; no answer is 503.

local URL = "{url}/authenticate"
local TIMEOUT = 15000
local UNAVAILABLE = "Authentication is unavailable at the moment\\n"

-- the headers that carry the user to a service, in lower case with hyphens
local IDENTITY = {{ {identity} }}
-- others that a service could take for the user: whole names, and beginnings
local DROPPED = {{ {dropped} }}
local BEGINNINGS = {{ {beginnings} }}
-- other headers that no client may send
local PRIVATE = {{ ["forwarded"] = true, ["x-real-ip"] = true, ["x-rewrite-url"] = true }}
-- the headers that the gateway judges by
local ASKED = {{
    "authorization", "cookie", "x-auth-realm", "accept", "user-agent", "origin", "x-requested-with", "sec-websocket-key",
    "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest", "sec-purpose", "purpose", "x-moz"
}}
-- the headers of a refusal that the client gets
local SHOWN = {{
    "www-authenticate", "content-type", "cache-control", "retry-after", "location", "vary", "content-security-policy",
    "referrer-policy", "x-content-type-options"
}}
-- whether people sign in on the gateway's own pages: then a service gets the cookies of the answer
local PAGES = {pages}

-- X_Auth_Username and x.auth.username are X-Auth-Username to some servers
local function folded(name)
    return (name:lower():gsub("[^a-z0-9]", "-"))
end

local function reserved(name)
    local form = folded(name)
    for _, beginning in ipairs(BEGINNINGS) do
        if form:sub(1, #beginning) == beginning then
            return true
        end
    end
    return IDENTITY[form] or DROPPED[form] or PRIVATE[form]
end

local function all(values)
    local list = {{}}
    for _, value in pairs(values) do
        list[#list + 1] = value
    end
    return list
end

local function refuse(txn, status, headers, body)
    local reply = txn:reply()
    reply:set_status(status)
    for _, name in ipairs(SHOWN) do
        for _, value in pairs(headers[name] or {{}}) do
            reply:add_header(name, value)
        end
    end
    reply:set_body(body)
    txn:done(reply)
end

local function clean(txn, sent)
    for name, _ in pairs(sent) do
        if reserved(name) then
            txn.http:req_del_header(name)
        end
    end
end

local function describe(txn, host)
    txn.http:req_add_header("x-forwarded-host", host)
    txn.http:req_add_header("x-forwarded-proto", txn.f:ssl_fc() == 1 and "https" or "http")
    txn.http:req_add_header("x-forwarded-for", txn.f:src())
    txn.http:req_add_header("x-real-ip", txn.f:src())
end

-- nothing if the request may pass; otherwise status, headers and body of the answer
local function ask(txn)
    local sent = txn.http:req_get_headers()
    local host = sent["host"] and sent["host"][0] or ""
    local question = {{
        ["x-forwarded-method"] = {{ txn.f:method() }},
        ["x-forwarded-host"] = {{ host }},
        ["x-forwarded-uri"] = {{ txn.f:pathq() }},
        ["x-forwarded-for"] = {{ txn.f:src() }},
        ["x-forwarded-proto"] = {{ txn.f:ssl_fc() == 1 and "https" or "http" }},
    }}
    for _, name in ipairs(ASKED) do
        if sent[name] then
            question[name] = all(sent[name])
        end
    end
    local client = core.httpclient()
    local answer = client:get{{ url = URL, headers = question, timeout = TIMEOUT }}
    if answer == nil or answer.status == nil or answer.status == 0 then
        return 503, {{}}, UNAVAILABLE
    end
    local shown = answer.headers or {{}}
    if answer.status ~= 200 then
        local sends = PAGES and answer.status == 302 and shown["location"]
        return (answer.status < 400 and not sends) and 503 or answer.status, shown, answer.body or ""
    end
    clean(txn, sent)
    txn.http:req_del_header("authorization")
    if PAGES then
        txn.http:req_del_header("cookie")
    end
    for name, values in pairs(shown) do
        if name == "authorization" or (PAGES and name == "cookie") or IDENTITY[folded(name)] then
            for _, value in pairs(values) do
                txn.http:req_add_header(name, value)
            end
        end
    end
    describe(txn, host)
end

core.register_action("perimeter", {{ "http-req" }}, function(txn)
    local worked, status, headers, body = pcall(ask, txn)
    if not worked then
        core.Alert("perimeter: " .. tostring(status))
        status, headers, body = 503, {{}}, UNAVAILABLE
    end
    if status then
        refuse(txn, status, headers, body)
    end
end, 0)

core.register_action("perimeter_pages", {{ "http-req" }}, function(txn)
    local sent = txn.http:req_get_headers()
    clean(txn, sent)
    describe(txn, sent["host"] and sent["host"][0] or "")
end, 0)
"""


def render(plan: Plan) -> str:
    """The configuration."""
    rules = ""
    for number, (host, places) in enumerate(plan.hosts):
        condition = ""
        if host != "*":
            rules += f"    acl host_{number} req.hdr(host),host_only -i -m {_host(host)}\n"
            condition = f"host_{number} "
        for place in places:
            # like the gateway: without escapes, with one slash for several
            end = "$" if place.exact else "(/|$)"
            path = f"{{ path,url_dec,regsub(//+,/,g) -m reg ^{re.escape(place.prefix)}{end} }}" if place.prefix else ""
            when = f"{condition}{path}".strip()
            backend = place.name if place.servers else "nowhere"
            rules += f"    use_backend perimeter_{backend}{' if ' + when if when else ''}\n"
        if condition:
            rules += f"    use_backend perimeter_nowhere if {condition}\n"
    binds = "".join(f"    bind {one.shown} proto h1\n" for one in plan.listens)
    gateway = plan.gateway
    asks = _PAGES.format(path=plan.pages) if plan.pages else "    http-request lua.perimeter\n"
    text = _HEAD.format(asks=asks, rules=rules, binds=binds)
    if plan.pages:
        text += _GATEWAY.format(address=gateway.authority, secure=_secure(gateway.scheme, f" sni str({gateway.host})"))
    return text + "".join(_backend(place, plan) for place in plan.places)


def _host(host: str) -> str:
    """How HAProxy compares the host, and with what."""
    if host.startswith(ONE_LABEL):
        return f"reg ^[^.]+\\.{re.escape(below_of(host))}\\.?$"
    name = f".{below_of(host)}" if host.startswith(ANY_DEPTH) else host
    return f"{'end' if host.startswith(ANY_DEPTH) else 'str'} {name} {name}."


def _backend(place: Place, plan: Plan) -> str:
    rules = ""
    if place.by_method:
        rules += "".join(f"    http-request del-header {name}\n" for name in METHOD_HEADERS)
    condition = " unless { req.hdr(upgrade) -i -m str websocket }" if place.websocket else ""
    rules += f"    http-request del-header upgrade{condition}\n"
    if place.rewrite is not None and place.exact:
        rules += f"    http-request set-path {place.rewrite}\n"
    elif place.rewrite is not None:
        pattern = f"^/+{re.escape(place.prefix.removeprefix('/'))}(/.*)?$" if place.prefix else "^(/.*)$"
        rules += f"    http-request deny deny_status 400 unless {{ path -m reg {pattern} }}\n"
        rules += f"    http-request replace-path {pattern} {place.rewrite}\\1\n"
        rules += "    http-request set-path / unless { path -m beg / }\n"
    if place.hidden_prefix:
        rules += f"    http-request set-header X-Forwarded-Prefix {place.hidden_prefix}\n"
    hidden = "".join(f"    http-response del-header {name}\n" for name in plan.headers)
    secure = _secure(place.scheme)
    servers = "".join(f"    server s{number} {_server(one)}{secure}\n" for number, one in enumerate(place.servers, 1))
    return _BACKEND.format(name=place.name, rules=rules, hidden=hidden, servers=servers)


def _server(server: ServerSettings) -> str:
    weight = f" weight {min(server.weight, _MOST_WEIGHT)}" if server.weight != 1 else ""
    return f"{f'unix@{server.path}' if server.path else server.authority}{weight}{' backup' if server.backup else ''}"


def _secure(scheme: ServerScheme, more: str = "") -> str:
    return f" ssl verify required ca-file @system-ca{more}" if scheme is ServerScheme.HTTPS else ""


def render_lua(plan: Plan) -> str:
    """The script that asks."""
    gateway = plan.gateway
    identity, _ = folded_forms(plan.headers)
    dropped, beginnings = folded_forms((*plan.dropped, "X-Original-*", "X-Forwarded-*"))
    return _LUA.format(
        url=f"{gateway.scheme}://{gateway.authority}",
        pages="true" if plan.pages else "false",
        identity=_set(identity),
        dropped=_set(dropped),
        beginnings=", ".join(f'"{one}"' for one in beginnings),
    )


def _set(names: Iterable[str]) -> str:
    return ", ".join(f'["{name}"] = true' for name in names)

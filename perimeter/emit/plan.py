"""The site in terms that all proxies have, from which their configurations are written. Pure.

The proxy forwards requests, so it needs the routes of the site. A request must belong to the same route for the proxy as
for the gateway, so `perimeter.config.site.route_matching` decides here too: for each host its own routes, and what those leave of
the routes for any host.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from ipaddress import ip_address

import attrs

from perimeter.auth.kinds.trusted_header import TrustedHeaderSettings
from perimeter.config.language.datatypes import BadValue
from perimeter.config.language.net_types import checked_host
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.listener import ListenerSettings, Serve
from perimeter.config.site.route import RouteSettings
from perimeter.config.site.route_matching import ANY_HOST, WILDCARDS, HostTable, prefix_of, specificity
from perimeter.config.site.route_path import PathKind, plain
from perimeter.config.site.rule import RuleKind
from perimeter.config.site.server import ServerScheme, ServerSettings
from perimeter.errors import StartupError
from perimeter.gate.overrides import METHOD_OVERRIDES

#: characters that need no quotes and have no other meaning in the configuration of any proxy
_PLAIN = re.compile(r"[A-Za-z0-9._~/@:*\[\]-]*")
_LISTEN = re.compile(r"(?:(?P<four>[0-9.]+):|\[(?P<six>[0-9A-Fa-f:.]+)\]:)?(?P<port>[0-9]{1,5})")
_URL = re.compile(r"(https?)://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?/?")
METHOD_HEADERS = tuple(sorted(name.decode().title() for name in METHOD_OVERRIDES))
"""Headers that some servers take for the method. A proxy removes them if rules depend on the method."""

#: headers with which a proxy can name the request that it asks about; it removes those that it does not set itself
TELLING = ("X-Original-URI", "X-Original-URL", "X-Original-Method", "X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Host")
#: other headers that only a proxy may set
PRIVATE = ("Forwarded", "X-Forwarded-Prefix", "X-Forwarded-Path", "X-Forwarded-Port", "X-Forwarded-Server", "X-Rewrite-URL")


@attrs.frozen
class GatewayAddress:
    """Where the proxy asks the gateway."""

    scheme: ServerScheme
    host: str
    port: int

    @property
    def authority(self) -> str:
        """Host and port."""
        return f"{self.host}:{self.port}"


@attrs.frozen
class Listen:
    """Where the proxy listens: ``address`` is an IP address, "" for all of them."""

    address: str
    port: int

    @property
    def shown(self) -> str:
        """``ADDRESS:PORT``; ``:PORT`` for all addresses."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@attrs.frozen
class Place:
    """A route, as the proxy serves it. ``prefix`` has no slash at its end, unless it is ``exact``: the only path of the route.

    ``headers`` are the names of its identity headers. Without ``servers`` the proxy answers 404: the route is one that no other
    proxy can serve, and its paths must not belong to another route, whose service would get them by this route's rules (attack
    129).
    """

    name: str
    prefix: str
    servers: tuple[ServerSettings, ...]
    rewrite: str | None
    headers: tuple[str, ...]
    by_method: bool
    websocket: bool
    browser_login: bool
    exact: bool = False

    @property
    def hidden_prefix(self) -> str:
        """The prefix that its servers do not see, for X-Forwarded-Prefix; "" if they see every path whole."""
        return "" if self.rewrite is None or self.rewrite == self.prefix or self.exact else self.prefix

    @property
    def scheme(self) -> ServerScheme:
        """The scheme of its servers: that of HTTP for unix sockets."""
        first = self.servers[0].scheme
        return ServerScheme.HTTP if first is ServerScheme.UNIX else first

    @property
    def addresses(self) -> tuple[str, ...]:
        """Host and port of each server except backups, for proxies that do not have backups or have them in another way."""
        return tuple(one.authority for one in self.servers if not one.backup)


@attrs.frozen
class Plan:
    """What a proxy serves.

    ``hosts`` are host names with their places, longest prefix first; the last one is ``*`` for any other host, unless the proxy
    serves only named hosts. ``headers`` names all headers that carry the user. ``dropped`` are others that no client may send,
    because a service could take them for the user's identity (``NAME*``: all that begin with ``NAME``). ``judges``: the gateway
    applies the rules of routes to the proxy's queries. ``unserved`` are routes that no other proxy can serve. ``pages`` is the
    path of the gateway's own pages if people sign in on them, "" otherwise: the proxy sends what is below it to the gateway, and
    to services the cookies of the gateway's answer. ``remarks`` are about options that work in another way
    behind a proxy, or not at all.
    """

    gateway: GatewayAddress
    hosts: tuple[tuple[str, tuple[Place, ...]], ...]
    headers: tuple[str, ...]
    judges: bool
    unserved: tuple[str, ...]
    dropped: tuple[str, ...] = ()
    pages: str = ""
    listens: tuple[Listen, ...] = (Listen("", 80),)
    remarks: tuple[str, ...] = ()

    @property
    def places(self) -> tuple[Place, ...]:
        """Every place that the proxy serves, once."""
        return tuple(dict.fromkeys(place for _, places in self.hosts for place in places if place.servers))


def folded_forms(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Names in lower case with hyphens, as a very lax server could read them: whole ones, and beginnings."""
    forms = [(re.sub("[^a-z0-9]", "-", name.removesuffix("*").lower()), name.endswith("*")) for name in names]
    whole, beginnings = ([form for form, begins in forms if begins is wanted] for wanted in (False, True))
    return list(dict.fromkeys(whole)), list(dict.fromkeys(beginnings))


def make_plan(
    config: SiteConfig, gateway: str | None = None, listens: Sequence[str] = (), server_names: Sequence[str] = ()
) -> Plan:
    """The plan for a site.

    ``gateway`` is the URL where the proxy reaches it; without it one of the listeners is taken. ``listens`` are ``PORT`` or
    ``ADDRESS:PORT``, by default 80. ``server_names`` are the hosts that routes for any host are served for, by default any.

    Raises `StartupError` if the gateway cannot be reached, for a route that no other proxy can find in the same way, and for a
    name that would be more than a name in another program's configuration.
    """
    _refuse_others(config)
    found = {route.name: _place(route, config) for route in config.routes}
    names = sorted({host for route in config.routes for host in route.hosts if host != ANY_HOST}, key=specificity)
    table: HostTable[RouteSettings] = HostTable()
    for route in config.routes:
        for host in route.hosts or (ANY_HOST,):
            if route.path.kind is PathKind.EXACT:
                table.of(host).add_exact(route.path.text.encode(), route)
            else:
                table.of(host).add(route.path.place.encode(), route)
    hosts = tuple(
        (host, tuple(sorted((found[route.name] for route in table.effective(host)), key=_order)))
        for host in (*dict.fromkeys((*names, *map(_server_name, server_names))), *(() if server_names else (ANY_HOST,)))
    )
    default = RouteSettings(name="", path=plain("/"))
    headers = dict.fromkeys(name for route in (default, *config.routes) for name in _headers(route))
    believed = [one.settings for one in config.authenticators if isinstance(one.settings, TrustedHeaderSettings)]
    headers |= dict.fromkeys(name for one in believed for name in (one.header, one.roles_header) if name)
    plan = Plan(
        gateway=_given(gateway) if gateway is not None else _listener(config),
        hosts=hosts,
        headers=tuple(headers),
        judges=bool(config.perimeter.trusted_proxies),
        dropped=_dropped(config, headers),
        pages=config.login.path if config.signs_people_in else "",
        unserved=tuple(name for name, place in found.items() if not place.servers),
        listens=tuple(map(_listen, listens)) or (Listen("", 80),),
        remarks=tuple(_all_remarks(config, [route.name for route in config.routes if found[route.name].servers])),
    )
    parts = (part for _, places in hosts for one in places for part in (one.name, one.prefix, one.rewrite or ""))
    for text in (*plan.headers, *plan.dropped, *names, *parts, plan.pages):
        if not _PLAIN.fullmatch(text):
            raise StartupError(f"{config.file}: {text!r} cannot be written into another program's configuration")
    return plan


def _dropped(config: SiteConfig, headers: Iterable[str]) -> tuple[str, ...]:
    """The names of further headers that say who the user is, each once."""
    ruled = (name for route in config.routes for name in route.fills_user)
    names = {name.lower(): name for name in (*config.perimeter.identity_headers, *ruled)}
    taken = {one.lower() for one in headers}
    return tuple(name for lower, name in names.items() if lower not in taken)


#: What the gateway does to requests that it forwards itself, and no answer to a proxy can carry.
_APPLIED_HERE = (
    *("request_headers", "response_headers", "security_headers", "upstream_host", "audit_body", "read_only", "compression"),
)
#: What connections of the gateway to a service have besides.
_DIALLED_HERE = ("proxy_protocol", "client_certificate", "pin")


def _applied_here(route: RouteSettings) -> list[str]:
    """The names of the options that ``route`` has and no other proxy is given."""
    default = attrs.fields_dict(RouteSettings)
    return [name for name in _APPLIED_HERE if getattr(route, name) != default[name].default]


def _all_remarks(config: SiteConfig, served: Collection[str]) -> Iterator[str]:
    """What works in another way, for the routes in ``served`` and their upstreams."""
    routes = [route for route in config.routes if route.name in served]
    for route in routes:
        yield from _remarks(route, judged=bool(config.perimeter.trusted_proxies))
    used = {route.upstream for route in routes}
    for upstream in config.upstreams:
        names = ", ".join(name for name in _DIALLED_HERE if getattr(upstream, name))
        if names and upstream.name in used:
            yield f"[upstream {upstream.name}] {names}: configure the connections of the proxy to the service as well"


def _remarks(route: RouteSettings, *, judged: bool) -> list[str]:
    """What works in another way if a proxy asks the gateway about the requests of ``route``.

    ``judged``: the gateway applies the rules of routes to the proxy's questions.
    """
    remarks = []
    if route.maintenance and judged:
        remarks.append(f"[route {route.name}] maintenance = yes: no request passes, and the proxy shows an error page of its own")
    elif route.maintenance:
        remarks.append(f"[route {route.name}] maintenance = yes has no effect: [perimeter] trusted_proxies is empty")
    if names := ", ".join(_applied_here(route)):
        remarks.append(f"[route {route.name}] {names}: only the gateway itself does this; configure it in the proxy as well")
    if route.compares(RuleKind.CERTIFICATE):
        remarks.append(
            f"[route {route.name}] has a rule with certificate:, but the proxy shows no certificate of the client: in allow it "
            "never matches, and in deny it refuses every client"
        )
    if route.shared:
        remarks.append(
            f"[route {route.name}] cors: the gateway cannot answer preflights of which the proxy asks, and adds "
            "nothing to responses: let the service do so, with cors = pass"
        )
    return remarks


def beyond(route: RouteSettings, *, judged: bool) -> str:
    """The limits of a route that do not hold for requests which another proxy forwards, by their names; "" if it has none.

    ``judged``: the gateway applies the rules of routes to the proxy's questions. Then a rate counts them.
    """
    limits = (
        ("rate", bool(route.rate) and not judged),
        ("in_flight", bool(route.in_flight)),
        ("body_rate", bool(route.body_rate)),
        ("request_timeout", route.request_timeout is not None),
    )
    return ", ".join(name for name, lost in limits if lost)


def refuse_wildcards(plan: Plan, proxy: str) -> None:
    """Raise `StartupError` if a host is a wildcard, for a ``proxy`` whose wildcards are for other names."""
    for host, _ in plan.hosts:
        if host.startswith(WILDCARDS):
            raise StartupError(
                f"host = {host}: {proxy} has no wildcard for this; list the names of the hosts, or use nginx or haproxy"
            )


def refuse_sockets(plan: Plan, proxy: str) -> None:
    """Raise `StartupError` if a server is a unix socket, for a ``proxy`` whose configuration here has none."""
    for _, places in plan.hosts:
        for place in places:
            for server in place.servers:
                if server.path:
                    raise StartupError(f"{server.url}: unix sockets are not written for {proxy}; use nginx, haproxy or caddy")


def _refuse_others(config: SiteConfig) -> None:
    """Raise `StartupError` for routes that depend on more than host and plain path: each proxy has another order of them."""
    for route in config.routes:
        if route.path.kind is PathKind.REGEX or route.conditional:
            raise StartupError(
                f"{config.file}: [route {route.name}] path {route.requests}: the configuration for another proxy has only whole "
                "paths; let the gateway itself serve this site, or give it routes without expressions and conditions"
            )


def _order(place: Place) -> tuple[bool, int]:
    return not place.exact, -len(place.prefix)


def _forwards(route: RouteSettings, config: SiteConfig) -> bool:
    """Whether a proxy can serve it: neither the sample service nor files."""
    return route.upstream is not None and all(one.scheme is not ServerScheme.SAMPLE for one in _servers(route, config))


def _servers(route: RouteSettings, config: SiteConfig) -> tuple[ServerSettings, ...]:
    return next(upstream.servers for upstream in config.upstreams if upstream.name == route.upstream)


def _headers(route: RouteSettings) -> tuple[str, ...]:
    return route.identity_username_header, route.identity_realm_header, route.identity_roles_header


def _place(route: RouteSettings, config: SiteConfig) -> Place:
    exact = route.path.kind is PathKind.EXACT
    return Place(
        name=route.name,
        prefix=route.path.text if exact else route.path.place,
        servers=_servers(route, config) if _forwards(route, config) else (),
        rewrite=None if route.rewrite is None else route.rewrite if exact else prefix_of(route.rewrite),
        headers=_headers(route),
        by_method=route.by_method,
        websocket=route.websocket,
        browser_login=route.browser_login,
        exact=exact,
    )


def _listen(text: str) -> Listen:
    match = _LISTEN.fullmatch(text)
    if match is not None and 0 < int(match["port"]) < 65536:
        with suppress(ValueError):
            address = match["six"] or match["four"] or ""
            return Listen(str(ip_address(address)) if address else "", int(match["port"]))
    raise StartupError(f"{text}: not a place to listen; expected PORT, ADDRESS:PORT or [ADDRESS]:PORT")


def _server_name(text: str) -> str:
    try:
        return checked_host(text)
    except BadValue as bad:
        raise StartupError(f"{text}: {bad.message}") from None


def _given(url: str) -> GatewayAddress:
    match = _URL.fullmatch(url)
    if match is None:
        raise StartupError(f"{url}: not the URL of a gateway; expected http://HOST:PORT or https://HOST:PORT")
    scheme, host, port = match.groups()
    return GatewayAddress(ServerScheme(scheme), host, int(port) if port else 443 if scheme == ServerScheme.HTTPS else 80)


def _listener(config: SiteConfig) -> GatewayAddress:
    """A listener that answers ``/authenticate``, preferably without TLS on the loopback interface.

    Where people sign in it has to have the pages for that, too.
    """
    kinds = (Serve.GATEWAY,) if config.signs_people_in else (Serve.GATEWAY, Serve.TOKENS)
    serving = [one for one in config.listeners if one.serve in kinds and not one.socket_path and not one.proxy_protocol]
    if not serving:
        words = " or ".join(kinds)
        raise StartupError(
            f"{config.file}: no listener answers /authenticate; expected one with serve = {words}, on a port and without "
            "proxy_protocol"
        )
    best = min(serving, key=lambda one: (one.tls, not one.interface.startswith("127.")))
    return GatewayAddress(ServerScheme.HTTPS if best.tls else ServerScheme.HTTP, _reached_at(best), best.port)


def _reached_at(listener: ListenerSettings) -> str:
    interface = listener.interface
    if interface in ("", "0.0.0.0", "::"):  # noqa: S104  # compared, not bound
        return "127.0.0.1"
    return f"[{interface}]" if ":" in interface else interface

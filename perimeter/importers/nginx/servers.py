"""The ``server`` blocks of nginx: where they listen, their names, and which of them can be imported together. Pure.

In the gateway every listener serves all routes. nginx chooses a server by address and port first. So only servers that listen on
the same addresses and ports can be imported together: otherwise a location would be reachable where nginx does not serve it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import attrs

from perimeter.config.language.datatypes import BadValue
from perimeter.config.language.net_types import INTERFACE, UNIX
from perimeter.config.site.route_host import ROUTE_HOST
from perimeter.config.site.route_matching import WILDCARDS, hosts_for
from perimeter.importers.nginx.balancers import NETWORK, OF_BALANCERS, of_balancers
from perimeter.importers.nginx.expressions import host_names
from perimeter.importers.nginx.file import NginxFile
from perimeter.importers.nginx.tree import Directive

ANY = ("0.0.0.0", "::")  # noqa: S104 - read, not bound
Place = tuple[str, int]
"""An address and a port."""

_LISTEN = re.compile(r"(?:(?P<host>\[[0-9A-Fa-f:]+\]|[0-9.]+|\*):)?(?P<port>[0-9]{1,5})|(?P<only>\[[0-9A-Fa-f:]+\]|[0-9.]+)")
_OF_SOCKETS = frozenset(
    ("ipv6only", "reuseport", "backlog", "deferred", "so_keepalive", "fastopen", "rcvbuf", "sndbuf", "setfib", "bind")
)
_NOTHING = (("404",), ("403",), ("444",))
_TO_HTTPS = re.compile(r"https://(?:\$host|\$server_name|\$http_host|[A-Za-z0-9.-]+)(?::(?P<port>[0-9]+))?\$request_uri")


@attrs.define(eq=False)
class Server:
    """A ``server`` block. ``places`` says for each place whether it has TLS, ``balancers`` which load balancers
    send the client's address there. ``names`` are hosts of routes; ``matched`` are those
    that an expression stands for, which nginx tries last; ``untold`` are names that no route can have. ``placeless`` are
    directives, with reasons, that may restrict all of it. ``hosts`` is set at the end; empty means any host."""

    directive: Directive
    places: dict[Place, bool] = attrs.field(factory=dict)
    default: set[Place] = attrs.field(factory=set)
    balancers: dict[Place, tuple[str, ...]] = attrs.field(factory=dict)
    names: tuple[str, ...] = ()
    matched: tuple[str, ...] = ()
    untold: tuple[str, ...] = ()
    placeless: list[tuple[Directive, str]] = attrs.field(factory=list)
    redirect_to: int | None = None
    hosts: tuple[str, ...] = ()

    @property
    def ports(self) -> set[int]:
        """Its ports."""
        return {port for _, port in self.places}


class Servers(NginxFile):
    """Reads ``server`` blocks. ``common`` are the directives outside of them, which apply inside.

    ``balancers`` are those about the addresses of load balancers that send the PROXY protocol (`of_balancers`).
    """

    common: Sequence[Directive] = ()
    balancers: Sequence[Directive] = ()

    def read(self, directive: Directive) -> Server:
        """One ``server`` block."""
        own = of_balancers(directive.block or (), self.balancers)
        self._networks = tuple(one.args[0] for one in own if one.name == NETWORK)
        if own:
            directive = attrs.evolve(directive, block=[one for one in directive.block or () if one.name not in OF_BALANCERS])
        server = Server(directive)
        listens = directive.all("listen")
        for one in listens:
            self._listen(server, one)
        if not listens:
            server.places[ANY[0], 80] = False
        switch = [*(one for one in self.common if one.name == "ssl"), *directive.all("ssl")][-1:]
        if switch and switch[0].args != ("off",):
            server.places = dict.fromkeys(server.places, True)
        words = (name for one in directive.all("server_name") for name in one.args)
        names = list(dict.fromkeys(name if name.startswith("~") else name.lower() for name in words))
        for name in names:
            self._name(server, name)
        server.redirect_to = self._redirect(directive)
        return server

    def _name(self, server: Server, name: str) -> None:
        if name in ("_", ""):
            return
        if name.startswith("~"):
            # nginx ignores case here
            found = tuple(host for host in map(_host, host_names(name[1:])) if host)
            server.matched = (*server.matched, *found)
            server.untold = (*server.untold, *(() if found else (name,)))
        elif name.startswith(".") and _host(name[1:]):
            server.names = (*server.names, _host(name[1:]), _host(f"**{name}"))
        elif _host(name):
            # a wildcard of nginx is for any number of labels
            server.names = (*server.names, _host(f"*{name}" if name.startswith("*.") else name))
        else:
            server.untold = (*server.untold, name)

    def _listen(self, server: Server, directive: Directive) -> None:
        place = _place(directive.args[0]) if directive.args else None
        if place is None:
            self.left(directive, "expected ADDRESS:PORT, or unix: and an absolute path")
            return
        server.places[place] = server.places.get(place, False) or "ssl" in directive.args[1:]
        for word in directive.args[1:]:
            if word in ("default_server", "default"):
                server.default.add(place)
            elif word in ("http2", "spdy"):
                self.draft.remark(self.note(directive, ""), "clients speak HTTP/1.1 with the gateway")
            elif word == "proxy_protocol" and self._networks:
                server.balancers[place] = self._networks
            elif word == "quic":
                self.left(directive, "quic is not spoken")
            elif word != "ssl" and word.partition("=")[0] not in _OF_SOCKETS:
                self._restricts(server, directive, f"{word} is not known here")

    def _restricts(self, server: Server, directive: Directive, why: str) -> None:
        """Close the open routes of ``server``, because of ``directive``."""
        self.left(directive, why)
        server.placeless.append((directive, why))

    def _redirect(self, directive: Directive) -> int | None:
        """The port of https if the server only redirects / to it."""
        found = [one for one in directive.block or () if one.name == "return"]
        slash = [one for one in directive.all("location") if one.args == ("/",)]
        if not found and len(slash) == 1:
            found = [one for one in slash[0].block or () if one.name != "access_log"]
        # Certbot redirects the names of the server, and answers others with 404
        if len(found) == 1 and found[0].args in _NOTHING and all(one.args[:2] == ("($host", "=") for one in directive.all("if")):
            found = [inner for one in directive.all("if")[:1] for inner in one.block or ()]
        if len(found) == 1 and found[0].name == "return" and found[0].args[:1] in (("301",), ("302",), ("307",), ("308",)):
            match = _TO_HTTPS.fullmatch(found[0].args[-1])
            if match is not None:
                if found[0].args[0] != "301":
                    self.draft.remark(self.note(found[0]), "the gateway redirects with 301")
                return int(match["port"] or 443)
        return None

    def redirecting(self, server: Server) -> None:
        """Report the other directives of a server that only redirects."""
        for one in server.directive.block or ():
            slash = one.name == "location" and one.args == ("/",)
            if not slash and one.name not in ("listen", "server_name", "return", "if") and not one.name.startswith("ssl_"):
                self.left(one, "this listener only redirects")

    # -- which of them count

    def same_names(self, servers: list[Server]) -> list[list[Server]]:
        """Servers grouped by their names. nginx ignores a second server with the same names and port."""
        groups: list[list[Server]] = []
        for server in servers:
            for group in groups:
                first = group[0]
                alike = (first.names, first.matched, first.untold) == (server.names, server.matched, server.untold)
                if alike and server.redirect_to is first.redirect_to is None and set(first.places) & set(server.places):
                    self.draft.remark(
                        self.note(server.directive, ""),
                        f"the server of line {first.directive.line} has the same name and port, so nginx ignores this one there; "
                        "here both are merged, and if both have a location the stricter one counts",
                    )
                    group.append(server)
                    break
            else:
                groups.append([server])
        return groups

    def chosen(self, groups: list[list[Server]]) -> tuple[list[list[Server]], dict[Place, bool]]:
        """The servers that are imported, and the places where all of them listen, each with whether it has TLS."""
        serving = [group for group in groups if group[0].redirect_to is None]
        leading = [group for group in groups if group[0].redirect_to is not None]
        common = _shared(serving)
        if serving and not common:
            serving, common = self._largest(serving)
        redirected = {place for group in leading for place in _places(group)}
        if free := {place: tls for place, tls in common.items() if place not in redirected}:
            common = free
        for group in serving:
            for place in _places(group):
                if place not in common:
                    self.left(
                        group[0].directive,
                        f"port {place[1]} is left out: not every server listens there, and a listener serves all routes",
                    )
        for group in leading:
            # a server that redirects on a port that serves as well: its names must not lead to other servers' locations
            if any(place in common for place in _places(group)):
                group[0].redirect_to = None
                self._restricts(group[0], group[0].directive, "its port serves other servers")
                serving.append(group)
        for group in groups:
            for place in _places(group):
                wide = [one for one in common if one[1] == place[1] and one[0] in ANY and place[0] not in ANY]
                if place not in common and wide:
                    for other in (server for chosen in serving for server in chosen):
                        self._restricts(other, group[0].directive, f"port {place[1]} of {place[0]} is this server's alone")
        return serving, common

    def _largest(self, groups: list[list[Server]]) -> tuple[list[list[Server]], dict[Place, bool]]:
        """The servers of the place that most of them listen on; if several, one with TLS."""
        every = {place: tls for group in groups for place, tls in _places(group).items()}
        if not every:
            return [], {}
        best = max(every, key=lambda place: (sum(place in _places(group) for group in groups), every[place]))
        kept = [group for group in groups if best in _places(group)]
        others = [group for group in groups if group not in kept]
        for group in others:
            for server in group:
                self.left(
                    server.directive,
                    f"it does not listen on port {best[1]} as others do, and a listener serves all routes: "
                    "this server is left out; give it a site.ini of its own",
                )
        taken = {place for group in others for place in _places(group)}
        return kept, {place: tls for place, tls in _shared(kept).items() if place not in taken}

    def _expressions(self, groups: Sequence[Sequence[Server]]) -> None:
        """Give each group the names that its expressions stand for, if nginx takes it for them: no server has the name or a
        wildcard for it, and all names are understood."""
        plain = {name for group in groups for name in group[0].names}
        unknown = any(group[0].untold for group in groups)
        for group in groups:
            for name in group[0].matched:
                if unknown:
                    group[0].untold = (*group[0].untold, name)
                elif name not in plain and not _claimed(name, [], groups):
                    group[0].names = (*group[0].names, name)

    def hosts(self, groups: list[list[Server]], all_: Sequence[Server], common: dict[Place, bool]) -> list[list[Server]]:
        """Set the hosts of each server; the default server of the ports is for any host. Returns the reachable servers."""
        defaults = {place: _default(all_, place) for place in common}
        chosen = next(
            (group for group in groups if all(found in group for found in defaults.values())),
            None,
        )
        if chosen is None and groups:
            self.left(groups[0][0].directive, "no server is the default of every port: other hosts than those named are closed")
        self._expressions(groups)
        reached: list[list[Server]] = []
        seen: set[str] = set()
        for group in groups:
            names = tuple(dict.fromkeys(name for name in group[0].names if name not in seen))
            seen.update(group[0].names)
            if group is not chosen and group[0].untold:
                self.left(
                    group[0].directive.all("server_name")[0],
                    "a host is written out here, so these names are left out; routes for any host are closed",
                )
                if chosen is not None:
                    chosen[0].placeless.append(
                        (group[0].directive.all("server_name")[0], "another server has names that no route has")
                    )
            if group is chosen and (claimed := tuple(name for name in names if _claimed(name, group, groups))):
                # the wildcards of another server would come before the routes for any host
                reached.append([attrs.evolve(server, hosts=claimed) for server in group])
            for server in group:
                server.hosts = () if group is chosen else names
            if group is chosen or names:
                reached.append(group)
            elif not group[0].untold:
                self.left(group[0].directive, "no request reaches it: another server is the default, or has its names")
        # routes for any host are written when everything that closes them is known
        return sorted(reached, key=lambda group: group is chosen)


def _place(text: str) -> Place | None:
    """The address and port of ``listen``, or the unix socket and 0; None for something else."""
    if text.startswith(UNIX):
        try:
            return INTERFACE.convert(text, Path()), 0
        except BadValue:
            return None
    match = _LISTEN.fullmatch(text)
    if match is None:
        return None
    host = (match["host"] or match["only"] or "*").strip("[]")
    return ANY[0] if host == "*" else host, int(match["port"] or 80)


def _host(name: str) -> str:
    """``name`` as the host of a route, or ""."""
    try:
        return ROUTE_HOST.convert(name, Path())
    except BadValue:
        return ""


def _claimed(name: str, own: Sequence[Server], groups: Sequence[Sequence[Server]]) -> bool:
    """Whether a wildcard of another group than ``own`` is for ``name``, too."""
    known = {host for group in groups if group is not own for host in group[0].names if host.startswith(WILDCARDS)}
    return any(host != name for host in hosts_for(name, known, 1000))


def _places(group: Sequence[Server]) -> dict[Place, bool]:
    """Where the servers of one name listen, on ports that all of them have."""
    ports = set.intersection(*(server.ports for server in group))
    found: dict[Place, bool] = {}
    for server in group:
        for place, tls in server.places.items():
            if place[1] in ports:
                found[place] = found.get(place, False) or tls
    return found


def _shared(groups: Sequence[Sequence[Server]]) -> dict[Place, bool]:
    """The places where all of ``groups`` listen. nginx speaks TLS on a place if one server there does."""
    found = [_places(group) for group in groups]
    if not found:
        return {}
    return {place: any(places[place] for places in found) for place in found[0] if all(place in places for places in found)}


def _default(servers: Sequence[Server], place: Place) -> Server | None:
    """The server for hosts that no server names."""
    there = [server for server in servers if place in server.places]
    return next((server for server in there if place in server.default), there[0] if there else None)

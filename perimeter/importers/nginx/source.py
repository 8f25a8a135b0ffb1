"""An nginx configuration: the level of ``http``. The other modules of this package read servers and locations. Pure.

The import is closed by default: a directive that may restrict clients and is not understood closes the routes that it applies to.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from perimeter.importers.draft import Draft, Note
from perimeter.importers.nginx.balancers import of_balancers
from perimeter.importers.nginx.directives import OF_NGINX, done, of_nginx
from perimeter.importers.nginx.file import NginxFile
from perimeter.importers.nginx.listeners import NginxListeners
from perimeter.importers.nginx.places import Placeless
from perimeter.importers.nginx.servers import Server, Servers
from perimeter.importers.nginx.site import Locations
from perimeter.importers.nginx.tree import Directive, Find, read
from perimeter.importers.nginx.users import Passwords

SOURCE = "nginx"
_SAFE_TLS = frozenset(("TLSv1.2", "TLSv1.3"))
_Value = tuple[Directive, str]
"""A directive, and the value of the option that it becomes."""

_HEADER_VARIABLE = re.compile(r"\$http_([a-z][a-z0-9_]*[a-z0-9])")
_WEIGHT = re.compile(r"weight=(?:[1-9][0-9]{0,2}|1000)")
_MOST = re.compile(r"max_conns=([1-9][0-9]{0,5})")
_SERVER = re.compile(r"unix:/[^,\s]*[^,\s/]|[A-Za-z0-9_.-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:]+\](?::[0-9]{1,5})?")
_OTHER_PROTOCOLS = frozenset(("stream", "mail"))


def looks_like(text: str) -> bool:
    """Whether there is a server or a location with a block."""
    return re.search(r"^\s*(?:server|location\s[^{;]*|http|upstream\s+\S+)\s*\{", text, re.MULTILINE) is not None


def convert(text: str, file: str, draft: Draft, find: Find | None = None) -> None:
    """Add the servers in ``text`` to ``draft``; ``find`` opens files that it includes. Raises
    `perimeter.importers.draft.ImportFault`."""
    convert_all([read(text, file, find)], file, draft)


def convert_all(trees: Sequence[list[Directive]], file: str, draft: Draft, passwords: Passwords | None = None) -> None:
    """Add the servers of several files that nginx loads together, as `perimeter.importers.nginx.tree.read` returns them.
    Directives outside of servers apply to the servers of all files. ``passwords`` opens the files of ``auth_basic_user_file``."""
    draft.source = SOURCE
    reading = _NginxImport(file, draft, passwords)
    outer: list[Directive] = []
    for top in trees:
        whole = any(one.name == "http" and one.block is not None for one in top)
        for one in top:
            if one.name == "http" and one.block is not None:
                outer += one.block
            elif not whole:
                outer.append(one)
            else:
                reading.program(one)
    reading.all(outer)


class _NginxImport(NginxFile):
    def __init__(self, file: str, draft: Draft, passwords: Passwords | None) -> None:
        super().__init__(file, draft)
        self.passwords = passwords
        self.upstreams: dict[str, tuple[str, ...]] = {}
        self.common: list[Directive] = []
        self.quiet: list[str] = []

    def program(self, one: Directive) -> None:
        """A directive outside of ``http``: it cannot restrict requests."""
        if one.name in OF_NGINX:
            self.quiet.append(one.name)
        else:
            self.left(one, "it is another protocol" if one.name in _OTHER_PROTOCOLS else "")

    def all(self, outer: list[Directive]) -> None:
        blocks = [one for one in outer if one.name == "server" and one.block is not None]
        balancers = of_balancers(outer)
        for one in outer:
            if one in balancers:
                continue
            if one.name == "upstream" and one.block is not None:
                self.upstream(one)
            elif not (one.name == "server" and one.block is not None):
                self.around(one)
        reading = Servers(self.file, self.draft)
        reading.common = self.common
        reading.balancers = balancers
        servers = [reading.read(one) for one in blocks]
        for server in servers:
            self.inside(server.directive)
        leading = [server for server in servers if server.redirect_to is not None]
        groups, places = reading.chosen(reading.same_names(servers))
        reached = reading.hosts(groups, servers, places)
        listeners = NginxListeners(self.file, self.draft)
        listeners.common = self.common
        listeners.serve(places, [server for group in groups for server in group])
        listeners.redirect([server for server in leading if server.redirect_to is not None], places)
        for server in leading:
            if server.redirect_to is not None:
                reading.redirecting(server)
        self.locations(reached)
        if self.quiet:
            shown = ", ".join(dict.fromkeys(self.quiet))
            self.draft.remark(Note(self.file, 0, ""), f"these directives are about nginx itself and have no counterpart: {shown}")

    def locations(self, reached: Sequence[Sequence[Server]]) -> None:
        locations = Locations(self.file, self.draft, self.upstreams, self.common, self.passwords)
        for group in reached:
            for server in group:
                placeless = [Placeless(one, why) for one, why in server.placeless]
                locations.server(server.directive, server.hosts, placeless)
        locations.finish()

    def around(self, one: Directive) -> None:
        """A directive outside of servers, which applies inside them."""
        if one.name in OF_NGINX:
            self.quiet.append(one.name)
            return
        self.common.append(one)
        if one.name == "location":
            self.left(one, "it is outside of a server")
        elif of_nginx(one):
            self.common.pop()
            self.quiet.append(one.text)
        elif not done(one):
            self.left(one)

    def inside(self, server: Directive) -> None:
        """Directives of a server about nginx itself or about TLS versions."""
        for one in server.block or ():
            if one.name == "ssl_protocols" and set(one.args) != _SAFE_TLS:
                self.left(one, "the gateway speaks TLS 1.2 and 1.3")
            elif one.name in OF_NGINX:
                self.quiet.append(one.name)

    # -- upstreams

    def upstream(self, directive: Directive) -> None:
        servers = []
        ways: list[_Value] = []
        limits: list[_Value] = []
        for one in directive.block or ():
            if one.name == "server" and one.args and _SERVER.fullmatch(one.args[0]):
                if "down" in one.args:
                    self.left(one, "it is marked as down")
                    continue
                words = [word for word in one.args[1:] if word == "backup" or _WEIGHT.fullmatch(word)]
                servers.append(" ".join((one.args[0], *words)))
                limits += [(one, found[1]) for word in one.args if (found := _MOST.fullmatch(word))]
                other = [word for word in one.args[1:] if word not in words and not _MOST.fullmatch(word)]
                if any(word.startswith(("weight=", "max_conns=", "route=", "service=", "slow_start=")) for word in other):
                    self.left(one)
            elif one.name == "keepalive" and one.args:
                section = self.draft.section("upstream", directive.args[0])
                self.draft.put(section, "keepalive", one.args[0], self.note(one))
            elif one.name in ("keepalive_requests", "keepalive_timeout", "keepalive_time"):
                self.quiet.append(one.name)
            elif (way := _balance(one)) is not None:
                ways.append((one, way))
            elif one.name in ("random", "zone"):
                self.draft.remark(self.note(one, ""), f"{one.text}: the gateway balances in its own way")
            else:
                self.left(one)
        name = directive.args[0] if directive.args else ""
        self._balanced(name, ways if len(servers) > 1 else [], limits, len(servers))
        self.upstreams[name] = tuple(servers)

    def _balanced(self, name: str, ways: Sequence[_Value], limits: Sequence[_Value], servers: int) -> None:
        """How ``servers`` servers are balanced, and how many requests each of them may have."""
        alike = len(limits) == servers and len({limit for _, limit in limits}) == 1
        for option, values in (("balance", ways), ("max_requests", limits[:1] if alike else ())):
            for one, value in values:
                self.draft.put(self.draft.section("upstream", name), option, value, self.note(one))
        for one, _ in () if alike else limits:
            self.left(one, "max_requests is the same for all servers")


def _balance(one: Directive) -> str | None:
    """The value of ``balance`` that does what a directive of an upstream does, or None."""
    if one.name == "least_conn":
        return "least-connections"
    if one.name == "ip_hash":
        return "hash(address)"
    if one.name != "hash" or not one.args:
        return None
    header = _HEADER_VARIABLE.fullmatch(one.args[0])
    if header is not None:
        return f"hash(header:{header[1].replace('_', '-')})"
    return {"$remote_addr": "hash(address)", "$binary_remote_addr": "hash(address)", "$remote_user": "hash(user)"}.get(
        one.args[0]
    )

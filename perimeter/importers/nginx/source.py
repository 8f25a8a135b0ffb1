"""The servers of an nginx configuration: listeners, upstreams, the error page; their locations are `nginxlocations`'. Pure.

Routes of the gateway belong to hosts and not to ports, so servers that differ by their port alone cannot both be taken over.
Where nginx itself would ignore a server, because an earlier one has its name and port, the later one is taken for what was meant.
"""

from __future__ import annotations

import re

import attrs

from perimeter.importers.draft import Draft, Note, Section
from perimeter.importers.nginx.file import NginxFile
from perimeter.importers.nginx.server import Locations
from perimeter.importers.nginx.tree import Directive, read

#: what belongs to nginx as a program, or what the gateway does anyway
_OF_NGINX = frozenset(
    (
        *("user", "worker_processes", "worker_rlimit_nofile", "pid", "events", "daemon", "error_log", "load_module", "sendfile"),
        *("tcp_nopush", "tcp_nodelay", "keepalive_timeout", "keepalive_requests", "types_hash_max_size", "default_type", "types"),
        *(
            "server_tokens",
            "ssl_session_cache",
            "ssl_session_timeout",
            "ssl_session_tickets",
            "ssl_ciphers",
            "ssl_prefer_server_ciphers",
        ),
        *("ssl_dhparam", "ssl_ecdh_curve", "log_format", "server_names_hash_bucket_size", "gzip"),
    )
)
_SAFE_TLS = frozenset(("TLSv1.2", "TLSv1.3"))
_LISTEN = re.compile(r"(?:(?P<host>\[[0-9A-Fa-f:]+\]|[0-9.]+|\*):)?(?P<port>[0-9]{1,5})|(?P<only>\[[0-9A-Fa-f:]+\]|[0-9.]+)")
_TO_HTTPS = re.compile(r"https://(?:\$host|\$server_name|\$http_host|[A-Za-z0-9.-]+)(?::(?P<port>[0-9]+))?\$request_uri")
_SERVER = re.compile(r"[A-Za-z0-9_.-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:]+\](?::[0-9]{1,5})?")


@attrs.define
class Server:
    """A ``server`` block: where it listens (address and port), its names, and whether it takes any name."""

    directive: Directive
    ports: list[tuple[str, int]] = attrs.field(factory=list)
    tls: bool = False
    default: bool = False
    names: tuple[str, ...] = ()
    redirect_to: int | None = None


def looks_like(text: str) -> bool:
    """Whether there is a server or a location with a block."""
    return re.search(r"^\s*(?:server|location\s[^{;]*|http|upstream\s+\S+)\s*\{", text, re.MULTILINE) is not None


def convert(text: str, file: str, draft: Draft) -> None:
    """Add the servers in ``text`` to ``draft``. Raises `perimeter.importers.draft.ImportFault`."""
    top = read(text, file)
    outer: list[Directive] = []
    for one in top:
        outer += one.block if one.name == "http" and one.block is not None else [one]
    _Import(file, draft).all(outer)


class _Import(NginxFile):
    def __init__(self, file: str, draft: Draft) -> None:
        super().__init__(file, draft)
        self.upstreams: dict[str, tuple[str, ...]] = {}
        self.common: list[Directive] = []
        self.quiet: list[str] = []

    def all(self, outer: list[Directive]) -> None:
        servers: list[Server] = []
        for one in outer:
            if one.name == "server" and one.block is not None:
                servers.append(self.server(one))
            elif one.name == "upstream" and one.block is not None:
                self.upstream(one)
            elif one.name in _OF_NGINX:
                self.quiet.append(one.name)
            elif one.name in ("access_log", "error_page", "client_max_body_size", "root", "index") or one.name.startswith(
                "proxy_"
            ):
                self.common.append(one)
            elif one.name == "location":
                self.left(one, "it stands outside of a server")
            else:
                self.left(one)
        self.collisions(servers)
        self.hosts(servers)
        self.listeners(servers)
        locations = Locations(self.file, self.draft, self.upstreams, self.common)
        for server in servers:
            if server.redirect_to is None:
                locations.server(server.directive, server.names)
            else:
                self.redirecting(server)
        locations.finish()
        if self.quiet:
            shown = ", ".join(dict.fromkeys(self.quiet))
            self.draft.remark(Note(self.file, 0, ""), f"what concerns nginx itself has no counterpart: {shown}")

    # -- servers

    def server(self, directive: Directive) -> Server:
        server = Server(directive)
        for one in directive.all("listen"):
            self.listen(server, one)
        if not directive.all("listen"):
            server.ports.append(("0.0.0.0", 80))  # noqa: S104 - nginx's default, read
        names = [name.lower() for one in directive.all("server_name") for name in one.args]
        for name in names:
            if name.startswith("~") or "*" in name:
                self.left(directive.all("server_name")[0], "a host is written out here, or * for any")
        server.names = tuple(name for name in names if name not in ("_", "") and not name.startswith("~") and "*" not in name)
        server.redirect_to = self.redirect(directive)
        for one in directive.block or ():
            if one.name == "ssl_protocols" and set(one.args) != _SAFE_TLS:
                self.left(one, "the gateway speaks TLS 1.2 and 1.3")
            elif one.name in _OF_NGINX:
                self.quiet.append(one.name)
        return server

    def listen(self, server: Server, directive: Directive) -> None:
        match = _LISTEN.fullmatch(directive.args[0]) if directive.args else None
        if match is None:
            self.left(directive, "expected ADDRESS:PORT")
            return
        host = (match["host"] or match["only"] or "0.0.0.0").strip("[]")  # noqa: S104 - read, not bound
        server.ports.append(("0.0.0.0" if host == "*" else host, int(match["port"] or 80)))  # noqa: S104
        for word in directive.args[1:]:
            if word == "ssl":
                server.tls = True
            elif word in ("default_server", "default"):
                server.default = True
            elif word in ("quic", "proxy_protocol"):
                self.left(directive, f"{word} is not spoken")
            elif word == "http2":
                self.draft.remark(self.note(directive, ""), "clients speak HTTP/1.1 with the gateway")
            elif word.partition("=")[0] not in ("ipv6only", "reuseport", "backlog", "deferred", "so_keepalive", "fastopen"):
                self.left(directive, word)

    def redirect(self, directive: Directive) -> int | None:
        """The port of https where all that a server does is to lead there."""
        found = [one for one in directive.block or () if one.name in ("return", "location")]
        if len(found) == 1 and found[0].name == "location" and found[0].args == ("/",):
            found = list(found[0].block or ())
        if len(found) == 1 and found[0].name == "return" and found[0].args[:1] in (("301",), ("302",), ("307",), ("308",)):
            match = _TO_HTTPS.fullmatch(found[0].args[-1])
            if match is not None:
                if found[0].args[0] != "301":
                    self.draft.remark(self.note(found[0]), "the gateway redirects with 301")
                return int(match["port"] or 443)
        return None

    def redirecting(self, server: Server) -> None:
        """What else a server says that only redirects."""
        for one in server.directive.block or ():
            if one.name not in ("listen", "server_name", "return", "location") and not one.name.startswith("ssl_"):
                self.left(one, "this listener redirects, and does nothing else")

    def collisions(self, servers: list[Server]) -> None:
        """Servers that nginx would ignore, since an earlier one has their name and their port."""
        for index, later in enumerate(servers):
            for earlier in servers[:index]:
                if set(earlier.ports) & set(later.ports) and earlier.names == later.names:
                    self.draft.remark(
                        self.note(later.directive, ""),
                        f"the server of line {earlier.directive.line} has the same name and port, so that nginx would ignore "
                        "this one there; here both are put together, and where both have a location this one counts",
                    )

    def hosts(self, servers: list[Server]) -> None:
        """A port's default server answers for any host; where all servers of the sites have one name, that is all of them."""
        serving = [server for server in servers if server.redirect_to is None]
        for server in serving:
            first = next(other for other in serving if set(other.ports) & set(server.ports) or other is server)
            chosen = next((other for other in serving if other.default and set(other.ports) & set(server.ports)), first)
            if server is chosen or server.names == chosen.names:
                server.default = True
        for server in serving:
            if server.default:
                server.names = ()

    # -- listeners

    def listeners(self, servers: list[Server]) -> None:
        by_port: dict[int, list[Server]] = {}
        for server in servers:
            for _, port in server.ports:
                if server not in by_port.setdefault(port, []):
                    by_port[port].append(server)
        for port, found in by_port.items():
            self.listener(port, found)

    def listener(self, port: int, servers: list[Server]) -> None:
        origin = servers[0].directive
        tls = any(server.tls for server in servers)
        section = self.draft.section("listener", "https" if tls and port == 443 else "http" if port == 80 else f"port-{port}")
        self.draft.put(section, "port", str(port), self.note(origin, "listen"))
        addresses = {host for server in servers for host, number in server.ports if number == port}
        if len(addresses) == 1:
            # IPv4 alone stays IPv4 alone: a firewall may know nothing of IPv6
            self.draft.put(section, "interface", addresses.pop(), self.note(origin, "listen"))
        elif not addresses <= {"0.0.0.0", "::"}:  # noqa: S104
            self.left(origin, f"port {port} on several addresses: write a [listener …] for each")
        redirects = [server for server in servers if server.redirect_to is not None]
        if redirects and len(redirects) < len(servers):
            self.left(redirects[0].directive, f"port {port} both redirects and serves: the redirect is left out")
        elif redirects:
            self.draft.put(section, "serve", "redirect", self.note(origin))
            self.draft.put(section, "redirect_to", str(redirects[0].redirect_to), self.note(origin))
        if tls:
            self.draft.put(section, "tls", "yes", self.note(origin))
            self.certificate(section, servers)

    def certificate(self, section: Section, servers: list[Server]) -> None:
        for directive, option in (("ssl_certificate", "certificate"), ("ssl_certificate_key", "private_key")):
            for server in servers:
                for one in server.directive.all(directive):
                    self.draft.put(section, option, " ".join(one.args), self.note(one), "file")
        for server in servers:
            for one in server.directive.all("ssl_client_certificate"):
                self.draft.put(section, "client_ca", " ".join(one.args), self.note(one), "file")
            for one in server.directive.all("ssl_verify_client"):
                if one.args in (("on",), ("optional",)):
                    self.draft.put(
                        section, "client_certificate", "required" if one.args == ("on",) else "optional", self.note(one)
                    )
                elif one.args != ("off",):
                    self.left(one)

    # -- upstreams

    def upstream(self, directive: Directive) -> None:
        servers = []
        for one in directive.block or ():
            if one.name == "server" and one.args and _SERVER.fullmatch(one.args[0]):
                servers.append(one.args[0])
                if len(one.args) > 1:
                    self.left(one, "servers are equal here")
            elif one.name == "keepalive" and one.args:
                section = self.draft.section("upstream", directive.args[0])
                self.draft.put(section, "keepalive", one.args[0], self.note(one))
            elif one.name in ("least_conn", "random", "zone"):
                self.draft.remark(self.note(one, ""), f"{one.text}: the gateway balances by its own lights")
            else:
                self.left(one)
        self.upstreams[directive.args[0] if directive.args else ""] = tuple(servers)

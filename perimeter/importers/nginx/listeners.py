"""The listeners that nginx servers become, with their certificates. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from perimeter.importers.draft import DraftSection
from perimeter.importers.nginx.acme import NginxAcme
from perimeter.importers.nginx.file import NginxFile
from perimeter.importers.nginx.servers import ANY, Place, Server
from perimeter.importers.nginx.tree import Directive


class NginxListeners(NginxFile):
    """Writes listeners. ``common`` are the directives outside of servers, which apply inside them."""

    common: Sequence[Directive] = ()

    def serve(self, places: dict[Place, bool], servers: Sequence[Server]) -> None:
        """Listeners for the routes on ``places``, which all of ``servers`` have; the value says whether there is TLS."""
        for port in dict.fromkeys(port for _, port in places):
            for addresses in _addresses([host for host, number in places if number == port]):
                tls = any(places[place] for place in places if place[1] == port)
                self._listener(port, addresses, tls, servers)

    def redirect(self, servers: Sequence[Server], serving: dict[Place, bool]) -> None:
        """Listeners of servers that only redirect to https, where no other server listens."""
        ports = dict.fromkeys(port for server in servers for _, port in server.places)
        for port in ports:
            there = [server for server in servers if port in server.ports]
            hosts = [host for server in there for host, number in server.places if number == port and (host, port) not in serving]
            tls = any(on for server in there for (_, number), on in server.places.items() if number == port)
            for addresses in _addresses(list(dict.fromkeys(hosts))):
                section = self._listener(port, addresses, tls, there)
                self.draft.put(section, "serve", "redirect", self.note(there[0].directive))
                self.draft.put(section, "redirect_to", str(there[0].redirect_to), self.note(there[0].directive))

    def _listener(self, port: int, address: str, tls: bool, servers: Sequence[Server]) -> DraftSection:
        there = [server for server in servers if port in server.ports]
        origin = next((one for server in there for one in server.directive.all("listen")), there[0].directive)
        name = "https" if tls and port == 443 else "http" if port == 80 else f"port-{port}" if port else "socket"
        section = self.draft.section("listener", self.draft.free_name("listener", name))
        if port:
            self.draft.put(section, "port", str(port), self.note(origin, "listen"))
        if address:
            # IPv4 only stays IPv4 only: a firewall may have no rules for IPv6
            self.draft.put(section, "interface", address, self.note(origin, "listen"))
        for server in there:
            for (_, number), balancers in server.balancers.items():
                if number == port:
                    self.draft.put(section, "proxy_protocol", ", ".join(balancers), self.note(origin, "listen proxy_protocol"))
        if tls:
            self.draft.put(section, "tls", "yes", self.note(origin))
            self._certificate(section, there)
        return section

    def _of(self, server: Server, name: str) -> list[Directive]:
        return server.directive.all(name) or [one for one in self.common if one.name == name]

    def _files(self, server: Server, name: str) -> list[Directive]:
        """The directives that name a file, not a variable of the module that orders certificates."""
        return [one for one in self._of(server, name) if not one.args[:1] or not one.args[0].startswith("$acme_")]

    def _certificate(self, section: DraftSection, servers: Sequence[Server]) -> None:
        pairs: dict[tuple[str, str], Directive] = {}
        for server in servers:
            certificates, keys = (self._files(server, name) for name in ("ssl_certificate", "ssl_certificate_key"))
            for one in (*certificates[len(keys) :], *keys[len(certificates) :]):
                self.left(one, "a certificate and its key go together")
            for certificate, key in zip(certificates, keys, strict=False):
                pairs.setdefault((" ".join(certificate.args), " ".join(key.args)), certificate)
            for one in self._of(server, "ssl_reject_handshake"):
                self._reject(section, server, one)
        if pairs:
            note = self.note(next(iter(pairs.values())))
            for option, paths in zip(("certificate", "private_key"), zip(*pairs, strict=True), strict=True):
                self.draft.put(section, option, "\n    ".join(paths), note, "file")
        orders = NginxAcme(self.file, self.draft)
        orders.common = self.common
        if "certificate" not in section.options:
            orders.order(section, servers)
        asking: list[Directive] = []
        for server in servers:
            asking += [one for one in self._of(server, "ssl_verify_client")[-1:] if one.args != ("off",)]
        for one in asking:
            if one.args not in (("on",), ("optional",)):
                self.left(one)
        if not asking:
            return
        for server in servers:
            for one in self._of(server, "ssl_client_certificate")[-1:]:
                if not self.draft.put(section, "client_ca", " ".join(one.args), self.note(one), "file"):
                    server.placeless.append((one, "a listener has one client_ca"))
        # a listener treats all clients alike: as the strictest of its servers
        required = [one for one in asking if one.args == ("on",)]
        word = "required" if required else "optional"
        self.draft.put(section, "client_certificate", word, self.note((required or asking)[0]))

    def _reject(self, section: DraftSection, server: Server, one: Directive) -> None:
        """``ssl_reject_handshake on`` in the default server is about names that no certificate has."""
        if one.args != ("on",):
            return
        if server.default:
            self.draft.put(section, "unknown_name", "refuse", self.note(one))
        else:
            why = "only names that no certificate has are refused, with unknown_name = refuse"
            self.left(one, why)
            server.placeless.append((one, why))


def _addresses(hosts: Sequence[str]) -> list[str]:
    """The interfaces of the listeners for one port: "" for all, otherwise each address."""
    if set(ANY) <= set(hosts):
        return [""]
    four, six = [host for host in hosts if ":" not in host], [host for host in hosts if ":" in host]
    return [*(ANY[:1] if ANY[0] in four else four), *(ANY[1:] if ANY[1] in six else six)]

"""A location of nginx as a route. Pure.

A location that cannot be translated becomes a route that is closed to all clients:
an import must never admit a client that nginx refuses.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from perimeter.config.language.datatypes import BadValue
from perimeter.config.language.net_types import UNIX
from perimeter.config.site.identity_headers import DEFAULT
from perimeter.config.site.route_headers import UPSTREAM_HOST
from perimeter.importers.draft import CLOSED_UPSTREAM, NO_CLIENT, Draft, DraftSection, Setting, plain_name
from perimeter.importers.nginx.directives import done
from perimeter.importers.nginx.file import NginxFile
from perimeter.importers.nginx.header_rules import request_rule, response_rules
from perimeter.importers.nginx.headers import ASSERTION, EMAIL, IDENTITY, USERNAME, Fate, dropped_anyway, fate, value_of
from perimeter.importers.nginx.limits import Zones
from perimeter.importers.nginx.location import PASS, Location, either, rewriting, stripping
from perimeter.importers.nginx.tree import Directive
from perimeter.importers.nginx.users import users_of

DEFAULT_INDEX = "index.html, index.htm"

_SIZE = re.compile(r"([0-9]+)([kKmMgG]?)")
_TIME = re.compile(r"[0-9]+(?:ms|s|m|h|d)?")
_UNITS = {"": "", "k": "KiB", "m": "MiB", "g": "GiB"}


class Routes(NginxFile):
    """Writes locations as routes.

    ``upstreams`` maps names to servers; ``roots`` are directories that all clients may read; ``zones`` are those of limits.
    """

    def __init__(
        self,
        file: str,
        draft: Draft,
        upstreams: Mapping[str, tuple[str, ...]],
        roots: Collection[str],
        zones: Zones,
    ) -> None:
        super().__init__(file, draft)
        self.upstreams = upstreams
        self.roots = roots
        self.zones = zones

    def add(self, location: Location) -> None:
        """Write ``location``."""
        directive = location.directive
        name = plain_name((location.expression or location.path).strip("/")) if location.written != "/" else "root"
        name = f"{plain_name(location.hosts[0])}-{name}" if location.hosts else name
        section = self.draft.section("route", self.draft.free_name("route", name))
        if location.hosts:
            self.draft.put(section, "host", ", ".join(location.hosts), self.note(directive))
        self.draft.put(section, "path", location.written, self.note(directive))
        if location.answer is not None and not location.standing.closes:
            for option, value in location.answer[1].items():
                self.draft.put(section, option, value, self.note(location.answer[0]))
        elif location.directive.all("internal"):
            self._nowhere(location, section)
        elif location.proxied:
            self._proxy(location, section, name)
        elif location.root and not location.standing.closes and (location.standing.networks != () or location.rules()):
            self._static(location, section)
        else:
            self._nowhere(location, section)
        self._who(location, section)
        if location.proxied:
            self._identity(location, section)
        self._answers(location, section)
        self._log(location, section)
        if not location.standing.closes:
            self._limits(location, section)
        stripped = stripping(location)
        translated = [*(one for one, _ in location.standing.closes), *([stripped[0]] if stripped else [])]
        translated += [] if location.answer is None else [location.answer[0]]
        for one in directive.block or ():
            if not done(one) and not any(one is other for other in translated) and one.name != "limit_except":
                self.left(one)

    def _nowhere(self, location: Location, section: DraftSection) -> None:
        """The target of a closed route."""
        upstream = self.draft.section("upstream", "closed", "for routes that are closed to all clients")
        self.draft.put(upstream, "servers", CLOSED_UPSTREAM, self.note(location.directive))
        self.draft.put(section, "upstream", "closed", self.note(location.directive))

    def _who(self, location: Location, section: DraftSection) -> None:
        """Who may use the route."""
        standing, directive = location.standing, location.directive
        if standing.closes:
            self.draft.close(section, [(self.note(one), why) for one, why in standing.closes])
            return
        if location.answer is not None:
            self.draft.put(section, "auth", "none", self.note(directive))
            return
        if location.word("auth_basic") not in ("", "off") and not location.found:
            self.draft.remark(
                self.note(location.of("auth_basic")[0], ""), "auth_basic: import its password file together with this one"
            )
        if either(location) and location.rules():
            self.left(location.of("satisfy")[-1], "here clients of any network need credentials")
        if standing.networks is not None:
            rule = (location.directive.all("internal") or location.rules() or [directive])[-1]
            self.draft.put(section, "networks", ", ".join(standing.networks) or NO_CLIENT, self.note(rule))
            if directive.all("internal"):
                self.draft.remark(self.note(rule, ""), f"{directive.text} is internal: no client reaches it")
        if standing.denied:
            self.draft.put(section, "deny", standing.denied, self.note(location.rules()[0]))
        if standing.methods is not None:
            allowed = ", ".join(f"method:{word}" for word in standing.methods)
            self.draft.put(section, "allow", allowed, self.note(directive.all("limit_except")[0]))
        elif location.realm:
            self.draft.put(section, "allow", f"realm:{location.realm}", self.note(users_of(location).directive))
        if standing.anonymous:
            self.draft.put(section, "auth", "none", self.note(directive))
        if standing.open and location.proxied:
            self.draft.remark(self.note(directive, ""), f"{directive.text} is open to all clients, as it is in nginx")
        for other in location.beside:
            self.draft.guard(section, location.root, location.route_path, other.path, self.note(other.directive))

    def _static(self, location: Location, section: DraftSection) -> None:
        directive = (location.directive.all("alias") or location.of("root"))[0]
        self.draft.put(section, "static", location.root, self.note(directive), "directory")
        index = ", ".join(word for one in location.of("index") for word in one.args)
        if index and index != DEFAULT_INDEX:
            self.draft.put(section, "index", index, self.note(location.of("index")[0]))
        for one in location.of("try_files"):
            if one.args not in (("$uri", "$uri/", "=404"), ("$uri", "=404")) and one.args[:1] == ("$uri",):
                self.left(one, "a file that does not exist is 404")

    def _proxy(self, location: Location, section: DraftSection, name: str) -> None:
        one = location.directive.all("proxy_pass")[0]
        match = PASS.fullmatch(one.args[0] if one.args else "")
        if match is None:
            self._nowhere(location, section)
            return
        scheme, host, port, uri = match[1], match[2], match[3] or "", match[4]
        servers = self.upstreams.get(host) if not port else None
        places = servers or (f"{host}{port}",)
        listed = ", ".join(place if place.startswith(UNIX) else f"{scheme}://{place}" for place in places)
        upstream = self._upstream(host if servers else name, listed)
        self.draft.put(upstream, "servers", listed, self.note(one))
        for directive, option in (("proxy_connect_timeout", "connect_timeout"), ("proxy_read_timeout", "read_timeout")):
            for timeout in location.of(directive)[-1:]:
                if timeout.args and _TIME.fullmatch(timeout.args[0]):
                    self.draft.put(upstream, option, timeout.args[0], self.note(timeout))
                else:
                    self.left(timeout, "expected a duration")
        self.draft.put(section, "upstream", upstream.header.partition(" ")[2], self.note(one))
        self._verified(location, upstream, scheme)
        self._compressed(location, section)
        if stripped := stripping(location):
            if stripped[1] != location.route_path:
                self.draft.put(section, "rewrite", stripped[1], self.note(stripped[0]))
        elif rewrite := rewriting(location, uri)[0]:
            self.draft.put(section, "rewrite", rewrite, self.note(one))
        for limit in location.of("client_max_body_size")[-1:]:
            size = _SIZE.fullmatch(limit.args[0] if limit.args else "")
            if size is None:
                self.left(limit, "expected a size")
            elif int(size[1]):
                self.draft.put(section, "max_body", f"{size[1]}{_UNITS[size[2].lower()]}", self.note(limit))

    def _compressed(self, location: Location, section: DraftSection) -> None:
        """Whether responses are compressed. nginx always compresses ``text/html`` then."""
        if location.word("gzip") != "on" or location.standing.closes:
            return
        self.draft.put(section, "compression", "gzip", self.note(location.of("gzip")[-1]))
        self.draft.remark(self.note(location.of("gzip")[-1], ""), "gzip: responses that may carry secrets are sent plain here")
        for one in location.of("gzip_types")[-1:]:
            if "*" in one.args:
                self.left(one, "the types are listed")
            else:
                self.draft.put(section, "compression_types", ", ".join(dict.fromkeys(("text/html", *one.args))), self.note(one))
        if not location.of("gzip_types"):
            self.draft.put(section, "compression_types", "text/html", self.note(location.of("gzip")[-1]))
        for one in location.of("gzip_min_length")[-1:]:
            self.draft.put(section, "compression_min", " ".join(one.args), self.note(one))

    def _limits(self, location: Location, section: DraftSection) -> None:
        """How many requests clients may send. nginx counts all locations of a zone together, the gateway each route."""
        for name, option, translated in (
            ("limit_req", "rate", self.zones.rate),
            ("limit_conn", "in_flight", self.zones.in_flight),
        ):
            values: dict[str, str] = {}
            for one in location.of(name):
                value = translated(one)
                if value is None:
                    self.left(one, "its zone does not count by address or user")
                elif values.setdefault(_whose(value), value) != value:
                    self.left(one, f"the route has another {option} for the same clients")
                elif name == "limit_req" and "nodelay" not in one.args:
                    self.draft.remark(self.note(one, ""), f"{one.text}: requests over the burst are refused, none is delayed")
            if values:
                self.draft.put(section, option, ", ".join(values.values()), self.note(location.of(name)[0]))

    def _upstream(self, name: str, servers: str) -> DraftSection:
        """The section for ``servers``. Another service never gets the requests, even if its section has the same name."""
        number, wanted = 1, name
        while True:
            section = self.draft.section("upstream", wanted)
            if section.options.get("servers", Setting(servers)).value == servers:
                return section
            number += 1
            wanted = f"{plain_name(name)}-{number}"

    def _verified(self, location: Location, upstream: DraftSection, scheme: str) -> None:
        """How the certificate of the service is verified. nginx does not verify it unless it is configured."""
        wanted = location.word("proxy_ssl_verify") == "on"
        for one in location.of("proxy_ssl_trusted_certificate")[-1:] if scheme == "https" else ():
            self.draft.put(upstream, "ca_certificate", " ".join(one.args), self.note(one), "file")
        for name, option in (("proxy_ssl_certificate", "client_certificate"), ("proxy_ssl_certificate_key", "client_key")):
            for one in location.of(name)[-1:] if scheme == "https" else ():
                self.draft.put(upstream, option, " ".join(one.args), self.note(one), "file")
        for one in location.of("proxy_ssl_name")[-1:] if scheme == "https" else ():
            if "$" in (one.args or ("$",))[0]:
                self.left(one)
            else:
                self.draft.put(upstream, "server_name", one.args[0], self.note(one))
        if scheme == "https" and not wanted:
            one = location.directive.all("proxy_pass")[0]
            self.draft.remark(
                self.note(one, ""),
                f"{one.text}: its certificate is verified here; ca_certificate in [{upstream.header}] names the CA",
            )

    def _identity(self, location: Location, section: DraftSection) -> None:
        """The headers that say who the user is, and those that only the service of nginx got."""
        words: list[str] = []
        # nginx passes the client's Authorization on; with users of its own the gateway does so only if it is written down
        passes = location.directive if location.proxied and location.standing.anonymous else None
        closing = [one for one, _ in location.standing.closes]
        headers = [
            (one, fate(one, location.variables), value_of(one, location.variables)) for one in location.of("proxy_set_header")
        ]
        named = any(IDENTITY.get(value) == USERNAME for _, _, value in headers)
        rules = [request_rule(one.args[0], value) or "" for one, found, value in headers if found is Fate.RULED]
        if rules:
            first = next(one for one, found, _ in headers if found is Fate.RULED)
            self.draft.put(section, "request_headers", "\n    ".join(("", *rules)), self.note(first))
        for one, found, value in headers:
            if found is Fate.USER and value == ASSERTION:
                words.append("jwt")
            elif one.args[:1] and one.args[0].lower() == "authorization":
                passes = one if value == "$http_authorization" else None
                if value and passes is None:
                    self.left(one, "write authorization = fixed file:PATH in the route, with the value in that file")
            elif found is Fate.USER or (value in EMAIL and not named and location.standing.asks):
                option, default = IDENTITY.get(value, USERNAME)
                words.append("headers")
                if value in EMAIL:
                    self.left(one, "the service gets the user name there, not the e-mail address")
                if one.args[0].lower() != default.lower() and not self.draft.put(section, option, one.args[0], self.note(one)):
                    self._dropped(one)
            elif found in (Fate.DROPPED, Fate.MISSING, Fate.EMAIL):
                self._dropped(one)
                if value and not any(one is other for other in closing):
                    self.left(one, "the service does not get it, and no client can send it")
            elif one.args[:1] and one.args[0].lower() == "host" and found is not Fate.SAME:
                self._host(location, section, one, value)
            elif found not in (Fate.SAME, Fate.RULED) and not any(one is other for other in closing):
                self.left(one)
        if passes is not None and "jwt" not in words:
            self.draft.put(section, "authorization", "pass", self.note(passes))
        if location.standing.asks:
            chosen = ", ".join(word for word in ("headers", "jwt") if word in words)
            self.draft.put(section, "identity", chosen or "none", self.note(location.directive))
        for one in location.directive.all("proxy_redirect"):
            # the gateway maps addresses of the service to its own, as `default` does
            if one.args[:1] not in (("default",), ("off",)):
                self.left(one)

    def _host(self, location: Location, section: DraftSection, one: Directive, value: str) -> None:
        """The Host that the service gets, if it is not the client's."""
        if value == "$proxy_host":
            match = PASS.fullmatch(location.directive.all("proxy_pass")[0].args[0])
            value = f"{match[2]}{match[3] or ''}" if match is not None else ""
        try:
            UPSTREAM_HOST.convert(value, Path())
        except BadValue:
            self.left(one)
        else:
            self.draft.put(section, "upstream_host", value, self.note(one))

    def _answers(self, location: Location, section: DraftSection) -> None:
        """The headers that clients get."""
        hidden, added = location.of("proxy_hide_header") if location.proxied else [], location.of("add_header")
        rules = response_rules(hidden, added, self.left)
        if rules and not location.standing.closes and (location.proxied or "static" in section.options):
            self.draft.put(section, "response_headers", "\n    ".join(("", *rules)), self.note((*added, *hidden)[0]))

    def _dropped(self, one: Directive) -> None:
        """No client may send the header that ``one`` sets."""
        if dropped_anyway(one.args[0]):
            return
        perimeter = self.draft.section("perimeter")
        before = perimeter.options.get("identity_headers")
        names = before.value.split(", ") if before is not None else [DEFAULT]
        if one.args[0].lower() not in [name.lower() for name in names]:
            perimeter.options["identity_headers"] = Setting(", ".join((*names, one.args[0])), "", self.note(one))

    def _log(self, location: Location, section: DraftSection) -> None:
        for one in location.of("access_log")[-1:]:
            path = one.args[0] if one.args else ""
            if path == "off":
                self.draft.remark(self.note(one, ""), "access_log off: the gateway logs every request")
                return
            if "$" in path or path.startswith("syslog:"):
                self.left(one, "an audit log is a file")
                return
            needs = "parent" if "/" in path else ""
            if any(path.startswith(f"{root.rstrip('/')}/") for root in self.roots):
                self.draft.remark(
                    self.note(one, ""),
                    f"{path} is in a directory that all clients may read: the log is written beside the site.ini",
                )
                path, needs = path.rpartition("/")[2], ""
            audit = self.draft.section("audit")
            if "path" not in audit.options and (location.path == "/" or not location.directive.all("access_log")):
                # the gateway's own endpoints are logged here as well
                self.draft.put(audit, "path", path, self.note(one), needs)
                audit.options.setdefault("format", Setting("combined"))
            elif "path" not in audit.options or audit.options["path"].value != path:
                audit.options.setdefault("format", Setting("combined"))
                self.draft.put(section, "audit", path, self.note(one), needs)


def _whose(limit: str) -> str:
    """Whose limit it is, and of which time: of each there is one in a route."""
    number, per, who = limit.split()[:3]
    return f"{number.partition('/')[2]} {per} {who}"

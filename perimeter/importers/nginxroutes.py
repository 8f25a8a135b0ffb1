"""The locations of an nginx server as routes. Pure.

What restricts a location and is not understood closes it (``auth = required``): an importer must never open a door.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import attrs

from perimeter.importers.draft import Draft, Note, Section, Setting, plain_name
from perimeter.importers.nginxlocation import CONSUMED, RESTRICTING, Location, known_inside, known_outside
from perimeter.importers.nginxtree import Directive

NOBODY = "255.255.255.255/32"
DEFAULT_INDEX = "index.html, index.htm"

_PASS = re.compile(r"(https?)://([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?(/[^$?]*)?")
_SIZE = re.compile(r"([0-9]+)([kKmMgG]?)")
_TIME = re.compile(r"[0-9]+(?:ms|s|m|h|d)?")
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,=:@/-]*")
_UNITS = {"": "", "k": "KiB", "m": "MiB", "g": "GiB"}
_IDENTITY = {
    "$upstream_http_x_auth_username": ("identity_username_header", "X-Auth-Username"),
    "$upstream_http_x_auth_realm": ("identity_realm_header", "X-Auth-Realm"),
    "$upstream_http_x_auth_roles": ("identity_roles_header", "X-Auth-Roles"),
    "$remote_user": ("identity_username_header", "X-Auth-Username"),
}
_ASSERTION = "$upstream_http_authorization"
#: fields that the gateway sets anyway
_FORWARDED = frozenset(
    (
        *(("host", "$host"), ("host", "$http_host"), ("x-real-ip", "$remote_addr"), ("x-forwarded-proto", "$scheme")),
        *(("x-forwarded-for", "$proxy_add_x_forwarded_for"), ("x-forwarded-host", "$host"), ("upgrade", "$http_upgrade")),
        *(
            ("connection", "upgrade"),
            ("connection", "$connection_upgrade"),
            ("connection", ""),
            ("x-forwarded-host", "$http_host"),
        ),
    )
)
#: of a request that only asks whether another one may pass
_ASKING = frozenset(("content-length", "x-original-uri", "x-original-url", "x-original-method", "x-original-remote-addr"))


class Locations:
    """Collects the locations of all servers, and writes them as routes when the last one has come."""

    def __init__(self, file: str, draft: Draft, upstreams: Mapping[str, tuple[str, ...]], common: Sequence[Directive]) -> None:
        self.file = file
        self.draft = draft
        self.upstreams = upstreams
        self.common = list(common)
        self.found: dict[tuple[tuple[str, ...], str, bool], Location] = {}
        self.asked: dict[str, Directive] = {}

    def _note(self, directive: Directive, text: str = "") -> Note:
        return Note(self.file, directive.line, text or directive.text)

    def _left(self, directive: Directive, text: str = "") -> None:
        self.draft.left(self._note(directive), f"{directive.text}{text and ': ' + text}")

    # -- collecting

    def server(self, server: Directive, hosts: tuple[str, ...]) -> None:
        """The locations of one server."""
        block = server.block or []
        outer = [*(one for one in self.common if not server.all(one.name)), *block]
        asking = {one.args[0] for one in _all(block, "auth_request") if one.args and one.args[0] != "off"}
        for one in server.all("location"):
            self._location(one, hosts, outer, asking)
        if server.all("root") and not any(one.args == ("/",) for one in server.all("location")):
            self.found[hosts, "/", False] = Location("/", False, hosts, Directive("location", ("/",), server.line, []), outer)
        for one in (*self.common, *server.all("error_page")):
            if one.name == "error_page":
                self._error_page(one)
        for one in block:
            if not known_outside(one.name):
                self._left(one)

    def _location(self, one: Directive, hosts: tuple[str, ...], outer: list[Directive], asking: set[str]) -> None:
        modifier, path = (one.args[0], one.args[1]) if len(one.args) == 2 else ("", one.args[0] if one.args else "")
        if path in asking:
            self._question(one)
        elif modifier not in ("", "=", "^~") or not _PATH.fullmatch(path) or ".." in path.split("/") or "//" in path:
            self._left(one, "a route has a plain path; requests for it go where a shorter path leads")
        else:
            self._keep(Location(path, modifier == "=", hosts, one, outer))
            inner = [
                *(other for other in outer if not one.all(other.name)),
                *(other for other in one.block or () if other.block is None),
            ]
            for nested in one.all("location"):
                self._location(nested, hosts, inner, asking)

    def _keep(self, location: Location) -> None:
        """One of several servers' locations for a path: the last one, unless an earlier one is stricter."""
        key = (location.hosts, location.path, location.exact)
        before = self.found.get(key)
        if before is not None and before.restricted and not location.restricted:
            self.draft.remark(
                self._note(location.directive, ""),
                f"{location.directive.text}: that of line {before.directive.line} counts, which is stricter",
            )
        else:
            self.found[key] = location

    def _question(self, location: Directive) -> None:
        """A location that asks Auth-o-tron: the gateway knows by itself."""
        for one in location.block or ():
            if one.name == "proxy_pass" and (match := _PASS.fullmatch(one.args[0] if one.args else "")):
                self.draft.asked_ports.add(int((match[3] or ":80")[1:]))
            elif one.name == "proxy_set_header" and one.args:
                name, value = one.args[0].lower(), " ".join(one.args[1:])
                if name not in _ASKING and (name, value) not in _FORWARDED:
                    self._left(one)
            elif (
                one.name not in ("internal", "proxy_pass_request_body", "proxy_pass_request_headers") and one.name not in CONSUMED
            ):
                self._left(one)

    def _error_page(self, one: Directive) -> None:
        *statuses, page = one.args
        if not statuses or not page.startswith("/") or not all(re.fullmatch("[45][0-9][0-9]", word) for word in statuses):
            self._left(one, "a page is the path of a file, for statuses from 400 on, which stay as they are")
            return
        section = self.draft.section("errors")
        line = f"{' '.join(statuses)} {page}"
        before = section.options.get("page")
        if before is None:
            self.draft.put(section, "page", line, self._note(one))
        elif line not in before.value.split("\n    "):
            section.options["page"] = attrs.evolve(before, value=f"{before.value}\n    {line}")

    # -- writing

    def finish(self) -> None:
        """All servers have been told of."""
        roots = {location.root for location in self.found.values() if not location.of("proxy_pass") and location.root}
        for location in self.found.values():
            if location.exact and self._covered(location):
                continue
            self._route(location, roots)

    def _covered(self, location: Location) -> bool:
        """Whether an exact static location is in the directory of the prefix around it, so that it needs no route."""
        around = [
            other
            for other in self.found.values()
            if not other.exact and other.hosts == location.hosts and location.path.startswith(other.path)
        ]
        if location.directive.all("proxy_pass") or location.restricted or not around:
            return False
        longest = max(around, key=lambda other: len(other.path))
        return bool(location.word("root")) and location.word("root") == longest.word("root") and not longest.of("proxy_pass")

    def _route(self, location: Location, roots: set[str]) -> None:
        directive = location.directive
        name = plain_name(location.path.strip("/")) if location.path != "/" else "root"
        name = f"{plain_name(location.hosts[0])}-{name}" if location.hosts else name
        if location.exact:
            if not directive.all("proxy_pass"):
                self._file(location, name)
                return
            self.draft.remark(self._note(directive, ""), f"{directive.text}: here it is the path and what is below it")
        if not location.directive.all("proxy_pass") and not location.root:
            self._left(directive, "it has neither proxy_pass nor root; requests for it go where a shorter path leads")
            return
        section = self.draft.section("route", self.draft.free_name("route", name))
        if location.hosts:
            self.draft.put(section, "host", ", ".join(location.hosts), self._note(directive))
        self.draft.put(section, "path", location.path.rstrip("/") or "/", self._note(directive))
        proxied = bool(directive.all("proxy_pass"))
        if proxied:
            self._proxy(location, section, name)
        else:
            self._static(location, section)
        closed = self._auth(location, section)
        if proxied:
            self._identity(location, section, closed)
        self._networks(location, section)
        self._log(location, section, roots)
        for one in directive.block or ():
            if one.name.startswith(RESTRICTING) and not known_inside(one.name):
                self._left(one, "the route is closed to everybody who does not say who it is")
            elif not known_inside(one.name):
                self._left(one)

    def _file(self, location: Location, name: str) -> None:
        """A location of one file, which a route cannot be; one that not everybody may have must not get into another's hands."""
        self._left(location.directive, "a route is a path and what is below it; put the file into a directory of a static route")
        root = location.word("root")
        if location.restricted and root:
            section = self.draft.section("route", self.draft.free_name("route", name), "closed to everybody, see below")
            if location.hosts:
                self.draft.put(section, "host", ", ".join(location.hosts), self._note(location.directive))
            self.draft.put(section, "path", location.path.rstrip("/") or "/", self._note(location.directive))
            self.draft.put(section, "static", root, self._note(location.directive), "directory")
            self.draft.put(section, "auth", "none", self._note(location.directive))
            self.draft.put(section, "networks", NOBODY, self._note(location.directive))

    def _static(self, location: Location, section: Section) -> None:
        directive = (location.directive.all("alias") or location.of("root"))[0]
        self.draft.put(section, "static", location.root, self._note(directive), "directory")
        index = ", ".join(word for one in location.of("index") for word in one.args)
        if index and index != DEFAULT_INDEX:
            self.draft.put(section, "index", index, self._note(location.of("index")[0]))
        for one in location.of("try_files"):
            if one.args not in (("$uri", "$uri/", "=404"), ("$uri", "=404")):
                self._left(one, "what is not there is 404")

    def _proxy(self, location: Location, section: Section, name: str) -> None:
        one = location.directive.all("proxy_pass")[0]
        match = _PASS.fullmatch(one.args[0] if one.args else "")
        if match is None:
            self._left(one, "expected http://host:port/path, without variables")
            self.draft.put(section, "upstream", name, self._note(one))
            self.draft.put(self.draft.section("upstream", name), "servers", "http://127.0.0.1:9", self._note(one))
            return
        scheme, host, port, uri = match[1], match[2], match[3] or "", match[4]
        known = self.upstreams.get(host) if not port else None
        servers = ", ".join(f"{scheme}://{server}" for server in known) if known else f"{scheme}://{host}{port}"
        upstream = self.draft.section("upstream", host if known else name)
        self.draft.put(upstream, "servers", servers, self._note(one))
        for directive, option in (("proxy_connect_timeout", "connect_timeout"), ("proxy_read_timeout", "read_timeout")):
            for timeout in location.of(directive)[-1:]:
                if timeout.args and _TIME.fullmatch(timeout.args[0]):
                    self.draft.put(upstream, option, timeout.args[0], self._note(timeout))
                else:
                    self._left(timeout, "expected a duration")
        self.draft.put(section, "upstream", upstream.header.partition(" ")[2], self._note(one))
        if uri is not None:
            self._rewrite(location, section, uri, one)
        for limit in location.of("client_max_body_size")[-1:]:
            size = _SIZE.fullmatch(limit.args[0] if limit.args else "")
            if size is None:
                self._left(limit, "expected a size")
            elif int(size[1]):
                self.draft.put(section, "max_body", f"{size[1]}{_UNITS[size[2].lower()]}", self._note(limit))

    def _rewrite(self, location: Location, section: Section, uri: str, one: Directive) -> None:
        path = location.path
        if uri.rstrip("/") == path.rstrip("/"):
            return
        if uri != "/" and path.endswith("/") != uri.endswith("/"):
            self._left(one, f"{path} and {uri} have to end alike; the path is passed on as it comes")
        elif not _PATH.fullmatch(uri) or "//" in uri or ".." in uri.split("/"):
            self._left(one, "rewrite is a plain path")
        else:
            self.draft.put(section, "rewrite", uri.rstrip("/") or "/", self._note(one))

    def _auth(self, location: Location, section: Section) -> bool:
        """Whether the client has to say who it is; sure is sure."""
        directive = location.directive
        asks = location.word("auth_request") not in ("", "off")
        basic = location.word("auth_basic") not in ("", "off")
        if basic:
            self.draft.remark(
                self._note(location.of("auth_basic")[0], ""), "auth_basic: import its password file together with this one"
            )
        if asks or basic or location.unclear:
            return True
        self.draft.put(section, "auth", "none", self._note(directive))
        if directive.all("proxy_pass") and not location.restricted:
            self.draft.remark(self._note(directive, ""), f"{directive.text} is open to everybody, as it is in nginx")
        return False

    def _identity(self, location: Location, section: Section, closed: bool) -> None:
        variables = {one.args[0]: one.args[1] for one in location.of("auth_request_set") if len(one.args) == 2}
        words: list[str] = []
        for one in location.of("proxy_set_header"):
            name = one.args[0] if one.args else ""
            value = " ".join(one.args[1:])
            value = variables.get(value, value)
            if name.lower() == "authorization" and value == _ASSERTION:
                words.append("jwt")
            elif value in _IDENTITY:
                option, default = _IDENTITY[value]
                words.append("headers")
                if name.lower() != default.lower():
                    self.draft.put(section, option, name, self._note(one))
            elif (name.lower(), value) not in _FORWARDED:
                self._left(one)
        for one in location.of("auth_request_set"):
            if len(one.args) != 2 or one.args[1] not in (*_IDENTITY, _ASSERTION):
                self._left(one)
        if closed:
            chosen = ", ".join(word for word in ("headers", "jwt") if word in words)
            self.draft.put(section, "identity", chosen or "none", self._note(location.directive))
        for one in location.directive.all("proxy_redirect"):
            # the gateway maps addresses of the service back to its own, which is what default means
            if one.args[:1] not in (("default",), ("off",)):
                self._left(one)

    def _networks(self, location: Location, section: Section) -> None:
        block = [*location.directive.all("allow"), *location.directive.all("deny")] or [
            one for one in location.outer if one.name in ("allow", "deny")
        ]
        rules = sorted(block, key=lambda one: one.line)
        if internal := location.directive.all("internal"):
            self.draft.put(section, "networks", NOBODY, self._note(internal[0]))
            self.draft.remark(
                self._note(internal[0], ""), f"{location.directive.text} is internal: nobody reaches it from outside"
            )
            return
        if not rules:
            return
        allowed = [one.args[0] for one in rules[:-1]]
        if rules[-1].name == "deny" and rules[-1].args == ("all",) and all(one.name == "allow" for one in rules[:-1]):
            self.draft.put(section, "networks", ", ".join(allowed) or NOBODY, self._note(rules[-1]))
        else:
            self._left(rules[0], "networks lists who may come; until then nobody may")
            self.draft.put(section, "networks", NOBODY, self._note(rules[0]))

    def _log(self, location: Location, section: Section, roots: set[str]) -> None:
        for one in location.of("access_log")[-1:]:
            path = one.args[0] if one.args else ""
            if path == "off":
                self.draft.remark(self._note(one, ""), "access_log off: the gateway writes a record of every request")
                return
            if "$" in path or path.startswith("syslog:"):
                self._left(one, "an audit log is a file")
                return
            needs = "parent" if "/" in path else ""
            if any(path.startswith(f"{root.rstrip('/')}/") for root in roots):
                self.draft.remark(
                    self._note(one, ""), f"{path} is in a directory that everybody may read: the log is beside the site.ini"
                )
                path, needs = path.rpartition("/")[2], ""
            audit = self.draft.section("audit")
            if "path" not in audit.options and (location.path == "/" or not location.directive.all("access_log")):
                # the gateway's own endpoints are logged here as well
                self.draft.put(audit, "path", path, self._note(one), needs)
                audit.options.setdefault("format", Setting("combined"))
            elif "path" not in audit.options or audit.options["path"].value != path:
                audit.options.setdefault("format", Setting("combined"))
                self.draft.put(section, "audit", path, self._note(one), needs)


def _all(block: Sequence[Directive], name: str) -> list[Directive]:
    return [found for one in block for found in ([one] if one.name == name else _all(one.block or [], name))]

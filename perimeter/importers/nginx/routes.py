"""A location of nginx as a route. Pure.

What restricts a location and is not understood closes it (``auth = required``): an importer must never open a door.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from perimeter.importers.draft import Draft, Section, Setting, plain_name
from perimeter.importers.nginx.file import NginxFile
from perimeter.importers.nginx.location import FORWARDED, PASS, PLAIN_PATH, RESTRICTING, Location, known_inside
from perimeter.importers.nginx.tree import Directive

NOBODY = "255.255.255.255/32"
DEFAULT_INDEX = "index.html, index.htm"

_SIZE = re.compile(r"([0-9]+)([kKmMgG]?)")
_TIME = re.compile(r"[0-9]+(?:ms|s|m|h|d)?")
_UNITS = {"": "", "k": "KiB", "m": "MiB", "g": "GiB"}
_IDENTITY = {
    "$upstream_http_x_auth_username": ("identity_username_header", "X-Auth-Username"),
    "$upstream_http_x_auth_realm": ("identity_realm_header", "X-Auth-Realm"),
    "$upstream_http_x_auth_roles": ("identity_roles_header", "X-Auth-Roles"),
    "$remote_user": ("identity_username_header", "X-Auth-Username"),
}
_ASSERTION = "$upstream_http_authorization"


class Routes(NginxFile):
    """Writes locations as routes. ``upstreams`` are the servers by name, ``roots`` the directories that everybody may read."""

    def __init__(self, file: str, draft: Draft, upstreams: Mapping[str, tuple[str, ...]], roots: Collection[str]) -> None:
        super().__init__(file, draft)
        self.upstreams = upstreams
        self.roots = roots

    def add(self, location: Location) -> None:
        """Write ``location``."""
        directive = location.directive
        name = plain_name(location.path.strip("/")) if location.path != "/" else "root"
        name = f"{plain_name(location.hosts[0])}-{name}" if location.hosts else name
        if location.exact:
            if not directive.all("proxy_pass"):
                self._file(location, name)
                return
            self.draft.remark(self.note(directive, ""), f"{directive.text}: here it is the path and what is below it")
        if not location.directive.all("proxy_pass") and not location.root:
            self.left(directive, "it has neither proxy_pass nor root; requests for it go where a shorter path leads")
            return
        section = self.draft.section("route", self.draft.free_name("route", name))
        if location.hosts:
            self.draft.put(section, "host", ", ".join(location.hosts), self.note(directive))
        self.draft.put(section, "path", location.path.rstrip("/") or "/", self.note(directive))
        proxied = bool(directive.all("proxy_pass"))
        if proxied:
            self._proxy(location, section, name)
        else:
            self._static(location, section)
        closed = self._auth(location, section)
        if proxied:
            self._identity(location, section, closed)
        self._networks(location, section)
        self._log(location, section)
        for one in directive.block or ():
            if one.name.startswith(RESTRICTING) and not known_inside(one.name):
                self.left(one, "the route is closed to everybody who does not say who it is")
            elif not known_inside(one.name):
                self.left(one)

    def _file(self, location: Location, name: str) -> None:
        """A location of one file, which a route cannot be; one that not everybody may have must not get into another's hands."""
        self.left(location.directive, "a route is a path and what is below it; put the file into a directory of a static route")
        root = location.word("root")
        if location.restricted and root:
            section = self.draft.section("route", self.draft.free_name("route", name), "closed to everybody, see below")
            if location.hosts:
                self.draft.put(section, "host", ", ".join(location.hosts), self.note(location.directive))
            self.draft.put(section, "path", location.path.rstrip("/") or "/", self.note(location.directive))
            self.draft.put(section, "static", root, self.note(location.directive), "directory")
            self.draft.put(section, "auth", "none", self.note(location.directive))
            self.draft.put(section, "networks", NOBODY, self.note(location.directive))

    def _static(self, location: Location, section: Section) -> None:
        directive = (location.directive.all("alias") or location.of("root"))[0]
        self.draft.put(section, "static", location.root, self.note(directive), "directory")
        index = ", ".join(word for one in location.of("index") for word in one.args)
        if index and index != DEFAULT_INDEX:
            self.draft.put(section, "index", index, self.note(location.of("index")[0]))
        for one in location.of("try_files"):
            if one.args not in (("$uri", "$uri/", "=404"), ("$uri", "=404")):
                self.left(one, "what is not there is 404")

    def _proxy(self, location: Location, section: Section, name: str) -> None:
        one = location.directive.all("proxy_pass")[0]
        match = PASS.fullmatch(one.args[0] if one.args else "")
        if match is None:
            self.left(one, "expected http://host:port/path, without variables")
            self.draft.put(section, "upstream", name, self.note(one))
            self.draft.put(self.draft.section("upstream", name), "servers", "http://127.0.0.1:9", self.note(one))
            return
        scheme, host, port, uri = match[1], match[2], match[3] or "", match[4]
        known = self.upstreams.get(host) if not port else None
        servers = ", ".join(f"{scheme}://{server}" for server in known) if known else f"{scheme}://{host}{port}"
        upstream = self.draft.section("upstream", host if known else name)
        self.draft.put(upstream, "servers", servers, self.note(one))
        for directive, option in (("proxy_connect_timeout", "connect_timeout"), ("proxy_read_timeout", "read_timeout")):
            for timeout in location.of(directive)[-1:]:
                if timeout.args and _TIME.fullmatch(timeout.args[0]):
                    self.draft.put(upstream, option, timeout.args[0], self.note(timeout))
                else:
                    self.left(timeout, "expected a duration")
        self.draft.put(section, "upstream", upstream.header.partition(" ")[2], self.note(one))
        if uri is not None:
            self._rewrite(location, section, uri, one)
        for limit in location.of("client_max_body_size")[-1:]:
            size = _SIZE.fullmatch(limit.args[0] if limit.args else "")
            if size is None:
                self.left(limit, "expected a size")
            elif int(size[1]):
                self.draft.put(section, "max_body", f"{size[1]}{_UNITS[size[2].lower()]}", self.note(limit))

    def _rewrite(self, location: Location, section: Section, uri: str, one: Directive) -> None:
        path = location.path
        if uri.rstrip("/") == path.rstrip("/"):
            return
        if uri != "/" and path.endswith("/") != uri.endswith("/"):
            self.left(one, f"{path} and {uri} have to end alike; the path is passed on as it comes")
        elif not PLAIN_PATH.fullmatch(uri) or "//" in uri or ".." in uri.split("/"):
            self.left(one, "rewrite is a plain path")
        else:
            self.draft.put(section, "rewrite", uri.rstrip("/") or "/", self.note(one))

    def _auth(self, location: Location, section: Section) -> bool:
        """Whether the client has to say who it is; sure is sure."""
        directive = location.directive
        asks = location.word("auth_request") not in ("", "off")
        basic = location.word("auth_basic") not in ("", "off")
        if basic:
            self.draft.remark(
                self.note(location.of("auth_basic")[0], ""), "auth_basic: import its password file together with this one"
            )
        if asks or basic or location.unclear:
            return True
        self.draft.put(section, "auth", "none", self.note(directive))
        if directive.all("proxy_pass") and not location.restricted:
            self.draft.remark(self.note(directive, ""), f"{directive.text} is open to everybody, as it is in nginx")
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
                    self.draft.put(section, option, name, self.note(one))
            elif (name.lower(), value) not in FORWARDED:
                self.left(one)
        for one in location.of("auth_request_set"):
            if len(one.args) != 2 or one.args[1] not in (*_IDENTITY, _ASSERTION):
                self.left(one)
        if closed:
            chosen = ", ".join(word for word in ("headers", "jwt") if word in words)
            self.draft.put(section, "identity", chosen or "none", self.note(location.directive))
        for one in location.directive.all("proxy_redirect"):
            # the gateway maps addresses of the service back to its own, which is what default means
            if one.args[:1] not in (("default",), ("off",)):
                self.left(one)

    def _networks(self, location: Location, section: Section) -> None:
        block = [*location.directive.all("allow"), *location.directive.all("deny")] or [
            one for one in location.outer if one.name in ("allow", "deny")
        ]
        rules = sorted(block, key=lambda one: one.line)
        if internal := location.directive.all("internal"):
            self.draft.put(section, "networks", NOBODY, self.note(internal[0]))
            self.draft.remark(
                self.note(internal[0], ""), f"{location.directive.text} is internal: nobody reaches it from outside"
            )
            return
        if not rules:
            return
        allowed = [one.args[0] for one in rules[:-1]]
        if rules[-1].name == "deny" and rules[-1].args == ("all",) and all(one.name == "allow" for one in rules[:-1]):
            self.draft.put(section, "networks", ", ".join(allowed) or NOBODY, self.note(rules[-1]))
        else:
            self.left(rules[0], "networks lists who may come; until then nobody may")
            self.draft.put(section, "networks", NOBODY, self.note(rules[0]))

    def _log(self, location: Location, section: Section) -> None:
        for one in location.of("access_log")[-1:]:
            path = one.args[0] if one.args else ""
            if path == "off":
                self.draft.remark(self.note(one, ""), "access_log off: the gateway writes a record of every request")
                return
            if "$" in path or path.startswith("syslog:"):
                self.left(one, "an audit log is a file")
                return
            needs = "parent" if "/" in path else ""
            if any(path.startswith(f"{root.rstrip('/')}/") for root in self.roots):
                self.draft.remark(
                    self.note(one, ""), f"{path} is in a directory that everybody may read: the log is beside the site.ini"
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

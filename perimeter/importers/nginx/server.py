"""The locations of all nginx servers, collected: which of them count, and which routes come of them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import attrs

from perimeter.importers.draft import Draft
from perimeter.importers.nginx.file import NginxFile
from perimeter.importers.nginx.location import CONSUMED, FORWARDED, PASS, PLAIN_PATH, Location, known_outside
from perimeter.importers.nginx.routes import Routes
from perimeter.importers.nginx.tree import Directive

#: of a request that only asks whether another one may pass
_ASKING = frozenset(("content-length", "x-original-uri", "x-original-url", "x-original-method", "x-original-remote-addr"))


class Locations(NginxFile):
    """Collects the locations of all servers, and has them written as routes when the last one has come."""

    def __init__(self, file: str, draft: Draft, upstreams: Mapping[str, tuple[str, ...]], common: Sequence[Directive]) -> None:
        super().__init__(file, draft)
        self.upstreams = upstreams
        self.common = list(common)
        self.found: dict[tuple[tuple[str, ...], str, bool], Location] = {}

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
                self.left(one)

    def _location(self, one: Directive, hosts: tuple[str, ...], outer: list[Directive], asking: set[str]) -> None:
        modifier, path = (one.args[0], one.args[1]) if len(one.args) == 2 else ("", one.args[0] if one.args else "")
        if path in asking:
            self._question(one)
        elif modifier not in ("", "=", "^~") or not PLAIN_PATH.fullmatch(path) or ".." in path.split("/") or "//" in path:
            self.left(one, "a route has a plain path; requests for it go where a shorter path leads")
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
                self.note(location.directive, ""),
                f"{location.directive.text}: that of line {before.directive.line} counts, which is stricter",
            )
        else:
            self.found[key] = location

    def _question(self, location: Directive) -> None:
        """A location that asks Auth-o-tron: the gateway knows by itself."""
        for one in location.block or ():
            if one.name == "proxy_pass" and (match := PASS.fullmatch(one.args[0] if one.args else "")):
                self.draft.asked_ports.add(int((match[3] or ":80")[1:]))
            elif one.name == "proxy_set_header" and one.args:
                name, value = one.args[0].lower(), " ".join(one.args[1:])
                if name not in _ASKING and (name, value) not in FORWARDED:
                    self.left(one)
            elif (
                one.name not in ("internal", "proxy_pass_request_body", "proxy_pass_request_headers") and one.name not in CONSUMED
            ):
                self.left(one)

    def _error_page(self, one: Directive) -> None:
        *statuses, page = one.args
        if not statuses or not page.startswith("/") or not all(re.fullmatch("[45][0-9][0-9]", word) for word in statuses):
            self.left(one, "a page is the path of a file, for statuses from 400 on, which stay as they are")
            return
        section = self.draft.section("errors")
        line = f"{' '.join(statuses)} {page}"
        before = section.options.get("page")
        if before is None:
            self.draft.put(section, "page", line, self.note(one))
        elif line not in before.value.split("\n    "):
            section.options["page"] = attrs.evolve(before, value=f"{before.value}\n    {line}")

    def finish(self) -> None:
        """All servers have been told of."""
        roots = {location.root for location in self.found.values() if not location.of("proxy_pass") and location.root}
        routes = Routes(self.file, self.draft, self.upstreams, roots)
        for location in self.found.values():
            if location.exact and self._covered(location):
                continue
            routes.add(location)

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


def _all(block: Sequence[Directive], name: str) -> list[Directive]:
    return [found for one in block for found in ([one] if one.name == name else _all(one.block or [], name))]

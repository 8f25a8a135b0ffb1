"""The locations of all nginx servers, collected by their hosts, and written as routes. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import attrs

from perimeter.importers.draft import Draft
from perimeter.importers.nginx.directives import CONSUMED, done
from perimeter.importers.nginx.file import NginxFile
from perimeter.importers.nginx.location import (
    FORWARDED,
    PASS,
    PLAIN_PATH,
    Location,
    Standing,
    inherit,
    standing,
)
from perimeter.importers.nginx.places import around, beyond, close, settled
from perimeter.importers.nginx.routes import Routes
from perimeter.importers.nginx.tree import Directive

_ASKING = frozenset(("content-length", "x-original-uri", "x-original-url", "x-original-method", "x-original-remote-addr"))
"""Request headers that only describe the request that is asked about."""


@attrs.frozen
class Placeless:
    """A directive that applies to unknown paths, and why. ``files``: it only adds headers or logs to the files of its server, and
    restricts no client."""

    directive: Directive
    why: str
    files: bool = False


@attrs.define
class ServerBlock:
    """The locations of one server. ``placeless`` directives apply to some of its paths, or to all of them."""

    directive: Directive
    locations: list[Location] = attrs.field(factory=list)
    questions: list[Location] = attrs.field(factory=list)
    placeless: list[Placeless] = attrs.field(factory=list)


class Locations(NginxFile):
    """Collects the locations of all servers. ``common`` are the directives outside of servers, which apply inside them."""

    def __init__(self, file: str, draft: Draft, upstreams: Mapping[str, tuple[str, ...]], common: Sequence[Directive]) -> None:
        super().__init__(file, draft)
        self.upstreams = upstreams
        self.common = list(common)
        self.sites: dict[tuple[str, ...], list[ServerBlock]] = {}

    def server(self, server: Directive, hosts: tuple[str, ...], placeless: Sequence[Placeless] = ()) -> None:
        """The locations of one server, which is for ``hosts`` (none: any). ``placeless`` closes what is open there."""
        block = server.block or []
        site = ServerBlock(server, placeless=list(placeless))
        self.sites.setdefault(hosts, []).append(site)
        inside = inherit(self.common, block)
        asking = {one.args[0] for one in _all([*self.common, *block], "auth_request") if one.args and one.args[0] != "off"}
        for one in server.all("location"):
            self._location(site, one, hosts, inside, asking)
        if not any(one.path == "/" and not one.exact for one in site.locations):
            self._around(site, hosts, inside)
        for one in (*self.common, *server.all("error_page")):
            if one.name == "error_page":
                self._error_page(one)
        for one in block:
            if not done(one):
                self.left(one)

    def _around(self, site: ServerBlock, hosts: tuple[str, ...], inside: list[Directive]) -> None:
        """For paths without a location: nginx serves the files of the server's root, if it has one."""
        server = site.directive
        roots = [one for one in inside if one.name == "root"]
        if roots:
            # a `try_files` of the server is in force only here
            directive = Directive("location", ("/",), roots[0].line, server.all("try_files"), roots[0].file)
            site.locations.append(_judged(Location("/", False, hosts, directive, inside)))
        elif hosts:
            directive = Directive("location", ("/",), server.line, [], server.file)
            site.locations.append(Location("/", False, hosts, directive, inside, Standing(networks=())))
            self.draft.remark(
                self.note(server, ""),
                f"{', '.join(hosts)} has no location /: a closed route keeps its paths from the routes for any host",
            )

    def _location(
        self, site: ServerBlock, one: Directive, hosts: tuple[str, ...], outer: list[Directive], asking: set[str]
    ) -> None:
        modifier, path = _matches(one.args)
        inside = inherit(outer, one.block or [])
        if path.startswith("@"):
            self.left(one, "only other locations lead to it")
            return
        if (
            modifier not in ("", "=", "^~")
            or not PLAIN_PATH.fullmatch(path)
            or {"..", "."} & set(path.split("/"))
            or "//" in path
        ):
            more = _judged(Location("/", False, hosts, one, outer))
            found = Placeless(one, "a route has a plain path", _same_files(more))
            self.left(one, f"{found.why}{'' if found.files else '; open routes of this server are closed'}")
            site.placeless.append(found)
            return
        location = _judged(Location(path, modifier == "=", hosts, one, outer))
        if path in asking:
            self._question(one)
            site.questions.append(location)
        else:
            site.locations.append(location)
        for nested in one.all("location"):
            self._location(site, nested, hosts, inside, asking)

    def _question(self, location: Directive) -> None:
        """A location that asks Auth-o-tron, whose work the gateway does."""
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
        *statuses, page = one.args or ("",)
        plain = PLAIN_PATH.fullmatch(page) and not {"", ".", ".."} & set(page.split("/")[1:])
        if not statuses or not plain or not all(re.fullmatch("[45][0-9][0-9]", word) for word in statuses):
            self.left(one, "an error page is a path, for statuses from 400 on, which do not change")
            return
        section = self.draft.section("errors")
        line = f"{' '.join(statuses)} {page}"
        before = section.options.get("page")
        if before is None:
            self.draft.put(section, "page", line, self.note(one))
        elif line not in before.value.split("\n    "):
            section.options["page"] = attrs.evolve(before, value=f"{before.value}\n    {line}")

    def finish(self) -> None:
        """Write the routes, after the last server."""
        found = [location for hosts in self.sites for location in self._resolved(self.sites[hosts])]
        for location in found:
            self._no_servers(location)
        _same_users(found)
        roots = {one.root for one in found if one.standing.open and not one.proxied and one.root}
        routes = Routes(self.file, self.draft, self.upstreams, roots)
        for location in found:
            routes.add(location)

    def _no_servers(self, location: Location) -> None:
        """Close a location whose upstream has no server that could be translated: its name would become a host name."""
        for one in location.directive.all("proxy_pass"):
            match = PASS.fullmatch(one.args[0] if one.args else "")
            if match is not None and not match[3] and self.upstreams.get(match[2]) == ():
                close(location, one, "no server of its upstream could be translated")

    def _resolved(self, sites: list[ServerBlock]) -> list[Location]:
        """The locations of the servers for the same hosts. nginx would use one of these servers; here they are merged."""
        if len(sites) > 1:
            for site in sites:
                for location in site.locations:
                    for other in sites:
                        if other is not site:
                            beyond(location, other.locations, other.directive)
        merged: dict[tuple[str, bool], Location] = {}
        for location in (one for site in sites for one in site.locations):
            key = (location.path, location.exact)
            before = merged.get(key)
            if before is None or location.standing.covers(before.standing):
                merged[key] = location
            else:
                self.draft.remark(
                    self.note(location.directive, ""),
                    f"{location.directive.text}: that of line {before.directive.line} counts, which is stricter",
                )
        found = settled(list(merged.values()), self.left)
        self._without_place(found, [reason for site in sites for reason in site.placeless])
        for question in (one for site in sites for one in site.questions):
            outer = around(found, question.path)
            same = next((one for one in found if one.route_path == question.route_path), None)
            if same is not None and same.standing.anonymous:
                close(same, question.directive, "only other locations lead to it")
            elif same is None and outer is not None and outer.standing.anonymous:
                one = question.directive
                inside = [Directive("internal", (), one.line, None, one.file)]
                closed = Directive(one.name, one.args, one.line, inside, one.file)
                found.append(attrs.evolve(question, directive=closed, standing=Standing(networks=())))
        return found

    def _without_place(self, found: list[Location], reasons: Sequence[Placeless]) -> None:
        """Close what is open, because of directives that are in force at unknown paths."""
        for reason in reasons:
            if reason.files and all(not one.proxied and not _own_files(one) for one in found if one.standing.anonymous):
                continue
            for location in found:
                if location.standing.anonymous:
                    close(location, reason.directive, reason.why)


def _matches(args: tuple[str, ...]) -> tuple[str, str]:
    """The modifier and the path of a location, which may be one word (``=/a``)."""
    if len(args) == 2:
        return args[0], args[1]
    modifier = next((one for one in ("=", "^~", "~*", "~") if args and args[0].startswith(one)), "")
    return modifier, args[0].removeprefix(modifier) if args else ""


def _judged(location: Location) -> Location:
    location.standing = standing(location)
    return location


def _same_users(found: Sequence[Location]) -> None:
    """Close the locations whose users are in another place than those of the first one, because a route accepts the users of
    every authenticator."""
    first: tuple[str, ...] | None = None
    for location in found:
        if not location.standing.asks or location.standing.closes:
            continue
        words = [location.word(name) for name in ("auth_request", "auth_basic")]
        file = location.word("auth_basic_user_file") if words[1] not in ("", "off") else ""
        users = ("" if words[0] == "off" else words[0], file)
        first = first or users
        if users != first:
            one = [*location.of("auth_basic_user_file" if file else "auth_request"), location.directive][0]
            close(location, one, "its users are not those of the locations before it")


def _same_files(location: Location) -> bool:
    """Whether this only adds headers or logs to the files of the server, and restricts no client."""
    block = location.directive.block or []
    return (
        all(one.name in CONSUMED or one.name in ("access_log", "add_header", "gzip_static") for one in block)
        and location.standing.open
        and not location.proxied
    )


def _own_files(location: Location) -> bool:
    return bool(location.directive.all("root") or location.directive.all("alias"))


def _all(block: Sequence[Directive], name: str) -> list[Directive]:
    return [found for one in block for found in ([one] if one.name == name else _all(one.block or [], name))]

"""The locations of all nginx servers, collected by their hosts, and written as routes. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import attrs

from perimeter.config.language.datatypes import BadValue
from perimeter.config.language.net_types import UNIX
from perimeter.config.site.route_path import ROUTE_PATH, alternatives
from perimeter.importers.draft import Draft, unfit
from perimeter.importers.nginx.answers import answer
from perimeter.importers.nginx.directives import CONSUMED, done
from perimeter.importers.nginx.expressions import directory, hidden, may_match, plain_paths, well_known
from perimeter.importers.nginx.file import NginxFile
from perimeter.importers.nginx.headers import Fate, fate
from perimeter.importers.nginx.limits import Zones
from perimeter.importers.nginx.location import PASS, TLS_ON_SOCKET, Location, Standing, inherit, plain_path, standing
from perimeter.importers.nginx.places import Placeless, around, beyond, close, settled, without_place
from perimeter.importers.nginx.routes import Routes
from perimeter.importers.nginx.server_block import ServerBlock
from perimeter.importers.nginx.tree import Directive
from perimeter.importers.nginx.users import Passwords, UsersOf, fault_of_tickets, realm_of, users_of

_ASKING = frozenset(
    (
        *("content-length", "content-type", "cookie", "host", "x-real-ip", "x-auth-request-redirect"),
        *(
            "x-original-uri",
            "x-original-url",
            "x-original-method",
            "x-original-remote-addr",
            "x-forwarded-for",
            "x-forwarded-host",
        ),
        *("x-forwarded-uri", "x-forwarded-method", "x-forwarded-proto", "x-forwarded-port"),
    )
)
"""Request headers that only describe the request that is asked about."""

_OF_QUESTIONS = frozenset(
    (
        *("internal", "proxy_pass_request_body", "proxy_pass_request_headers", "auth_request_set", "proxy_connect_timeout"),
        *("proxy_read_timeout", "proxy_send_timeout", "client_max_body_size", "auth_request", "access_log", "allow", "deny"),
    )
)
"""Directives of a location with authentication that are not needed any more."""


class Locations(NginxFile):
    """Collects the locations of all servers. ``common`` are the directives outside of servers, which apply inside them."""

    def __init__(
        self,
        file: str,
        draft: Draft,
        upstreams: Mapping[str, tuple[str, ...]],
        common: Sequence[Directive],
        passwords: Passwords | None = None,
    ) -> None:
        super().__init__(file, draft)
        self.passwords = passwords
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
        site.settle_patterns()
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
        self,
        site: ServerBlock,
        one: Directive,
        hosts: tuple[str, ...],
        outer: list[Directive],
        asking: set[str],
        within: str = "",
    ) -> None:
        modifier, path = _matches(one.args)
        if path.startswith("@"):
            self.left(one, "only other locations lead to it")
        elif modifier in ("~", "~*"):
            self._expression(site, one, hosts, outer, within)
        elif modifier not in ("", "=", "^~") or not plain_path(path):
            self.left(one, "a route has a plain path; open routes of this server are closed")
            site.placeless.append(Placeless(one, "a route has a plain path", within=within))
        else:
            location = _judged(Location(path, modifier == "=", hosts, one, outer, final=modifier == "^~"))
            if path in asking:
                self._question(one)
                site.questions.append(location)
            else:
                site.locations.append(location)
            inside = inherit(outer, one.block or [])
            for nested in one.all("location"):
                self._location(site, nested, hosts, inside, asking, path)

    def _expression(self, site: ServerBlock, one: Directive, hosts: tuple[str, ...], outer: list[Directive], within: str) -> None:
        """A location with a regular expression: the plain paths that it stands for, or a directive at unknown paths."""
        modifier, text = _matches(one.args)
        flags = re.IGNORECASE if modifier == "~*" else 0
        judged = _judged(Location("/", False, hosts, one, outer))
        alone = not within and not one.all("location")
        paths = plain_paths(text) if alone and not flags else ()
        if (
            alone
            and not paths
            and well_known(text)
            and not judged.standing.asks
            and judged.standing.networks is None
            and not judged.standing.denied
        ):
            paths = (("/.well-known/", False),)
            self.left(one, "here it is only for /.well-known")
        if paths and all(plain_path(path) for path, _ in paths):
            site.expressions += [_judged(Location(path, exact, hosts, one, outer)) for path, exact in paths]
            return
        if alone and not _same_files(judged) and self._pattern(site, judged, text, flags):
            return
        self._placeless(site, judged, text, flags, within)

    def _pattern(self, site: ServerBlock, judged: Location, text: str, flags: int) -> bool:
        """Keep a location whose expression a route can have, until all locations of the server are known."""
        anchored = text.startswith("^") and not alternatives(text)
        written = f"{'(?i)' if flags else ''}{text if anchored else f'^.*(?:{text})'}"
        if unfit(f"regex:{written}"):
            return False
        try:
            path = ROUTE_PATH.convert(f"regex:{written}", Path())
        except BadValue:
            return False
        location = attrs.evolve(judged, path=f"{path.place}/", expression=written)
        site.patterns.append((_judged(location), partial(self._placeless, site, judged, text, flags)))
        return True

    def _placeless(self, site: ServerBlock, judged: Location, text: str, flags: int, within: str = "") -> None:
        """A directive at unknown paths, for an expression that no route has."""
        one = judged.directive
        alone = not within and not one.all("location")
        files, dots = _same_files(judged), hidden(text)
        under = directory(text) if alone and not flags and plain_path(directory(text)) else ""
        found = Placeless(one, "a route has a plain path", files, dots, text, flags, within, under)
        site.placeless.append(found)
        what = f"; open routes {f'at {under}' if under else 'of this server'} are closed"
        if dots:
            what = "; routes do not serve files whose names begin with a dot, and open routes to services are closed"
        self.left(one, f"{found.why}{'' if files else what}")
        closed = attrs.evolve(judged, standing=Standing(((one, found.why),)))
        if dots and not judged.standing.open and may_match(text, "/.well-known/x", flags):
            site.expressions.append(attrs.evolve(closed, path="/.well-known/"))
        elif under:
            site.beneath.append(attrs.evolve(closed, path=under))

    def _question(self, location: Directive) -> None:
        """A location that asks Auth-o-tron, whose work the gateway does."""
        for one in location.block or ():
            if one.name == "proxy_pass" and (match := PASS.fullmatch(one.args[0] if one.args else "")):
                self.draft.asked_ports.add(int((match[3] or ":80")[1:]))
            elif one.name == "proxy_set_header" and one.args:
                if one.args[0].lower() not in _ASKING and fate(one, {}) is not Fate.SAME:
                    self.left(one)
            elif one.name not in _OF_QUESTIONS and one.name not in CONSUMED:
                self.left(one)

    def _error_page(self, one: Directive) -> None:
        *statuses, page = one.args or ("",)
        plain = plain_path(page) and not page.endswith("/")
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
        self._who(found)
        roots = {one.root for one in found if one.standing.open and not one.proxied and one.root}
        routes = Routes(self.file, self.draft, self.upstreams, roots, Zones.of(self.common))
        for location in found:
            routes.add(location)

    def _who(self, found: Sequence[Location]) -> None:
        """Add what knows the users: password files, and tickets. Several become several realms. Close the locations whose users
        are in another place than those of the first one and not in such a realm: a route accepts all authenticators' users."""
        asking = [one for one in found if one.standing.asks and not one.standing.closes]
        for one in asking:
            if why := fault_of_tickets(one):
                close(one, one.of("auth_gss")[-1], why)
        asking = [one for one in asking if not one.standing.closes]
        places = list(dict.fromkeys(map(users_of, asking)))
        realms: dict[UsersOf, str] = {}
        for place in places:
            if realm := realm_of(place, self.note(place.directive), self.passwords, self.draft):
                realms[place] = realm
            elif not realms:
                break  # others know the users of the first location, and no further users may join them
        for one in asking:
            place = users_of(one)
            directive = users_of(one).directive
            one.found = place in realms
            if one.found and len(places) > 1:
                one.realm = realms[place]
                if one.standing.methods is not None:
                    close(one, directive, "a rule for a method would admit the users of the other files, too")
            elif place != places[0]:
                close(one, directive, "its users differ from those of the earlier locations")

    def _no_servers(self, location: Location) -> None:
        """Close a location whose upstream has no server that could be translated: its name would become a host name."""
        for one in location.directive.all("proxy_pass"):
            match = PASS.fullmatch(one.args[0] if one.args else "")
            servers = None if match is None or match[3] else self.upstreams.get(match[2])
            if servers == ():
                close(location, one, "no server of its upstream could be translated")
            elif match is not None and match[1] == "https" and any(server.startswith(UNIX) for server in servers or ()):
                close(location, one, TLS_ON_SOCKET)

    def _resolved(self, sites: list[ServerBlock]) -> list[Location]:
        """The locations of the servers for the same hosts. nginx would use one of these servers; here they are merged."""
        for site in sites:
            if len(sites) > 1:
                site.settle_patterns(none=True)
            site.settle(self.left)
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
        patterns = [location for site in sites for location, _ in site.patterns]
        without_place(found, [reason for site in sites for reason in site.placeless], patterns)
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
        return [*found, *patterns]


def _matches(args: tuple[str, ...]) -> tuple[str, str]:
    """The modifier and the path of a location, which may be one word (``=/a``)."""
    if len(args) == 2:
        return args[0], args[1]
    modifier = next((one for one in ("=", "^~", "~*", "~") if args and args[0].startswith(one)), "")
    return modifier, args[0].removeprefix(modifier) if args else ""


def _judged(location: Location) -> Location:
    location.answer = answer(location)
    # no client gets to what is around it
    location.standing = Standing(networks=()) if location.answer is not None else standing(location)
    return location


def _same_files(location: Location) -> bool:
    """Whether this only adds headers or logs to the files of the server, and restricts no client."""
    block = location.directive.block or []
    return (
        all(one.name in CONSUMED or one.name in ("access_log", "add_header", "gzip_static") for one in block)
        and location.standing.open
        and not location.proxied
    )


def _all(block: Sequence[Directive], name: str) -> list[Directive]:
    return [found for one in block for found in ([one] if one.name == name else _all(one.block or [], name))]

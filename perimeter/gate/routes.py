"""Routes, and the table that finds those for a host and a path. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf

import attrs

from perimeter.audit.sink import IAuditSink
from perimeter.config.language.expressions import Expression
from perimeter.config.language.net_types import Network
from perimeter.config.site.captures import rewrite_parts
from perimeter.config.site.route_matching import ANY_HOST, HostTable, Prefixes
from perimeter.errors import BadTarget
from perimeter.gate.access import Access
from perimeter.gate.conditions import Conditions
from perimeter.gate.cors import Cors
from perimeter.gate.entry import EntryRule, entry_rules
from perimeter.gate.identity_lines import IdentityProfile
from perimeter.gate.paths import has_encoded_slash, normalise, readings, readings_as_sent, split_target
from perimeter.gate.policy import Policy
from perimeter.gate.target import ITarget
from perimeter.model import ClientConnection, Principal

_OTHER_READING = "a path that another server could read as another route's"


@attrs.frozen
class Route:
    """A route, ready to judge by.

    ``prefix`` has no slash at its end (so "/" is the empty prefix); ``hosts`` is empty for any host; ``rewrite`` replaces the
    prefix toward the target. With ``exact``, ``prefix`` is the only path of the route, with its slash at the end if it has one.
    With ``pattern``, which begins with ``^``, its paths are those below ``prefix`` that this matches, and ``rewrite`` replaces
    the whole path and may have groups of the match in it (`perimeter.config.site.captures`). A request that does not meet the
    ``conditions`` belongs to the next route.

    ``access`` is what the route asks of a client; ``by_method`` has other answers for some methods.
    ``entry`` follows from ``secured`` (a rule about TLS), ``networks``, ``closed`` (a rule for the time of maintenance),
    ``max_body`` (bytes), what passes in Authorization, and ``counting``: rules that count the request
    (`perimeter.gate.entry.within_rate`). ``path_as_sent``: paths are forwarded as they came, and judged by every reading of
    them. ``upgrades`` are the protocols that clients may switch to (RFC 9110, section 7.8), in lower case: ``name``,
    ``name/version``.

    ``cross_site`` are the origins, besides the route's own, whose pages may send what changes something with credentials that
    browsers add by themselves; None for all (`perimeter.gate.cross_site`).

    ``passes_authorization``: the target gets the client's Authorization. ``app_authorization``: it does if the client is known
    by a session, which then counts before that header. ``keeps_session``: a request by a session counts as a use of it, so that
    it does not end by idleness. ``idle``: a session that was unused for longer (seconds) is not enough.

    ``cors``: pages of which other sites may read the responses; None leaves that to the service. ``preflights`` answers
    preflights in the place of the route, without identification and rules; None treats them as other requests.
    ``read_only`` denies those who may only read: `perimeter.targets.commands` looks at the command of each of their requests.

    ``builtin`` is a route to what the gateway itself answers, which is also served during maintenance. Its answers are ``brief``,
    which are not cut if a token ends, unless it is ``lasting``. ``answers``: the gateway answers the requests of a configured
    route by itself, and no service gets them.
    """

    name: str
    prefix: bytes
    target: ITarget
    audit: IAuditSink
    hosts: tuple[str, ...] = ()
    rewrite: bytes | None = None
    access: Access = attrs.field(factory=Access)
    by_method: Mapping[bytes, Access] | None = None
    policy: Policy = attrs.field(factory=Policy)
    networks: tuple[Network, ...] = ()
    closed: EntryRule | None = None
    secured: EntryRule | None = None
    identity: IdentityProfile = attrs.field(factory=IdentityProfile)
    allow_encoded_slash: bool = False
    path_as_sent: bool = False
    upgrades: frozenset[bytes] = frozenset((b"websocket",))
    early_hints: bool = False
    max_body: int | None = None
    read_only: Policy | None = None
    cross_site: frozenset[bytes] | None = frozenset()
    passes_authorization: bool = False
    app_authorization: bool = False
    keeps_session: bool = True
    idle: float = inf
    cors: Cors | None = None
    preflights: Route | None = None
    builtin: bool = False
    exact: bool = False
    pattern: Expression | None = None
    conditions: Conditions | None = None
    lasting: bool = False
    answers: bool = False
    counting: tuple[EntryRule, ...] = ()
    entry: tuple[EntryRule, ...] = attrs.field(init=False)
    #: the prefix that a service does not see, as the client has to put it before the service's paths; empty if none is replaced
    hidden_prefix: bytes = attrs.field(init=False)
    #: the directory that contains all paths of the route, without a slash at its end
    place: bytes = attrs.field(init=False)
    brief: bool = attrs.field(init=False)
    #: what ``rewrite`` is joined of, with a pattern
    _parts: tuple[bytes | int, ...] = attrs.field(init=False, repr=False)

    @hidden_prefix.default
    def _hidden_prefix(self) -> bytes:
        whole = self.rewrite is None or self.rewrite == self.prefix or self.exact or self.pattern is not None
        return b"" if whole else self.prefix

    @place.default
    def _place(self) -> bytes:
        return self.prefix.rpartition(b"/")[0] if self.exact else self.prefix

    @_parts.default
    def _rewrite_parts(self) -> tuple[bytes | int, ...]:
        return () if self.rewrite is None or self.pattern is None else rewrite_parts(self.rewrite.decode("ascii"))

    @brief.default
    def _brief(self) -> bool:
        return self.builtin and not self.lasting

    @entry.default
    def _entry(self) -> tuple[EntryRule, ...]:
        forwards_authorization = self.passes_authorization or self.app_authorization
        apart = self.preflights is not None
        return entry_rules(
            self.networks, self.max_body, forwards_authorization, self.cors, apart, self.counting, self.closed, self.secured
        )

    def reads_only(
        self, principal: Principal | None, method: bytes, address: str = "", connection: ClientConnection | None = None
    ) -> bool:
        """Whether the user may only read. ``address`` and ``connection`` as for `Policy.permits`: what is not known restricts."""
        policy = self.read_only
        if policy is None or principal is None:  # without a user, authentication is off
            return False
        return not policy.permits(principal, method.decode("ascii"), address, connection)

    def forwarded_path(self, path: bytes) -> bytes:
        """``path`` (normalised, and matched by this route) as the target sees it.

        Raises `BadTarget` if groups of an expression make a path that has no normal form.
        """
        if self.rewrite is None:
            return path
        if self.pattern is not None:
            return self._substituted(self.pattern, path)
        if self.exact:
            return self.rewrite or b"/"
        return (self.rewrite + path[len(self.prefix) :]) or b"/"

    def _substituted(self, pattern: Expression, path: bytes) -> bytes:
        match = pattern.match(path)
        if match is None:
            raise BadTarget("a path that the expression of the route does not match")
        new = b"".join([(match.group(part) or b"") if isinstance(part, int) else part for part in self._parts])
        # a group may have cut an escape in two, or join dots and slashes (attack 126)
        return normalise(new)

    def outer_path(self, path: bytes) -> bytes:
        """The inverse of `forwarded_path`: a path that the upstream speaks of, as the client must ask for it.

        What groups of an expression have become part of is left as it is.
        """
        if self.rewrite is None or self.pattern is not None:
            return path
        if self.exact:
            return self.prefix if path == (self.rewrite or b"/") else path
        if path == self.rewrite or path.startswith(self.rewrite + b"/"):
            return (self.prefix + path[len(self.rewrite) :]) or b"/"
        return path


class RouteTable:
    """Every route of a listener (`perimeter.config.site.route_matching`).

    An exact route of the gateway's own gives way to a configured route with the very same path.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        table: HostTable[Route] = HostTable()
        self._routes = tuple(routes)
        for route in sorted(self._routes, key=lambda one: one.builtin):
            for host in route.hosts or (ANY_HOST,):
                _add(table.of(host), route)
        table.settle()
        self._table = table
        self._as_they_are_sent = any(route.path_as_sent for route in self._routes)
        #: The routes for a Host value and a normalised path in the order in which they are tried: only the last one may be
        #: without conditions
        self.matching = table.matching
        #: The route for a Host value and a normalised path, or None. Only where neither expressions and conditions nor paths as
        #: they are sent decide: `candidates` takes 0.5 µs more
        self.find = None if table.selective or self._as_they_are_sent else table.find

    def candidates(self, host: bytes, target: bytes) -> tuple[tuple[Route, ...], bytes, bytes]:
        """The routes for a host and a target in the order in which they are tried, the path that they judge, and the query.

        Raises `BadTarget` if not all readings of the path lead to the same routes (attacks 1 and 65).
        """
        sent, query = split_target(target)
        try:
            path = normalise(sent)
        except BadTarget as unusual:
            # only a route that takes paths as they are sent has one without a normal form
            return self._as_sent(host, sent, unusual), sent, query
        routes = self.matching(host, path)
        if self._as_they_are_sent and any(route.path_as_sent for route in routes):
            return self._as_sent(host, sent), sent, query
        if routes and (b"%" in path or b";" in path):
            self.check_readings(routes, host, path)
        return routes, path, query

    def _as_sent(self, host: bytes, path: bytes, unusual: BadTarget | None = None) -> tuple[Route, ...]:
        """The routes of a path that is forwarded as it came: those that every reading leads to (attack 65).

        The bytes themselves are one reading, so the path begins with the route's prefix as it is configured.
        Raises ``unusual``, which says why the path has no normal form, or another `BadTarget`.
        """
        routes = self.matching(host, path)
        every = readings_as_sent(path) if any(route.path_as_sent for route in routes) else ()
        if not every or (len(every) > 1 and not all(route.path_as_sent for route in routes)):
            raise unusual or BadTarget(_OTHER_READING)
        for reading in every:
            if self.matching(host, reading) != routes:
                raise BadTarget(_OTHER_READING)
        return routes

    def check_readings(self, routes: tuple[Route, ...], host: bytes, path: bytes) -> None:
        """Every way to read a path with ``%`` or ``;`` must lead to the same ``routes`` (attack 1). Raises `BadTarget`."""
        if has_encoded_slash(path) and not all(route.allow_encoded_slash for route in routes):
            raise BadTarget("an encoded slash")
        for reading in readings(path):
            if self.matching(host, reading) != routes:
                raise BadTarget(_OTHER_READING)

    def uncounted(self) -> RouteTable:
        """The table without rules that count requests, to judge a request again."""
        if not any(route.counting for route in self._routes):
            return self
        return RouteTable(attrs.evolve(route, counting=()) for route in self._routes)


def _add(prefixes: Prefixes[Route], route: Route) -> None:
    conditional = route.conditions is not None
    path = route.prefix or b"/"
    if not route.exact:
        prefixes.add(route.prefix, route, expression=route.pattern, conditional=conditional)
    elif not route.builtin:
        prefixes.add_exact(path, route, conditional=conditional)
    else:
        other = prefixes.prefixes.get(route.prefix)
        if other is None or other.builtin:
            for one in prefixes.conditional_at(route.prefix):
                prefixes.add_exact(path, one, conditional=True)
            prefixes.add_exact(path, route)

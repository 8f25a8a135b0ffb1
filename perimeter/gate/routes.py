"""Routes, and the table that finds the one for a host and a path. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf

import attrs

from perimeter.audit.sink import IAuditSink
from perimeter.config.language.net_types import Network
from perimeter.config.site.route_matching import ANY_HOST, HostTable, Prefixes
from perimeter.gate.access import Access
from perimeter.gate.cors import Cors
from perimeter.gate.entry import EntryRule, entry_rules
from perimeter.gate.identity_lines import IdentityProfile
from perimeter.gate.policy import Policy
from perimeter.gate.target import ITarget
from perimeter.model import ClientConnection, Principal


@attrs.frozen
class Route:
    """A route, ready to judge by.

    ``prefix`` has no slash at its end (so "/" is the empty prefix); ``hosts`` is empty for any host; ``rewrite`` replaces the
    prefix toward the target. ``access`` is what the route asks of a client; ``by_method`` has other answers for some methods.
    ``entry`` follows from ``networks``, ``closed`` (a rule for the time of maintenance), ``max_body`` (bytes), what passes in
    Authorization, and ``counting``: rules that count the request (`perimeter.gate.entry.within_rate`). ``path_as_sent``: paths
    are forwarded as they came, and judged by every reading of them. ``upgrades`` are the protocols that clients may switch to
    (RFC 9110, section 7.8), in lower case: ``name``, ``name/version``.

    ``cross_site`` are the origins, besides the route's own, whose pages may send what changes something with credentials that
    browsers add by themselves; None for all (`perimeter.gate.cross_site`).

    ``passes_authorization``: the target gets the client's Authorization. ``app_authorization``: it does if the client is known
    by a session, which then counts before that header. ``keeps_session``: a request by a session counts as a use of it, so that
    it does not end by idleness. ``idle``: a session that was unused for longer (seconds) is not enough.

    ``cors``: pages of which other sites may read the responses; None leaves that to the service. ``preflights`` answers
    preflights in the place of the route, without identification and rules; None treats them as other requests.
    ``read_only`` denies those who may only read: `perimeter.targets.commands` looks at the command of each of their requests.

    ``builtin`` is a route to what the gateway itself answers, which is also served during maintenance. Only such a route can
    be ``exact``: then nothing below ``prefix`` belongs to it. Its answers are ``brief``, which are not cut if a token ends,
    unless it is ``lasting``.
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
    lasting: bool = False
    counting: tuple[EntryRule, ...] = ()
    entry: tuple[EntryRule, ...] = attrs.field(init=False)
    #: the prefix that a service does not see, as the client has to put it before the service's paths; empty if none is replaced
    hidden_prefix: bytes = attrs.field(init=False)
    brief: bool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        if self.exact and not self.builtin:
            raise ValueError("only a route of the gateway's own is exact")

    @hidden_prefix.default
    def _hidden_prefix(self) -> bytes:
        return b"" if self.rewrite is None or self.rewrite == self.prefix else self.prefix

    @brief.default
    def _brief(self) -> bool:
        return self.builtin and not self.lasting

    @entry.default
    def _entry(self) -> tuple[EntryRule, ...]:
        forwards_authorization = self.passes_authorization or self.app_authorization
        apart = self.preflights is not None
        return entry_rules(self.networks, self.max_body, forwards_authorization, self.cors, apart, self.counting, self.closed)

    def reads_only(
        self, principal: Principal | None, method: bytes, address: str = "", connection: ClientConnection | None = None
    ) -> bool:
        """Whether the user may only read. ``address`` and ``connection`` as for `Policy.permits`: what is not known restricts."""
        policy = self.read_only
        if policy is None or principal is None:  # without a user, authentication is off
            return False
        return not policy.permits(principal, method.decode("ascii"), address, connection)

    def forwarded_path(self, path: bytes) -> bytes:
        """``path`` (normalised, and matched by this route) as the target sees it."""
        if self.rewrite is None:
            return path
        return (self.rewrite + path[len(self.prefix) :]) or b"/"

    def outer_path(self, path: bytes) -> bytes:
        """The inverse of `forwarded_path`: a path that the upstream speaks of, as the client must ask for it."""
        if self.rewrite is None:
            return path
        if path == self.rewrite or path.startswith(self.rewrite + b"/"):
            return (self.prefix + path[len(self.rewrite) :]) or b"/"
        return path


class RouteTable:
    """Every route of a listener (`perimeter.config.site.route_matching`).

    An exact route of the gateway's own gives way to a configured route with the very same path.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._table: HostTable[Route] = HostTable()
        self._routes = tuple(routes)
        for route in self._routes:
            for host in route.hosts or (ANY_HOST,):
                _add(self._table.of(host), route)
        #: The route for a Host value and a normalised path, or None
        self.find = self._table.find

    def uncounted(self) -> RouteTable:
        """The table without rules that count requests, to judge a request again."""
        if not any(route.counting for route in self._routes):
            return self
        return RouteTable(attrs.evolve(route, counting=()) for route in self._routes)


def _add(prefixes: Prefixes[Route], route: Route) -> None:
    path = route.prefix or b"/"
    if not route.exact:
        if not route.builtin:
            prefixes.exact.pop(path, None)
        prefixes.add(route.prefix, route)
        return
    other = prefixes.prefixes.get(route.prefix)
    if other is None or other.builtin:
        prefixes.exact.setdefault(path, route)

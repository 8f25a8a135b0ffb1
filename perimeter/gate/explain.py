"""What would happen to a request, and why: for the operator.

The verdict is that of `perimeter.gate.gate.Gate.judge`: the gate judges a made-up request, as if its credentials had been
verified already. The steps that lead to the verdict are made of the same parts, in the order in which the gate uses them.
It sends and signs nothing, and needs no password.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address

import attrs

from perimeter.config.site.config import SiteConfig
from perimeter.config.site.cors import ANY_PAGE
from perimeter.config.site.route import RouteSettings
from perimeter.config.site.route_headers import AS_SENT, SecurityHeaders
from perimeter.config.site.route_matching import canonical_host, hosts_for
from perimeter.config.site.route_path import PathKind
from perimeter.config.site.rule import RuleKind
from perimeter.errors import InvalidToken, NoRoute, Refusal
from perimeter.gate.access import Access, Asks, Restricted
from perimeter.gate.decision import Admitted
from perimeter.gate.gate import Gate
from perimeter.gate.identify import Identifier
from perimeter.gate.identity_lines import IdentityLines
from perimeter.gate.review import Again
from perimeter.gate.routes import Route
from perimeter.gate.sources.source import Challenge, Found
from perimeter.http.grammar import parse_block, parse_request
from perimeter.model import UNIX_PEER, ClientConnection, HeaderBlock, Principal, RequestHead, canonical_address

SECRET = "(secret)"  # noqa: S105  # stands for a secret
"""Stands for a header's value that is not shown."""

#: The host of a URL that is only a path: only routes for any host match it.
_NO_HOST = b"Host: any.invalid\r\n"
_UNSIGNED = "signed"


@attrs.frozen
class Question:
    """A made-up request.

    ``url`` is absolute, or a path. ``principal`` is the user whose credentials it would have, None for none. ``name`` is the name
    that the operator gave; without a principal, no authenticator can look that user up. ``address`` is the client's; "" for
    one that the route's ``networks`` allow. ``listener`` names the listener that it would come over. ``headers`` are lines
    ``NAME: VALUE``, besides Host.
    """

    method: str
    url: str
    principal: Principal | None = None
    name: str = ""
    address: str = ""
    listener: str = ""
    headers: tuple[str, ...] = ()


@attrs.frozen
class Step:
    """One step of a judgement: ``name`` (``path``, ``route``, ``networks``, …), and a sentence about it."""

    name: str
    text: str


@attrs.frozen
class Explanation:
    """``status`` is 0 if the request would be admitted, otherwise that of the refusal, and None if that is not known.

    ``reason`` is the refusal's code.
    """

    steps: tuple[Step, ...]
    status: int | None = 0
    reason: str = ""

    @property
    def admitted(self) -> bool:
        """Whether the request would reach its target."""
        return self.status == 0


class _NotKnown(Exception):
    """The verdict is not known. The text says why."""


def explain(gate: Gate, config: SiteConfig, question: Question) -> Explanation:
    """The verdict of ``gate``, which ``config`` describes, about ``question``. Does not raise for any question."""
    steps: list[Step] = []
    try:
        for step in _explained(gate, config, question):
            steps.append(step)  # those before a refusal count
    except _NotKnown as why:
        steps.append(Step("result", f"not known{why}"))
        return Explanation(tuple(steps), None)
    except Refusal as refusal:
        steps.append(Step("result", f"refused with {refusal.status} {refusal.reason}: {refusal.detail or refusal.phrase}"))
        return Explanation(tuple(steps), refusal.status, refusal.reason)
    return Explanation(tuple(steps))


def _explained(gate: Gate, config: SiteConfig, question: Question) -> Iterator[Step]:
    """The steps up to the end, or up to the refusal that this raises."""
    line = f"{question.method} {question.url} HTTP/1.1".encode("utf-8", "surrogatepass")
    lines = "".join(f"{one}\r\n" for one in question.headers).encode("utf-8", "surrogatepass")
    head = parse_request(line, parse_block(_NO_HOST + lines, 1 + len(question.headers)))
    routes, path, _ = gate.routes.candidates(head.host, head.target)
    try:
        route, target = gate.locate(head)
    except NoRoute:
        yield from _skipped(config, routes)
        raise
    address = _address(question.address, route)
    yield Step("path", _path(path, route))
    yield from _place(config, canonical_host(head.host), path, route, routes)
    yield from _networks(route, address, question.address)
    access = route.access if route.by_method is None else route.by_method.get(head.method, route.access)
    yield from _authentication(config, route, access, question.principal)
    connection = ClientConnection(address, 0, question.listener, 0, "")
    yield from _rules(config, route, access, question.principal, head, connection, question.address)
    if question.name and question.principal is None and access.asks is not Asks.NONE and _judges_users(config, route):
        raise _NotKnown(", because no authenticator can look up the user")
    yield from _limits(config, route)
    admitted = _assuming(gate, question.principal).judge(Again(connection, head, 0.0), head)
    if not isinstance(admitted, Admitted):  # an assumed user is known at once
        raise TypeError("the judgement waits for an authenticator")
    yield from _headers(admitted)
    yield from _cors(config, route)
    yield from _header_rules(settings_of(config, route))
    yield Step("result", f"admitted, {_forwarded(config, route, target)}")


# -- the gate's own verdict


class _Assumed:
    """The source of a user whose credentials count as verified (`perimeter.gate.sources.source.CredentialSource`)."""

    by_connection = False
    by_session = True
    by_authorization = False

    def __init__(self, principal: Principal) -> None:
        self._principal = principal

    def challenges(self) -> tuple[Challenge, ...]:
        return ()

    def identify(self, headers: HeaderBlock, address: str, connection: ClientConnection) -> Found:
        return self._principal

    def identify_first_hand(self, headers: HeaderBlock, address: str, connection: ClientConnection) -> Found:
        if self._principal.grant is not None:
            raise InvalidToken("a token of the gateway, but the endpoint needs a password or the like")
        return self._principal

    def by_browser(self, headers: HeaderBlock) -> bool | None:
        return False

    def until(self, headers: HeaderBlock) -> float:
        return 0.0

    def forget(self) -> None:
        return


def _assuming(gate: Gate, principal: Principal | None) -> Gate:
    """``gate``, to which every request comes from ``principal``. Its identity lines are not signed."""
    sources = () if principal is None else (_Assumed(principal),)
    unsigned = IdentityLines(lambda *_: _UNSIGNED, lambda: 0.0, limit=1)
    return attrs.evolve(gate.uncounted(), identifier=Identifier(sources), identity=unsigned, trusted_proxies=())


def _address(given: str, route: Route) -> str:
    if given == UNIX_PEER:
        return given
    if given:
        try:
            return canonical_address(str(ip_address(given)))
        except ValueError:
            raise _NotKnown(f": {given} is not an IP address") from None
    return str(route.networks[0].network_address) if route.networks else "127.0.0.1"


# -- the steps


def _path(path: bytes, route: Route) -> str:
    as_sent = ", unchanged because the route has path_as_sent = yes" if route.path_as_sent else ""
    return f"{path.decode('latin-1')}{as_sent}"


def _place(config: SiteConfig, host: str, path: bytes, route: Route, routes: Sequence[Route]) -> Iterator[Step]:
    """The route, and the routes that match too: those whose conditions are not met, and those that come later."""
    settings = settings_of(config, route)
    if settings is None:
        yield Step("route", f"the endpoint {route.prefix.decode('latin-1') or '/'} of the gateway")
        return
    earlier = routes[: routes.index(route)]
    yield from _skipped(config, earlier)
    yield Step("route", named(settings))
    before = [settings_of(config, one) for one in earlier]
    for other in config.routes:
        if other is not settings and other not in before and other.path.matches(path.decode("latin-1")) and _on(host, other):
            yield Step("later", f"{named(other)} matches too, and comes later: {_why_later(settings, other)}")


def _skipped(config: SiteConfig, routes: Iterable[Route]) -> Iterator[Step]:
    for one in routes:
        settings = settings_of(config, one)
        if settings is not None:
            yield Step("skipped", f"{named(settings)}: the request does not meet its conditions")


def _why_later(first: RouteSettings, other: RouteSettings) -> str:
    if set(other.hosts) != set(first.hosts):
        return "its host is less specific, or its path shorter"
    if first.path.kind is not PathKind.PREFIX and other.path.kind is not PathKind.EXACT:
        return f"{first.path.kind} paths come first" if first.path.kind is PathKind.EXACT else "it is not in a longer directory"
    if first.path == other.path:
        return "routes with conditions come first" if first.conditional and not other.conditional else "it is later in the file"
    return "its path is shorter"


def settings_of(config: SiteConfig, route: Route) -> RouteSettings | None:
    """The section that describes ``route``; None for a route of the gateway's own."""
    return None if route.builtin else next((one for one in config.routes if one.name == route.name), None)


def _on(host: str, settings: RouteSettings) -> bool:
    return not settings.hosts or "*" in settings.hosts or any(hosts_for(host, settings.hosts, len(host) + 3))


def named(settings: RouteSettings) -> str:
    """A route with its place in the file, its hosts and its path."""
    place = f"{settings.file.rpartition('/')[2]}:{settings.line}"
    return f"[route {settings.name}] ({place}), host {', '.join(settings.hosts) or '*'}, path {settings.requests}"


def _networks(route: Route, address: str, given: str) -> Iterator[Step]:
    if route.networks:
        allowed = f"only clients in {', '.join(map(str, route.networks))}; others get 403 network_refused"
        yield Step("networks", f"{allowed}; this client has {address}" if given else allowed)


def _limits(config: SiteConfig, route: Route) -> Iterator[Step]:
    settings = settings_of(config, route)
    if settings is not None:
        yield from (Step("limit", f"{words}, which is not counted here") for words in settings.limits_in_words)


def _judges_users(config: SiteConfig, route: Route) -> bool:
    """Whether the verdict depends on the user: not during maintenance, and not while authentication is off."""
    return route.builtin or (config.perimeter.enabled and not config.perimeter.maintenance)


_WORDS = {
    Asks.NONE: "none, the client stays anonymous",
    Asks.OPTIONAL: "any good credentials, or none",
    Asks.REQUIRED: "any good credentials",
    Asks.FIRST_HAND: "a credential that an authenticator accepts, such as a password; not a token of the gateway",
    Asks.SESSION: "only the session of a browser",
}


def _authentication(config: SiteConfig, route: Route, access: Access, principal: Principal | None) -> Iterator[Step]:
    if config.perimeter.maintenance and not route.builtin:
        yield Step("maintenance", "[perimeter] maintenance = yes")
        return
    if not config.perimeter.enabled and not route.builtin:
        yield Step("authentication", "off, because of [perimeter] enabled = no")
        return
    settings = settings_of(config, route)
    if settings is not None and settings.maintenance:
        allowed = settings.maintenance_in_words
        yield Step(
            "maintenance", f"only clients in {allowed}; others get 503" if settings.maintenance_allow else "all clients get 503"
        )
    yield Step("authentication", f"auth = {settings.auth}" if settings is not None else _WORDS.get(access.asks, access.asks))
    if principal is not None:
        roles = ", ".join(principal.roles) or "none"
        unasked = "; the route does not ask who it is" if access.asks is Asks.NONE else ""
        yield Step("user", f"{principal.username} of realm {principal.realm}, roles: {roles}{unasked}")


def _rules(
    config: SiteConfig,
    route: Route,
    access: Access,
    principal: Principal | None,
    head: RequestHead,
    connection: ClientConnection,
    given: str,
) -> Iterator[Step]:
    if not _judges_users(config, route):
        return
    who = None if access.asks is Asks.NONE else principal
    if who is not None or access.asks in (Asks.NONE, Asks.OPTIONAL):
        text = route.policy.explanation(who, head.method.decode("ascii"), connection.address, connection)
        settings = settings_of(config, route)
        if not given and settings is not None and settings.compares(RuleKind.NETWORK):
            text += f"; for a client with the address {connection.address}, because none is given"
        yield Step("rules", text)
    if route.reads_only(who, head.method, connection.address, connection):
        yield Step("read-only", "only requests with one of read_only_commands are forwarded; others get 403 command_refused")
    restriction = None if who is None or who.grant is None else who.grant.restriction
    if restriction is not None:
        parts = (
            ("routes", sorted(restriction.routes)),
            ("methods", sorted(restriction.methods)),
            ("networks", list(map(str, restriction.networks))),
        )
        limits = "; ".join(f"{word} {', '.join(values)}" for word, values in parts if values)
        nothing = "; the endpoint does not accept a restricted token" if access.restricted is Restricted.NOTHING else ""
        yield Step("restriction", f"the API token is for {limits or 'everything'}{nothing}")


def _headers(admitted: Admitted) -> Iterator[Step]:
    """The lines that name the user to the service, without secrets."""
    for line in admitted.identity.decode("latin-1").splitlines():
        name, _, value = line.partition(": ")
        if name.lower() == "authorization":
            value = f"Bearer (an assertion, {_UNSIGNED})" if value == f"Bearer {_UNSIGNED}" else SECRET
        yield Step("header", f"{name}: {value}")


def _cors(config: SiteConfig, route: Route) -> Iterator[Step]:
    """What pages of other sites get."""
    settings = settings_of(config, route)
    if settings is not None and settings.shared:
        pages = "pages of all sites" if ANY_PAGE in settings.cors else f"pages of {', '.join(settings.cors)}"
        yield Step("cors", f"{pages} may read the response; the gateway answers their preflights without credentials")
    elif settings is not None and settings.cors:
        yield Step("cors", "the service decides which pages may read the response, and gets preflights without credentials")


def _header_rules(settings: RouteSettings | None) -> Iterator[Step]:
    """What the route changes in headers, without secrets."""
    if settings is None:
        return
    for name, rules in (("request header", settings.request_headers), ("response header", settings.response_headers)):
        for rule in rules:
            yield Step(name, str(rule))
    if settings.upstream_host != AS_SENT:
        yield Step("host", f"the service gets {settings.upstream_host} in Host")
    if settings.security_headers is SecurityHeaders.STRICT:
        yield Step("security headers", "added to responses that lack them")


def _forwarded(config: SiteConfig, route: Route, target: bytes) -> str:
    settings = settings_of(config, route)
    if settings is None:
        return "the gateway answers by itself"
    if settings.static is not None:
        return f"to the files in {settings.static}"
    if settings.upstream is None:
        return f"the gateway answers by itself: {settings.answer}"
    servers = next(upstream.servers for upstream in config.upstreams if upstream.name == settings.upstream)
    places = ", ".join(server.url for server in servers)
    return f"forwarded to upstream {settings.upstream} ({places}) as {target.decode('latin-1')}"

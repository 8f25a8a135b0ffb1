"""``perimeter check FILE --explain METHOD URL``: which route a request belongs to, and whether it would be admitted.

The gate's own parts answer: the table of routes, the reading of paths, the rules. The request is sent nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from zope.interface import implementer

from perimeter.audit.sinks import NoAudit
from perimeter.auth.registry import installed_kinds
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.listener import Serve
from perimeter.config.site.load import load_site
from perimeter.config.site.route import Auth, RouteSettings
from perimeter.config.site.route_matching import canonical_host, covers, hosts_for, prefix_of
from perimeter.errors import Refusal, Rejected, StartupError
from perimeter.gate.gate import Gate
from perimeter.gate.identify import Identifier
from perimeter.gate.identity_lines import IdentityLines
from perimeter.gate.paths import normalise, split_target
from perimeter.gate.routes import Route, RouteTable
from perimeter.gate.target import ITarget
from perimeter.http.exchange import Exchange
from perimeter.http.grammar import parse_block, parse_request
from perimeter.model import AuthenticationRequest, Principal, Recollection, RequestHead
from perimeter.run.build.authentication import directory_realms
from perimeter.run.build.endpoints import EndpointParts, endpoint_routes
from perimeter.run.build.routes import RouteParts, route_of
from perimeter.tokens.issuer import TokenIssuer
from perimeter.tokens.key_file import KeyFile
from perimeter.tokens.keyring import Keyring

#: The host of a URL that is only a path: only routes for any host match it.
_NO_HOST = b"Host: any.invalid\r\n"


@implementer(ITarget)
class _NoTarget:
    """The target of routes that answer nothing."""

    name = ""

    def handle(self, exchange: Exchange) -> None:
        """See `ITarget`."""
        raise AssertionError("nothing is sent to a target")


class _NoReactor:
    """The clock of endpoints that answer nothing."""

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kw: object) -> Any:
        raise AssertionError("nothing is sent to an endpoint")


def run_explain(path: Path, method: str, url: str, *, user: str | None = None) -> tuple[int, str]:
    """An exit status and the text to print: 0 if the request would be admitted, 1 if not or if the file has a fault.

    ``url`` is absolute, or a path. ``user`` is looked up where users can be looked up without their password.
    """
    from perimeter.auth.registry import installed_kinds

    try:
        config = load_site(path, kinds=installed_kinds())
    except StartupError as error:
        return 1, str(error)
    if not any(listener.serve is Serve.GATEWAY for listener in config.listeners):
        return 1, "no listener has serve = gateway: no client can reach the routes"
    lines = [f"{method} {url}"]
    try:
        head = parse_request(f"{method} {url} HTTP/1.1".encode(), parse_block(_NO_HOST, 1))
        route, target = _gate(config).locate(head.host, head.target)
    except Refusal as error:
        return 1, "\n".join([*lines, _refused(error.status, error.reason, error.detail)])
    lines += _place(config, head, route)
    if route.builtin:
        return 0, "\n".join([*lines, "result: the gateway answers by itself (docs: reference/http)"])
    users: list[Principal | None] = [None]
    notes: list[str] = []
    if user is not None:
        users, notes = _look_up(config, user)
    admitted, judged = _judged(config, head, route, target, users, notes)
    return int(not admitted), "\n".join([*lines, *judged])


def _refused(status: int, reason: str, detail: str) -> str:
    return f"result: refused with {status} {reason}: {detail}"


def _gate(config: SiteConfig) -> Gate:
    """The gate of a ``gateway`` listener: its routes, without anything behind them."""
    from perimeter.cli.site import WallClock

    clock, sink = WallClock(), NoAudit()
    keyring = Keyring(KeyFile(config.perimeter.state_dir), config.token, clock)
    issuer = TokenIssuer(keyring, config.token, clock)
    own = endpoint_routes(EndpointParts(config, issuer, keyring, None).gateway(), sink, _NoReactor())
    shared = RouteParts(directory_realms(config, installed_kinds()))
    routes = [route_of(settings, _NoTarget(), sink, shared) for settings in config.routes]
    return Gate(RouteTable([*routes, *own]), Identifier(()), IdentityLines(lambda *_: "", clock.seconds, limit=1))


def _place(config: SiteConfig, head: RequestHead, route: Route) -> list[str]:
    """The path as it is judged, the route, and the routes that match too and come later."""
    path = normalise(split_target(head.target)[0])
    lines = [f"path: {path.decode('latin-1')}"]
    settings = next((one for one in config.routes if one.name == route.name), None)
    if route.builtin or settings is None:
        return [*lines, f"route: the endpoint {route.prefix.decode('latin-1') or '/'} of the gateway"]
    lines.append(f"route: {_named(settings)}")
    host = canonical_host(head.host)
    for other in config.routes:
        if other is not settings and covers(prefix_of(other.path), path.decode("latin-1")) and _on(host, other):
            why = (
                "its path is shorter"
                if set(other.hosts) == set(settings.hosts)
                else "its host is less specific, or its path shorter"
            )
            lines.append(f"    {_named(other)} matches too, and comes later: {why}")
    return lines


def _on(host: str, settings: RouteSettings) -> bool:
    return not settings.hosts or "*" in settings.hosts or any(hosts_for(host, settings.hosts, len(host) + 2))


def _named(settings: RouteSettings) -> str:
    place = f"{Path(settings.file).name}:{settings.line}"
    return f"[route {settings.name}] ({place}), host {', '.join(settings.hosts) or '*'}, path {settings.path}"


def _judged(
    config: SiteConfig, head: RequestHead, route: Route, target: bytes, users: Iterable[Principal | None], notes: list[str]
) -> tuple[bool, list[str]]:
    """Whether one of ``users`` (None: a client without credentials) is admitted, and how each is judged."""
    settings = next(one for one in config.routes if one.name == route.name)
    lines = [*notes]
    if settings.networks:
        lines.append(f"networks: only clients in {', '.join(map(str, settings.networks))}; others get 403 network_refused")
    if config.perimeter.maintenance:
        return False, [*lines, _refused(503, "maintenance", "[perimeter] maintenance = yes")]
    if not config.perimeter.enabled:
        lines.append("authentication: off, because of [perimeter] enabled = no")
        return True, [*lines, _forwarded(config, settings, target)]
    lines.append(f"authentication: auth = {settings.auth}")
    users = list(users)
    if not users and settings.auth is Auth.NONE:
        users = [None]
    elif not users:
        return False, [*lines, "result: not known, because no authenticator can look up the user"]
    any_admitted = False
    for principal in users:
        who = None if settings.auth is Auth.NONE else principal
        if principal is not None:
            said = "" if who is not None else "; the route does not ask who it is"
            roles = ", ".join(principal.roles) or "none"
            lines.append(f"user: {principal.username} of realm {principal.realm}, roles: {roles}{said}")
        permitted = route.policy.permits(who, head.method.decode("ascii"))
        explanation = route.policy.explanation(who, head.method.decode("ascii"))
        if who is None and settings.auth is Auth.REQUIRED:
            lines.append(_refused(401, "missing_credentials", "the route requires a user; --user NAME explains for one"))
        elif permitted:
            any_admitted = True
            lines += [f"rules: {explanation}", _forwarded(config, settings, target)]
        elif who is None and settings.auth is Auth.OPTIONAL:
            lines.append(_refused(401, "missing_credentials", explanation))
        else:
            lines.append(_refused(403, "insufficient_scope", explanation))
    return any_admitted, lines


def _forwarded(config: SiteConfig, settings: RouteSettings, target: bytes) -> str:
    if settings.static is not None:
        return f"result: admitted, to the files in {settings.static}"
    servers = next(upstream.servers for upstream in config.upstreams if upstream.name == settings.upstream)
    places = ", ".join(server.url for server in servers)
    return f"result: admitted, forwarded to upstream {settings.upstream} ({places}) as {target.decode('latin-1')}"


def _look_up(config: SiteConfig, user: str) -> tuple[list[Principal | None], list[str]]:
    """The user in each realm that knows them, and remarks. Asks as for the owner of an API token: without a password."""
    # Late, so that other commands need no reactor.
    from twisted.internet.defer import Deferred
    from twisted.internet.task import react

    found: list[Principal | None] = []
    notes: list[str] = []

    def main(reactor: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(_ask(reactor, config, user, found, notes))

    try:
        react(main, ())
    except SystemExit as end:
        if end.code:
            notes.append("the authenticators could not be asked")
    if not found:
        notes.append(f"user: no authenticator can say who {user} is")
    return found, notes


async def _ask(reactor: Any, config: SiteConfig, user: str, found: list[Principal | None], notes: list[str]) -> None:
    from perimeter.auth.chain.chain import AuthenticatorChain
    from perimeter.offload import Offload
    from perimeter.plugin.authenticator import Scheme
    from perimeter.plugin.services import AuthServices
    from perimeter.run.build.authentication import authenticators_of, prepared_authenticators

    offload = Offload(reactor)
    offload.start()
    try:
        prepared = prepared_authenticators(config, AuthServices(reactor, offload))
        chain = AuthenticatorChain(authenticators_of(config, prepared), config.authentication.timeout, 0, reactor)
        for one in chain.guarded:
            if Scheme.RECALL not in one.schemes:
                notes.append(f"{one.name}: cannot look up a user without a credential")
                continue
            try:
                principal = await one.ask(Recollection(user), AuthenticationRequest(""))
            except Rejected:
                continue
            except Refusal as error:
                notes.append(f"{one.name}: {error.detail or error.phrase}")
                continue
            if principal is not None:
                found.append(principal)
    except StartupError as error:
        notes.append(str(error))
    finally:
        offload.stop()

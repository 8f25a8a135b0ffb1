"""How the gateway would answer a request, for ``perimeter explain``.

The gate of the configuration judges the request (`perimeter.gate.explain`). The request is not sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from zope.interface import implementer

from perimeter.audit.sinks import NoAudit
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.listener import Serve
from perimeter.config.site.load import load_site
from perimeter.errors import StartupError
from perimeter.gate.access import session_only
from perimeter.gate.explain import Explanation, Question, Step, explain
from perimeter.gate.gate import Gate
from perimeter.gate.identify import Identifier
from perimeter.gate.identity_lines import IdentityLines
from perimeter.gate.routes import RouteTable
from perimeter.gate.target import ITarget
from perimeter.http.exchange import Exchange
from perimeter.model import Grant, GrantKind, Principal
from perimeter.run.build.builtin import forward_auth_route, hosts_of_pages
from perimeter.run.build.endpoints import EndpointParts, endpoint_routes
from perimeter.run.build.route import RouteParts, route_of
from perimeter.web.endpoints.account.access import ACCOUNT
from perimeter.web.endpoints.endpoint import Endpoint, Nothing
from perimeter.web.endpoints.operator.access import PATH, operator_policy


@implementer(ITarget)
class _NoTarget:
    """The target of routes that answer no request."""

    name = ""

    def handle(self, exchange: Exchange) -> None:
        """See `ITarget`."""
        raise AssertionError("nothing is sent to a target")


class _Unused:
    """What endpoints answer with: no request is sent to them."""

    def __getattr__(self, name: str) -> Callable[..., object]:
        return self._used

    def _used(self, *_: object) -> object:
        raise AssertionError("requests are not sent to an endpoint")


@attrs.frozen
class Answer:
    """How the gateway would answer a request: one explanation for each possible user, and ``notes`` about the look-up."""

    method: str
    url: str
    notes: tuple[str, ...]
    explanations: tuple[tuple[Principal | None, Explanation], ...]
    asked_for_user: bool

    @property
    def admitted(self) -> bool:
        """Whether the request of one of the users would be admitted."""
        return any(one.admitted for _, one in self.explanations)

    @property
    def text(self) -> str:
        """All of it in lines."""
        found = [one for _, one in self.explanations]
        lines = [f"{self.method} {self.url}", *self.notes, *_lines(found)]
        if not self.asked_for_user and found[0].status == 401:
            lines.append("    --user NAME explains for a user")
        return "\n".join(lines)

    @property
    def members(self) -> dict[str, Any]:
        """All of it as members of a JSON object."""
        return {
            "admitted": self.admitted,
            "notes": list(self.notes),
            "explanations": [
                {
                    "user": None if user is None else user.username,
                    "realm": None if user is None else user.realm,
                    "admitted": one.admitted,
                    "status": one.status,
                    "reason": one.reason,
                    "steps": [attrs.asdict(step) for step in one.steps],
                }
                for user, one in self.explanations
            ],
        }


def explained_request(
    path: Path,
    method: str,
    url: str,
    *,
    user: str | None = None,
    address: str = "",
    headers: tuple[str, ...] = (),
    second: bool = False,
) -> Answer:
    """Explain a request. Raises `StartupError` if the configuration has a fault or no routes for clients.

    ``url`` is absolute, or a path. ``user`` is looked up where users can be looked up without their password. ``address`` is the
    client's, "" for an address that the route allows. ``headers`` are lines ``NAME: VALUE``. ``second``: the user has a session
    in which a second factor was shown just now.
    """
    from perimeter.auth.registry import installed_kinds

    config = load_site(path, kinds=installed_kinds())
    if not any(listener.serve is Serve.GATEWAY for listener in config.listeners):
        raise StartupError("no listener has serve = gateway: no client can reach the routes")
    gate = _gate(config)
    users: Sequence[Principal | None] = [None]
    notes: list[str] = []
    if user is not None:
        found, notes = _look_up(config, user)
        users = ([_with_second_factor(one) for one in found] if second else found) or [None]
    questions = [Question(method, url, one, user or "", address, headers=headers) for one in users]
    explanations = [(question.principal, explain(gate, config, question)) for question in questions]
    return Answer(method, url, tuple(notes), tuple(explanations), user is not None)


def _with_second_factor(user: Principal) -> Principal:
    now = time.time()
    return attrs.evolve(user, grant=Grant("", now, inf, GrantKind.SESSION, second=now))


def run_explain(path: Path, method: str, url: str, *, user: str | None = None, address: str = "") -> tuple[int, str]:
    """`explained_request` as an exit status (1 if the request is refused, or cannot be explained) and a text."""
    try:
        answer = explained_request(path, method, url, user=user, address=address)
    except StartupError as error:
        return 1, str(error)
    return int(not answer.admitted), answer.text


def _lines(explanations: Sequence[Explanation]) -> list[str]:
    """The explanations for one user after the other. Steps that are the same for all users are written once."""
    lines: list[str] = []
    before: tuple[Step, ...] = ()
    for one in explanations:
        same = 0
        while same < min(len(before), len(one.steps)) and before[same] == one.steps[same]:
            same += 1
        lines += [f"    {step.text}" if step.name == "later" else f"{step.name}: {step.text}" for step in one.steps[same:]]
        before = one.steps
    return lines


def _gate(config: SiteConfig) -> Gate:
    """The gate of a ``gateway`` listener: its routes, without anything behind them."""
    from perimeter.auth.registry import directory_realms, installed_kinds
    from perimeter.cli.site import WallClock

    clock, sink, target = WallClock(), NoAudit(), _NoTarget()
    unused: Any = _Unused()
    parts = EndpointParts(config, issuer=unused, keyring=unused, book=unused if config.token.api_tokens else None)
    realms = directory_realms(config, installed_kinds())
    shared = RouteParts(
        realms,
        login=f"{config.login.path}/login".encode("ascii"),
        factor=f"{config.login.path}/factor".encode("ascii") if config.second_factor.methods else b"",
        clock=clock.seconds,
        second_factor_roles=config.second_factor.roles,
    )
    own = endpoint_routes(parts.gateway(), sink, lambda _: target, demand=shared.demand())
    main, others = hosts_of_pages(config)
    own += endpoint_routes(_pages(config, realms), sink, lambda _: target, main, shared.demand())
    if others:
        away = Nothing(config.login.path, "pages", beneath=True)
        own += endpoint_routes([away], sink, lambda _: target, others, shared.demand())
    routes = [route_of(settings, target, sink, shared) for settings in config.routes]
    return Gate(
        RouteTable([*routes, forward_auth_route(config, target, sink), *own]),
        Identifier(()),
        IdentityLines(lambda *_: "", clock.seconds, limit=1),
        enabled=config.perimeter.enabled,
        maintenance=config.perimeter.maintenance,
    )


def _pages(config: SiteConfig, realms: frozenset[str]) -> list[Endpoint]:
    """The gateway's own pages. One endpoint stands for all pages that need no sign-in."""
    if not config.signs_people_in:
        return []
    prefix = config.login.path
    access = session_only(f"{prefix}/login")
    account = Nothing(f"{prefix}{ACCOUNT}", "account", beneath=True, otherwise=access)
    pages: list[Endpoint] = [Nothing(prefix, "pages", beneath=True), account]
    if config.operator.role:
        operator = Nothing(f"{prefix}{PATH}", "operator", beneath=True, otherwise=access)
        operator.policy = operator_policy(config.operator.role, realms)
        pages.append(operator)
    return pages


def _look_up(config: SiteConfig, user: str) -> tuple[list[Principal], list[str]]:
    """The user in each realm that knows them, and remarks. The look-up needs no password, as for the owner of an API token."""
    # Late, so that other commands need no reactor.
    from twisted.internet.task import react

    found: list[Principal] = []
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


async def _ask(reactor: Any, config: SiteConfig, user: str, found: list[Principal], notes: list[str]) -> None:
    from perimeter.auth.chain.chain import AuthenticatorChain
    from perimeter.auth.chain.looking_up import look_up
    from perimeter.offload import Offload
    from perimeter.plugin.services import AuthServices
    from perimeter.run.build.authentication import authenticators_of, prepared_authenticators

    offload = Offload(reactor)
    offload.start()
    try:
        prepared = prepared_authenticators(config, AuthServices(reactor, offload))
        chain = AuthenticatorChain(authenticators_of(config, prepared), config.authentication.timeout, 0, reactor)
        known, remarks = await look_up(chain, user)
        found += known
        notes += remarks
    except StartupError as error:
        notes.append(str(error))
    finally:
        offload.stop()

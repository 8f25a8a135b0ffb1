"""The gate: every request passes it, and none passes it twice.

`Gate.judge` judges one request: route, network, identity, policy. It answers at once where it can. One gate is built from one
configuration and replaced whole at reload; requests in flight finish with the decision that they were given.
"""

from __future__ import annotations

from collections.abc import Awaitable

import attrs
from twisted.internet.defer import Deferred

from perimeter.config.language.net_types import Network
from perimeter.errors import (
    AuditUnavailable,
    BadTarget,
    BodyTooLarge,
    InsufficientScope,
    Maintenance,
    MissingCredentials,
    NetworkRefused,
    NoRoute,
)
from perimeter.gate.decision import Decision
from perimeter.gate.forwarded import in_networks, vouched_chain
from perimeter.gate.identify import Identifier
from perimeter.gate.identity_lines import IdentityLines
from perimeter.gate.overrides import overrides_method
from perimeter.gate.paths import has_encoded_slash, normalise, readings, split_target
from perimeter.gate.policy import within
from perimeter.gate.routes import Route, RouteTable
from perimeter.http.exchange import Exchange, refuse_on_error
from perimeter.model import HeaderBlock, Principal, RequestHead, Restriction

#: Targets that are remembered at most, and how long one may be with its host: some 2 MiB in all.
_MOST_PLACES = 4096
_LONGEST_PLACE = 256


@attrs.frozen(slots=True, eq=False)
class Gate:
    """The rules of one listener. ``enabled`` is False where the operator has turned authentication off."""

    routes: RouteTable
    identifier: Identifier
    identity: IdentityLines
    enabled: bool = True
    maintenance: bool = False
    trusted_proxies: tuple[Network, ...] = ()
    #: (Host, target) -> the route and what is forwarded: found once for what is asked for again (saves 2 µs)
    _places: dict[tuple[bytes, bytes], tuple[Route, bytes]] = attrs.field(factory=dict, init=False)
    #: (peer, X-Forwarded-For) -> the addresses that the request came through
    _chains: dict[tuple[str, bytes], tuple[str, ...]] = attrs.field(factory=dict, init=False)

    def dispatch(self, exchange: Exchange) -> None:
        """Admit the exchange and hand it to its target, or refuse it. Never raises."""
        try:
            decision = self.judge(exchange, exchange.head)
            if isinstance(decision, Decision):
                self._enter(exchange, decision)
            else:
                Deferred.fromCoroutine(self._enter_later(exchange, decision))
        except Exception as error:  # whatever goes wrong in judging, the request is not let through (attack 41)
            refuse_on_error(exchange, error)

    async def _enter_later(self, exchange: Exchange, decision: Awaitable[Decision]) -> None:
        try:
            self._enter(exchange, await decision)
        except Exception as error:
            refuse_on_error(exchange, error)

    @staticmethod
    def _enter(exchange: Exchange, decision: Decision) -> None:
        if exchange.ended:  # the client left while an authenticator was asked
            return
        exchange.decision = decision
        exchange.max_body = decision.route.max_body
        decision.route.target.handle(exchange)

    def judge(self, exchange: Exchange, head: RequestHead, route: Route | None = None) -> Decision | Awaitable[Decision]:
        """The decision on the request ``head``. Raises a `perimeter.errors.Refusal` where it is not admitted.

        ``head`` is the exchange's own, or the one that a proxy asks about (`perimeter.targets.forward_auth`): the same rules
        judge both. With ``route`` that one counts, whatever the path.
        """
        if route is None:
            place = self._places.get((head.host, head.target))
            route, target = self._locate(head.host, head.target) if place is None else place
        else:
            target = head.target
        asking = exchange.decision
        if asking is not None:
            assert isinstance(asking, Decision)
            # A proxy asks: the client's address was found when the proxy's own request was judged.
            address, relayed = asking.address, asking.relayed
        else:
            address = exchange.connection.address
            relayed = self._relayed(address, head.headers) if self.trusted_proxies else ()
            if relayed:
                address = relayed[0]
        # The record of a refusal names the route too, so the exchange learns of it before anybody is asked anything.
        decision = exchange.decision = Decision(route, None, target, b"", address, relayed)
        if self.maintenance and not route.builtin:
            raise Maintenance
        if not route.audit.healthy():
            raise AuditUnavailable
        if route.networks and not in_networks(address, route.networks):
            raise NetworkRefused
        if route.max_body is not None and (head.headers.content_length or 0) > route.max_body:
            raise BodyTooLarge("Content-Length is over max_body")
        if not self.enabled:
            return decision
        if not route.authenticate:
            return self._authorise(exchange, decision, None, head.method)
        if asking is None:
            principal = self.identifier.identify(head.headers, address, exchange.connection)
        else:  # the connection is the proxy's: its certificate is not the client's, nor is a field that the client sent to it
            principal = self.identifier.identify(head.headers, address, exchange.connection, by_connection=False)
        if principal is None:
            if route.required:
                raise MissingCredentials
            return self._authorise(exchange, decision, None, head.method)
        if isinstance(principal, Principal):
            return self._authorise(exchange, decision, principal, head.method)
        return self._authorise_later(exchange, decision, principal, head.method)

    def _relayed(self, peer: str, headers: HeaderBlock) -> tuple[str, ...]:
        """`vouched_chain`, or nothing where ``peer`` is not trusted. Remembered: reading addresses takes 20 µs."""
        key = peer, b",".join(headers.get_all(b"x-forwarded-for"))
        relayed = self._chains.get(key)
        if relayed is None:
            trusted = self.trusted_proxies
            relayed = vouched_chain(peer, headers, trusted) if in_networks(peer, trusted) else ()
            if len(key[1]) <= _LONGEST_PLACE:
                if len(self._chains) >= _MOST_PLACES:
                    self._chains.clear()
                self._chains[key] = relayed
        return relayed

    async def _authorise_later(
        self, exchange: Exchange, decision: Decision, later: Awaitable[Principal | None], method: bytes
    ) -> Decision:
        principal = await later
        if principal is None and decision.route.required:
            raise MissingCredentials
        return self._authorise(exchange, decision, principal, method)

    def _authorise(self, exchange: Exchange, decision: Decision, principal: Principal | None, method: bytes) -> Decision:
        decision.principal = principal
        route = decision.route
        policy = route.policy
        if not policy.open and not policy.permits(principal, method.decode("ascii")):
            # Where nobody is asked who he is (auth = none, with rules for methods), credentials would not help.
            raise MissingCredentials if principal is None and route.authenticate else InsufficientScope
        if principal is not None:
            grant = principal.grant
            if grant is not None and grant.restriction is not None:
                self._check_restriction(grant.restriction, decision, method, exchange.head.headers)
            decision.identity = self.identity.lines(route.identity, principal)
        return decision

    @staticmethod
    def _check_restriction(restriction: Restriction, decision: Decision, method: bytes, headers: HeaderBlock) -> None:
        route = decision.route
        if route.blind or not within(restriction, route.name, method.decode("ascii"), decision.address):
            raise InsufficientScope("the API token is for something else")
        if restriction.methods and overrides_method(headers):
            raise InsufficientScope("the API token is for certain methods, and a field names another one")

    def _locate(self, host: bytes, target: bytes) -> tuple[Route, bytes]:
        """The route of a request, and the target that is forwarded. Raises `BadTarget` or `NoRoute`."""
        path, query = split_target(target)
        path = normalise(path)
        route = self.routes.find(host, path)
        if route is None:
            raise NoRoute
        if b";" in path or b"%2F" in path:
            self._check_readings(route, host, path)
        place = (route, route.forwarded_path(path) + query)
        if len(target) + len(host) <= _LONGEST_PLACE:  # clients choose both
            if len(self._places) >= _MOST_PLACES:
                self._places.clear()
            self._places[host, target] = place
        return place

    def _check_readings(self, route: Route, host: bytes, path: bytes) -> None:
        """Every way to read the path must lead to the same route (attack 1)."""
        if has_encoded_slash(path) and not route.allow_encoded_slash:
            raise BadTarget("an encoded slash")
        for reading in readings(path):
            if self.routes.find(host, reading) is not route:
                raise BadTarget("a path that another server could read as another route's")

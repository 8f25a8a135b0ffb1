"""The gate: it judges every request, once.

`Gate.judge` decides at once if it can, and later if an authenticator has to be asked. One gate is built from one configuration
and replaced as a whole at a reload; requests in flight finish with the decision that they were given.
"""

from __future__ import annotations

from collections.abc import Awaitable

import attrs
from twisted.internet.defer import Deferred

from perimeter.config.language.net_types import PeerNetwork, in_networks
from perimeter.errors import (
    AuditUnavailable,
    CrossSite,
    Maintenance,
    MissingCredentials,
    NoRoute,
    Refusal,
    SessionExpired,
)
from perimeter.gate.access import Access, Asks, check_restriction, for_client
from perimeter.gate.cross_site import SAFE_METHODS, asks_for_websocket, from_another_site, own_origins
from perimeter.gate.decision import Admitted, Located
from perimeter.gate.forwarded import vouched_chain
from perimeter.gate.identify import Identifier
from perimeter.gate.identity_lines import IdentityLines
from perimeter.gate.judged import Judged
from perimeter.gate.paths import normalise, split_target
from perimeter.gate.routes import Route, RouteTable
from perimeter.gate.session_use import count_use
from perimeter.gate.sources.source import Found
from perimeter.http.exchange import Exchange, refuse_on_error
from perimeter.http.request_ids import id_line, id_of_proxy
from perimeter.model import HeaderBlock, Principal, RequestHead
from perimeter.recent import Memo

#: Targets that are remembered at most, and the longest one with its host: 2 MiB in all.
_MOST_PLACES = 4096
_LONGEST_PLACE = 256
_NO_ROUTE = "no route for this host and path"

_ANONYMOUS = Asks.NONE
_OPTIONAL = Asks.OPTIONAL
_FIRST_HAND = Asks.FIRST_HAND
_SESSION = Asks.SESSION


@attrs.frozen
class Gate:
    """The rules of one listener. ``enabled`` is False if the operator has turned authentication off."""

    routes: RouteTable
    identifier: Identifier
    identity: IdentityLines
    enabled: bool = True
    maintenance: bool = False
    trusted_proxies: tuple[PeerNetwork, ...] = ()
    #: (Host, target) -> the route and what is forwarded: found once for what is asked for again (saves 2 µs)
    _places: Memo[tuple[bytes, bytes], tuple[Route, bytes]] = attrs.field(factory=lambda: Memo(_MOST_PLACES), init=False)
    #: (Host, target) -> the routes that are tried, and the path and query, where conditions decide
    _choices: Memo[tuple[bytes, bytes], tuple[tuple[Route, ...], bytes, bytes]] = attrs.field(
        factory=lambda: Memo(_MOST_PLACES), init=False
    )
    #: (peer, X-Forwarded-For) -> the addresses that the request came through
    _chains: Memo[tuple[str, bytes], tuple[str, ...]] = attrs.field(factory=lambda: Memo(_MOST_PLACES), init=False)

    def dispatch(self, exchange: Exchange) -> None:
        """Admit the exchange and hand it to its target, or refuse it. Never raises."""
        try:
            if self.trusted_proxies and exchange.id_line:
                self._take_id(exchange)
            admitted = self.judge(exchange, exchange.head)
            if isinstance(admitted, Admitted):
                self._enter(exchange, admitted)
            else:
                Deferred.fromCoroutine(self._enter_later(exchange, admitted))
        except Refusal as refusal:
            exchange.refuse(refusal)
        except Exception as error:  # no failure of the decision admits the request (attack 41)
            refuse_on_error(exchange, error)

    async def _enter_later(self, exchange: Exchange, later: Awaitable[Admitted]) -> None:
        try:
            admitted = await later
            if not exchange.ended:  # else the client left while an authenticator was asked
                self._enter(exchange, admitted)
        except Exception as error:
            refuse_on_error(exchange, error)

    @staticmethod
    def _enter(exchange: Exchange, admitted: Admitted) -> None:
        route = admitted.route
        exchange.decision = admitted
        exchange.max_body = route.max_body
        if exchange.trace is not None:
            exchange.trace.admitted()
        route.target.handle(exchange)

    def judge(
        self, exchange: Judged, head: RequestHead, route: Route | None = None, asking: Admitted | None = None
    ) -> Admitted | Awaitable[Admitted]:
        """The decision on the request ``head``. Raises a `perimeter.errors.Refusal` if it is not admitted.

        ``head`` is the exchange's own, or the one that a proxy asks about (`perimeter.targets.forward_auth`): the same rules
        judge both. Then ``asking`` is the admission of the proxy's own request. If ``route`` is given, it is judged by that one,
        whatever the path.

        In this order: which route, whose address, whether the route is open to them now, who they are, whether they may.
        """
        if route is None:
            place = self._places.get((head.host, head.target))
            route, target = self.locate(head, asking is not None) if place is None else place
        else:
            target = head.target
        if asking is None:
            address = exchange.connection.address
            relayed = self._relayed(address, head.headers) if self.trusted_proxies else ()
            if relayed:
                address = relayed[0]
        else:
            address, relayed = asking.address, asking.relayed
        access = route.access if route.by_method is None else route.by_method.get(head.method, route.access)
        principal = None
        try:
            # Whether the route is open now, to this address, for this request.
            if self.maintenance and not route.builtin:
                raise Maintenance("the operator has closed the gateway (maintenance)")
            if not route.audit.healthy():
                raise AuditUnavailable(route.audit.problem())
            for rule in route.entry:  # a rule of one route: see `perimeter.gate.entry`
                if rule(exchange, head, address) and route.preflights is not None:
                    return Admitted(route.preflights, None, target, b"", address, relayed)
            if not self.enabled and not route.builtin:
                return Admitted(route, None, target, route.identity.fixed, address, relayed)
            # A new way to know a user, such as a session, is a source (`perimeter.gate.sources`) and needs nothing here.
            if access.asks is _ANONYMOUS:
                found: Found = None
            elif access.asks is _FIRST_HAND:
                found = self.identifier.identify_first_hand(head.headers, address, exchange.connection)
            elif access.asks is _SESSION or (route.app_authorization and head.headers.session is not None):
                found = self.identifier.identify_by_session(head.headers, address, exchange.connection)
            elif asking is None:
                found = self.identifier.identify(head.headers, address, exchange.connection)
            else:  # the connection is the proxy's: its certificate is not the client's, nor is a header that its peer may set
                found = self.identifier.identify(head.headers, address, exchange.connection, by_connection=False)
            if isinstance(found, Principal):
                principal = found
                return self._admit(exchange, route, access, principal, head, target, address, relayed)
            if found is None and (access.asks is _ANONYMOUS or access.asks is _OPTIONAL):
                return self._admit(exchange, route, access, None, head, target, address, relayed)
        except Exception as error:
            exchange.decision = Located(route, principal, target, address, relayed)
            raise for_client(error, access, head, principal) from None
        exchange.decision = located = Located(route, None, target, address, relayed)
        if found is None:  # the usual refusal: raised here, where no handler catches and raises it again
            raise _missing(access, head)
        return self._admit_later(exchange, located, access, found, head)

    async def _admit_later(
        self, exchange: Judged, located: Located, access: Access, later: Awaitable[Principal | None], head: RequestHead
    ) -> Admitted:
        principal = None
        try:
            principal = await later
            if principal is None and access.asks is not _OPTIONAL:
                raise _missing(access, head)
            return self._admit(exchange, located.route, access, principal, head, located.target, located.address, located.relayed)
        except Exception as error:
            if not exchange.ended:
                exchange.decision = Located(located.route, principal, located.target, located.address, located.relayed)
            raise for_client(error, access, head, principal) from None

    def uncounted(self) -> Gate:
        """A gate with the same rules that counts no requests: for one that is judged again, or that is made up."""
        routes = self.routes.uncounted()
        return self if routes is self.routes else attrs.evolve(self, routes=routes)

    # -- the steps of a judgement

    def _admit(
        self,
        exchange: Judged,
        route: Route,
        access: Access,
        principal: Principal | None,
        head: RequestHead,
        target: bytes,
        address: str,
        relayed: tuple[str, ...],
    ) -> Admitted:
        """Whether the user may do this. Rules that need the user have their place here."""
        policy = route.policy
        if not policy.open:
            # the connection of a proxy is not the client's: nor is its certificate
            own = None if relayed or head is not exchange.head else exchange.connection
            if not policy.permits(principal, head.method.decode("ascii"), address, own):
                # A route that asks for no credentials (auth = none, with rules for methods) would not be helped by them.
                if principal is not None or access.asks is _ANONYMOUS:
                    raise policy.refusal(principal, head.method.decode("ascii"), address, own)
                raise MissingCredentials("a rule of the route needs to know the user")
        if principal is None:
            return Admitted(route, None, target, route.identity.fixed, address, relayed)
        question = head is not exchange.head
        if question or head.headers.upgrade is not None or head.method not in SAFE_METHODS:
            self._check_site(exchange, route, head, principal, bool(relayed), question)
        grant = principal.grant
        if grant is not None:
            if grant.restriction is not None:
                check_restriction(grant, access, route.name, head, target, address)
            use = grant.use
            if use is not None:
                # The time of the request: what is judged again (`perimeter.gate.review`) was not asked for again.
                count_use(use, exchange.time, route, access)
                if route.app_authorization and head.headers.authorization:
                    lines = b"Authorization: %b\r\n" % head.headers.authorization[0] + self.identity.lines(
                        route.identity, principal
                    )
                    return Admitted(route, principal, target, lines, address, relayed)
        return Admitted(route, principal, target, self.identity.lines(route.identity, principal), address, relayed)

    def _check_site(
        self, exchange: Judged, route: Route, head: RequestHead, principal: Principal, relayed: bool, question: bool
    ) -> None:
        """Refuse what changes something, if a browser sent it for another site with credentials that it adds by itself."""
        headers = head.headers
        allowed = route.cross_site
        if allowed is None or (question and head.method in SAFE_METHODS and not asks_for_websocket(headers)):
            return
        own = own_origins(head, exchange.connection, relayed, question)
        if from_another_site(headers, own, allowed) and self.identifier.by_browser(headers, principal):
            raise CrossSite(
                "Origin or Sec-Fetch-Site names another site, and a browser may have added the credentials by itself: see "
                "cross_site of the route and, if it is the site itself behind a proxy, trusted_proxies"
            )

    # -- where the request goes, and where it came from

    def trusts(self, exchange: Exchange) -> bool:
        """Whether ``exchange`` comes from a trusted proxy."""
        return bool(self.trusted_proxies) and bool(self._relayed(exchange.connection.address, exchange.head.headers))

    def _take_id(self, exchange: Exchange) -> None:
        """Use the id that a trusted proxy gave the request: before the judgement, so that a refusal has it, too."""
        request_id = id_of_proxy(exchange.head.headers)
        if request_id and self.trusts(exchange):
            exchange.id_line = exchange.answer_lines = id_line(request_id)

    def _relayed(self, peer: str, headers: HeaderBlock) -> tuple[str, ...]:
        """`vouched_chain`, or nothing if ``peer`` is not trusted. Remembered: reading addresses takes 20 µs."""
        key = peer, b",".join(headers.get_all(b"x-forwarded-for"))
        relayed = self._chains.get(key)
        if relayed is None:
            trusted = self.trusted_proxies
            relayed = vouched_chain(peer, headers, trusted) if in_networks(peer, trusted) else ()
            if len(key[1]) <= _LONGEST_PLACE:
                self._chains.keep(key, relayed)
        return relayed

    def locate(self, head: RequestHead, asked: bool = False) -> tuple[Route, bytes]:
        """The route of a request, and the target that is forwarded. Raises `BadRequest` (mostly `BadTarget`) or `NoRoute`.

        ``asked``: a proxy asks about the request.
        """
        host, target = head.host, head.target
        table = self.routes
        if table.find is not None:
            sent, query = split_target(target)
            path = normalise(sent)
            found = table.find(host, path)
            if found is None:
                raise NoRoute(_NO_ROUTE)
            if b"%" in path or b";" in path:
                table.check_readings((found,), host, path)
            place = (found, found.forwarded_path(path) + query)
            if len(target) + len(host) <= _LONGEST_PLACE:  # clients choose both
                self._places.keep((host, target), place)
            return place
        choice = self._choices.get((host, target)) if self._choices else None
        choice = choice or table.candidates(host, target)
        routes, path, query = choice
        for route in routes:
            if route.conditions is None or route.conditions.met(head, asked):
                place = (route, route.forwarded_path(path) + query)
                if len(target) + len(host) <= _LONGEST_PLACE:  # clients choose both
                    if routes[0].conditions is None:
                        self._places.keep((host, target), place)
                    else:
                        self._choices.keep((host, target), choice)
                return place
        raise NoRoute("no route for this host, path, method, headers and query" if routes else _NO_ROUTE)


def _missing(access: Access, head: RequestHead) -> Exception:
    """Why no source knows the user. Made here, because a frame that raises an exception and names it is kept alive by it."""
    refusal: Refusal
    if head.headers.session is None:
        refusal = MissingCredentials("no credential in the request that the gateway can use")
    else:
        refusal = SessionExpired("the session of the cookie does not exist or has ended")
    if access.login:
        return for_client(refusal, access, head)
    refusal.stranger = access.stranger
    return refusal

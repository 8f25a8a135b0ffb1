"""Rules that a request is judged by before the client is identified: from its head and the client's address. Pure.

A route has a tuple of them, made once. A new rule of this kind goes here and into `entry_rules`; a route without the rule pays
nothing for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from perimeter.config.language.net_types import Network, in_networks
from perimeter.errors import BodyTooLarge, InvalidCredentialsRequest, NetworkRefused, Page, RouteMaintenance
from perimeter.gate.cors import Cors, is_preflight
from perimeter.gate.judged import Judged
from perimeter.limits.rates import RateLimit
from perimeter.model import RequestHead, network_of

EntryRule = Callable[[Judged, RequestHead, str], bool | None]
"""Takes the exchange, the request's head (the exchange's, or the one that a proxy asks about) and the client's address.

It raises a `perimeter.errors.Refusal`, or returns True if the ``preflights`` of the route answer instead of the route itself.
"""


def entry_rules(
    networks: tuple[Network, ...],
    max_body: int | None,
    forwards_authorization: bool = False,
    cors: Cors | None = None,
    preflights: bool = False,
    counting: tuple[EntryRule, ...] = (),
    closed: EntryRule | None = None,
    secured: EntryRule | None = None,
) -> tuple[EntryRule, ...]:
    """The rules of a route, in the order in which they are checked.

    ``secured`` and ``cors`` are first, because they are for refusals, too. ``preflights``: something else answers preflights.
    They are counted by ``counting`` as other requests are.
    """
    rules: list[EntryRule] = []
    if secured is not None:
        rules.append(secured)
    if cors is not None:
        rules.append(shared_with(cors))
    if networks:
        rules.append(from_networks(networks))
    if closed is not None:
        rules.append(closed)
    if max_body is not None:
        rules.append(up_to(max_body))
    if forwards_authorization:
        rules.append(one_authorization)
    rules += counting
    if preflights:
        rules.append(preflights_apart(answered=cors is not None))
    return tuple(rules)


#: If the listener does not say otherwise. It is sent without includeSubDomains, which would bind hosts of others.
_A_YEAR: Final = 365 * 86400


def over_tls(ages: Mapping[str, int]) -> EntryRule:
    """Every response over TLS has Strict-Transport-Security (RFC 6797).

    ``ages`` are seconds by the name of a listener, 0 for none; other listeners have a year. The client's TLS may end at the
    trusted proxy in front.
    """
    lines = {name: b"Strict-Transport-Security: max-age=%d\r\n" % age if age else b"" for name, age in ages.items()}
    usual = b"Strict-Transport-Security: max-age=%d\r\n" % _A_YEAR

    def announce(exchange: Judged, head: RequestHead, address: str) -> None:
        connection = exchange.connection
        if head is not exchange.head:  # another proxy that asks about a request answers it by itself
            return
        secure = bool(connection.tls)
        if address != connection.address:  # a trusted proxy's word
            scheme = head.headers.get(b"x-forwarded-proto")
            secure = scheme == b"https" if scheme in (b"https", b"http") else secure
        if secure:
            exchange.answer_lines += lines.get(connection.listener, usual)

    return announce


def shared_with(cors: Cors) -> EntryRule:
    """Every response says which pages may read it."""

    def announce(exchange: Judged, head: RequestHead, address: str) -> None:
        if head is exchange.head:  # another proxy that asks about a request answers it by itself
            exchange.answer_lines += cors.lines(head.headers)

    return announce


def preflights_apart(*, answered: bool) -> EntryRule:
    """The ``preflights`` of the route answer preflights. ``answered``: it is the gateway that answers them, so another proxy that
    asks about one gets no permission to pass it to the service."""

    def divert(exchange: Judged, head: RequestHead, address: str) -> bool:
        return is_preflight(head) and not (answered and head is not exchange.head)

    return divert


def from_networks(networks: tuple[Network, ...]) -> EntryRule:
    """The client's address has to lie in one of ``networks``."""

    def check(exchange: Judged, head: RequestHead, address: str) -> None:
        if not in_networks(address, networks):
            raise NetworkRefused("the client's address is outside the networks of the route")

    return check


def maintenance(allowed: tuple[Network, ...], page: Page | None, retry_after: int | None) -> EntryRule:
    """The route is closed, except for clients in ``allowed``."""

    def check(exchange: Judged, head: RequestHead, address: str) -> None:
        if not in_networks(address, allowed):
            raise RouteMaintenance("the operator has closed the route (maintenance)", page=page, retry_after=retry_after)

    return check


def up_to(max_body: int) -> EntryRule:
    """Content-Length has to be at most ``max_body`` bytes. A chunked body is counted as it comes."""

    def check(exchange: Judged, head: RequestHead, address: str) -> None:
        if (head.headers.content_length or 0) > max_body:
            raise BodyTooLarge("Content-Length is over max_body")

    return check


def within_rate(limit: RateLimit, *, by_address: bool) -> EntryRule:
    """Count the request: for its address, or for all clients of the route together. It has to be within ``limit``."""

    def check(exchange: Judged, head: RequestHead, address: str) -> None:
        lines = limit.take(network_of(address) if by_address else "")
        if head is exchange.head:
            exchange.answer_lines += lines

    return check


def one_authorization(exchange: Judged, head: RequestHead, address: str) -> None:
    """The service gets Authorization as it came, so it must have one reading, also if the gateway does not read it."""
    if len(head.headers.authorization) > 1:
        raise InvalidCredentialsRequest("more than one Authorization header")

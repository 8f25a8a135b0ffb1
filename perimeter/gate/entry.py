"""Rules that a request is judged by before the client is identified: from its head and the client's address. Pure.

A route has a tuple of them, made once. A new rule of this kind goes here and into `entry_rules`; a route without the rule pays
nothing for it.
"""

from __future__ import annotations

from collections.abc import Callable

from perimeter.config.language.net_types import Network, in_networks
from perimeter.errors import BodyTooLarge, InvalidCredentialsRequest, NetworkRefused
from perimeter.model import RequestHead

EntryRule = Callable[[RequestHead, str], None]
"""Takes the request's head and the client's address. Raises a `perimeter.errors.Refusal`."""


def entry_rules(
    networks: tuple[Network, ...], max_body: int | None, forwards_authorization: bool = False
) -> tuple[EntryRule, ...]:
    """The rules of a route, in the order in which they are checked."""
    rules: list[EntryRule] = []
    if networks:
        rules.append(from_networks(networks))
    if max_body is not None:
        rules.append(up_to(max_body))
    if forwards_authorization:
        rules.append(one_authorization)
    return tuple(rules)


def from_networks(networks: tuple[Network, ...]) -> EntryRule:
    """The client's address has to lie in one of ``networks``."""

    def check(head: RequestHead, address: str) -> None:
        if not in_networks(address, networks):
            raise NetworkRefused("the client's address is outside the networks of the route")

    return check


def up_to(max_body: int) -> EntryRule:
    """Content-Length has to be at most ``max_body`` bytes. A chunked body is counted as it comes."""

    def check(head: RequestHead, address: str) -> None:
        if (head.headers.content_length or 0) > max_body:
            raise BodyTooLarge("Content-Length is over max_body")

    return check


def one_authorization(head: RequestHead, address: str) -> None:
    """The service gets Authorization as it came, so it must have one reading, also if the gateway does not read it."""
    if len(head.headers.authorization) > 1:
        raise InvalidCredentialsRequest("more than one Authorization header")

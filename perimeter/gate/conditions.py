"""Whether a request meets the conditions of a route: methods, headers, parameters of the query. Pure.

A request that does not meet them belongs to the next route, which may ask for less. So a request that a service could read in
another way than the gateway is refused (attack 125): a parameter or header twice, in another case or spelling, or encoded twice.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

import attrs

from perimeter.config.site.route_conditions import Condition
from perimeter.config.site.route_requests import RouteRequests
from perimeter.errors import BadRequest, BadTarget
from perimeter.gate.cors import is_preflight
from perimeter.gate.overrides import folded
from perimeter.gate.paths import split_target
from perimeter.gate.policy import UNKNOWN_METHOD
from perimeter.model import HeaderBlock, RequestHead

_UNKNOWN = UNKNOWN_METHOD.encode("ascii")
_LAYERS = re.compile(rb"%(?:25)+(?=[0-9A-Fa-f]{2})")
_SEPARATORS = re.compile(rb"[&;]")


@attrs.frozen
class Conditions:
    """What a request has to have, besides host and path. ``methods`` are in capital letters; empty for all.

    ``preflights``: a preflight belongs to the route if the method that it asks for does (`perimeter.gate.cors`).
    """

    methods: frozenset[bytes] = frozenset()
    headers: tuple[Condition, ...] = ()
    query: tuple[Condition, ...] = ()
    preflights: bool = False

    def met(self, head: RequestHead, asked: bool = False) -> bool:
        """Whether the request ``head`` belongs to the route.

        ``asked``: a proxy asks about it, whose question need not have the client's headers and method. Raises `BadRequest` if the
        answer depends on how the request is read, or on what the question does not say.
        """
        method = head.method
        if self.preflights and is_preflight(head):
            method = head.headers.get(b"access-control-request-method") or method
        # a server may take "post" for POST, so it must not pass by the route for POST
        if self.methods and method.upper() not in self.methods:
            if method == _UNKNOWN:
                raise BadTarget("the route depends on the method, which the question does not have")
            return False
        if self.headers and asked:
            raise BadTarget("the route depends on headers, which need not be in the question")
        if not all(_has_header(one, head.headers) for one in self.headers):
            return False
        return not self.query or _has_parameters(self.query, split_target(head.target)[1][1:])


def conditions_of(requests: RouteRequests, preflights: bool = False) -> Conditions | None:
    """The conditions that a route is configured with; None if it has none. For ``preflights`` see `Conditions`."""
    if not requests.conditional:
        return None
    methods = frozenset(method.encode("ascii") for method in requests.methods)
    return Conditions(methods, requests.headers, requests.query, preflights)


def _has_header(condition: Condition, headers: HeaderBlock) -> bool:
    wanted = condition.name.encode("ascii")
    form = folded(wanted)
    values = []
    for name, value in headers.fields:
        if name == wanted:
            values.append(value)
        elif len(name) == len(wanted) and folded(name) == form:
            raise BadRequest("a header that the route depends on, in another spelling")
    if len(values) > 1 and condition.value is not None:
        raise BadRequest("a header that the route depends on, more than once")
    return bool(values) and condition.accepts(values[0])


def _has_parameters(conditions: tuple[Condition, ...], query: bytes) -> bool:
    pieces = query.split(b"&")
    split = pieces if b";" not in query else _SEPARATORS.split(query)  # some servers take ; for & (HTML 4.01, appendix B.2.2)
    for one in conditions:
        values = _values(one, pieces)
        if split is not pieces and _values(one, split) != values:
            raise BadTarget("a semicolon in a query that the route depends on")
        if len(values) > 1:
            raise BadTarget("a parameter that the route depends on, more than once")
        if not values:
            return False
        (value,) = values
        accepted = one.accepts(value)
        if one.accepts(_decoded_on(value)) is not accepted:
            raise BadTarget("a parameter that the route depends on, encoded twice")
        if not accepted:
            return False
    return True


def _values(condition: Condition, pieces: list[bytes]) -> list[bytes]:
    """The values of a parameter. Raises `BadTarget` if a server could take another name for it."""
    wanted = condition.name.encode("utf-8")
    lower = wanted.lower()
    found = []
    for piece in pieces:
        name, _, value = piece.partition(b"=")
        name = _decoded(name)
        if name == wanted:
            found.append(_decoded(value))
        elif name.lower() == lower or (b"%" in name and _decoded_on(name).lower() == lower):
            raise BadTarget("a parameter that the route depends on, in another spelling")
    return found


def _decoded(text: bytes) -> bytes:
    return unquote_to_bytes(text.replace(b"+", b" "))


def _decoded_on(text: bytes) -> bytes:
    """``text``, decoded as often as possible."""
    return unquote_to_bytes(_LAYERS.sub(b"%", text)) if b"%" in text else text

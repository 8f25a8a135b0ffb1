"""What a route asks of a client: which credentials, and what a restricted API token may do there. Pure."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import attrs

from perimeter.errors import Challenges, InsufficientScope
from perimeter.gate.forwarded import in_networks
from perimeter.gate.overrides import overrides_method
from perimeter.model import Grant, RequestHead, Restriction


class Asks(StrEnum):
    """Which credentials a route asks for.

    ``NONE``: the client stays anonymous. ``OPTIONAL``: without credentials it stays anonymous. ``REQUIRED``: any good
    credentials. ``FIRST_HAND``: what an authenticator accepts, such as a password, and never a token of the gateway's own.
    """

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"
    FIRST_HAND = "first-hand"


class Restricted(StrEnum):
    """What an API token with a restriction may do on a route. Its networks hold in each case.

    ``ON_ROUTE``: what its routes and methods allow. ``AT_ENDPOINT``: what its methods allow; its routes are names of configured
    routes, which a built-in endpoint is not. ``NOTHING``: such a token is refused.
    """

    ON_ROUTE = "on route"
    AT_ENDPOINT = "at endpoint"
    NOTHING = "nothing"


@attrs.frozen
class Access:
    """What a route asks of a client.

    ``stranger`` is what a client without good credentials gets: the challenges of a 401. ``own`` exempts a restricted API token
    from its restriction of routes and methods if it returns True for the token's grant and the forwarded target: a token may
    always end itself. ``by_session``: the session of a browser is good enough. It is not where a script of a service on the same
    host, which the browser takes for the gateway's own, could do harm.
    """

    asks: Asks = Asks.REQUIRED
    restricted: Restricted = Restricted.ON_ROUTE
    stranger: Challenges = Challenges.BEARER
    own: Callable[[Grant, bytes], bool] | None = None
    by_session: bool = True


ANYBODY = Access(Asks.NONE)
"""An open endpoint."""

ANY_USER = Access(Asks.REQUIRED, Restricted.AT_ENDPOINT, Challenges.BOTH)
"""An endpoint for any good credentials."""

UNRESTRICTED = Access(Asks.REQUIRED, Restricted.NOTHING, Challenges.BOTH, by_session=False)
"""An endpoint for any good credentials except a restricted API token and the session of a browser."""

FIRST_HAND = Access(Asks.FIRST_HAND, stranger=Challenges.FIRST_HAND)
"""An endpoint that issues tokens."""


def check_restriction(grant: Grant, access: Access, route: str, head: RequestHead, target: bytes, address: str) -> None:
    """Raise `InsufficientScope` if the restriction of an API token does not allow the request.

    ``route`` is the route's name, ``target`` the forwarded path and query, ``address`` the client's.
    """
    restriction = grant.restriction
    if restriction is None:
        return
    if restriction.networks and not in_networks(address, restriction.networks):
        raise InsufficientScope("the API token is for other networks")
    if access.own is not None and access.own(grant, target):
        return
    if access.restricted is Restricted.NOTHING:
        raise InsufficientScope("a restricted API token is not enough here")
    if access.restricted is Restricted.ON_ROUTE and restriction.routes and route not in restriction.routes:
        raise InsufficientScope("the API token is for other routes")
    _check_methods(restriction, head)


def _check_methods(restriction: Restriction, head: RequestHead) -> None:
    if not restriction.methods:
        return
    if head.method.decode("ascii") not in restriction.methods:
        raise InsufficientScope("the API token is for other methods")
    if overrides_method(head.headers):
        raise InsufficientScope("the API token is for certain methods, and a header names another one")

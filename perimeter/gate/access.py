"""What a route asks of a client: which credentials, and what a restricted API token may do there. Pure."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final

import attrs

from perimeter.config.language.net_types import in_networks
from perimeter.errors import (
    Challenges,
    InsufficientScope,
    InvalidToken,
    LoginNeeded,
    MissingCredentials,
    Refusal,
    SecondFactorNeeded,
    SessionExpired,
    SessionUnused,
    SignIn,
)
from perimeter.gate.navigation import Shown, shown
from perimeter.gate.overrides import overrides_method
from perimeter.gate.return_path import Again, referring_path, with_return
from perimeter.model import Grant, Principal, RequestHead, Restriction

FACTOR: Final = b"/factor"
"""The path of the page that asks for a second factor, below the prefix of the pages."""


class Asks(StrEnum):
    """Which credentials a route asks for.

    ``NONE``: the client stays anonymous. ``OPTIONAL``: without credentials it stays anonymous. ``REQUIRED``: any good
    credentials. ``FIRST_HAND``: what an authenticator accepts, such as a password, and never a token of the gateway's own.
    ``SESSION``: the session of a browser and nothing else.
    """

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"
    FIRST_HAND = "first-hand"
    SESSION = "session"


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

    ``stranger`` is what a client without good credentials gets: the challenges of a 401. ``login`` is the path of the login
    page (``/.perimeter/login``), to which a browser is sent that asks for a page; empty if it is sent nowhere. ``factor`` is that
    of the page that asks for a second factor. ``own`` exempts a restricted API token from its restriction of routes and methods
    if it returns True for the token's grant and the forwarded target: a token may always end itself. ``by_session``: the session
    of a browser is good enough. It is not where a script of a service on the same host, which the browser takes for the gateway's
    own, could do harm.
    """

    asks: Asks = Asks.REQUIRED
    restricted: Restricted = Restricted.ON_ROUTE
    stranger: Challenges = Challenges.BEARER
    login: bytes = b""
    factor: bytes = b""
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


def for_client(error: Exception, access: Access, head: RequestHead, principal: Principal | None = None) -> Exception:
    """``error`` as the client that sent ``head`` gets it: with the challenges of the route, or as a redirect to its login page.

    ``principal`` is the user, if that is known. A wrong Authorization is never redirected: it counts before a session, so the
    browser would come back without end.
    """
    if not isinstance(error, Refusal):
        return error
    error.stranger = access.stranger
    if access.login:
        error.login = access.login
        place = shown(head) if error.status in (401, 403) else Shown.NOWHERE
        if place is not Shown.NOWHERE:
            return _for_person(error, access, head, place, principal)
    return error


def _for_person(error: Refusal, access: Access, head: RequestHead, place: Shown, principal: Principal | None) -> Refusal:
    """The refusal of a request whose answer a browser shows to its user."""
    framed, sent = place is Shown.FRAME, place is Shown.FORM
    target = head.target if place is Shown.PAGE else referring_path(head)
    if isinstance(error, SecondFactorNeeded):
        return _for_factor(error, access, target, place, principal)
    if error.status == 403:
        if principal is not None and principal.grant is not None and principal.grant.use is not None:
            elsewhere = with_return(access.login, target, again=Again.OTHER_USER).decode("ascii")
            error.sign_in = SignIn(elsewhere, framed, sent, principal.username)
        return error
    location = with_return(access.login, target, again=_again(error, head))
    helps = isinstance(error, MissingCredentials | SessionExpired) or not head.headers.authorization
    if helps and place is Shown.PAGE:
        return LoginNeeded(location, error)
    if helps:
        error.sign_in = SignIn(location.decode("ascii"), framed, sent)
    return error


def _for_factor(error: SecondFactorNeeded, access: Access, target: bytes, place: Shown, principal: Principal | None) -> Refusal:
    """A session can get a second factor on a page of the gateway. For a password or a token nothing helps."""
    if not access.factor or principal is None or principal.grant is None or principal.grant.use is None:
        return error
    location = with_return(access.factor, target)
    if place is Shown.PAGE:
        return LoginNeeded(location, error)
    error.sign_in = SignIn(location.decode("ascii"), place is Shown.FRAME, place is Shown.FORM, label="Go on")
    return error


def _again(error: Refusal, head: RequestHead) -> Again | None:
    """For an open session that this route does not accept: the sign-in page would redirect the browser back, without end."""
    if isinstance(error, SessionUnused):
        return Again.SAME_USER
    return Again.OTHER_USER if isinstance(error, InvalidToken) and head.headers.session is not None else None


def session_only(login: str) -> Access:
    """A page for which only the session of a browser is good. A browser without one is sent to the path ``login``."""
    page = login.encode("ascii")
    return Access(Asks.SESSION, Restricted.NOTHING, login=page, factor=page.rpartition(b"/")[0] + FACTOR)


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

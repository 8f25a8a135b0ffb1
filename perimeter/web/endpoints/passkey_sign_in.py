"""``/login/passkey`` below the prefix of the pages: people sign in with a passkey and nothing else.

The device has to verify its user, by a PIN or a fingerprint: two factors in one. The user is looked up at the authenticator that
knew them when the passkey was registered, for their roles of today; a user who is gone there cannot sign in.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Final, Protocol

from perimeter.errors import CrossSite, InvalidToken, PlainConnection, Refusal, WrongFactor
from perimeter.factors.factor import FactorKind
from perimeter.gate.access import ANYBODY
from perimeter.model import AuthenticationRequest, Principal
from perimeter.web.endpoints.arrival import Arrival
from perimeter.web.endpoints.login import EVENT, Login, SignInForm, authentication_request, before_login, bound_before_login
from perimeter.web.endpoints.page import PageEndpoint, text_fields
from perimeter.web.form import form
from perimeter.web.html.forms import is_token
from perimeter.web.passkeys import Passkeys
from perimeter.web.request import exchange_of, respond

METHOD: Final = str(FactorKind.WEBAUTHN)


class UserLookup(Protocol):
    """What this page needs of `perimeter.auth.chain.chain.AuthenticatorChain`."""

    def recall(self, owner: Principal, request: AuthenticationRequest) -> Principal | Awaitable[Principal]:
        """The current principal of a user; ``owner`` itself if their authenticator cannot look users up.

        Raises `InvalidToken` if there is no such user any more.
        """


class PasskeySignIn(PageEndpoint):
    """Takes the form with the passkey on the page ``login``, which shows what is wrong."""

    def __init__(self, login: Login, passkeys: Passkeys, users: UserLookup) -> None:
        super().__init__("/login/passkey", {b"GET": ANYBODY, b"HEAD": ANYBODY, b"POST": ANYBODY}, login.pages)
        self._login = login
        self._passkeys = passkeys
        self._users = users

    def render_GET(self, request: Any) -> bytes:
        """To the sign-in page: the browser has reloaded the answer to a form."""
        return self.redirect(request, self._login.path)

    def render_POST(self, request: Any) -> int:
        """Begin a session, or show what is wrong."""
        return respond(request, self._sign_in(request))

    async def _sign_in(self, request: Any) -> bytes:
        exchange, login = exchange_of(request), self._login
        exchange.event = EVENT
        if not self.pages.is_secure(exchange):
            raise PlainConnection("a passkey that came over plain HTTP")
        self.check_origin(request)
        fields = text_fields(form(request))
        sent, before = SignInForm.of(fields), before_login(exchange)
        if before is None or not is_token(sent.token, before, "", EVENT):
            if self.session_of(request) is not None:  # in another tab
                return login.arrivals.lead_on(self, request, sent.to, sent.fragment)
            return login.refused(request, sent, CrossSite("a form without the token of its page"), METHOD)
        try:
            factor, passkey = await self._passkeys.prove_alone(fields, bound_before_login(before))
            owner = Principal(factor.username, factor.realm, authenticator=passkey.vouched)
            user = await self._look_up(owner, authentication_request(exchange))
            return await login.arrivals.arrive(self, request, Arrival(user, (METHOD,), sent.to, sent.fragment, sent.stay))
        except Refusal as refusal:
            return login.refused(request, sent, refusal, METHOD)

    async def _look_up(self, owner: Principal, asking: AuthenticationRequest) -> Principal:
        """The user as they are known now. Raises `WrongFactor` if they are not, and `Unavailable`."""
        try:
            found = self._users.recall(owner, asking)
            if not isinstance(found, Principal):
                found = await found
        except InvalidToken as error:
            raise WrongFactor(f"the owner of the passkey: {error.detail}") from None
        if found is owner:
            raise WrongFactor(f"the authenticator {owner.authenticator} cannot look up the owner of the passkey")
        return found

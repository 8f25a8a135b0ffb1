"""``/login`` below the prefix of the pages: people sign in with a user name and a password.

A password is verified as one in ``Authorization: Basic`` is: by the same authenticators, with the same throttle and at the same
cost, and with the same refusal for a name that does not exist and for a wrong password (attacks 29, 78). The gateway stores
nothing for the page, also for many requests (attack 79): the token of its form comes from a cookie. No answer has a password.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final, Protocol

import attrs

from perimeter.auth.credentials import password_credentials
from perimeter.errors import (
    CrossSite,
    Overloaded,
    PlainConnection,
    Refusal,
    Rejected,
    StateUnavailable,
    TooManyAttempts,
    Unavailable,
    WrongFactor,
)
from perimeter.factors.challenges import Bound, ChallengeExpired
from perimeter.gate.access import ANYBODY
from perimeter.gate.return_path import Again, safe_path
from perimeter.http.cookies import own_value
from perimeter.http.exchange import Exchange
from perimeter.model import AuthenticationRequest, Credentials, Principal
from perimeter.web.endpoints.arrival import PASSWORD, Arrival, Arrivals, safe_fragment
from perimeter.web.endpoints.encrypted import needs_https
from perimeter.web.endpoints.endpoint import reading
from perimeter.web.endpoints.page import PageEndpoint, Pages, query_fields, text_fields
from perimeter.web.endpoints.providers.parts import Provider, is_manual
from perimeter.web.form import form
from perimeter.web.html.cookies import BEFORE_LOGIN, BEFORE_LOGIN_LENGTH, before_login_cookie
from perimeter.web.html.forms import TOKEN, form_token, is_token, sent_by_program
from perimeter.web.html.words import in_words
from perimeter.web.passkeys import Asked, Passkeys
from perimeter.web.request import exchange_of, respond

EVENT: Final = "login"
"""The event in the audit log, and the purpose of the form's token."""


class PasswordVerifier(Protocol):
    """What this page needs of `perimeter.auth.chain.chain.AuthenticatorChain`."""

    def authenticate(self, credentials: Credentials, request: AuthenticationRequest) -> Awaitable[Principal]:
        """Ask the authenticators."""


@attrs.frozen
class SignInForm:
    """The fields of the form. ``to`` is a path on this host, ``fragment`` the end of the URL that the user wanted, or "".

    A fragment may hold a secret, which no browser sends to a service: it travels in this form and in a redirect's own fragment,
    so it is in no log.
    """

    to: str
    fragment: str = ""
    username: str = ""
    password: str = attrs.field(default="", repr=False)
    realm: str = ""
    stay: bool = False
    token: str = attrs.field(default="", repr=False)

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> SignInForm:
        """The form as it was sent."""
        return cls(
            safe_path(fields.get("to", "")),
            safe_fragment(fields.get("fragment", "")),
            fields.get("username", ""),
            fields.get("password", ""),
            fields.get("realm", ""),
            bool(fields.get("stay")),
            fields.get(TOKEN, ""),
        )


class Login(PageEndpoint):
    """The sign-in page, and the processing of its form.

    ``realms``: those that a user may choose among; none if the page has no choice. ``https_port`` is the port of a listener with
    TLS, for users of plain HTTP; 0 without one. ``providers`` have a button each; the sign-in at the one called ``automatic``
    begins by itself. ``passwords``: whether an authenticator takes passwords. With ``passkeys`` people can sign in with a passkey
    alone (`perimeter.web.endpoints.passkey_sign_in`).
    """

    by_workers = True

    def __init__(
        self,
        pages: Pages,
        verifier: PasswordVerifier,
        arrivals: Arrivals,
        realms: Sequence[str] = (),
        https_port: int = 0,
        providers: Sequence[Provider] = (),
        automatic: str = "",
        passwords: bool = True,
        passkeys: Passkeys | None = None,
    ) -> None:
        super().__init__("/login", {**reading(ANYBODY), b"POST": ANYBODY}, pages)
        self._verifier = verifier
        self._realms = tuple(realms)
        self.arrivals = arrivals
        self._https_port = https_port
        self._providers = tuple(providers)
        self._automatic = next((one for one in providers if one.name == automatic), None)
        self._passwords = passwords
        self._passkeys = passkeys

    # -- the page

    def render_GET(self, request: Any) -> bytes:
        """The page; a browser that is signed in already goes on, unless it is to sign in ``again``."""
        fields = query_fields(request)
        to, again = safe_path(fields.get("to", "")), fields.get("again", "")
        if not self.pages.is_secure(exchange_of(request)):
            return needs_https(self, request, to, self._https_port)
        current = self.session_of(request)
        if current is None:
            if self._automatic is not None and not again and not is_manual(exchange_of(request)):
                return self._begin(request, self._automatic, to)
            return self._page(request, SignInForm(to))
        if not again:
            return self.redirect(request, self.pages.landing(to))
        name = current.owner.username
        return self._page(request, SignInForm(to, username=name if again == Again.SAME_USER else ""), current=name)

    def _page(self, request: Any, filled: SignInForm, status: int = 200, error: str = "", current: str = "") -> bytes:
        before = self._before(request)
        return self.render_page(
            request,
            "login.html",
            status,
            to=filled.to,
            fragment=filled.fragment,
            username=filled.username,
            realm=filled.realm,
            token=form_token(before, "", EVENT),
            error=error,
            realms=self._realms,
            stay=in_words(self.arrivals.stay) if self.arrivals.stay else "",
            current=current,
            passwords=self._passwords,
            passkey=self._offered(request, before),
            providers=self._buttons(request, filled),
        )

    def _buttons(self, request: Any, filled: SignInForm) -> list[tuple[str, str]]:
        """Title and link of each provider. Who is signed in already is to sign in there again, or as another user."""
        session, again = self.known_session(request), None
        if session is not None:
            again = Again.SAME_USER if filled.username == session.owner.username else Again.OTHER_USER
        return [(one.title, one.start_path(self.pages.prefix, filled.to, again)) for one in self._providers]

    def _offered(self, request: Any, before: bytes) -> Asked | None:
        """What the page asks for to sign in with a passkey; None if that is not possible here."""
        passkeys = self._passkeys
        if passkeys is None or not passkeys.usable_at(self.pages.origins(exchange_of(request))):
            return None
        return passkeys.offer_alone(bound_before_login(before))

    def _begin(self, request: Any, provider: Provider, to: str) -> bytes:
        """Begin the sign-in at ``provider``. A browser gets a page, whose script keeps the fragment of the URL on this host."""
        link = provider.start_path(self.pages.prefix, to)
        if exchange_of(request).head.headers.get(b"sec-fetch-mode") is None:
            return self.redirect(request, link)
        text = f"You sign in with {provider.title}."
        return self.render_page(request, "onwards.html", text=text, location=link, begins=True)

    @staticmethod
    def _before(request: Any) -> bytes:
        """The value of the cookie that a browser has before the sign-in. It is set if it is not there."""
        before = before_login(exchange_of(request))
        if before is None:
            before = secrets.token_urlsafe(16).encode("ascii")
            request.responseHeaders.addRawHeader(b"Set-Cookie", before_login_cookie(before))
        return before

    # -- the form

    def render_POST(self, request: Any) -> int:
        """Begin a session, and send the browser to the page that leads on; or show what is wrong."""
        return respond(request, self._sign_in(request))

    async def _sign_in(self, request: Any) -> bytes:
        exchange = exchange_of(request)
        exchange.event = EVENT
        if not self.pages.is_secure(exchange):
            raise PlainConnection("a password that came over plain HTTP")
        self.check_origin(request)
        sent = SignInForm.of(text_fields(form(request)))
        if not _is_own(exchange, sent.token):
            if self.session_of(request) is not None:  # in another tab
                return self.arrivals.lead_on(self, request, sent.to, sent.fragment)
            return self.refused(request, sent, CrossSite("a form without the token of its page"))
        asking = authentication_request(exchange, sent.realm)
        try:
            self.pages.sessions.check_fresh()  # before the password is asked about in vain
            principal = await self._verifier.authenticate(password_credentials(sent.username, sent.password), asking)
            return await self.arrivals.arrive(self, request, Arrival(principal, (PASSWORD,), sent.to, sent.fragment, sent.stay))
        except Refusal as refusal:
            refusal.attempted_user = sent.username
            return self.refused(request, sent, refusal)

    def refused(self, request: Any, sent: SignInForm, refusal: Refusal, method: str = PASSWORD) -> bytes:
        """The page again, with a sentence that says what is wrong. The name stays in its field, the password does not."""
        status, sentence, outcome = _explained(refusal, "password" if method == PASSWORD else "passkey")
        self.arrivals.note(method, outcome)
        exchange_of(request).explain(refusal, status)
        if refusal.retry_after is not None:
            request.setHeader(b"Retry-After", b"%d" % refusal.retry_after)
        return self._page(request, sent, status, sentence)


def _is_own(exchange: Exchange, token: str) -> bool:
    """Whether a form has the token of its page, or comes from a program that needs none."""
    before = before_login(exchange)
    if before is None:
        return sent_by_program(exchange.head.headers)
    return is_token(token, before, "", EVENT)


def authentication_request(exchange: Exchange, realm: str = "") -> AuthenticationRequest:
    """The circumstances of a sign-in, as those of a password in Authorization (`perimeter.gate.sources.authorization`)."""
    decision, peer = exchange.decision, exchange.connection.address
    address = peer if decision is None else decision.address
    return AuthenticationRequest(address, frozenset((realm,)) if realm else frozenset(), peer)


def bound_before_login(before: bytes) -> Bound:
    """What the challenge of a passkey on this page is bound to: ``before`` is the cookie before the sign-in."""
    return Bound(before, "", EVENT)


def before_login(exchange: Exchange) -> bytes | None:
    """The cookie that the browser has before the sign-in."""
    return own_value(exchange.head.headers.get_all(b"cookie"), BEFORE_LOGIN, BEFORE_LOGIN_LENGTH)


def _explained(refusal: Refusal, proof: str) -> tuple[int, str, str]:
    """The status of a sign-in that failed, its sentence for the user, and its word in the metrics. ``proof``: what was sent."""
    match refusal:
        case TooManyAttempts():
            wait = in_words(refusal.retry_after or 1)
            return 429, f"There were too many attempts with a wrong password. Wait {wait}, then try again.", "throttled"
        case Rejected():
            return 403, "The user name or the password is wrong.", "wrong"
        case ChallengeExpired():
            return 403, "This page was open for too long, so your passkey was not checked. Try again.", "expired"
        case WrongFactor():
            return (
                403,
                "The passkey was not accepted. It may not be registered here. Try again, or sign in in another way.",
                "wrong",
            )
        case Overloaded():
            return 503, "Too many people are signing in at this moment. Try again in a few seconds.", "overloaded"
        case StateUnavailable():
            why = "You cannot sign in at the moment, because your session cannot be saved."
            return 503, f"{why} Try again in a minute.", "unavailable"
        case Unavailable():
            why = ", because the directory of users does not answer" if proof == "password" else ""
            return 503, f"Your {proof} cannot be checked at the moment{why}. Try again in a few minutes.", "unavailable"
        case CrossSite():
            return 403, f"This page was open for too long, so your {proof} was not checked. Sign in now.", "cross_site"
        case _:
            return refusal.status, f"{refusal.phrase}.", "failed"

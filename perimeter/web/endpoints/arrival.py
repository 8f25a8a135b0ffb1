"""How every sign-in ends, whatever it was made with: a session begins, and the browser is led on to where it wanted to go."""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from math import inf
from typing import Any, Final
from urllib.parse import quote

import attrs

from perimeter.factors.pending import LIFETIME
from perimeter.factors.pending_book import PendingBook
from perimeter.gate.access import FACTOR
from perimeter.model import Principal
from perimeter.plugin.redirect import SignedIn
from perimeter.sessions.session import BY_PROVIDER, HERE, Origin, Proof, Renewal, Vouched, second_of
from perimeter.tokens.owners import decode_owner, encode_owner
from perimeter.web.endpoints.page import PageEndpoint, note_session, note_user
from perimeter.web.html.cookies import PENDING, no_pending_cookie, pending_cookie, session_cookie
from perimeter.web.request import exchange_of

_OF_PROVIDER: Final = tuple(one.name for one in attrs.fields(SignedIn) if one.name not in ("principal", "secret"))

#: as browsers write it, with its ``#``
_FRAGMENT: Final = re.compile(r"#[\x21-\x7e]{1,2000}")

PASSWORD: Final = "password"  # noqa: S105  # a method of sign-in


@attrs.frozen
class Arrival:
    """A user who has shown who they are.

    ``methods`` are those of `perimeter.sessions.session.Session.proved`, which the user has shown now, and ``earlier`` are proofs
    of this sign-in from before that. ``to`` is a path on this host, ``fragment`` the end of the URL that the user wanted, with
    its ``#``, or "". ``signed_in`` is set after a sign-in at the provider called ``provider``; its principal is the user as the
    provider knows them, before augmenters.
    """

    principal: Principal
    methods: tuple[str, ...]
    to: str
    fragment: str = ""
    stay: bool = False
    provider: str = ""
    signed_in: SignedIn | None = None
    earlier: tuple[Proof, ...] = ()

    @property
    def method(self) -> str:
        """The method in the metrics: the first one of the sign-in."""
        shown = (*(method for method, _ in self.earlier), *self.methods)
        return next(method for method in shown if not method.startswith(BY_PROVIDER))

    @property
    def has_second(self) -> bool:
        """Whether a second factor is among the proofs."""
        return bool(second_of((*self.earlier, *((method, 1.0) for method in self.methods))))

    def with_factor_of_provider(self) -> Arrival:
        """With the second factor that the provider has checked, if it has."""
        found = self.signed_in
        if found is None or found.factors < 2 or self.has_second:
            return self
        method = f"{BY_PROVIDER}{self.provider}"
        if not found.at:
            return attrs.evolve(self, methods=(*self.methods, method))
        return attrs.evolve(self, earlier=(*self.earlier, (method, found.at)))

    @property
    def origin(self) -> Origin:
        """Where the session comes from."""
        found = self.signed_in
        if found is None:
            return HERE
        vouched = Vouched(self.provider, found.issuer, found.subject, found.sid, encode_owner(found.principal))
        return Origin(vouched=vouched, secret=found.secret, renewal=Renewal(found.renew_after) if found.renew_after else None)


@attrs.frozen(eq=False)
class SecondStep:
    """Sign-ins that wait for a second factor, and whether a user needs one: by a role, or because they have registered one.

    ``due`` raises `perimeter.errors.Unavailable` if that cannot be established.
    """

    pending: PendingBook
    due: Callable[[Principal], Awaitable[bool]]


class Arrivals:
    """Ends sign-ins. ``stay``: seconds of a session that stays signed in, or 0. ``count`` takes the method and the outcome of
    each sign-in. Without a ``second`` step there are no second factors."""

    def __init__(
        self, stay: float = 0.0, count: Callable[[str, str], None] | None = None, second: SecondStep | None = None
    ) -> None:
        self.stay = stay
        self._count = count
        self._second = second

    async def arrive(self, page: PageEndpoint, request: Any, arrival: Arrival) -> bytes:
        """Begin the session, or let it wait for a second factor, and answer with the page that leads on.

        Raises a `perimeter.errors.Refusal`, such as `Overloaded` or `Unavailable`, if the session cannot begin: ``page`` shows
        it.
        """
        arrival = arrival.with_factor_of_provider()
        second = self._second
        if second is not None and not arrival.has_second and await second.due(arrival.principal):
            return await self._wait(second.pending, page, request, arrival)
        await self.begin(page, request, arrival)
        return self.lead_on(page, request, arrival.to, arrival.fragment)

    async def _wait(self, pending: PendingBook, page: PageEndpoint, request: Any, arrival: Arrival) -> bytes:
        """Keep the sign-in, and lead to the page that asks for the second factor. There is no session yet."""
        now = page.pages.sessions.seconds()
        proved = (*arrival.earlier, *((method, now) for method in arrival.methods))
        cookie = await pending.begin(arrival.principal, proved, client_address(request), packed(arrival))
        self.note(arrival.method, "second_factor")
        note_user(request, arrival.principal)
        request.responseHeaders.addRawHeader(b"Set-Cookie", pending_cookie(cookie.encode("ascii"), int(LIFETIME)))
        return page.redirect(request, f"{page.pages.prefix}{FACTOR.decode('ascii')}{arrival.fragment}")

    async def begin(self, page: PageEndpoint, request: Any, arrival: Arrival) -> None:
        """Begin the session, and set its cookie. Raises as `arrive`."""
        exchange = exchange_of(request)
        stays = arrival.stay and self.stay > 0
        cookie, session = await page.pages.sessions.begin(
            arrival.principal,
            address=client_address(request),
            agent=(request.getHeader(b"user-agent") or b"").decode("utf-8", "replace"),  # any bytes
            methods=arrival.methods,
            earlier=arrival.earlier,
            stay=stays,
            old=exchange.head.headers.session,
            origin=arrival.origin,
        )
        self.note(arrival.method, "success")
        note_session(request, session)
        kept = int(self.stay) if stays else 0
        request.responseHeaders.addRawHeader(b"Set-Cookie", session_cookie(cookie.encode("ascii"), kept))
        if any(PENDING in value for value in exchange.head.headers.get_all(b"cookie")):  # of this sign-in, or of one given up
            request.responseHeaders.addRawHeader(b"Set-Cookie", no_pending_cookie())

    def note(self, method: str, outcome: str) -> None:
        """Count a sign-in by ``method`` with its ``outcome`` (``success``, ``wrong`` …)."""
        if self._count is not None:
            self._count(method, outcome)

    def lead_on(self, page: PageEndpoint, request: Any, to: str, fragment: str = "") -> bytes:
        """The page that leads on: Chromium refuses a redirect to another site that follows a form, so none does."""
        return page.redirect(request, f"{page.pages.prefix}/go?to={quote(to, safe='')}{fragment}")


def safe_fragment(text: str) -> str:
    """The fragment that a form has sent, with its ``#``; "" if it is none."""
    return text if _FRAGMENT.fullmatch(text) else ""


def client_address(request: Any) -> str:
    """The client's address, as rules and the audit log see it."""
    exchange = exchange_of(request)
    decision = exchange.decision
    return exchange.connection.address if decision is None else decision.address


def packed(arrival: Arrival) -> bytes:
    """What is kept of an arrival that waits for a second factor, besides the user and their proofs, to be sealed."""
    found = arrival.signed_in
    kept = None
    if found is not None:
        more = {"secret": b64encode(found.secret).decode("ascii"), "said": encode_owner(found.principal)}
        kept = {name: getattr(found, name) for name in _OF_PROVIDER} | more
    until = arrival.principal.until
    members = {"to": arrival.to, "stay": arrival.stay, "provider": arrival.provider, "signed_in": kept}
    return json.dumps({**members, "until": None if until == inf else until}).encode("ascii")


def unpacked(payload: bytes, principal: Principal, proved: tuple[Proof, ...], method: str) -> Arrival:
    """The arrival that `packed` made ``payload`` of, of a user who has shown ``proved`` and now ``method``."""
    kept = json.loads(payload)
    found, until = kept["signed_in"], kept["until"]
    principal = attrs.evolve(principal, until=inf if until is None else until)
    signed_in = None if found is None else _signed_in(principal, **found)
    return Arrival(
        principal, (method,), kept["to"], stay=kept["stay"], provider=kept["provider"], signed_in=signed_in, earlier=proved
    )


def _signed_in(principal: Principal, said: str, secret: str, **rest: Any) -> SignedIn:
    """The sign-in at a provider, with the user as the provider had described them."""
    of_provider = attrs.evolve(decode_owner(principal.realm, principal.username, said), until=principal.until)
    return SignedIn(of_provider, secret=b64decode(secret), **rest)


def destination(payload: bytes) -> str:
    """The path that the user wanted, of `packed`."""
    to: str = json.loads(payload)["to"]
    return to

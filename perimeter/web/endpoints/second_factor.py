"""``/factor`` below the prefix of the pages: users show a second factor, or register their first one.

Two kinds of browsers come here: with a sign-in that waits for the second factor (`perimeter.factors.pending`), which becomes a
session, and with a session that needs one more proof, which gets a new id.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

from perimeter.errors import CrossSite, Refusal, TooManyAttempts, TooManyCodes, TooManyFactors, Unavailable, WrongFactor
from perimeter.factors.challenges import ChallengeExpired
from perimeter.factors.factor import RECOVERY, FactorKind
from perimeter.factors.totp import app_uri, encoded
from perimeter.gate.access import ANYBODY, FACTOR
from perimeter.gate.return_path import safe_path
from perimeter.http.cookies import own_value
from perimeter.model import Principal
from perimeter.web.endpoints.account import purposes
from perimeter.web.endpoints.account.factors import FactorParts
from perimeter.web.endpoints.account.new_factors import qr_picture
from perimeter.web.endpoints.arrival import Arrivals, destination, safe_fragment, unpacked
from perimeter.web.endpoints.endpoint import reading
from perimeter.web.endpoints.page import PageEndpoint, Pages, note_session, note_user, query_fields, text_fields
from perimeter.web.endpoints.proofs import EVENT, Asked, Proofs, SecondFactorParts
from perimeter.web.form import form
from perimeter.web.html.cookies import PENDING, PENDING_LENGTH, session_cookie
from perimeter.web.html.forms import TOKEN, form_token, is_token
from perimeter.web.html.words import in_words
from perimeter.web.passkeys import ANSWER
from perimeter.web.request import exchange_of, respond

RECOVERY_USED: Final = "recovery_used"
"""The event of a recovery code."""


class SecondFactor(PageEndpoint):
    """The page and its form. ``count`` takes the kind and the outcome of each attempt."""

    by_workers = True

    def __init__(
        self,
        pages: Pages,
        arrivals: Arrivals,
        parts: FactorParts,
        more: SecondFactorParts,
        count: Callable[[str, str], None] | None = None,
    ) -> None:
        super().__init__(FACTOR.decode("ascii"), {**reading(ANYBODY), b"POST": ANYBODY}, pages)
        self._arrivals = arrivals
        self._parts = parts
        self._pending = more.pending
        self._proofs = Proofs(parts, more, count)

    # -- the page

    def render_GET(self, request: Any) -> int:
        """The form; a browser without a sign-in goes to the sign-in page."""
        return respond(request, self._get(request))

    async def _get(self, request: Any) -> bytes:
        to = safe_path(query_fields(request).get("to", ""))
        asked = await self._asked(request, to)
        if asked is None:
            return self._to_login(request, to)
        if asked.session is not None and not asked.registered:
            stale = self.stale(request, f"{self.path}?to={quote(asked.to, safe='')}")
            if stale is not None:  # a thief of a session must not register a factor of their own
                return stale
        return await self._page(request, asked, {})

    async def _asked(self, request: Any, to: str) -> Asked | None:
        """Whom to ask; None for a browser with neither a sign-in that waits nor a session. Raises `Unavailable`."""
        exchange = exchange_of(request)
        if not self.pages.is_secure(exchange):
            return None
        cookie = own_value(exchange.head.headers.get_all(b"cookie"), PENDING, PENDING_LENGTH)
        pending = None if cookie is None else await self._pending.find(cookie)
        if pending is not None and cookie is not None:
            to = destination(self._pending.payload(cookie, pending))
            return Asked(pending.owner, cookie, to, await self._has_factor(pending.owner), pending=pending)
        own, session = exchange.head.headers.session, self.session_of(request)
        if session is None or own is None:
            return None
        return Asked(session.owner, own, to, await self._has_factor(session.owner), session=session)

    async def _has_factor(self, user: Principal) -> bool:
        return await self._parts.book.has_factor(user.realm, user.username)

    def _to_login(self, request: Any, to: str) -> bytes:
        return self.redirect(request, f"{self.pages.prefix}/login?to={quote(to, safe='')}")

    async def _page(self, request: Any, asked: Asked, fields: Mapping[str, str], error: str = "", status: int = 200) -> bytes:
        more = self._offered(request, asked) if asked.registered else await self._first(request, asked)
        template = "factor.html" if asked.registered else "factor_first.html"
        return self.render_page(
            request,
            template,
            status,
            current=asked.user.username,
            waits=asked.pending is not None,
            to=asked.to,
            fragment=safe_fragment(fields.get("fragment", "")),
            token=form_token(asked.cookie, asked.id, EVENT),
            error=error,
            **more,
        )

    def _offered(self, request: Any, asked: Asked) -> dict[str, Any]:
        """What the user can show: a code, a passkey, or one of them."""
        kinds = {one.kind for one in self._parts.of(asked.user)}
        passkeys = self._parts.passkeys
        usable = passkeys is not None and passkeys.usable_at(self.pages.origins(exchange_of(request)))
        return {
            "app": FactorKind.TOTP in kinds,
            "codes": self._parts.left(asked.user) > 0,
            "asked": passkeys.offer(asked.user, asked.bound) if passkeys is not None and usable else None,
        }

    async def _first(self, request: Any, asked: Asked) -> dict[str, Any]:
        """What the user needs to register a first factor: an app, a passkey, or one of them."""
        parts, passkeys = self._parts, self._parts.passkeys
        app = None
        if parts.apps:
            secret = parts.book.proposed_secrets(asked.cookie)[0]
            uri = app_uri(secret, asked.user.username, parts.issuer)
            app = {"uri": uri, "secret": encoded(secret), "picture": await parts.offload.run(qr_picture, uri)}
        usable = passkeys is not None and passkeys.usable_at(self.pages.origins(exchange_of(request)))
        new = passkeys.offer_new(asked.user, asked.bound) if passkeys is not None and usable else None
        return {"app": app, "asked": new, "by_code": parts.by_code}

    # -- the form

    def render_POST(self, request: Any) -> int:
        """Check what was shown, and let the user in; or show what is wrong."""
        return respond(request, self._post(request))

    async def _post(self, request: Any) -> bytes:
        exchange = exchange_of(request)
        exchange.event = EVENT
        self.check_origin(request)
        fields = text_fields(form(request))
        asked = await self._asked(request, safe_path(fields.get("to", "")))
        if asked is None:
            return self._to_login(request, safe_path(fields.get("to", "")))
        note_user(request, asked.user) if asked.session is None else note_session(request, asked.session)
        try:
            if not is_token(fields.get(TOKEN, ""), asked.cookie, asked.id, EVENT):
                raise CrossSite("a form without the token of its page")
            if asked.registered:
                return await self._shown(request, asked, fields)
            return await self._registered(request, asked, fields)
        except Refusal as refusal:
            refusal.attempted_user = asked.user.username
            return await self._refused(request, asked, fields, refusal)

    async def _shown(self, request: Any, asked: Asked, fields: Mapping[str, str]) -> bytes:
        """A factor that the user has."""
        method = await self._proofs.shown(asked, fields)
        if method == RECOVERY:
            exchange_of(request).event = RECOVERY_USED
        await self._go_on(request, asked, method)
        return self._arrivals.lead_on(self, request, asked.to, safe_fragment(fields.get("fragment", "")))

    async def _registered(self, request: Any, asked: Asked, fields: Mapping[str, str]) -> bytes:
        """The first factor of a user, who gets recovery codes with it."""
        exchange_of(request).event = purposes.FACTOR_ADD
        if asked.session is not None and not self.pages.sessions.fresh(asked.session):
            return self.redirect(request, f"{self.path}?to={quote(asked.to, safe='')}")
        method = await self._proofs.registered(asked, fields)
        codes = await self._parts.book.make_recovery_codes(asked.user.realm, asked.user.username)
        await self._go_on(request, asked, method)
        onwards = f"{self.pages.prefix}/go?to={quote(asked.to, safe='')}{safe_fragment(fields.get('fragment', ''))}"
        return self.render_page(request, "factor_codes.html", codes=codes, onwards=onwards)

    async def _go_on(self, request: Any, asked: Asked, method: str) -> None:
        """Make a session of the sign-in, or give the session one more proof."""
        if asked.pending is not None:
            await self._pending.finish(asked.pending)
            arrival = unpacked(self._pending.payload(asked.cookie, asked.pending), asked.user, asked.pending.proved, method)
            await self._arrivals.begin(self, request, arrival)
            return
        assert asked.session is not None
        sessions = self.pages.sessions
        cookie, session = await sessions.strengthen(asked.cookie, asked.session, method)
        note_session(request, session)
        kept = 0 if session.idle else max(0, int(session.expires - sessions.seconds()))
        request.responseHeaders.addRawHeader(b"Set-Cookie", session_cookie(cookie.encode("ascii"), kept))

    async def _refused(self, request: Any, asked: Asked, fields: Mapping[str, str], refusal: Refusal) -> bytes:
        """The page again, with a sentence that says what is wrong; or the end of the sign-in after too many wrong codes."""
        exchange_of(request).explain(refusal, refusal.status)
        if refusal.retry_after is not None:
            request.setHeader(b"Retry-After", b"%d" % refusal.retry_after)
        if isinstance(refusal, TooManyCodes):
            if asked.session is not None:
                await self.pages.sessions.end_cookie(asked.cookie)
            return self.render_page(
                request,
                "message.html",
                refusal.status,
                heading="Too many wrong codes",
                text="Your sign-in has ended. You can sign in again.",
                link=f"{self.pages.prefix}/login?to={quote(asked.to, safe='')}",
                label="Sign in",
            )
        return await self._page(request, asked, fields, _explained(refusal, bool(fields.get(ANSWER))), refusal.status)


def _explained(refusal: Refusal, of_passkey: bool) -> str:
    """A sentence for the user, who has shown a passkey or a code."""
    match refusal:
        case TooManyAttempts():
            return f"There were too many wrong codes. Wait {in_words(refusal.retry_after or 1)}, then try again."
        case ChallengeExpired():
            return "This page was open for too long, so the passkey was not checked. Try again."
        case WrongFactor() if of_passkey:
            return "The passkey was not accepted. Try again, or use another one."
        case WrongFactor():
            return "The code is wrong, or was used already. Type the one that your app shows now."
        case TooManyFactors():
            return f"{refusal.phrase}."
        case Unavailable():
            return "The second factor cannot be checked at the moment. Try again in a few minutes."
        case CrossSite():
            return "This page was open for too long, so nothing was checked. Try again."
        case _:
            return f"{refusal.phrase}."

"""``/account/factors`` below the prefix of the pages: a user renames and removes second factors, and makes recovery codes.

All of it needs fresh proof of who the user is: by a second factor, if the user has one. So a thief of a session, or of a session
and the password, can neither add a factor nor remove one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

import attrs

from perimeter.errors import FactorDemanded, MissingCredentials, NoRoute, NoSuchFactor, WrongFactor
from perimeter.factors.book import LONGEST_NAME, FactorBook
from perimeter.factors.challenges import Bound, Challenges
from perimeter.factors.factor import RECOVERY, Factor, FactorKind
from perimeter.model import Principal
from perimeter.offload import Offload
from perimeter.web.endpoints.account import purposes
from perimeter.web.endpoints.account.base import AccountEndpoint, AccountParts
from perimeter.web.endpoints.endpoint import user_of
from perimeter.web.passkeys import CHALLENGE, Passkeys
from perimeter.web.request import exchange_of, respond

KINDS: Final = {FactorKind.TOTP: "Authenticator app", FactorKind.WEBAUTHN: "Passkey"}
"""The kinds in words. A new factor has them as its name if the user gives it none."""

_PROOFS: Final = (*FactorKind, RECOVERY)


@attrs.frozen(eq=False)
class FactorParts:
    """What the pages of factors work on.

    ``passkeys`` is None if users may register none, and ``apps`` says whether they may register authenticator apps, which show
    the name ``issuer``. ``demanded`` says whether a user must have a second factor. ``by_code``: the first factor of a user needs
    a code of the operator.
    """

    book: FactorBook
    challenges: Challenges
    offload: Offload
    passkeys: Passkeys | None
    apps: bool
    issuer: str
    demanded: Callable[[Principal], bool]
    by_code: bool = False

    def of(self, user: Principal) -> tuple[Factor, ...]:
        """The factors of a user, the oldest first."""
        return self.book.factors_of(user.realm, user.username)

    def left(self, user: Principal) -> int:
        """How many recovery codes the user has left."""
        return self.book.recovery_left(user.realm, user.username)


class FactorEndpoint(AccountEndpoint):
    """A page of factors at ``path`` below that of the account."""

    def __init__(self, path: str, parts: AccountParts, factors: FactorParts) -> None:
        super().__init__(f"/factors{path}", (b"GET", b"HEAD", b"POST"), parts)
        self.factors = factors

    def proof_due(self, request: Any, back: str = "") -> bytes | None:
        """A response that asks for fresh proof, if that is due. The browser returns to ``back``, or to this page."""
        to = back or self.path
        if not self.factors.of(user_of(request)):
            if self.factors.by_code:
                return self.redirect(request, f"{self.pages.prefix}/factor?to={quote(self.front, safe='')}")
            return self.stale(request, to)
        if self.pages.sessions.fresh(self.signed_in(request), _PROOFS):
            return None
        return self.redirect(request, f"{self.pages.prefix}/factor?again=1&to={quote(to, safe='')}")

    def bound(self, request: Any, purpose: str) -> Bound:
        """What a challenge on a page of this session is bound to."""
        cookie = exchange_of(request).head.headers.session
        if cookie is None:
            raise MissingCredentials("the session has ended meanwhile")
        return Bound(cookie, self.signed_in(request).id, purpose)

    async def show_new_codes(self, request: Any, done: str) -> bytes:
        """New recovery codes, in place of the earlier ones. ``done``: what has been done before that."""
        user = user_of(request)
        codes = await self.factors.book.make_recovery_codes(user.realm, user.username)
        return self.render_page(request, "account_recovery_shown.html", codes=codes, done=done)


class RecoveryCodePage(FactorEndpoint):
    """``…/recovery`` asks whether to make new recovery codes, and makes them. They are shown only in that response."""

    def __init__(self, parts: AccountParts, factors: FactorParts) -> None:
        super().__init__("/recovery", parts, factors)

    def render_GET(self, request: Any) -> bytes:
        """The question. Users without a second factor need no codes."""
        if not self.factors.of(user_of(request)):
            return self.redirect(request, self.front)
        due = self.proof_due(request)
        if due is not None:
            return due
        return self.render_page(
            request,
            "account_recovery.html",
            left=self.factors.left(user_of(request)),
            challenge=self.factors.challenges.issue(self.bound(request, purposes.RECOVERY_MAKE)).text,
            token=self.token_for(request, purposes.RECOVERY_MAKE),
        )

    def render_POST(self, request: Any) -> int:
        """Make them. A form that is sent again makes no others."""
        return respond(request, self._make(request))

    async def _make(self, request: Any) -> bytes:
        exchange_of(request).event = purposes.RECOVERY_MAKE
        fields = self.form(request, purposes.RECOVERY_MAKE)
        if not self.factors.of(user_of(request)):
            return self.redirect(request, self.front)
        due = self.proof_due(request)
        if due is not None:
            return due
        try:
            challenges = self.factors.challenges
            await challenges.use(challenges.recall(fields.get(CHALLENGE, ""), self.bound(request, purposes.RECOVERY_MAKE)))
        except WrongFactor:
            return self.redirect(request, self.path)
        return await self.show_new_codes(request, "")


class FactorPage(FactorEndpoint):
    """``…/ID`` shows a factor; ``POST …/ID/name`` renames it, and ``POST …/ID/remove`` removes it."""

    beneath = True

    def __init__(self, parts: AccountParts, factors: FactorParts) -> None:
        super().__init__("", parts, factors)

    def render_GET(self, request: Any) -> bytes:
        """The factor. Raises `NoRoute` for other paths, and `NoSuchFactor`."""
        match self.beneath_path(request):
            case []:
                return self.redirect(request, self.front)
            case [which]:
                factor = self._owned(request, which)
                due = self.proof_due(request, f"{self.path}/{which}")
                return self._page(request, factor) if due is None else due
            case _:
                raise NoRoute("the account page does not have this path")

    def _owned(self, request: Any, which: str) -> Factor:
        factor = next((one for one in self.factors.of(user_of(request)) if one.id == which), None)
        if factor is None:
            raise NoSuchFactor("the user has no second factor with this id")
        return factor

    def _page(self, request: Any, factor: Factor, status: int = 200, kept: bool = False) -> bytes:
        return self.render_page(
            request,
            "account_factor.html",
            status,
            factor=factor,
            kind=KINDS[factor.kind],
            kept=kept or self._last_demanded(request),
            token=self.token_for(request, purposes.FACTOR_CHANGE),
            longest=LONGEST_NAME,
        )

    def _last_demanded(self, request: Any) -> bool:
        """Whether the user has one factor, and must have one."""
        user = user_of(request)
        return len(self.factors.of(user)) < 2 and self.factors.demanded(user)

    def render_POST(self, request: Any) -> int:
        """Rename or remove a factor."""
        return respond(request, self._change(request))

    async def _change(self, request: Any) -> bytes:
        match self.beneath_path(request):
            case [which, "name"]:
                exchange_of(request).event = purposes.FACTOR_CHANGE
            case [which, "remove"]:
                exchange_of(request).event = purposes.FACTOR_REMOVE
            case _:
                raise NoRoute("the account page does not have this path")
        fields, user = self.form(request, purposes.FACTOR_CHANGE), user_of(request)
        factor = self._owned(request, which)
        due = self.proof_due(request, f"{self.path}/{which}")
        if due is not None:
            return due
        if exchange_of(request).event == purposes.FACTOR_CHANGE:
            name = named(fields.get("name", ""), factor.kind)
            await self.factors.book.rename(user.realm, user.username, which, name)
            return self.redirect(request, f"{self.front}?done=factor_name")
        try:
            await self.factors.book.remove(user.realm, user.username, which, demanded=self.factors.demanded(user))
        except FactorDemanded as refusal:
            exchange_of(request).explain(refusal, refusal.status)
            return self._page(request, factor, refusal.status, kept=True)
        return self.redirect(request, f"{self.front}?done=factor_end")


def named(text: str, kind: FactorKind) -> str:
    """The name of a factor that a user has typed, without control characters; the one of its kind if nothing is left."""
    shown = "".join(one for one in " ".join(text.split()) if one.isprintable())
    return shown[:LONGEST_NAME] or KINDS[kind]

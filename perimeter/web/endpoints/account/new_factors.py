"""``/account/factors/app`` and ``…/passkey`` below the prefix of the pages: a user adds a second factor.

A new factor counts once it has shown that it works: the app by a code, the passkey by a signature. With their first factor
users get recovery codes.
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from markupsafe import Markup

from perimeter.errors import TooManyFactors, WrongFactor
from perimeter.factors.book import LONGEST_NAME
from perimeter.factors.factor import FactorKind
from perimeter.factors.totp import app_uri, encoded
from perimeter.web.endpoints.account import purposes
from perimeter.web.endpoints.account.base import AccountParts
from perimeter.web.endpoints.account.factors import FactorEndpoint, FactorParts, named
from perimeter.web.endpoints.endpoint import user_of
from perimeter.web.passkeys import Passkeys
from perimeter.web.request import exchange_of, respond

_ONCE: Final = "once"


class _NewFactor(FactorEndpoint, ABC):
    """A form for a new factor of ``kind``."""

    kind: ClassVar[FactorKind]
    wrong: ClassVar[str]

    def render_GET(self, request: Any) -> Any:
        """The form."""
        due = self.proof_due(request)
        return respond(request, self.show(request, {})) if due is None else due

    @abstractmethod
    async def show(self, request: Any, fields: Mapping[str, str], error: str = "", status: int = 200) -> bytes:
        """The form, with what was filled in."""

    @abstractmethod
    async def add(self, request: Any, fields: Mapping[str, str], name: str) -> None:
        """Register the factor. Raises `WrongFactor`, `TooManyFactors` and `Unavailable`."""

    def render_POST(self, request: Any) -> int:
        """Add the factor, or show what is wrong."""
        return respond(request, self._post(request))

    async def _post(self, request: Any) -> bytes:
        exchange = exchange_of(request)
        exchange.event = purposes.FACTOR_ADD
        fields = self.form(request, purposes.FACTOR_ADD)
        due = self.proof_due(request)
        if due is not None:
            return due
        first = not self.factors.of(user_of(request))
        try:
            await self.add(request, fields, named(fields.get("name", ""), self.kind))
        except (WrongFactor, TooManyFactors) as refusal:
            exchange.explain(refusal, refusal.status)
            sentence = self.wrong if isinstance(refusal, WrongFactor) else f"{refusal.phrase}."
            return await self.show(request, fields, sentence, refusal.status)
        if first or not self.factors.left(user_of(request)):  # what is left of an earlier factor does not count
            return await self.show_new_codes(request, "The second factor was added.")
        return self.redirect(request, f"{self.front}?done=factor")

    def _form(self, request: Any, template: str, fields: Mapping[str, str], error: str, status: int, **values: Any) -> bytes:
        return self.render_page(
            request,
            template,
            status,
            token=self.token_for(request, purposes.FACTOR_ADD),
            name=fields.get("name", ""),
            longest=LONGEST_NAME,
            error=error,
            **values,
        )


class NewPasskey(_NewFactor):
    """The form for a passkey."""

    kind = FactorKind.WEBAUTHN
    wrong = "The passkey was not added: this page was open for too long, or the passkey is registered already. Try again."

    def __init__(self, parts: AccountParts, factors: FactorParts, passkeys: Passkeys) -> None:
        super().__init__("/passkey", parts, factors)
        self._passkeys = passkeys

    async def show(self, request: Any, fields: Mapping[str, str], error: str = "", status: int = 200) -> bytes:
        """See `_NewFactor.show`."""
        passkeys, asked = self._passkeys, None
        if passkeys.usable_at(self.pages.origins(exchange_of(request))):
            asked = passkeys.offer_new(user_of(request), self.bound(request, purposes.FACTOR_ADD))
        site = passkeys.party.origins[0]
        return self._form(request, "account_passkey.html", fields, error, status, asked=asked, site_of_passkeys=site)

    async def add(self, request: Any, fields: Mapping[str, str], name: str) -> None:
        """See `_NewFactor.add`."""
        await self._passkeys.add(user_of(request), fields, self.bound(request, purposes.FACTOR_ADD), name)


class NewApp(_NewFactor):
    """The form for an authenticator app: its secret as a picture and as text, and a field for its first code.

    The secret is kept nowhere until the app is added: it is made of the cookie and of a number in the form.
    """

    kind = FactorKind.TOTP
    wrong = "The code is wrong. Check the clock of your device, and type the code that the app shows now."

    def __init__(self, parts: AccountParts, factors: FactorParts) -> None:
        super().__init__("/app", parts, factors)

    async def show(self, request: Any, fields: Mapping[str, str], error: str = "", status: int = 200) -> bytes:
        """See `_NewFactor.show`."""
        once = fields.get(_ONCE) or secrets.token_urlsafe(16)
        secret = self._proposed(request, once)[0]
        uri = app_uri(secret, user_of(request).username, self.factors.issuer)
        picture = await self.factors.offload.run(qr_picture, uri)
        return self._form(
            request, "account_app.html", fields, error, status, picture=picture, secret=encoded(secret), uri=uri, once=once
        )

    async def add(self, request: Any, fields: Mapping[str, str], name: str) -> None:
        """See `_NewFactor.add`."""
        user, proposed = user_of(request), self._proposed(request, fields.get(_ONCE, ""))
        await self.factors.book.add_totp(user.realm, user.username, name, proposed, fields.get("code", ""))

    def _proposed(self, request: Any, once: str) -> Sequence[bytes]:
        cookie = self.bound(request, purposes.FACTOR_ADD).cookie
        return self.factors.book.proposed_secrets(cookie, once.encode("utf-8"))


def qr_picture(text: str) -> Markup:
    """A QR code of ``text`` as SVG, dark on light. It takes some milliseconds: call it in a thread."""
    from segno import make_qr

    picture = make_qr(text).svg_inline(dark="#000", light="#fff", omitsize=True, svgclass=None, lineclass=None)
    return Markup(picture)  # noqa: S704  # paths of our own, with no text in it

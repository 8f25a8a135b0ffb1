"""Pages with second factors, and an authenticator for passkeys in front of them."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import attrs

from perimeter.auth.chain.attempts import MemoryAttempts
from perimeter.auth.chain.throttle import Throttle
from perimeter.config.site.login import LoginSettings
from perimeter.factors.challenges import Challenges
from perimeter.factors.webauthn import RelyingParty
from perimeter.model import Principal
from perimeter.run.build.pages import PageParts
from perimeter.state.once import ONCE
from perimeter.state.store import IStateStore
from perimeter.web.endpoints.account.factors import FactorParts
from perimeter.web.endpoints.endpoint import Endpoint
from perimeter.web.endpoints.proofs import SecondFactorParts
from perimeter.web.passkeys import Passkeys
from tests.unit.doubles.auth import offload_with
from tests.unit.doubles.authenticator import Authenticator
from tests.unit.doubles.factors import KEY, FactorCase
from tests.unit.doubles.http_rig import Response
from tests.unit.doubles.pages import PageCase, PageConfig, hidden

PARTY = RelyingParty("gw.example", "example", ("https://gw.example",))


class PasskeyCase(PageCase, FactorCase):
    """The pages of a site with passkeys and authenticator apps. ``demanded``: users must have a second factor.

    ``asks_second``: the page that asks for it is there. ``apps``: users may register apps.
    """

    login = LoginSettings(passkeys=True)
    demanded = False
    by_code = False
    asks_second = False
    apps = True

    def use(self, store: IStateStore) -> None:
        super().use(store)
        self.challenges = Challenges(KEY, self.state.view(ONCE), self.clock)
        offload = offload_with(self.threads, self.clock, count=1)
        offload.start()
        self.passkeys = Passkeys(PARTY, self.factor_book, KEY, self.challenges, offload)

    def endpoints(self, login: LoginSettings) -> list[Endpoint]:
        factors = FactorParts(
            self.factor_book,
            self.challenges,
            self.passkeys.offload,
            self.passkeys,
            self.apps,
            "example",
            lambda user: self.demanded,
            self.by_code,
        )
        throttle = Throttle(10, MemoryAttempts(), self.clock, allowed_from_address=0)  # type: ignore[arg-type]
        second = SecondFactorParts(self.pending_book, throttle) if self.asks_second else None
        config = PageConfig(login, self.trusted_proxies)
        parts = PageParts(config, self.look, self.book, self.chain, self, factors=factors, second=second)  # type: ignore[arg-type]
        return parts.endpoints()

    def factor_names(self, owner: Principal) -> list[str]:
        """The names of a user's factors."""
        return [one.name for one in self.factor_book.factors_of(owner.realm, owner.username)]


def options_of(page: Response) -> str:
    """The options for the browser on a page with a passkey."""
    found = re.search(rb'data-options="([^"]*)"', page.body)
    assert found is not None, page.body.decode()
    return unescape(found[1].decode())


def form_at(page: Response, action: str) -> dict[str, str]:
    """The hidden fields of the form on a page that is sent to ``action``."""
    found = re.search(rb'<form method="post" action="%b".*?</form>' % re.escape(action.encode()), page.body, re.DOTALL)
    assert found is not None, page.body.decode()
    return hidden(attrs.evolve(page, body=found[0]))


def answered(page: Response, device: Authenticator, action: str, **more: Any) -> dict[str, str]:
    """The form at ``action`` with the answer of ``device``, as the script of the page sends it."""
    options = options_of(page)
    answer = device.create(options) if '"rp"' in options else device.get(options)
    return {**form_at(page, action), "answer": answer, **more}

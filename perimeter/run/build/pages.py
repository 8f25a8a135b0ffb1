"""The gateway's own pages: their look and their endpoints."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from perimeter.auth.chain.chain import AuthenticatorChain
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.listener import Serve
from perimeter.config.site.login_hosts import front_of_pages
from perimeter.gate.policy import Policy
from perimeter.gate.routes import Route
from perimeter.metrics.counts import Metrics
from perimeter.model import Principal
from perimeter.plugin.authenticator import Scheme
from perimeter.run.build.renewals import back_channels, signed_out_elsewhere
from perimeter.sessions.book import SessionBook
from perimeter.tokens.book import TokenBook
from perimeter.web.endpoints.account.account import Account
from perimeter.web.endpoints.account.base import AccountParts
from perimeter.web.endpoints.account.factors import FactorPage, FactorParts, RecoveryCodePage
from perimeter.web.endpoints.account.new_factors import NewApp, NewPasskey
from perimeter.web.endpoints.account.sessions import AccountSessions
from perimeter.web.endpoints.account.tokens import AccountTokens
from perimeter.web.endpoints.arrival import Arrivals, SecondStep
from perimeter.web.endpoints.cleared import ClearedPicture
from perimeter.web.endpoints.endpoint import Endpoint, Nothing
from perimeter.web.endpoints.go import Go
from perimeter.web.endpoints.login import Login
from perimeter.web.endpoints.logout import Logout, SignedOut
from perimeter.web.endpoints.operator.access import operator_policy
from perimeter.web.endpoints.operator.events import OperatorEvents
from perimeter.web.endpoints.operator.page import Desk, OperatorPage
from perimeter.web.endpoints.page import Pages
from perimeter.web.endpoints.passkey_sign_in import PasskeySignIn
from perimeter.web.endpoints.proofs import SecondFactorParts
from perimeter.web.endpoints.providers.callback import Callback
from perimeter.web.endpoints.providers.parts import ProviderParts
from perimeter.web.endpoints.providers.start import Start
from perimeter.web.endpoints.second_factor import SecondFactor
from perimeter.web.endpoints.static_assets import StaticAssets
from perimeter.web.html.look import Look, read_look
from perimeter.web.passkeys import Passkeys


def site_look(config: SiteConfig) -> Look:
    """The look of the pages. Blocks. Raises `StartupError`."""
    return read_look(config.login, config.perimeter.realm)


@attrs.frozen
class PageParts:
    """What the pages are made of.

    ``providers`` is None if people sign in here alone. ``metrics`` is None if requests are not counted. ``desk`` is for the
    operator's page; ``directory_realms`` are those whose roles compare without case. Without ``tokens`` there are no API tokens;
    ``routes`` are those that one can be restricted to. Without ``factors`` and ``second`` there are no second factors.
    """

    config: SiteConfig
    look: Look
    book: SessionBook
    chain: AuthenticatorChain
    metrics: Metrics | None = None
    desk: Desk | None = None
    directory_realms: frozenset[str] = frozenset()
    tokens: TokenBook | None = None
    routes: Sequence[Route] = ()
    providers: ProviderParts | None = None
    factors: FactorParts | None = None
    second: SecondFactorParts | None = None

    def endpoints(self) -> list[Endpoint]:
        """The pages of a ``gateway`` listener; empty without sign-in pages. No path below their prefix reaches a service."""
        config, login = self.config, self.config.login
        if not config.signs_people_in:
            return []
        pages = self.pages()
        arrivals = Arrivals(login.stay, None if self.metrics is None else self.metrics.count_login, self._second_step())
        realms, providers = self._realms(), () if self.providers is None else self.providers.providers
        sign_in = Login(
            pages,
            self.chain,
            arrivals,
            realms if login.choose_realm else (),
            https_port(config),
            providers,
            login.automatic,
            bool(realms or not providers),
            passkeys=self._passkeys(),
        )
        return [
            sign_in,
            *self._second_factor(pages, arrivals),
            *self._providers(pages, arrivals),
            *self._passkey_sign_in(sign_in),
            Go(pages),
            Logout(pages, login.clear_on_logout, signed_out_elsewhere(config, self.providers), bool(login.automatic)),
            SignedOut(pages),
            *self._account(pages),
            ClearedPicture(login.path, login.clear_on_logout),
            StaticAssets(login.path, self.look.assets),
            *self._operator(pages),
            Nothing(login.path, "pages", beneath=True, why=_no_page(config)),
        ]

    def pages(self) -> Pages:
        """What all of them share."""
        config = self.config
        return Pages(
            config.login.path,
            self.look,
            self.book,
            {listener.name: listener.hsts_age for listener in config.listeners},
            config.perimeter.trusted_proxies,
            self._operators(),
            front_of_pages(config),
        )

    def _providers(self, pages: Pages, arrivals: Arrivals) -> list[Endpoint]:
        parts = self.providers
        if parts is None:
            return []
        found = [kind(pages, arrivals, parts, one) for one in parts.providers for kind in (Start, Callback)]
        return [*found, *back_channels(self.config, parts, self.book)]

    def _account(self, pages: Pages) -> list[Endpoint]:
        parts = AccountParts(pages, self.tokens, self.routes)
        tokens = [] if self.tokens is None else [AccountTokens(parts, self.tokens)]
        return [Account(parts, self.factors), AccountSessions(parts), *tokens, *self._factors(parts)]

    def _factors(self, parts: AccountParts) -> list[Endpoint]:
        factors = self.factors
        if factors is None:
            return []
        apps = [NewApp(parts, factors)] if factors.apps else []
        passkeys = [] if factors.passkeys is None else [NewPasskey(parts, factors, factors.passkeys)]
        return [*apps, *passkeys, RecoveryCodePage(parts, factors), FactorPage(parts, factors)]

    def _second_step(self) -> SecondStep | None:
        """Whose sign-ins wait for a second factor: users with a role that demands one, and those who have registered one."""
        factors, second = self.factors, self.second
        if factors is None or second is None:
            return None

        async def due(user: Principal) -> bool:
            return factors.demanded(user) or await factors.book.has_factor(user.realm, user.username)

        return SecondStep(second.pending, due)

    def _second_factor(self, pages: Pages, arrivals: Arrivals) -> list[Endpoint]:
        factors, second = self.factors, self.second
        if factors is None or second is None:
            return []
        count = None if self.metrics is None else self.metrics.count_second_factor
        return [SecondFactor(pages, arrivals, factors, second, count)]

    def _passkeys(self) -> Passkeys | None:
        """The passkeys that people can sign in with and nothing else."""
        return self.factors.passkeys if self.factors is not None and self.config.login.passkeys else None

    def _passkey_sign_in(self, login: Login) -> list[Endpoint]:
        passkeys = self._passkeys()
        return [] if passkeys is None else [PasskeySignIn(login, passkeys, self.chain)]

    def _operators(self) -> Policy | None:
        """Who may open the operator's page; None if there is none."""
        if self.desk is None or not self.config.operator.role:
            return None
        return operator_policy(self.config.operator.role, self.directory_realms)

    def _operator(self, pages: Pages) -> list[Endpoint]:
        desk, realms = self.desk, self.directory_realms
        if desk is None or not self.config.operator.role:
            return []
        role = self.config.operator.role
        return [OperatorPage(pages, desk, role, realms), OperatorEvents(pages, desk.audience, role, realms)]

    def _realms(self) -> tuple[str, ...]:
        """The realms of the authenticators that take passwords, in the order in which they are asked."""
        return tuple(dict.fromkeys(one.realm for one in self.chain.guarded if Scheme.BASIC in one.schemes))


def _no_page(config: SiteConfig) -> str:
    """Why a path below the prefix leads nowhere."""
    found = "no page of the gateway has this path"
    return found if config.operator.role else f"{found}; for the operator's page, set [operator] role"


def https_port(config: SiteConfig) -> int:
    """The port of a listener on which people can sign in; 0 if there is none."""
    return next((one.port for one in config.listeners if one.serve is Serve.GATEWAY and one.tls and not one.socket_path), 0)

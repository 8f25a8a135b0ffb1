"""A whole site.ini as one frozen value."""

from __future__ import annotations

from pathlib import Path

import attrs

from perimeter.config.language.document import SectionInForce
from perimeter.config.site.acme import AcmeSettings
from perimeter.config.site.audit import AuditSettings
from perimeter.config.site.augmenter import AugmenterSettings
from perimeter.config.site.authentication import AuthenticationSettings
from perimeter.config.site.authenticator import AuthenticatorSettings
from perimeter.config.site.errors import ErrorPage
from perimeter.config.site.limits import LimitSettings
from perimeter.config.site.listener import ListenerSettings
from perimeter.config.site.logging import LoggingSettings
from perimeter.config.site.login import LoginSettings
from perimeter.config.site.metrics import MetricsSettings
from perimeter.config.site.operator import OperatorSettings
from perimeter.config.site.perimeter import PerimeterSettings
from perimeter.config.site.provider import ProviderSettings
from perimeter.config.site.route import Auth, RouteSettings
from perimeter.config.site.second_factor import SecondFactorSettings
from perimeter.config.site.token import TokenSettings
from perimeter.config.site.traces import TraceSettings
from perimeter.config.site.upstream import UpstreamSettings


@attrs.frozen
class SiteConfig:
    """A valid site.ini. Times are seconds (float), sizes bytes (int), paths absolute.

    The settings of a section that has a name know where it stands: ``line`` in ``file``, for messages when the gateway starts.
    ``sections`` has all of it as text, without secrets, for the operator.
    """

    file: Path
    perimeter: PerimeterSettings
    limits: LimitSettings
    listeners: tuple[ListenerSettings, ...]
    authenticators: tuple[AuthenticatorSettings, ...]
    authentication: AuthenticationSettings
    token: TokenSettings
    upstreams: tuple[UpstreamSettings, ...]
    routes: tuple[RouteSettings, ...]
    audit: AuditSettings
    logging: LoggingSettings
    error_pages: tuple[ErrorPage, ...] = ()
    augmenters: tuple[AugmenterSettings, ...] = ()
    providers: tuple[ProviderSettings, ...] = ()
    metrics: MetricsSettings = attrs.field(factory=MetricsSettings)
    traces: TraceSettings = attrs.field(factory=TraceSettings)
    login: LoginSettings = attrs.field(factory=LoginSettings)
    acme: AcmeSettings = attrs.field(factory=AcmeSettings)
    operator: OperatorSettings = attrs.field(factory=OperatorSettings)
    second_factor: SecondFactorSettings = attrs.field(factory=SecondFactorSettings)
    warnings: tuple[str, ...] = ()
    sections: tuple[SectionInForce, ...] = attrs.field(default=(), repr=False)

    @property
    def signs_people_in(self) -> bool:
        """Whether people sign in on a page: then there are pages of the gateway's own, and sessions."""
        return bool(self.operator.role) or any(route.browser_login for route in self.routes)

    @property
    def user_sources(self) -> tuple[AuthenticatorSettings | ProviderSettings, ...]:
        """Where users are known, in the order of the file: authenticators, then providers."""
        return (*self.authenticators, *self.providers)

    @property
    def realms(self) -> tuple[str, ...]:
        """The realms of all users, in the order of the file; some may be there twice."""
        return tuple(one.realm for one in self.user_sources)

    @property
    def checks_second_factors(self) -> bool:
        """Whether a user can have a second factor: registered here, or checked by a provider."""
        by_provider = any(getattr(one.settings, "second_factor_acr", ()) for one in self.providers)
        return bool(self.second_factor.methods) or by_provider

    @property
    def orders_certificates(self) -> bool:
        """Whether the gateway gets certificates from a CA."""
        return any(listener.acme_names for listener in self.listeners)

    def auth_in_words(self, route: RouteSettings) -> str:
        """``auth`` of ``route`` for the operator, such as ``required; sign-in page``; ``off`` if authentication is off."""
        if not self.perimeter.enabled and route.auth is not Auth.NONE:
            return "off"
        page, factors = "; sign-in page" * route.browser_login, "; two factors" * (route.factors > 1)
        return f"{route.auth}{page}{factors}"

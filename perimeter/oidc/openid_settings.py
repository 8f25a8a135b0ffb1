"""The options of ``type = oidc``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import attrs

from perimeter.config.language.datatypes import BOOLEAN, TEXT, list_of
from perimeter.config.language.name_types import WORD
from perimeter.config.language.net_types import URL
from perimeter.config.language.option import option
from perimeter.config.language.section import Section
from perimeter.oidc.presets import Preset
from perimeter.oidc.settings import ClientSettings, is_restricted
from perimeter.oidc.urls import is_secure

if TYPE_CHECKING:
    from perimeter.oidc.claims import ClaimRules
    from perimeter.oidc.idtoken import Expected

#: words in the place of the tenant in the issuers of Entra that serve several tenants
_COMMON: Final = frozenset({"common", "organizations", "consumers"})

#: providers at which anybody can have an account
_OPEN_TO_ALL: Final = frozenset({"https://accounts.google.com", "https://gitlab.com"})


@attrs.frozen(kw_only=True)
class OidcSettings(ClientSettings):
    """``type = oidc``."""

    issuer: str = option(
        URL,
        "the provider's issuer, whose metadata are at `ISSUER/.well-known/openid-configuration`: https, or http to a loopback "
        "address",
    )
    scopes: tuple[str, ...] = option(
        list_of(WORD),
        "scopes to ask for; `offline_access` if the provider gives a refresh token for it alone",
        default="openid, profile, email",
    )
    identity_claim: tuple[str, ...] = option(
        list_of(TEXT),
        "claims of the ID token that identify the account for ever; the user name is bound to them and the issuer",
        default="sub",
    )
    tenants: tuple[str, ...] = option(
        list_of(WORD),
        "ids of the tenants whose users may sign in, where the issuer of Entra is that of several tenants",
        default="",
    )
    domains: tuple[str, ...] = option(list_of(WORD), "accepted values of `hd`: the organizations of Google accounts", default="")
    trusted_audiences: tuple[str, ...] = option(
        list_of(TEXT), "values that `aud` of the ID token may have beside `client_id`", default=""
    )
    access_token_claims: bool = option(
        BOOLEAN,
        "`yes` takes claims that the ID token does not have from the access token, if that is a JWT of the issuer",
        default="no",
    )
    second_factor_acr: tuple[str, ...] = option(
        list_of(TEXT), "values of `acr` or `amr` with which the sign-in counts as one with two factors", default=""
    )

    def urls(self) -> Iterable[str]:
        """See `RemoteSettings.urls`."""
        return (self.issuer,)

    def check(self, section: Section) -> None:
        """See `Settings.check`."""
        super().check(section)
        its = attrs.fields(OidcSettings)
        if self.preset is Preset.GITHUB:
            section.problem(its.preset, "github is no OpenID provider: type = oauth2")
        if self.issuer and not section.faulty(its.issuer):
            self._check_issuer(section)
        if "openid" not in self.scopes and not section.faulty(its.scopes):
            section.problem(its.scopes, "does not have openid, without which there is no ID token")

    def _check_issuer(self, section: Section) -> None:
        its = attrs.fields(OidcSettings)
        if "?" in self.issuer or not is_secure(self.issuer):
            section.problem(its.issuer, "expected an https URL without a query; http is accepted for a loopback address alone")
        elif self.of_many_tenants and not self.tenants and not section.faulty(its.tenants):
            section.problem(its.issuer, "is the issuer of several tenants, so it also needs tenants")
        elif self.tenants and not self.of_many_tenants:
            section.problem(its.tenants, "has no effect with the issuer of one tenant")
        elif self.issuer.rstrip("/") in _OPEN_TO_ALL and not self.domains and not is_restricted(self):
            section.problem(
                its.issuer,
                "everybody can have an account there, so it also needs domains, email_domains, allow_groups or require",
            )

    @property
    def of_many_tenants(self) -> bool:
        """Whether the issuer is one of Entra that serves several tenants."""
        return self.preset is Preset.ENTRA and not _COMMON.isdisjoint(self.issuer.split("/"))

    def rules(self, name: str, realm: str) -> ClaimRules:
        """See `ClientSettings.rules`."""
        return attrs.evolve(
            super().rules(name, realm), identity_claims=self.identity_claim, hosted_domains=frozenset(self.domains)
        )

    def expected(self, issuer: str) -> Expected:
        """What an ID token must say; ``issuer`` is that of the metadata."""
        from perimeter.oidc.idtoken import Expected

        return Expected(issuer, self.client_id, frozenset(self.trusted_audiences), frozenset(self.tenants))

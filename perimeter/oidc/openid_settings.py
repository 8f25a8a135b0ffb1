"""The options of ``type = oidc``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Final

import attrs

from perimeter.config.language.datatypes import BOOLEAN, TEXT, list_of, one_of
from perimeter.config.language.name_types import WORD
from perimeter.config.language.net_types import URL
from perimeter.config.language.option import option
from perimeter.config.language.section import Section
from perimeter.oidc.metadata import issuer_of_tenant
from perimeter.oidc.presets import Preset
from perimeter.oidc.settings import ClientSettings, check_identity, is_restricted
from perimeter.oidc.urls import is_secure

if TYPE_CHECKING:
    from perimeter.oidc.access_token import Accepted
    from perimeter.oidc.claims import ClaimRules
    from perimeter.oidc.idtoken import Expected


class GroupsFrom(StrEnum):
    """Where groups come from that an ID token leaves out."""

    TOKEN = "token"  # noqa: S105  # a word, not a token
    GRAPH = "graph"


#: words in the place of the tenant in the issuers of Entra that serve several tenants
_COMMON: Final = frozenset({"common", "organizations", "consumers"})

#: providers at which anybody can have an account
_OPEN_TO_ALL: Final = frozenset({"https://accounts.google.com", "https://gitlab.com"})


@attrs.frozen(kw_only=True)
class OidcSettings(ClientSettings):
    """``type = oidc``."""

    unfit_presets: ClassVar = {Preset.GITHUB: "github is no OpenID provider: type = oauth2"}

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
    groups_from: GroupsFrom = option(
        one_of(GroupsFrom),
        "where groups come from that the ID token leaves out, as Entra's does for users with more than 200: `graph` asks "
        "Microsoft Graph; with `token`, such users cannot sign in",
        default="token",
    )
    groups_uri: str = option(URL, "endpoint of Graph that lists the user's groups, for `groups_from = graph`", default="")
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
    bearer: bool = option(
        BOOLEAN, "`yes` admits the access tokens of the provider, if they are JWTs, as Bearer tokens of its users", default="no"
    )
    audience: tuple[str, ...] = option(
        list_of(WORD), "with `bearer`: accepted values of `aud` in access tokens, such as the URL of the gateway", default=""
    )

    def urls(self) -> Iterable[str]:
        """See `RemoteSettings.urls`."""
        return (self.issuer,)

    def check(self, section: Section) -> None:
        """See `Settings.check`."""
        super().check(section)
        its = attrs.fields(OidcSettings)
        if self.issuer and not section.faulty(its.issuer):
            self._check_issuer(section)
        if self.groups_uri and not is_secure(self.groups_uri):
            section.problem(its.groups_uri, "expected an https URL; http is accepted for a loopback address alone")
        if self.groups_from is GroupsFrom.GRAPH and not self.groups_uri and not section.faulty(its.groups_uri):
            section.problem(its.groups_from, "graph also needs groups_uri, which preset = entra has")
        check_identity(section, its.identity_claim, self.identity_claim)
        if not re.fullmatch(r"[0-9]{1,9}", dict(self.extra).get("max_age", "0"), re.ASCII) and not section.faulty(its.extra):
            section.problem(its.extra, "max_age is not a number of seconds")
        if "openid" not in self.scopes and not section.faulty(its.scopes):
            section.problem(its.scopes, "does not have openid, without which there is no ID token")
        self._check_bearer(section)

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
        elif self.issuer.rstrip("/") in _OPEN_TO_ALL and self.roles_claim and not self.role_map:
            section.problem(
                its.issuer, "everybody can make groups there, so it also needs role_map: no name of a group is a role by itself"
            )

    def _check_bearer(self, section: Section) -> None:
        its = attrs.fields(OidcSettings)
        if self.bearer and not self.audience and not section.faulty(its.audience):
            section.problem(its.bearer, "also needs audience: without it, tokens for every other service would be accepted here")
        elif self.audience and not self.bearer and not section.faulty(its.bearer):
            section.problem(its.audience, "has no effect without bearer = yes")
        elif "*" in self.audience:
            section.problem(its.audience, "expected the audience of tokens for the gateway: * stands for nothing here")

    @property
    def accepted(self) -> Accepted:
        """The access tokens that are accepted with ``bearer``."""
        from perimeter.oidc.access_token import Accepted

        issuers = [self.issuer]
        if self.of_many_tenants:
            issuers = [issuer_of_tenant(self.issuer, tenant) for tenant in self.tenants]
        return Accepted(frozenset(issuers), frozenset(self.audience), self.client_id)

    @property
    def max_age(self) -> float | None:
        """Seconds since the authentication at the provider, at most; None if ``extra`` does not ask for it."""
        asked = dict(self.extra).get("max_age")
        return None if asked is None else float(asked)

    @property
    def of_many_tenants(self) -> bool:
        """Whether the issuer is one of Entra that serves several tenants."""
        return self.preset is Preset.ENTRA and not _COMMON.isdisjoint(self.issuer.split("/"))

    @property
    def graph_uri(self) -> str:
        """Where groups are listed that the ID token leaves out; "" if they are not asked for, or decide nothing."""
        asked = self.groups_from is GroupsFrom.GRAPH and "groups" in self.roles_claim
        return self.groups_uri if asked else ""

    def rules(self, name: str, realm: str) -> ClaimRules:
        """See `ClientSettings.rules`."""
        return attrs.evolve(
            super().rules(name, realm), identity_claims=self.identity_claim, hosted_domains=frozenset(self.domains)
        )

    def expected(self, issuer: str) -> Expected:
        """What an ID token must say; ``issuer`` is that of the metadata."""
        from perimeter.oidc.idtoken import Expected

        return Expected(issuer, self.client_id, frozenset(self.trusted_audiences), frozenset(self.tenants))

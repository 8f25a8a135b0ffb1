"""The options of ``type = oauth2``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, Final
from urllib.parse import urlsplit

import attrs

from perimeter.config.language.datatypes import TEXT, list_of
from perimeter.config.language.name_types import WORD
from perimeter.config.language.net_types import URL
from perimeter.config.language.option import option
from perimeter.config.language.section import Section
from perimeter.oidc.presets import Preset
from perimeter.oidc.settings import ClientSettings, check_identity, is_restricted
from perimeter.oidc.urls import is_secure

if TYPE_CHECKING:
    from perimeter.oidc.claims import ClaimRules

#: hosts at which anybody can have an account
_OPEN_TO_ALL: Final = frozenset({"github.com", "gitlab.com", "bitbucket.org", "codeberg.org"})


@attrs.frozen(kw_only=True)
class OAuth2Settings(ClientSettings):
    """``type = oauth2``."""

    unfit_presets: ClassVar = {one: f"{one} is an OpenID provider: type = oidc" for one in Preset if one is not Preset.GITHUB}

    authorize_uri: str = option(URL, "authorization endpoint of the provider, to which browsers are sent")
    token_uri: str = option(URL, "token endpoint of the provider")
    user_uri: str = option(
        URL, "endpoint that answers with the user's claims as a JSON object; user names are bound to it and `id_claim`"
    )
    id_claim: str = option(TEXT, "claim that identifies the account for ever: a number or a text that no other account ever gets")
    groups_uri: tuple[str, ...] = option(
        list_of(URL),
        "endpoints that list the user's groups, in JSON arrays with Link headers; they become the claim `groups`. Asked if "
        "`role_map` or `allow_groups` is set",
        default="",
    )
    group_name: tuple[str, ...] = option(
        list_of(TEXT),
        "members of a listed group that name it, joined by `/`; the first form counts of which a group has all members",
        default="name",
    )
    emails_uri: str = option(
        URL,
        "endpoint that lists the user's addresses, with `email`, `primary` and `verified`; asked if the address decides or is an "
        "attribute",
        default="",
    )
    scopes: tuple[str, ...] = option(list_of(WORD), "scopes to ask for", default="")

    def urls(self) -> Iterable[str]:
        """See `RemoteSettings.urls`."""
        return (self.authorize_uri, self.token_uri, self.user_uri, self.emails_uri, *self.groups_uri)

    def check(self, section: Section) -> None:
        """See `Settings.check`."""
        super().check(section)
        its = attrs.fields(OAuth2Settings)
        check_identity(section, its.id_claim, (self.id_claim,))
        for one in (its.authorize_uri, its.token_uri, its.user_uri, its.emails_uri, its.groups_uri):
            value = getattr(self, one.name)
            urls = (value,) if isinstance(value, str) else value
            if not section.faulty(one) and not all(is_secure(url) for url in urls if url):
                section.problem(one, "expected an https URL; http is accepted for a loopback address alone")
        if self.groups_uri and self.allow_groups and not self.role_map and not section.faulty(its.role_map):
            section.problem(
                its.allow_groups,
                "also needs role_map: users can create groups, so the name of a group must not be a role by itself",
            )
        if self._host() in _OPEN_TO_ALL and not is_restricted(self):
            section.problem(
                its.authorize_uri, "everybody can have an account there, so it also needs allow_groups, email_domains or require"
            )

    def _host(self) -> str:
        return urlsplit(self.authorize_uri).hostname or "" if is_secure(self.authorize_uri) else ""

    @property
    def lists_groups(self) -> bool:
        """Whether the groups at ``groups_uri`` decide something."""
        return bool(self.groups_uri and (self.role_map or self.allow_groups))

    def rules(self, name: str, realm: str) -> ClaimRules:
        """See `ClientSettings.rules`."""
        return attrs.evolve(super().rules(name, realm), identity_claims=(self.id_claim,))

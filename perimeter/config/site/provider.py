"""``[provider NAME]``: where people sign in, other than here. Its kind, a plug-in, reads the options that only that kind has."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import attrs

from perimeter.config.language.datatypes import TEXT, duration, one_of
from perimeter.config.language.net_types import REALM, URL
from perimeter.config.language.option import SectionKind, option
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings, read
from perimeter.config.site.plugged import read_kind
from perimeter.plugin.redirect import IProviderFactory

#: what the audit log and the metrics call other ways in
_TAKEN: Final = frozenset({"password", "recovery", "token", "totp", "webauthn"})


class Logout(StrEnum):
    """What sign-out ends: the session here alone, or the one at the provider too."""

    PROVIDER = "provider"
    LOCAL = "local"


@attrs.frozen
class ProviderSettings(Settings):
    """``[provider NAME]``. ``settings`` is what the factory of its kind parsed: only that factory knows its class.

    ``refresh_grace`` is in seconds. ``redirect_uri`` is "" if it is on the host of ``[login]``.
    """

    name: str
    kind: str = option(TEXT, "kind of provider; each has more options, below", name="type")
    realm: str = option(REALM, "realm of its users; not set: the name of the section", default="")
    redirect_uri: str = option(
        URL,
        "where the provider sends browsers back to, as it is registered there: `https://HOST/.perimeter/callback/NAME`; "
        "not set: that path on `host` of `[login]`",
        default="",
    )
    refresh_grace: float = option(
        duration(zero=True), "how long a session goes on while the provider does not answer a refresh", default="1h"
    )
    logout: Logout = option(
        one_of(Logout),
        "`provider`: the sign-out page offers to sign out at the provider too; `local`: it does not",
        default="provider",
    )
    settings: Any = None
    file: str = ""
    line: int = 0

    def check(self, section: Section) -> None:
        """See `Settings.check`."""
        if self.name.lower() in _TAKEN:
            section.problem("", "expected another name: the audit log uses this word for another way in")


def read_provider(section: Section, factories: Mapping[str, IProviderFactory]) -> ProviderSettings:
    """The settings of a provider. ``factories`` are the factories of all kinds by the word in ``type = …``."""
    common = read(section, ProviderSettings)
    settings = read_kind(section, attrs.fields(ProviderSettings).kind, common.kind, factories)
    return attrs.evolve(common, realm=common.realm or section.name, settings=settings)


KIND = SectionKind(
    "provider",
    ProviderSettings,
    "A provider at which people sign in: a button on the sign-in page. Each `type` has more options, listed below.",
    "type = oidc\nissuer = https://sso.example.com/realms/corp\nclient_id = gateway\nclient_secret = file:corp.secret\n"
    "title = Company login\nredirect_uri = https://gw.example.com/.perimeter/callback/corp\n",
    example_name="corp",
)

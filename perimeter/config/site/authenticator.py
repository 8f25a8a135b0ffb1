"""``[authenticator NAME]``: one source of users. Its kind, a plug-in, reads the options that only that kind has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from perimeter.config.language.datatypes import TEXT, duration, optional
from perimeter.config.language.net_types import REALM
from perimeter.config.language.option import SectionKind, option
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings, read
from perimeter.config.site.plugged import read_kind
from perimeter.plugin.authenticator import IAuthenticatorFactory


@attrs.frozen
class AuthenticatorSettings(Settings):
    """``[authenticator NAME]``. ``settings`` is what the factory of its kind parsed: only that factory knows its class.

    ``timeout`` is in seconds; None means that of ``[authentication]``.
    """

    name: str
    kind: str = option(TEXT, "kind of authenticator; each has more options, below", name="type")
    realm: str = option(REALM, "realm of its users; not set: the name of the section", default="")
    settings: Any = None
    timeout: float | None = option(
        optional(duration()), "longest time for an answer; not set: `timeout` of `[authentication]`", default=""
    )
    file: str = ""
    line: int = 0

    def check(self, section: Section) -> None:
        """See `Settings.check`."""
        if self.name == "token":
            section.problem("", "expected another name: the audit log writes token for access tokens")


def read_authenticator(section: Section, factories: Mapping[str, IAuthenticatorFactory]) -> AuthenticatorSettings:
    """The settings of an authenticator. ``factories`` are the factories of all kinds by the word in ``type = …``."""
    common = read(section, AuthenticatorSettings)
    settings = read_kind(section, attrs.fields(AuthenticatorSettings).kind, common.kind, factories)
    return attrs.evolve(common, realm=common.realm or section.name, settings=settings)


KIND = SectionKind(
    "authenticator",
    AuthenticatorSettings,
    "A source of users: a file, a directory, a token service. Each `type` has more options, listed below.",
    "type = realmfile\nrealm = example\npath = users.realm\n",
    example_name="local",
)

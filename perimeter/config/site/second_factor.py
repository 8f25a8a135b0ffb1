"""``[second_factor]``: belongs to the contract, and is not available yet."""

from __future__ import annotations

from enum import StrEnum

import attrs

from perimeter.config.language.datatypes import TEXT, list_of, one_of
from perimeter.config.language.name_types import NAME
from perimeter.config.language.net_types import SERVER_NAME
from perimeter.config.language.option import SectionKind, option
from perimeter.config.language.settings import Settings


class Method(StrEnum):
    """What a second factor can be."""

    TOTP = "totp"
    WEBAUTHN = "webauthn"


class Enroll(StrEnum):
    """Who may register a first second factor: users by themselves, or those with a code of the operator."""

    SELF = "self"
    CODE = "code"


@attrs.frozen
class SecondFactorSettings(Settings):
    """``[second_factor]``."""

    methods: tuple[Method, ...] = option(
        list_of(one_of(Method)), "the second factors that users may register", default="", available=False
    )
    roles: tuple[str, ...] = option(
        list_of(NAME), "roles whose users need a second factor everywhere", default="", available=False
    )
    enroll: Enroll = option(one_of(Enroll), "how users register their first second factor", default="", available=False)
    issuer: str = option(TEXT, "name of the site in an authenticator app", default="", available=False)
    rp_id: str = option(SERVER_NAME, "relying party id of passkeys", default="", available=False)


KIND = SectionKind(
    "second_factor",
    SecondFactorSettings,
    "A second factor beside the password. It is not available yet.",
    "; no option of this section can be set yet\n",
)

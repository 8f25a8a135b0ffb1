"""``[second_factor]``: what beside the password users show, and who has to."""

from __future__ import annotations

from enum import StrEnum
from importlib.util import find_spec
from typing import Final

import attrs

from perimeter.config.language.datatypes import TEXT, list_of, one_of
from perimeter.config.language.name_types import NAME
from perimeter.config.language.net_types import SERVER_NAME
from perimeter.config.language.option import SectionKind, option
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings


class Method(StrEnum):
    """What a second factor can be."""

    TOTP = "totp"
    WEBAUTHN = "webauthn"


class Enroll(StrEnum):
    """Who may register a first second factor: users by themselves, or those with a code of the operator."""

    SELF = "self"
    CODE = "code"


_LIBRARIES: Final = {Method.TOTP: ("pyotp", "segno"), Method.WEBAUTHN: ("webauthn",)}


def missing_library(*methods: Method) -> str:
    """The name of a library of the extra ``mfa`` that ``methods`` need and that is not installed, or ""."""
    return next((name for method in methods for name in _LIBRARIES[method] if find_spec(name) is None), "")


@attrs.frozen
class SecondFactorSettings(Settings):
    """``[second_factor]``. Without ``methods`` there are no second factors."""

    methods: tuple[Method, ...] = option(
        list_of(one_of(Method)),
        "the second factors that users may register: `totp`, an authenticator app; `webauthn`, passkeys and security keys. Needs "
        "`perimeter-gateway[mfa]`; not set: there are no second factors",
        default="",
    )
    roles: tuple[str, ...] = option(
        list_of(NAME),
        "users with one of these roles need a second factor everywhere: at the sign-in, and for each request; a password in "
        "`Authorization` is then not enough",
        default="",
    )
    enroll: Enroll = option(
        one_of(Enroll),
        "how users register their first second factor: `self`, after the password; `code`, with a code that the operator makes "
        "(`perimeter second-factor code`)",
        default="self",
    )
    issuer: str = option(
        TEXT,
        "name of the site in an authenticator app; not set: `title` of `[login]`, or the `realm` of `[perimeter]`",
        default="",
    )
    rp_id: str = option(
        SERVER_NAME,
        "domain that passkeys are for (the relying party id), such as `example.com` for all its hosts; not set: the `host` in "
        "`[login]`, or that of the routes with `browser_login` if it is the same for all. Passkeys that were registered for "
        "another one cannot be used any more",
        default="",
    )

    def check(self, section: Section) -> None:
        """See `Settings.check`."""
        its = attrs.fields(SecondFactorSettings)
        if not self.methods:
            if not section.faulty(its.methods):
                section.refuse([its.roles, its.enroll, its.issuer, its.rp_id], "has no effect without methods")
            return
        missing = missing_library(*self.methods)
        if missing:
            section.problem(its.methods, f"the library {missing} is not installed: pip install 'perimeter-gateway[mfa]'")
        if Method.WEBAUTHN not in self.methods:
            section.refuse([its.rp_id], "is only allowed with webauthn in methods")
        if Method.TOTP not in self.methods:
            section.refuse([its.issuer], "is only allowed with totp in methods")


KIND = SectionKind(
    "second_factor",
    SecondFactorSettings,
    "A second factor beside the password: who needs one, and what it can be. See [Second factor](../how-to/second-factor.md).",
    "methods = totp, webauthn\nroles = admin\nenroll = code\nissuer = Forecast dashboards\nrp_id = example.com\n",
)

"""``[token]``: the access tokens and API tokens that the gateway issues."""

from __future__ import annotations

from enum import StrEnum

import attrs

from perimeter.config.language.datatypes import BOOLEAN, SECRET, TEXT, duration, one_of, optional
from perimeter.config.language.option import SectionKind, option
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings

MIN_SECRET = 32
"""Bytes. RFC 7518, section 3.2: a key for HS256 is at least as long as the hash."""


class Algorithm(StrEnum):
    """How access tokens are signed (RFC 7518, section 3.1; RFC 8037, section 3.1)."""

    ES256 = "ES256"
    EDDSA = "EdDSA"
    RS256 = "RS256"
    HS256 = "HS256"


@attrs.frozen
class TokenSettings(Settings):
    """``[token]``. Times are seconds; ``api_lifetime`` 0 means "no limit". ``secret`` is set with HS256 and only then."""

    lifetime: float = option(duration(), "lifetime of access tokens from `/token`", default="24h")
    extended_lifetime: float = option(duration(), "lifetime of access tokens from `/extendedtoken`", default="7d")
    issuer: str = option(TEXT, "`iss` claim of access tokens", default="perimeter")
    audience: str = option(TEXT, "`aud` claim of access tokens", default="perimeter")
    algorithm: Algorithm = option(one_of(Algorithm), "signature algorithm of access tokens", default="ES256")
    secret: str | None = option(
        optional(SECRET), f"with `algorithm = HS256` (then required): the key, at least {MIN_SECRET} bytes", default=""
    )
    key_lifetime: float = option(
        duration(),
        "time after which a new signing key is made; earlier keys still verify their tokens",
        default="30d",
    )
    api_tokens: bool = option(
        BOOLEAN,
        "`yes` lets users create API tokens at `/tokens`, and makes `GET /token` return one that is valid for an hour as `token`",
        default="yes",
    )
    api_lifetime: float = option(
        duration(zero=True), "longest lifetime of an API token; `0`: no limit, and a token need not expire at all", default="365d"
    )

    def check(self, section: Section) -> None:
        """See `Settings.check`."""
        its = attrs.fields(TokenSettings)
        if section.faulty(its.algorithm):
            return
        if self.algorithm is not Algorithm.HS256:
            section.refuse([its.secret], "is only allowed with algorithm = HS256")
        elif not section.faulty(its.secret):
            if self.secret is None:
                section.problem(its.secret, "is required with algorithm = HS256")
            elif len(self.secret.encode()) < MIN_SECRET:
                section.problem(its.secret, f"expected at least {MIN_SECRET} bytes (RFC 7518, section 3.2)")


KIND = SectionKind(
    "token",
    TokenSettings,
    "The access tokens and API tokens that the gateway issues.",
    "lifetime = 8h\nissuer = https://gw.example.com\naudience = example\napi_lifetime = 90d\n",
)

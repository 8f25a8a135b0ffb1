"""No other issuer has the name of the gateway's own tokens: such a token is refused (attack O15)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perimeter.config.language.section import Section
from perimeter.config.site.config import SiteConfig


def check(config: SiteConfig, authenticators: Sequence[Section], providers: Sequence[Section]) -> None:
    """Report each ``issuer`` of another section that is the ``issuer`` of ``[token]``."""
    sections = (*authenticators, *providers)
    settings = (*(one.settings for one in config.authenticators), *(one.settings for one in config.providers))
    for one, section in zip(settings, sections, strict=True):
        if config.token.issuer in _issuers(one) and not section.faulty("issuer"):
            message = f"is also issuer of [token], {config.token.issuer}: tokens of another issuer with that name are refused"
            section.problem("issuer", message)


def _issuers(settings: Any) -> tuple[str, ...]:
    """The issuers of tokens that the settings of a kind name, if it has the option ``issuer``.

    It is a text or several; with other kinds the word has other meanings, such as the issuer of certificates.
    """
    found = getattr(settings, "issuer", ())
    if isinstance(found, str):
        return (found,)
    return found if isinstance(found, tuple) else ()

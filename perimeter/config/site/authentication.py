"""``[authentication]``: how the authenticators are asked."""

from __future__ import annotations

from enum import StrEnum

import attrs

from perimeter.config.language.datatypes import TEXT, duration, integer, list_of, one_of, optional
from perimeter.config.language.option import SectionKind, option
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings


class Ask(StrEnum):
    """In which way several authenticators are asked."""

    IN_ORDER = "in_order"
    ALL_AT_ONCE = "all_at_once"


@attrs.frozen
class AuthenticationSettings(Settings):
    """``[authentication]``. ``order`` has the name of every authenticator once. Times are seconds."""

    order: tuple[str, ...] = option(
        list_of(TEXT),
        "names of all authenticators, in the order in which they are asked; not set: the order of their sections",
        default="",
    )
    ask: Ask = option(
        one_of(Ask),
        "`in_order`: one after the other, until one knows the user; `all_at_once`: all at the same time, the first that accepts "
        "the user wins. Each of them then sees every password",
        default="in_order",
    )
    timeout: float = option(duration(), "longest time for the answer of one authenticator", default="5s")
    queue_timeout: float = option(
        duration(),
        "longest time that a login waits, besides `timeout`, until its password hash is computed while many users log in; then "
        "the answer is 503 with `Retry-After`",
        default="120s",
    )
    remember_password: float = option(
        duration(zero=True),
        "how long a verified password is accepted without verifying it again; `0`: not at all",
        default="60s",
    )
    lockout_after: int = option(
        integer(0, 10_000),
        "number of wrong passwords for one user name after which further logins are delayed and then answered with 429; `0`: no "
        "limit",
        default="10",
    )
    lockout_after_address: int | None = option(
        optional(integer(0, 100_000)),
        "the same for one address (IPv6: one /64), which many people may share: wrong passwords within 15 minutes, of which the "
        "same one for the same name counts once; `0`: no limit; not set: three times `lockout_after`",
        default="",
    )

    @property
    def address_limit(self) -> int:
        """Wrong passwords from one address; 0 for no limit."""
        return 3 * self.lockout_after if self.lockout_after_address is None else self.lockout_after_address

    def check(self, section: Section) -> None:
        """See `Settings.check`."""
        its = attrs.fields(AuthenticationSettings)
        if 0 < self.address_limit < self.lockout_after and not section.faulty(its.lockout_after_address):
            section.problem(its.lockout_after_address, "expected at least lockout_after: several people may share an address")


KIND = SectionKind(
    "authentication",
    AuthenticationSettings,
    "How the authenticators are asked.",
    "order = local\ntimeout = 3s\nlockout_after = 5\nlockout_after_address = 200\n",
)

"""``[login]``: the gateway's own pages, on which people sign in, and their sessions."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import attrs

from perimeter.config.language.datatypes import (
    BOOLEAN,
    TEXT,
    BadValue,
    Datatype,
    duration,
    file_path,
    integer,
    list_of,
    one_of,
    optional,
)
from perimeter.config.language.net_types import SERVER_NAME, URL_PATH
from perimeter.config.language.option import SectionKind, option
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings


class Cleared(StrEnum):
    """Data of the host that a browser deletes when its user signs out (Clear-Site-Data, section 3.1)."""

    CACHE = "cache"
    COOKIES = "cookies"
    STORAGE = "storage"
    NOTHING = "none"


def _prefix(text: str, base: Path) -> str:
    path = URL_PATH.convert(text, base)
    if path == "/":
        raise BadValue("expected a path below /", "/.perimeter")
    return path


def _cleared(words: tuple[Cleared, ...]) -> tuple[Cleared, ...]:
    """The words without ``none``, which stands for an empty list. Raises `BadValue` if it is not alone."""
    if Cleared.NOTHING in words and len(words) > 1:
        raise BadValue("none cannot be combined with other words")
    return tuple(word for word in words if word is not Cleared.NOTHING)


PREFIX: Datatype[str] = Datatype("path", _prefix, "")


@attrs.frozen
class LoginSettings(Settings):
    """``[login]``. Times are seconds; ``idle`` and ``stay`` may be 0, "none"."""

    path: str = option(
        PREFIX,
        "path of the gateway's own pages on every host: `PATH/login`, `PATH/logout` and others; no route may begin with it",
        default="/.perimeter",
    )
    host: str = option(
        SERVER_NAME,
        "the only host that has these pages; people who sign in there are signed in on the hosts of all routes with "
        "`browser_login`, which must name theirs in `host`; all hosts use the same port; not set: each host has the pages",
        default="",
    )
    title: str = option(TEXT, "name of the site on the pages; not set: the `realm` of `[perimeter]`", default="")
    logo: Path | None = option(
        optional(file_path("file")), "picture above the title: an SVG or PNG file of at most 256 KiB", default=""
    )
    message: str = option(TEXT, "text on the sign-in page, such as whom to ask for an account", default="")
    message_file: Path | None = option(
        optional(file_path("file")),
        "file with the text on the sign-in page, instead of `message`: plain text in UTF-8, an empty line begins a paragraph",
        default="",
    )
    templates: Path | None = option(
        optional(file_path("directory")), "directory with templates of the site, which replace those of the same name", default=""
    )
    idle: float = option(
        duration(zero=True), "a session ends if it is not used for this time; `0`: it does not end by idleness", default="1h"
    )
    lifetime: float = option(duration(), "a session ends this long after the sign-in, also if it is in use", default="12h")
    stay: float = option(
        duration(zero=True),
        "lifetime of the session of a user who ticks “stay signed in”; the browser then keeps the session when it is closed; "
        "`0`: the page does not offer this",
        default="0",
    )
    fresh: float = option(
        duration(), "pages that give out rights ask for the password again if the sign-in is older than this", default="15m"
    )
    max_sessions: int = option(
        integer(1, 10_000), "sessions that one user can have at a time; one more sign-in ends the oldest session", default="20"
    )
    choose_realm: bool = option(
        BOOLEAN, "`yes` lets people choose the realm of their user name on the sign-in page", default="no"
    )
    automatic: str = option(
        TEXT,
        "the `[provider]` at which people sign in without the sign-in page in between; the page still comes after a sign-out, "
        "after a failed sign-in, and with `?again=other`; not set: none",
        default="",
    )
    passkeys: bool = option(
        BOOLEAN,
        "`yes` lets people sign in with a passkey and no password; needs `webauthn` in `methods` of `[second_factor]`, and an "
        "authenticator that can look users up",
        default="no",
    )
    clear_on_logout: tuple[Cleared, ...] = option(
        list_of(one_of(Cleared), label="cache, cookies, storage \\| none", whole=_cleared),
        "data of this host that the browser deletes when the user signs out: `cache`, so that the Back button does not show "
        "earlier pages; `cookies` and `storage`, also those of the services; or `none`",
        default="cache",
    )

    def check(self, section: Section) -> None:
        """See `Settings.check`."""
        its = attrs.fields(LoginSettings)
        if section.given(its.message) and section.given(its.message_file):
            section.problem(its.message_file, "set either message or message_file, not both")
        if section.given(its.idle) and self.idle > self.lifetime and not section.faulty(its.lifetime):
            section.problem(its.idle, "is longer than lifetime, so it has no effect")
        if 0 < self.stay < self.lifetime and not section.faulty(its.lifetime):
            section.problem(its.stay, "is shorter than lifetime: users who want to stay signed in would be signed out earlier")


KIND = SectionKind(
    "login",
    LoginSettings,
    "The gateway's own pages, on which people sign in, and how long their sessions last.",
    "title = Forecast dashboards\nlogo = logo.svg\nmessage = Accounts: service-desk@example.com\nidle = 30m\nstay = 30d\n",
)

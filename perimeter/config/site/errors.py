"""``[errors]``: the site's own error pages."""

from __future__ import annotations

import re
from pathlib import Path

import attrs

from perimeter.config.language.datatypes import BadValue, Datatype, list_of
from perimeter.config.language.net_types import URL_PATH
from perimeter.config.language.option import SectionKind, option
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings


@attrs.frozen
class ErrorPage:
    """One ``page`` of ``[errors]``: responses with these statuses have the page at this path of the gateway as their body."""

    statuses: tuple[int, ...]
    path: str


def _page(text: str, base: Path) -> ErrorPage:
    *words, page = text.split()
    if not words or not all(re.fullmatch("[45][0-9][0-9]", word) for word in words):
        raise BadValue("expected statuses from 400 to 599 and a path, such as 500 502 503 504 /50x.html")
    return ErrorPage(tuple(int(word) for word in words), URL_PATH.convert(page, base))


PAGE: Datatype[ErrorPage] = Datatype("error page", _page, ErrorPage((), ""))


@attrs.frozen
class ErrorSettings(Settings):
    """``[errors]``."""

    pages: tuple[ErrorPage, ...] = option(
        list_of(PAGE, "\n", "lines of statuses and a path"),
        "statuses, and the path of a page that a `static` route serves, such as `500 502 503 504 /50x.html`; one page per line",
        name="page",
        default="",
    )

    def check(self, section: Section) -> None:
        """See `Settings.check`."""
        statuses = [status for page in self.pages for status in page.statuses]
        for status in sorted({status for status in statuses if statuses.count(status) > 1}):
            section.problem(attrs.fields(ErrorSettings).pages, f"the status {status} is given twice")


KIND = SectionKind(
    "errors", ErrorSettings, "Error pages of the site, instead of the built-in ones.", "page = 500 502 503 504 /50x.html\n"
)

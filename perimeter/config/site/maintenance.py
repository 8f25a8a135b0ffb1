"""The options of a route about maintenance."""

from __future__ import annotations

from pathlib import Path

import attrs

from perimeter.config.language.datatypes import BOOLEAN, duration, file_path, list_of, optional
from perimeter.config.language.net_types import NETWORK, Network
from perimeter.config.language.option import option
from perimeter.config.language.settings import Settings


@attrs.frozen(kw_only=True, slots=False)
class RouteMaintenance(Settings):
    """The options about maintenance. ``maintenance_retry_after`` is in seconds."""

    maintenance: bool = option(
        BOOLEAN, "`yes`: all requests get 503, and reach no service, except from `maintenance_allow`", default="no"
    )
    maintenance_page: Path | None = option(
        optional(file_path("file")),
        "with `maintenance`: file that browsers and other clients get, except those that ask for JSON. Not set: the page of "
        "`[errors]` for 503, or else a built-in one",
        default="",
    )
    maintenance_allow: tuple[Network, ...] = option(
        list_of(NETWORK), "with `maintenance`: networks whose clients are served as if it were `no`", default=""
    )
    maintenance_retry_after: float | None = option(
        optional(duration()),
        "with `maintenance`: the time after which clients may try again, in `Retry-After`. Not set: no such header",
        default="",
    )

    @property
    def maintenance_in_words(self) -> str:
        """The networks that are served in spite of it, or ``no client``; "" without maintenance."""
        if not self.maintenance:
            return ""
        return ", ".join(map(str, self.maintenance_allow)) or "no client"

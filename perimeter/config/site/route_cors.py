"""The options of a route about cross-origin resource sharing: which pages of other sites may read its responses."""

from __future__ import annotations

import attrs

from perimeter.config.language.datatypes import BOOLEAN, duration
from perimeter.config.language.option import option
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings
from perimeter.config.site.cors import ANY_PAGE, HEADERS, METHODS, PAGES, PASS


@attrs.frozen(kw_only=True, slots=False)
class RouteCors(Settings):
    """The options about pages of other sites. ``cors`` is empty if the gateway does not care, and ``("pass",)`` or ``("*",)``
    for these words; ``cors_max_age`` is in seconds."""

    cors: tuple[str, ...] = option(
        PAGES,
        "origins of the pages of other sites that may read responses; the gateway answers their preflights without credentials, "
        "and replaces what the service says about it. `*`: pages of all sites; `pass`: the service decides, and gets preflights "
        "without credentials",
        default="",
    )
    cors_methods: tuple[str, ...] = option(METHODS, "with `cors`: methods of requests of these pages", default="GET, HEAD, POST")
    cors_headers: tuple[str, ...] = option(
        HEADERS, "with `cors`: headers that these pages may send, besides those that all pages may send", default=""
    )
    cors_credentials: bool = option(
        BOOLEAN,
        "with `cors`: `yes` lets these pages send requests with credentials that browsers add, as `cross_site` does",
        default="no",
    )
    cors_expose: tuple[str, ...] = option(HEADERS, "with `cors`: headers of responses that these pages may read", default="")
    cors_max_age: float = option(
        duration(zero=True), "with `cors`: how long a browser remembers the answer to a preflight", default="10m"
    )

    @property
    def shared(self) -> bool:
        """Whether the gateway decides about cross-origin resource sharing."""
        return bool(self.cors) and self.cors != (PASS,)

    @property
    def sends_credentials(self) -> bool:
        """Whether the pages can send credentials of any kind."""
        return self.cors_credentials or "authorization" in map(str.lower, self.cors_headers)

    def check_cors(self, section: Section, *, static: bool) -> None:
        """Report what contradicts each other. ``static``: the route serves files."""
        its = attrs.fields(RouteCors)
        details = (its.cors_methods, its.cors_headers, its.cors_credentials, its.cors_expose, its.cors_max_age)
        if not self.shared:
            if not section.faulty(its.cors):
                section.refuse(details, "needs cors with the origins of pages")
            if self.cors and static:
                section.problem(its.cors, "expected origins: pass is only allowed with upstream")
            return
        if ANY_PAGE in self.cors and self.cors_credentials:
            section.problem(its.cors_credentials, "is not allowed with cors = *: list the origins that may act as the user")

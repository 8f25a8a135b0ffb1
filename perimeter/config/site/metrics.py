"""``[metrics]``: metrics for Prometheus."""

from __future__ import annotations

import attrs

from perimeter.config.language.datatypes import list_of
from perimeter.config.language.net_types import NETWORK, URL_PATH, Network
from perimeter.config.language.option import SectionKind, option
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings

HEALTH_PATHS = ("/health", "/status")
"""The other paths that a metrics listener answers."""


@attrs.frozen
class MetricsSettings(Settings):
    """``[metrics]``."""

    path: str = option(URL_PATH, "path of the metrics", default="/metrics")
    networks: tuple[Network, ...] = option(
        list_of(NETWORK), "networks that may read the metrics; not set: every client that can connect to the listener", default=""
    )

    def check(self, section: Section) -> None:
        """See `Settings.check`."""
        if self.path in ("/", *HEALTH_PATHS):
            message = f"is already used, like {' and '.join(HEALTH_PATHS)}; expected another path, such as /metrics"
            section.problem(attrs.fields(MetricsSettings).path, message)


KIND = SectionKind(
    "metrics",
    MetricsSettings,
    "Metrics for Prometheus, served by a listener with `serve = metrics`. The gateway counts requests only with such a "
    "listener or with `[operator]`.",
    "networks = 10.0.0.0/8\n",
)

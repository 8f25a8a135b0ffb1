"""``[upstream NAME]``: a service that requests are forwarded to."""

from __future__ import annotations

from pathlib import Path

import attrs

from perimeter.config.language.datatypes import duration, file_path, integer, list_of, optional
from perimeter.config.language.net_types import SERVER_NAME
from perimeter.config.language.option import SectionKind, option
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings
from perimeter.config.site.server import SERVER, ServerScheme, ServerSettings


@attrs.frozen
class UpstreamSettings(Settings):
    """``[upstream NAME]``. Times are seconds."""

    name: str
    servers: tuple[ServerSettings, ...] = option(
        list_of(SERVER),
        "servers of the service, `http://host:port` or `https://host:port` (its certificate is verified); requests are spread "
        "over several. `sample:` is the built-in sample service",
    )
    connect_timeout: float = option(duration(), "longest time for a new connection to a server", default="10s")
    read_timeout: float = option(duration(), "longest time that a server may send nothing of its response", default="60s")
    keepalive: int = option(integer(0, 100_000), "largest number of idle connections to keep open", default="64")
    idle_timeout: float = option(
        duration(),
        "how long an idle connection is kept. Set it below the time after which the servers close one, since a request that is "
        "sent at that moment fails. A server that announces its time (`Keep-Alive: timeout=5`) needs no setting",
        default="60s",
    )
    ca_certificate: Path | None = option(
        optional(file_path("file")),
        "with https servers: PEM file with the CA certificates to trust; not set: those of the system",
        default="",
        renewed=True,
    )
    server_name: str | None = option(
        optional(SERVER_NAME), "with https servers: host name in their certificate, if it is not the one in `servers`", default=""
    )
    file: str = ""
    line: int = 0

    def check(self, section: Section) -> None:
        """See `Settings.check`."""
        its = attrs.fields(UpstreamSettings)
        if section.faulty(its.servers):
            return
        schemes = {server.scheme for server in self.servers}
        if len(set(self.servers)) != len(self.servers):
            section.problem(its.servers, "the same server is listed twice")
        elif ServerScheme.SAMPLE in schemes and len(self.servers) > 1:
            section.problem(its.servers, "sample: cannot be combined with other servers")
        if ServerScheme.HTTPS not in schemes:
            section.refuse((its.ca_certificate, its.server_name), "is only allowed with https servers")


KIND = SectionKind(
    "upstream",
    UpstreamSettings,
    "A service that requests are forwarded to.",
    "servers = http://10.0.0.1:8888, http://10.0.0.2:8888\nread_timeout = 5m\n",
    example_name="app",
)

"""TLS to the servers of an upstream."""

from __future__ import annotations

from perimeter.config.site.server import ServerScheme
from perimeter.config.site.upstream import UpstreamSettings
from perimeter.net.contexts import ClientTLS


def client_contexts(settings: UpstreamSettings) -> dict[str, ClientTLS]:
    """TLS settings for an upstream's https servers, by the host name to verify. Blocks. Raises `StartupError`."""
    names = {settings.server_name or server.host for server in settings.servers if server.scheme is ServerScheme.HTTPS}
    return {name: ClientTLS(name, settings.ca_certificate) for name in sorted(names)}

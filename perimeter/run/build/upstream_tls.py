"""TLS to the servers of an upstream."""

from __future__ import annotations

from perimeter.config.site.server import ServerScheme
from perimeter.config.site.upstream import UpstreamSettings
from perimeter.net.certificates import load_client_identity
from perimeter.net.contexts import ClientTLS, ServerIdentity


def client_contexts(settings: UpstreamSettings) -> dict[str, ClientTLS]:
    """TLS settings for an upstream's https servers, by the host name to verify. Blocks. Raises `StartupError`."""
    names = {settings.server_name or server.host for server in settings.servers if server.scheme is ServerScheme.HTTPS}
    identity = client_identity(settings) if names else None
    return {name: ClientTLS(name, settings.ca_certificate, identity=identity, pins=settings.pin) for name in sorted(names)}


def client_identity(settings: UpstreamSettings) -> ServerIdentity | None:
    """The certificate that the gateway shows to the servers, or None. Blocks. Raises `StartupError`."""
    if settings.client_certificate is None:
        return None
    return load_client_identity(settings.client_certificate, settings.client_key)

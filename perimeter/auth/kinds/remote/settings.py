"""Options of all kinds that ask a service elsewhere, and the client that is made of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from twisted.logger import Logger

from perimeter.config.language.datatypes import duration, file_path, optional
from perimeter.config.language.net_types import split_url
from perimeter.config.language.option import option
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings
from perimeter.plugin.services import AuthServices

if TYPE_CHECKING:
    from perimeter.web_client.client import RemoteClient

_log = Logger()


def cache(doc: str) -> float:
    """The option ``cache``, in seconds."""
    return option(duration(zero=True), f"{doc}; `0`: always ask", default="60s")


def crosses_network(url: str) -> bool:
    """Whether requests to ``url`` leave this machine in plain text: it is not https, and its host is no loopback address."""
    parts = split_url(url, "http")
    if parts is None or parts[1].lower() == "localhost":
        return False
    try:
        return not ip_address(parts[1].strip("[]")).is_loopback
    except ValueError:
        return True


@attrs.frozen
class RemoteSettings(Settings, ABC):
    """How a service is asked. ``timeout`` is in seconds."""

    ca_certificate: Path | None = option(
        optional(file_path("file")),
        "PEM file of trusted CAs; not set: the CAs of the system. TLS is always verified",
        default="",
        renewed=True,
    )
    timeout: float = option(duration(), "longest time for one exchange with the service, and for the authenticator", default="5s")

    @abstractmethod
    def urls(self) -> Iterable[str]:
        """The URLs to which tokens, or the gateway's own secrets, are sent."""

    def check(self, section: Section) -> None:
        """See `Settings.check`."""
        if self.ca_certificate is not None and not any(one.lower().startswith("https://") for one in self.urls()):
            section.problem("ca_certificate", "is only allowed with https")

    def client(self, service: str, services: AuthServices) -> RemoteClient:
        """The client; messages call it ``service``. Raises `StartupError`."""
        # Every `twistd` imports all plug-ins; HTTP clients are imported only by a site that uses them.
        from perimeter.web_client.client import RemoteClient

        for one in self.urls():
            if crosses_network(one):
                _log.warn(
                    "{service}: {url} is not https: tokens cross the network in plain text",
                    service=service,
                    url=one,
                    counted=True,
                )
        return RemoteClient(service, services.web.trusting(self.ca_certificate), self.timeout, services.reactor)

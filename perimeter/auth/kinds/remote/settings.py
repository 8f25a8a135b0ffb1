"""Options of all kinds that ask a service elsewhere, and the client that is made of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from twisted.logger import Logger

from perimeter.config.language.datatypes import duration, file_path, optional
from perimeter.config.language.option import option
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings
from perimeter.plugin.services import AuthServices

if TYPE_CHECKING:
    from perimeter.web_client.client import RemoteClient

_log = Logger()

_NEAR = ("http://127.0.0.1", "http://localhost", "http://[::1]")


def cache(doc: str) -> float:
    """The option ``cache``, in seconds."""
    return option(duration(zero=True), f"{doc}; `0`: always ask", default="60s")


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
            if one.lower().startswith("http://") and not one.lower().startswith(_NEAR):
                _log.warn(
                    "{service}: {url} is not https: tokens cross the network in plain text",
                    service=service,
                    url=one,
                    counted=True,
                )
        return RemoteClient(service, services.web.trusting(self.ca_certificate), self.timeout, services.reactor)

"""Options that all kinds share which ask a service elsewhere, and how they become a client."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from twisted.logger import Logger

from perimeter.config.language.datatypes import duration, file_path, optional
from perimeter.config.language.net_types import URL
from perimeter.config.language.option import Option
from perimeter.plugin.services import AuthServices

if TYPE_CHECKING:
    from perimeter.config.language.section import Section
    from perimeter.web_client.client import RemoteClient

_log = Logger()

STEP = 5.0
"""Seconds for one exchange where the section gives no ``timeout``."""

_NEAR = ("http://127.0.0.1", "http://localhost", "http://[::1]")

_TIMEOUT = Option("timeout", optional(duration()), "longest time for one exchange")
CA_CERTIFICATE = Option(
    "ca_certificate", optional(file_path("file")), "PEM CAs of the service; not set: those of the system. TLS is always verified"
)


def url(name: str, doc: str, *, required: bool = False, default: str = "") -> Option[str]:
    """An option that is the URL of a service."""
    return Option(name, URL, doc, default, required=required)


def cache(default: str, doc: str) -> Option[float]:
    """The option ``cache``."""
    return Option("cache", duration(zero=True), f"{doc}; `0`: always ask", default)


@attrs.frozen
class RemoteSettings:
    """``timeout`` (seconds) is for one exchange; ``exposed`` are URLs over which tokens travel in plain text."""

    timeout: float
    ca_certificate: Path | None = None
    exposed: tuple[str, ...] = ()

    def client(self, service: str, services: AuthServices) -> RemoteClient:
        """The client, which messages call ``service``. Raises `StartupError`."""
        # Not before it is wanted: plug-ins are imported by every `twistd`, HTTP clients only by who uses them.
        from perimeter.web_client.client import RemoteClient

        for one in self.exposed:
            _log.warn("{service}: {url} is not https: tokens cross the network in plain text", service=service, url=one)
        return RemoteClient(service, services.web.trusting(self.ca_certificate), self.timeout, services.reactor)


def remote(section: Section, *urls: str) -> RemoteSettings:
    """What ``section`` says of how to ask ``urls``. Faults are reported on the section."""
    ca_certificate = section.value(CA_CERTIFICATE)
    if ca_certificate is not None and not _any_https(urls):
        section.problem("ca_certificate", "goes with https only")
    exposed = tuple(one for one in urls if one.lower().startswith("http://") and not one.lower().startswith(_NEAR))
    return RemoteSettings(section.value(_TIMEOUT) or STEP, ca_certificate, exposed)


def _any_https(urls: Iterable[str]) -> bool:
    return any(one.lower().startswith("https://") for one in urls)

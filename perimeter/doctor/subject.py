"""The subject of an examination: a readable configuration, and the user that the gateway runs as."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from perimeter.config.language.document import Document
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.server import ServerScheme, ServerSettings


@attrs.frozen
class GatewayUser:
    """The system user that the gateway runs as; ``groups`` are all of its groups."""

    uid: int
    groups: frozenset[int]
    name: str

    def may(self, path: Path, wanted: int) -> bool:
        """Whether the user may read, write or enter ``path``: ``wanted`` is made of os.R_OK, os.W_OK and os.X_OK.

        Asks the system if this process has the same user; else it reads the modes of ``path`` and its parents.
        """
        if self.uid == os.geteuid():
            return os.access(path, wanted, effective_ids=True)
        if self.uid == 0:
            return True
        return self._bits(path) & wanted == wanted and all(self._bits(parent) & os.X_OK for parent in path.parents)

    def _bits(self, path: Path) -> int:
        status = path.stat()
        shift = 6 if status.st_uid == self.uid else 3 if status.st_gid in self.groups else 0
        return status.st_mode >> shift & 7


@attrs.frozen
class Subject:
    """``running`` is the short status of the running gateway; None if no gateway runs."""

    config: SiteConfig
    document: Document = attrs.field(repr=False)
    user: GatewayUser
    running: Mapping[str, Any] | None = None

    @property
    def audit_logs(self) -> tuple[Path, ...]:
        """The paths of all audit logs."""
        config = self.config
        paths = (config.audit.path, *(route.audit for route in config.routes))
        return tuple(dict.fromkeys(path for path in paths if path is not None))

    @property
    def pid(self) -> int:
        """The process of the running gateway; 0 if there is none."""
        return pid_of(self.running)


@attrs.frozen
class Server:
    """A server that the gateway connects to. ``place`` is the section; ``tls`` is whether TLS begins with the connection.

    ``by_system`` is whether the system looks up its name, and not the gateway.
    """

    place: str
    host: str
    port: int
    tls: bool
    by_system: bool = True


def pid_of(answer: Mapping[str, Any] | None) -> int:
    """The process in the status of a running gateway; 0 if there is none."""
    pid = 0 if answer is None else answer.get("pid")
    return pid if isinstance(pid, int) else 0


def environment_of(pid: int) -> dict[str, str]:
    """The environment that the process ``pid`` was started with; {} if it may not be read."""
    try:
        data = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (part.partition(b"=") for part in data.split(b"\0"))
    return {os.fsdecode(name): os.fsdecode(value) for name, equals, value in pairs if equals}


def gateway_user(state_dir: Path, pid: int = 0) -> GatewayUser:
    """The user of the process ``pid``; without one, the owner of ``state_dir``, and before the first start, the present user."""
    uid = os.geteuid()
    for path in (Path(f"/proc/{pid}") if pid else None, state_dir):
        try:
            if path is not None:
                uid = path.stat().st_uid
                break
        except OSError:
            continue
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return GatewayUser(uid, frozenset(), str(uid))
    return GatewayUser(uid, frozenset(os.getgrouplist(entry.pw_name, entry.pw_gid)), entry.pw_name)


def servers_of(config: SiteConfig) -> list[Server]:
    """All servers that the sections name: services, directories, providers, and services that know users."""
    found = [
        Server(
            f"[upstream {upstream.name}]", server.host, server.port, server.scheme is ServerScheme.HTTPS, not upstream.looks_up
        )
        for upstream in config.upstreams
        for server in upstream.servers
        if server.host
    ]
    for one in config.authenticators:
        found += _plugged(f"[authenticator {one.name}]", one.settings)
    for provider in config.providers:
        found += _plugged(f"[provider {provider.name}]", provider.settings)
    for augmenter in config.augmenters:
        found += _plugged(f"[augmenter {augmenter.name}]", augmenter.settings)
    return list(dict.fromkeys(found))


def _plugged(place: str, settings: Any) -> Iterator[Server]:
    """The servers among the settings of a plug-in: values of the type `ServerSettings`, pairs of host and port, URLs.

    The plug-in of a third party may use the same words for something else, which names no server here.
    """
    from urllib.parse import urlsplit

    if not attrs.has(type(settings)):
        return
    secured = str(getattr(settings, "tls", "")) == "ldaps"
    listed = getattr(settings, "servers", ())
    for server in listed if isinstance(listed, tuple) else ():
        match server:
            case (str(host), int(port)):
                yield Server(place, host, port, secured)
    for field in attrs.fields(type(settings)):
        value = getattr(settings, field.name)
        if isinstance(value, ServerSettings) and value.scheme is not ServerScheme.SAMPLE:
            yield Server(place, value.host, value.port, value.scheme in (ServerScheme.HTTPS, ServerScheme.LDAPS))
    urls = getattr(settings, "urls", tuple)
    for url in urls() if callable(urls) else ():
        parts = urlsplit(url)
        secure = parts.scheme.lower() == "https"
        if parts.hostname:
            yield Server(place, parts.hostname, parts.port or (443 if secure else 80), secure)

"""The address of a server, as ``servers`` of an upstream and ``uri`` of an augmenter name it."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Final

import attrs

from perimeter.config.language.datatypes import BadValue, Datatype, closest
from perimeter.config.language.net_types import UNIX, checked_host, socket_path, split_url


class ServerScheme(StrEnum):
    """How a server is spoken to: ``unix`` is HTTP on a unix socket, ``sample`` the built-in sample service."""

    HTTP = "http"
    HTTPS = "https"
    UNIX = "unix"
    SAMPLE = "sample"
    LDAP = "ldap"
    LDAPS = "ldaps"


_PORTS = {ServerScheme.HTTP: 80, ServerScheme.HTTPS: 443, ServerScheme.LDAP: 389, ServerScheme.LDAPS: 636}


MOST_WEIGHT: Final = 1000
"""The largest weight of a server."""

_WEIGHT = re.compile(r"weight=([0-9]{1,4})")


@attrs.frozen
class ServerSettings:
    """A server. IPv6 addresses have no brackets. The sample service and unix sockets have host "" and port 0.

    ``path`` is that of its unix socket, or "". Of several servers of an upstream it gets requests in proportion to its
    ``weight``. A ``backup`` gets requests only while no other server can be used.
    """

    scheme: ServerScheme = attrs.field(converter=ServerScheme)
    host: str
    port: int
    weight: int = 1
    backup: bool = False
    path: str = ""

    @property
    def authority(self) -> str:
        """``host:port``, an IPv6 address in brackets; ``localhost`` for a unix socket, which has no host."""
        if self.path:
            return "localhost"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """``scheme://host:port``, ``unix:/path`` or ``sample:``."""
        if self.path:
            return f"{UNIX}{self.path}"
        return "sample:" if self.scheme is ServerScheme.SAMPLE else f"{self.scheme}://{self.authority}"


def _server(text: str, base: Path) -> ServerSettings:
    url, *words = text.split()
    server = _address(url)
    if len({word.partition("=")[0] for word in words}) < len(words):
        raise BadValue("expected weight=NUMBER and backup once each after the URL")
    for word in words:
        weight = _WEIGHT.fullmatch(word)
        if weight is not None and 1 <= int(weight[1]) <= MOST_WEIGHT:
            server = attrs.evolve(server, weight=int(weight[1]))
        elif word == "backup":
            server = attrs.evolve(server, backup=True)
        else:
            raise BadValue(
                f"expected weight=NUMBER (1 to {MOST_WEIGHT}) or backup after the URL", closest(word, ("weight=1", "backup"))
            )
    return server


def _address(text: str) -> ServerSettings:
    if text == "sample:":
        return ServerSettings(ServerScheme.SAMPLE, "", 0)
    if text.startswith(UNIX):
        return _socket(text.removeprefix(UNIX))
    expected = "expected http://host:port, https://host:port, unix:/path or sample:"
    parts = split_url(text, "https?")
    if parts is None:
        bare = re.fullmatch(r"[A-Za-z0-9_.-]+:[0-9]{1,5}", text)
        raise BadValue(expected, f"http://{text}" if bare else closest(text, ("sample:",)) or _meant_socket(text))
    scheme, host, port, rest = parts
    if rest == "/" or (rest.startswith("/") and "@" not in rest):
        raise BadValue(f"{expected}, without a path (rewrite is an option of routes)", text[: -len(rest)])
    if rest or not host:
        raise BadValue(expected, _meant_socket(text))
    return _settings(scheme, host, port)


def _socket(path: str) -> ServerSettings:
    """The unix socket at ``path``."""
    name = path.strip("/:")
    if path.startswith("//") or not name or path != f"/{name}":
        raise BadValue(
            "expected unix: and the absolute path of a socket", f"{UNIX}/{name}" if name.isprintable() and name else ""
        )
    return ServerSettings(ServerScheme.UNIX, "", 0, path=socket_path(path))


# a path alone, and as nginx (http://unix:/path:/), haproxy (unix@/path), Caddy (unix//path) and clients (http+unix://path) write
# it
_SOCKET = re.compile(r"(?:https?://unix:|http\+unix://|unix[@/])?(/[^\s:]*[^\s:/]):?/?")


def _meant_socket(text: str) -> str:
    """The socket that ``text`` means in the language of another program; "" if it means none."""
    found = _SOCKET.fullmatch(text)
    return "" if found is None else f"{UNIX}{found[1]}"


def _ldap_uri(text: str, base: Path) -> ServerSettings:
    parts = split_url(text, "ldaps?")
    if parts is None or not parts[1] or parts[3] not in ("", "/"):
        raise BadValue("expected ldap://host:port or ldaps://host:port")
    return _settings(*parts[:3])


def _settings(word: str, host: str, port: int) -> ServerSettings:
    scheme = ServerScheme(word)
    return ServerSettings(scheme, checked_host(host).strip("[]"), port or _PORTS[scheme])


SERVER: Datatype[ServerSettings] = Datatype("server", _server, ServerSettings(ServerScheme.SAMPLE, "", 0))
LDAP_URI: Datatype[ServerSettings | None] = Datatype("LDAP URL", _ldap_uri, None)

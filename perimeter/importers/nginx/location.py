"""A location of nginx, with what it inherits, and which directives inside and around it are understood. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

import attrs

from perimeter.importers.nginx.tree import Directive

PASS = re.compile(r"(https?)://([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?(/[^$?]*)?")
"""An argument of ``proxy_pass`` without variables: scheme, host, port, path."""

PLAIN_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,=:@/-]*")

#: fields that the gateway sets anyway
FORWARDED = frozenset(
    (
        *(("host", "$host"), ("host", "$http_host"), ("x-real-ip", "$remote_addr"), ("x-forwarded-proto", "$scheme")),
        *(("x-forwarded-for", "$proxy_add_x_forwarded_for"), ("x-forwarded-host", "$host"), ("upgrade", "$http_upgrade")),
        *(
            ("connection", "upgrade"),
            ("connection", "$connection_upgrade"),
            ("connection", ""),
            ("x-forwarded-host", "$http_host"),
        ),
    )
)
#: what the gateway does without being told, or where its way is as good
CONSUMED = frozenset(
    (
        *("proxy_http_version", "proxy_buffering", "proxy_request_buffering", "proxy_buffers", "proxy_buffer_size", "internal"),
        *(
            "proxy_busy_buffers_size",
            "gzip",
            "expires",
            "etag",
            "proxy_ssl_server_name",
            "log_not_found",
            "server_name",
            "listen",
        ),
    )
)
_OF_SERVERS = ("ssl_", "keepalive_")
RESTRICTING = ("auth_", "satisfy", "limit_except", "if", "secure_link", "valid_referers")


@attrs.define
class Location:
    """A prefix location with what its server says as well."""

    path: str
    exact: bool
    hosts: tuple[str, ...]
    directive: Directive
    outer: Sequence[Directive]

    def of(self, name: str) -> list[Directive]:
        """The directives of that name: the location's own, else those around it (nginx inherits all or none)."""
        return self.directive.all(name) or [one for one in self.outer if one.name == name]

    def word(self, name: str) -> str:
        """The first argument of a directive, or ""."""
        found = self.of(name)
        return found[-1].args[0] if found and found[-1].args else ""

    @property
    def unclear(self) -> bool:
        """Whether something restricts it that is not understood."""
        around = (*(self.directive.block or ()), *self.outer)
        return any(one.name.startswith(RESTRICTING) and not known_inside(one.name) for one in around)

    @property
    def restricted(self) -> bool:
        """Whether not everybody may come."""
        asks = any(self.word(name) not in ("", "off") for name in ("auth_request", "auth_basic"))
        return asks or self.unclear or bool(self.of("allow") or self.of("deny"))

    @property
    def root(self) -> str:
        """The directory that a static location serves its path from."""
        if alias := self.directive.all("alias"):
            return alias[0].args[0].rstrip("/") or "/"
        root = self.word("root")
        return f"{root.rstrip('/')}{self.path.rstrip('/')}" if root else ""


_INSIDE = frozenset(
    (
        "location",
        *(
            "root",
            "alias",
            "index",
            "try_files",
            "proxy_pass",
            "proxy_connect_timeout",
            "proxy_read_timeout",
            "client_max_body_size",
        ),
        *("auth_request", "auth_request_set", "auth_basic", "auth_basic_user_file", "proxy_set_header", "proxy_redirect"),
        *("allow", "deny", "access_log"),
    )
)


def known_inside(name: str) -> bool:
    """Whether a directive of a location has been dealt with."""
    return name in _INSIDE or name in CONSUMED


def known_outside(name: str) -> bool:
    """Whether a directive of a server has been dealt with."""
    known = ("location", "error_page", "error_log", "server_tokens", "types", "default_type")
    return known_inside(name) or name in known or name.startswith(_OF_SERVERS)

"""Auth-o-tron's configuration, of the versions 1.0.0 and 2.0.0. Pure.

The gateway answers ``/authenticate`` itself, so a site that keeps its proxy only changes which program listens on the port.
"""

from __future__ import annotations

import re

from perimeter.importers.authotron.augmenters import Augmenters
from perimeter.importers.authotron.file import Abilities, AuthotronFile
from perimeter.importers.authotron.providers import Providers
from perimeter.importers.draft import Draft, DraftSection, ImportFault
from perimeter.importers.yaml_tree import Value, read

SHORTEST_SECRET = 32
"""Bytes that a secret for HS256 needs (RFC 7518, section 3.2)."""

SECRET_FILE = "jwt.secret"  # noqa: S105 - the name of a file
LISTENER = "auth-o-tron"
METRICS_PORT = "9090"
"""Auth-o-tron's default port for metrics."""

_VERSIONS = ("1.0.0", "2.0.0")
_LEVELS = {"trace": "debug", "debug": "debug", "info": "info", "warn": "warn", "warning": "warn", "error": "error"}
_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*):([0-9]{1,5})")


def convert(text: str, file: str, draft: Draft, abilities: Abilities) -> None:
    """Add what ``text`` says to ``draft``. Raises `ImportFault`."""
    draft.source = "authotron"
    document = read(text, file)
    if not isinstance(document.data, dict):
        raise ImportFault(file, document.line, "expected a mapping")
    _AuthotronImport(file, draft, abilities).all(document)


def looks_like(text: str) -> bool:
    """Whether this is YAML with providers in it."""
    return re.search(r"^(?:providers|jwt|bind_address|augmenters)\s*:", text, re.MULTILINE) is not None


class _AuthotronImport(AuthotronFile):
    def all(self, document: Value) -> None:
        known = {
            "version": self.version,
            "logging": self.logging,
            "auth": self.auth,
            "providers": Providers(self.file, self.draft, self.abilities).add,
            "augmenters": Augmenters(self.file, self.draft, self.abilities).add,
            "store": self.store,
            "services": self.services,
            "jwt": self.jwt,
            "include_legacy_headers": self.legacy_headers,
            "bind_address": self.bind_address,
            "server": self.server,
            "metrics": self.metrics,
        }
        for name, value in document.table.items():
            if name in known:
                known[name](value)
            else:
                self.draft.left(self.note(value, f"{name}: unknown to this importer"))

    # -- the sections

    def version(self, value: Value) -> None:
        if value.text not in _VERSIONS:
            self.draft.left(self.note(value, f"version: expected {' or '.join(_VERSIONS)}; read as the nearest"))

    def logging(self, value: Value) -> None:
        section = self.draft.section("logging")
        table = value.table
        if "level" in table:
            level = _LEVELS.get((table["level"].text or "").lower())
            if level is None:
                self.draft.left(self.note(table["level"], "logging.level: expected trace, debug, info, warn or error"))
            else:
                self.put(section, "level", table["level"], "logging.level", level)
        if "format" in table:
            if table["format"].text in ("console", "json"):
                self.put(section, "format", table["format"], "logging.format")
            else:
                self.draft.left(self.note(table["format"], "logging.format: expected console or json"))
        self.rest(table, {"level", "format"}, "logging")

    def auth(self, value: Value) -> None:
        table = value.table
        if "timeout_in_ms" in table and (millis := self.whole(table["timeout_in_ms"], "auth.timeout_in_ms")) is not None:
            text = f"{millis // 1000}s" if millis % 1000 == 0 else f"{millis}ms"
            self.put(self.draft.section("authentication"), "timeout", table["timeout_in_ms"], "auth.timeout_in_ms", text)
        self.rest(table, {"timeout_in_ms"}, "auth")

    def store(self, value: Value) -> None:
        enabled = value.table.get("enabled")
        if enabled is None or enabled.data is not True:
            if self.abilities.state:
                # users had no API tokens before, so they get none by changing over
                self.put(self.draft.section("token"), "api_tokens", value if enabled is None else enabled, "store", "no")
            return
        if not self.abilities.state:
            self.draft.left(self.note(value, "store: API tokens are not available yet"))
            return
        self.put(self.draft.section("perimeter"), "state", enabled, "store", "sqlite")
        self.draft.remark(
            self.note(value, ""),
            "store: API tokens are stored in state_dir, not in MongoDB; those issued so far have to be created again",
        )

    def services(self, value: Value) -> None:
        for service in value.items:
            name = service.table["name"].text if "name" in service.table else None
            self.draft.left(self.note(service, f"services: scopes of {name}: there is nothing like it here"))

    def jwt(self, value: Value) -> None:
        table = value.table
        section = self.draft.section("token")
        if "exp" in table and (seconds := self.whole(table["exp"], "jwt.exp")) is not None:
            self.put(section, "lifetime", table["exp"], "jwt.exp", f"{seconds}s")
        for key, option in (("iss", "issuer"), ("aud", "audience")):
            if key in table:
                self.put(section, option, table[key], f"jwt.{key}")
        if "secret" in table:
            self.secret(section, table["secret"])
        self.rest(table, {"exp", "iss", "aud", "secret"}, "jwt")

    def secret(self, section: DraftSection, value: Value) -> None:
        size = len(value.raw.encode())
        if size >= SHORTEST_SECRET:
            self.put(section, "algorithm", value, "jwt.secret", "HS256")
            self.draft.put_secret(section, "secret", SECRET_FILE, value.raw, self.note(value, "jwt.secret"))
            return
        self.put(section, "algorithm", value, "jwt.secret", "ES256")
        self.draft.remark(
            self.note(value, ""),
            f"jwt.secret has {size} bytes, and HS256 needs {SHORTEST_SECRET} or more (RFC 7518): tokens are signed with a key "
            "of state_dir instead (ES256), which services verify with /.well-known/jwks.json. For services that have to share a "
            f"secret, make a longer one: head -c 48 /dev/urandom | base64 > {SECRET_FILE}, algorithm = HS256, "
            f"secret = file:{SECRET_FILE}",
        )

    def legacy_headers(self, value: Value) -> None:
        if value.data is False:
            self.draft.remark(
                self.note(value, ""),
                "include_legacy_headers: the option identity of a route sets what its service gets; jwt alone sends no X-Auth-*",
            )

    # -- where it listens

    def bind_address(self, value: Value) -> None:
        match = _HOST_PORT.fullmatch(value.text or "")
        if match is None:
            self.draft.left(self.note(value, "bind_address: expected ADDRESS:PORT"))
        else:
            self.listener(value, match[1].strip("[]"), match[2])

    def server(self, value: Value) -> None:
        table = value.table
        host = (table["host"].text if "host" in table else None) or ""
        port = (table["port"].text if "port" in table else None) or ""
        self.listener(value, host, port)
        self.rest(table, {"host", "port"}, "server")

    def listener(self, value: Value, host: str, port: str) -> None:
        section = self.draft.section("listener", LISTENER, "where Auth-o-tron listened: /authenticate for proxies that ask")
        if not re.fullmatch(r"[0-9]{1,5}", port):
            self.draft.left(self.note(value, "the port is missing"))
            return
        self.put(section, "port", value, "port", port)
        if host == "localhost":
            self.put(section, "interface", value, "interface", "127.0.0.1")
        elif host and not re.fullmatch(r"[0-9.]+|[0-9A-Fa-f:.]+", host):
            # on loopback until then: all interfaces would be more than Auth-o-tron had (attack 48)
            self.draft.left(self.note(value, f"the gateway needs an IP address to listen on instead of {host}"))
            self.put(section, "interface", value, "interface", "127.0.0.1")
        elif host and host not in ("0.0.0.0", "::"):  # noqa: S104 - read, not bound
            self.put(section, "interface", value, "interface", host)

    def metrics(self, value: Value) -> None:
        enabled, port = value.table.get("enabled"), value.table.get("port")
        if enabled is None or enabled.data is True:
            if self.abilities.metrics:
                section = self.draft.section("listener", self.draft.free_name("listener", "metrics"))
                self.put(section, "port", port or value, "metrics.port", None if port is not None else METRICS_PORT)
                self.put(section, "serve", value, "metrics", "metrics")
                self.draft.remark(
                    self.note(value, ""), "metrics: for this machine only; set interface in its listener for others"
                )
            else:
                self.draft.left(self.note(value, "metrics: serve = metrics is not available yet"))
        self.rest(value.table, {"enabled", "port"}, "metrics")

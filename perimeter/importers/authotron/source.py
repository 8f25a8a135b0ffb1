"""Auth-o-tron's configuration, of the versions 1.0.0 and 2.0.0, with its environment. Pure.

It may be inside the values of a Helm chart or a manifest of Kubernetes (`perimeter.importers.authotron.wrapped`).

The gateway answers ``/authenticate`` itself, so a site that keeps its proxy only changes which program listens on the port.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address

from perimeter.importers.authotron import environment, wrapped
from perimeter.importers.authotron.augmenters import Augmenters
from perimeter.importers.authotron.file import Abilities, AuthotronFile
from perimeter.importers.authotron.providers import Providers
from perimeter.importers.draft import Draft, DraftSection, ImportFault
from perimeter.importers.judgement import unfit_value
from perimeter.importers.yaml_tree import Value

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
    convert_all([(text, file)], draft, abilities)


def convert_all(sources: Sequence[tuple[str, str]], draft: Draft, abilities: Abilities) -> None:
    """Add one configuration, and the environment files beside it (text and name of each). Raises `ImportFault`."""
    draft.source = "authotron"
    files = [(text, file) for text, file in sources if not environment.looks_like(text)]
    if len(files) != 1:
        # each asks its own providers: together, the users of one would be let in by the other (attack 75)
        raise ImportFault(
            sources[0][1], 0, f"expected one configuration of Auth-o-tron, and there are {len(files)}: import each by itself"
        )
    ((text, file),) = files
    found = wrapped.configuration(text, file, draft)
    overrides = [one for text, name in sources if environment.looks_like(text) for one in environment.read(text, name)]
    document = environment.applied(found.document, (*found.overrides, *overrides), draft)
    _AuthotronImport(file, draft, abilities).all(document)


def looks_like(text: str) -> bool:
    """Whether this is YAML with providers in it, or Auth-o-tron's environment."""
    plain = re.search(r"^(?:providers|jwt|bind_address|augmenters)\s*:", text, re.MULTILINE) is not None
    return plain or wrapped.looks_like(text) or environment.looks_like(text)


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
        Augmenters(self.file, self.draft, self.abilities).without_users()

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
        elif "private_key" in table:
            self.put(section, "algorithm", table["private_key"], "jwt.private_key", "RS256")
            self.draft.left(
                self.note(table["private_key"], "jwt.private_key"),
                "jwt.private_key: the gateway makes its own key, which services verify with /.well-known/jwks.json",
            )
        self.rest(table, {"exp", "iss", "aud", "secret", "kid", "private_key"}, "jwt")

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
        if not isinstance(value.data, dict):
            self.draft.left(self.note(value, "server: expected host and port"))
            return
        host = table["host"].text or "?" if "host" in table else "0.0.0.0"  # noqa: S104 - its default
        port = (table["port"].text if "port" in table else None) or ""
        self.listener(value, host, port)
        self.rest(table, {"host", "port"}, "server")

    def listener(self, value: Value, host: str, port: str) -> None:
        if fault := unfit_value("listener", "port", port) if port else "is missing":
            self.draft.left(self.note(value, f"the port: {fault}"))
            return
        section = self.draft.section("listener", LISTENER, "where Auth-o-tron listened: /authenticate for proxies that ask")
        self.put(section, "port", value, "port", port)
        try:
            # Auth-o-tron's 0.0.0.0 is IPv4 alone, and its :: is every interface, as here without an interface
            interface = "" if host == "::" else str(ip_address(host))
        except ValueError:
            interface = "127.0.0.1"
            if host != "localhost":
                # on loopback until then: all interfaces would be more than Auth-o-tron had (attack 48)
                self.draft.left(self.note(value, f"the gateway needs an IP address to listen on instead of {host}"))
        if interface:
            self.put(section, "interface", value, "interface", interface)

    def metrics(self, value: Value) -> None:
        enabled, port = value.table.get("enabled"), value.table.get("port")
        if enabled is None or enabled.data is True:
            text = METRICS_PORT if port is None else port.text or ""
            if not self.abilities.metrics:
                self.draft.left(self.note(value, "metrics: serve = metrics is not available yet"))
            elif fault := unfit_value("listener", "port", text) if text else "is missing":
                self.draft.left(self.note(port or value, f"metrics.port: {fault}"))
            else:
                section = self.draft.section("listener", self.draft.free_name("listener", "metrics"))
                self.put(section, "port", port or value, "metrics.port", text)
                self.put(section, "serve", value, "metrics", "metrics")
                self.draft.remark(
                    self.note(value, ""), "metrics: for this machine only; set interface in its listener for others"
                )
        self.rest(value.table, {"enabled", "port"}, "metrics")

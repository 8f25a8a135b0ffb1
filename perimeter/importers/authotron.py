"""Auth-o-tron's configuration, of the versions 1.0.0 and 2.0.0. Pure.

Its users become a realm file with hashed passwords; providers that ask a service become authenticators of the same type. The
gateway answers ``/authenticate`` itself, so a site that keeps its proxy changes nothing but who listens on the port.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from perimeter.auth.passwords import PasswordFormatError, take
from perimeter.auth.text import unfit_for_name
from perimeter.importers.draft import Draft, ImportFault, Note, RealmUser, Section, literal
from perimeter.importers.yamltree import Value, read

SHORTEST_SECRET = 32
"""Octets of a secret that HS256 takes (RFC 7518, section 3.2)."""

SECRET_FILE = "jwt.secret"  # noqa: S105 - the name of a file
LISTENER = "auth-o-tron"
METRICS_PORT = "9090"
"""Where Auth-o-tron tells its metrics unless it is told."""

_VERSIONS = ("1.0.0", "2.0.0")
_LEVELS = {"trace": "debug", "debug": "debug", "info": "info", "warn": "warn", "warning": "warn", "error": "error"}
_SECRETS = ("private_client_secret", "client_secret", "ldap_password")
_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*):([0-9]{1,5})")


@attrs.frozen
class Abilities:
    """What this gateway can do: the options of each kind of authenticator and augmenter by its word, and whether it can serve
    metrics and keep API tokens. Colleagues add kinds, so that nothing of it is known here."""

    authenticators: Mapping[str, frozenset[str]]
    augmenters: Mapping[str, frozenset[str]] = attrs.field(factory=dict)
    metrics: bool = False
    state: bool = False


def convert(text: str, file: str, draft: Draft, abilities: Abilities) -> None:
    """Add what ``text`` says to ``draft``. Raises `ImportFault`."""
    document = read(text, file)
    if not isinstance(document.data, dict):
        raise ImportFault(file, document.line, "expected a mapping")
    _Import(file, draft, abilities).all(document)


def looks_like(text: str) -> bool:
    """Whether this is YAML with providers in it."""
    return re.search(r"^(?:providers|jwt|bind_address|augmenters)\s*:", text, re.MULTILINE) is not None


def usable(hashed: str) -> bool:
    """Whether a realm file takes this hash."""
    try:
        return not take(hashed)[1]
    except PasswordFormatError:
        return False


class _Import:
    def __init__(self, file: str, draft: Draft, abilities: Abilities) -> None:
        self.file = file
        self.draft = draft
        self.abilities = abilities

    def all(self, document: Value) -> None:
        known = {
            "version": self.version,
            "logging": self.logging,
            "auth": self.auth,
            "providers": self.providers,
            "augmenters": self.augmenters,
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

    # -- small things

    def note(self, value: Value, text: str) -> Note:
        return Note(self.file, value.line, text)

    def put(self, section: Section, option: str, value: Value, name: str, text: str | None = None, needs: str = "") -> None:
        """One option from one scalar."""
        found = value.text if text is None else text
        note = self.note(value, name)
        if found is None:
            self.draft.left(note, f"{name}: expected a value")
        elif fault := literal(found):
            self.draft.left(note, f"{name}: {fault}")
        else:
            self.draft.put(section, option, found, note, needs)

    def rest(self, table: dict[str, Value], known: set[str], where: str) -> None:
        for name, value in table.items():
            if name not in known:
                self.draft.left(self.note(value, f"{where}.{name}: there is nothing like it here"))

    def whole(self, value: Value, name: str) -> int | None:
        """A whole number, or None with a note."""
        if re.fullmatch(r"[0-9]{1,15}", value.raw):
            return int(value.raw)
        self.draft.left(self.note(value, f"{name}: expected a whole number"))
        return None

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

    def providers(self, value: Value) -> None:
        if len(value.items) > 1:
            self.draft.remark(
                self.note(value, ""),
                "providers are asked in their order here, and not all at once: no password goes to two of them "
                "(ask = all_at_once does as Auth-o-tron did)",
            )
        for provider in value.items:
            self.provider(provider)

    def provider(self, value: Value) -> None:
        table = value.table
        kind = table["type"].text if "type" in table else None
        name = (table["name"].text if "name" in table else None) or kind or "provider"
        known = {"name", "type", "realm", "users"}
        if kind == "plain":
            self.users(self.draft.free_name("authenticator", name), table)
            self.rest(table, known, f"provider {name}")
            return
        if kind is None or kind not in self.abilities.authenticators:
            self.draft.left(self.note(value, f"provider {name}: type = {kind} is not available yet"))
            return
        section = self.draft.section("authenticator", self.draft.free_name("authenticator", name))
        self.put(section, "type", table["type"], "type")
        done = {"name", "type"}
        if kind == "jwt":
            self.foreign_tokens(section, table, name)
            done.add("iam_realm")
        self.options(section, table, name, self.abilities.authenticators[kind] | {"realm"}, done)

    def foreign_tokens(self, section: Section, table: dict[str, Value], name: str) -> None:
        """What a jwt provider leaves open, and the gateway wants to be told."""
        origin = table.get("cert_uri") or table["type"]
        for option in ("issuer", "audience"):
            if option in self.abilities.authenticators["jwt"]:
                self.put(section, option, origin, option, "*")
        self.draft.remark(
            self.note(origin, ""),
            f"provider {name} takes whatever its keys have signed, for anybody: issuer and audience say whose tokens count",
        )
        if "iam_realm" in table and table["iam_realm"].text != (table["realm"].text if "realm" in table else None):
            if "realm" not in table:
                self.put(section, "realm", table["iam_realm"], f"{name}: iam_realm")
                return
            self.draft.remark(
                self.note(table["iam_realm"], ""),
                f"iam_realm: users of provider {name} are of realm {table['realm'].text} here, in challenges and in identities",
            )

    def options(self, section: Section, table: dict[str, Value], name: str, legal: frozenset[str], done: set[str]) -> None:
        """Options that are spelled alike on both sides; secrets go to files of their own."""
        for key, value in table.items():
            if key in done:
                continue
            if key not in legal:
                self.draft.left(self.note(value, f"{name}: {key}: there is nothing like it here"))
            elif key in _SECRETS:
                note = self.note(value, f"{name}: {key}")
                self.draft.put_secret(section, key, f"{section.header.partition(' ')[2]}.secret", value.raw, note)
            elif key == "filters" and value.items:
                # a distinguished name holds commas, so each has a line of its own
                self.put(section, key, value, f"{name}: {key}", "".join(f"\n    {item.text or ''}" for item in value.items))
            elif value.items:
                texts = [item.text or "" for item in value.items]
                if any("," in text for text in texts):
                    self.draft.left(self.note(value, f"{name}: {key}: a comma in an item of a list"))
                else:
                    self.put(section, key, value, f"{name}: {key}", ", ".join(texts))
            else:
                self.put(section, key, value, f"{name}: {key}")

    def users(self, name: str, table: dict[str, Value]) -> None:
        """A plain provider: a realm file of its own."""
        section = self.draft.section("authenticator", name)
        origin = table.get("name") or table["type"]
        self.put(section, "type", origin, "type", "realmfile")
        self.put(section, "path", origin, "path", f"{name}.realm")
        if "realm" in table:
            self.put(section, "realm", table["realm"], "realm")
        users = self.draft.realms.setdefault(f"{name}.realm", [])
        listed = table["users"].items if "users" in table else []
        for value in listed:
            user = value.table
            username = user["username"].raw if "username" in user else ""
            password = user["password"].raw if "password" in user else ""
            hashed = user["password_hash"].raw if "password_hash" in user else ""
            roles = tuple(role.raw for role in user["roles"].items) if "roles" in user else ()
            shown = f"user {username!r}"
            if not username or ":" in username or unfit_for_name(username):
                self.draft.left(self.note(value, f"{shown}: a name that no client could send"))
            elif hashed and (password or not hashed.startswith("$argon2id$") or not usable(hashed)):
                self.draft.left(self.note(value, f"{shown}: a password_hash that is not argon2id, or a password beside it"))
            elif not hashed and (not password or unfit_for_name(password)):
                self.draft.left(self.note(value, f"{shown}: an empty password, or control characters in it"))
            elif any(user_.name == username for user_ in users):
                self.draft.left(self.note(value, f"{shown} is there twice: the first one counts"))
            elif any(not role or "," in role or role.strip() != role or unfit_for_name(role) for role in roles):
                self.draft.left(self.note(value, f"{shown}: a comma in a role would be two roles"))
            else:
                users.append(RealmUser(username, password or None, hashed or None, roles))
            self.rest(user, {"username", "password", "password_hash", "roles"}, shown)
        if any(user.password is not None for user in users):
            self.draft.remark(
                self.note(table["users"], ""), f"the passwords of {name} were plain text; in {name}.realm they are hashed"
            )

    def augmenters(self, value: Value) -> None:
        for one in value.items:
            kind = one.table["type"].text if "type" in one.table else None
            word = {"plain_advanced": "match"}.get(kind or "", kind or "")
            name = (one.table["name"].text if "name" in one.table else None) or word or "augmenter"
            if word not in self.abilities.augmenters:
                self.draft.left(self.note(one, f"augmenter {name}: type = {kind} is not available yet"))
                continue
            section = self.draft.section("augmenter", self.draft.free_name("augmenter", name))
            self.put(section, "type", one, "type", word)
            if word == "match":
                self.match(section, one.table, name)
            elif word == "plain":
                self.roles(section, one.table, name)
            else:
                self.options(section, one.table, name, self.abilities.augmenters[word], {"name", "type"})

    def match(self, section: Section, table: dict[str, Value], name: str) -> None:
        """plain_advanced: whom it fits, and what they get."""
        if "realm" in table:
            self.put(section, "realm", table["realm"], f"{name}: realm")
        given = {
            **{f"match.{key}": value for key, value in (table["match"].table if "match" in table else {}).items()},
            **{f"augment.{key}": value for key, value in (table["augment"].table if "augment" in table else {}).items()},
        }
        for key, option in (("match.username", "username"), ("match.role", "role"), ("augment.roles", "add_roles")):
            if key in given:
                self.listed(section, option, given[key], f"{name}: {key}", [item.text or "" for item in given[key].items])
        if "augment.attributes" in given:
            pairs = [f"{key}={item.text or ''}" for key, item in given["augment.attributes"].table.items()]
            self.listed(section, "add_attributes", given["augment.attributes"], f"{name}: augment.attributes", pairs)
        self.rest(given, {"match.username", "match.role", "augment.roles", "augment.attributes"}, name)
        self.rest(table, {"name", "type", "realm", "match", "augment"}, name)

    def roles(self, section: Section, table: dict[str, Value], name: str) -> None:
        """plain: who has a role."""
        if "realm" in table:
            self.put(section, "realm", table["realm"], f"{name}: realm")
        lines = []
        for role, users in (table["roles"].table if "roles" in table else {}).items():
            names = [user.text or "" for user in users.items]
            if ":" in role or not names or any(not user or "," in user or user != user.strip() for user in (*names, role)):
                self.draft.left(self.note(users, f"{name}: role {role}: a comma, a colon or nothing in a name"))
            else:
                lines.append(f"{role}: {', '.join(names)}")
        if lines:
            self.put(section, "roles", table["roles"], f"{name}: roles", "".join(f"\n    {line}" for line in lines))
        self.rest(table, {"name", "type", "realm", "roles"}, name)

    def listed(self, section: Section, option: str, value: Value, name: str, texts: list[str]) -> None:
        if texts and not any(not text or "," in text or "\n" in text or text != text.strip() for text in texts):
            self.put(section, option, value, name, ", ".join(texts))
        elif texts:
            self.draft.left(self.note(value, f"{name}: a comma or nothing in an item"))

    def store(self, value: Value) -> None:
        enabled = value.table.get("enabled")
        if enabled is None or enabled.data is not True:
            if self.abilities.state:
                # nobody could have a token that lasts, and nobody is to by changing over
                self.put(self.draft.section("token"), "api_tokens", value if enabled is None else enabled, "store", "no")
            return
        if not self.abilities.state:
            self.draft.left(self.note(value, "store: API tokens are not available yet"))
            return
        self.put(self.draft.section("perimeter"), "state", enabled, "store", "sqlite")
        self.draft.remark(
            self.note(value, ""),
            "store: API tokens are kept in state_dir, not in MongoDB; those issued so far have to be made again",
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

    def secret(self, section: Section, value: Value) -> None:
        octets = len(value.raw.encode())
        if octets >= SHORTEST_SECRET:
            self.put(section, "algorithm", value, "jwt.secret", "HS256")
            self.draft.put_secret(section, "secret", SECRET_FILE, value.raw, self.note(value, "jwt.secret"))
            return
        self.put(section, "algorithm", value, "jwt.secret", "ES256")
        self.draft.remark(
            self.note(value, ""),
            f"jwt.secret has {octets} octets, and HS256 takes {SHORTEST_SECRET} or more (RFC 7518): tokens are signed with a key "
            "of state_dir instead (ES256), which services verify by /.well-known/jwks.json. For services that have to share a "
            f"secret, make a longer one: head -c 48 /dev/urandom | base64 > {SECRET_FILE}, algorithm = HS256, "
            f"secret = file:{SECRET_FILE}",
        )

    def legacy_headers(self, value: Value) -> None:
        if value.data is False:
            self.draft.remark(
                self.note(value, ""),
                "include_legacy_headers: each route says by identity what its service gets; jwt alone is without X-Auth-*",
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
        if host and not re.fullmatch(r"[0-9.]+|[0-9A-Fa-f:.]+", host):
            self.draft.left(self.note(value, f"the gateway wants an IP address to listen on, in place of {host}"))
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
                    self.note(value, ""), "metrics: for this machine only; interface in its listener lets others ask for them"
                )
            else:
                self.draft.left(self.note(value, "metrics: serve = metrics is not available yet"))
        self.rest(value.table, {"enabled", "port"}, "metrics")

"""Continuuity Reactor's security: ``continuuity-site.xml``. Pure. Its ``logback.xml`` is `perimeter.importers.logback`'s.

Names and defaults are those of Reactor's manual. Properties that have nothing to do with security or the router stay where they
are, and are named in one remark.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from perimeter.importers.draft import Draft, ImportFault, Note, Section, literal
from perimeter.importers.xml_tree import Element, read

HANDLER = "security.authentication.handler."
KEYSTORE_PASSWORD = "keystore.password"  # noqa: S105 - the name of a file
LDAP_PASSWORD = "ldap.password"  # noqa: S105 - likewise
UPSTREAM = "http://127.0.0.1:11015"

_LDAP = {
    "debug": "debug",
    "hostname": "hostname",
    "port": "port",
    "userBaseDn": "user_base_dn",
    "userRdnAttribute": "user_rdn_attribute",
    "userObjectClass": "user_object_class",
    "bindDn": "bind_dn",
    "bindPassword": "bind_password",
    "userIdAttribute": "user_id_attribute",
    "userPasswordAttribute": "user_password_attribute",
    "roleBaseDn": "role_base_dn",
    "roleNameAttribute": "role_name_attribute",
    "roleMemberAttribute": "role_member_attribute",
    "roleObjectClass": "role_object_class",
}
_CONSUMED = frozenset(
    (
        # of the original's threads, keys and ZooKeeper, which have no counterpart because nothing has to be set
        *("security.server.maxthreads", "security.token.digest.algorithm", "security.token.digest.keylength"),
        *("security.token.distributed.parent.znode", "security.data.keyfile.path", "security.server.ssl.keystore.type"),
        *("router.server.boss.threads", "router.server.worker.threads", "router.client.boss.threads"),
        *("router.client.worker.threads", "router.connection.backlog", "security.server.ssl.keystore.keypassword"),
    )
)
_OURS = ("security.", "router.")


def looks_like(text: str) -> bool:
    """Whether this is XML with Hadoop's properties in it."""
    return text.lstrip("\ufeff \t\r\n").startswith("<") and "<property" in text


def convert(text: str, file: str, draft: Draft) -> None:
    """Add what the properties in ``text`` say to ``draft``. Raises `ImportFault`."""
    convert_all([(text, file)], draft)


def convert_all(sources: Sequence[tuple[str, str]], draft: Draft) -> None:
    """Add the properties of several files (text and name of each), which belong together. Raises `ImportFault`."""
    draft.source = "reactor"
    properties: dict[str, tuple[str, Note]] = {}
    for text, file in sources:
        found = False
        for element in read(text, file):
            if element.name != "property":
                draft.left(Note(file, element.line, f"<{element.name}>: expected <property>"))
                continue
            found = True
            name, value = _pair(element)
            if name in properties:
                draft.remark(Note(file, element.line, ""), f"{name} is there twice: the last one counts, as in Hadoop")
            properties[name] = (value, Note(file, element.line, name))
        if not found:
            raise ImportFault(file, 0, "there is no <property>")
    _Import(sources[0][1], properties, draft).all()


def _pair(element: Element) -> tuple[str, str]:
    name, value = element.child("name"), element.child("value")
    return (name.text if name else "", value.text if value else "")


class _Import:
    def __init__(self, file: str, properties: dict[str, tuple[str, Note]], draft: Draft) -> None:
        self.file = file
        self.properties = properties
        self.draft = draft
        self.taken: set[str] = set(_CONSUMED)

    def all(self) -> None:
        self.perimeter()
        self.listeners()
        self.authenticator()
        self.token()
        self.route()
        self.others()

    # -- small things

    def take(self, name: str) -> str:
        """The value of a property, "" where it is not set; from now on it has been dealt with."""
        self.taken.add(name)
        value = self.properties.get(name, ("", None))[0]
        return "" if "${" in value and self._variable(name) else value

    def _variable(self, name: str) -> bool:
        self.draft.left(self.note(name), f"{name}: it holds a variable, whose value stands elsewhere")
        return True

    def note(self, name: str) -> Note:
        found = self.properties.get(name)
        return found[1] if found else Note(self.file, 0, name)

    def put(self, section: Section, option: str, name: str, value: str | None = None, needs: str = "") -> None:
        """An option from a property, where that is set."""
        text = self.take(name) if value is None else value
        if text and (fault := literal(text)):
            self.draft.left(self.note(name), f"{name}: {fault}")
        elif text:
            self.draft.put(section, option, text, self.note(name), needs)

    def true(self, name: str) -> bool:
        return self.take(name).lower() == "true"

    # -- the sections

    def perimeter(self) -> None:
        section = self.draft.section("perimeter")
        if "security.enabled" in self.properties:
            self.put(section, "enabled", "security.enabled", "yes" if self.true("security.enabled") else "no")
        else:
            # Reactor's default is false: that nobody asked for security is not taken over in silence
            self.draft.remark(
                Note(self.file, 0, ""), "security.enabled is not there; Reactor took that for false, the gateway is on"
            )
        if "security.realm" in self.properties:
            self.put(section, "realm", "security.realm")
        announced = self.take("security.auth.server.announce.urls")
        address = self.take("security.auth.server.address") or self.take("security.auth.server.bind.address")
        if announced:
            urls = [f"{url.strip().rstrip('/')}/token" for url in announced.split(",") if url.strip()]
            self.put(section, "announce", "security.auth.server.announce.urls", ", ".join(urls))
        elif address and address not in ("0.0.0.0", "::"):  # noqa: S104 - read, not bound
            name = (
                "security.auth.server.address"
                if "security.auth.server.address" in self.properties
                else "security.auth.server.bind.address"
            )
            secure = self.properties.get("security.server.ssl.enabled", ("", None))[0].lower() == "true"
            host = f"[{address}]" if ":" in address else address
            place = f"https://{host}:{self.tls_port()}" if secure else f"http://{host}:{self.plain_port()}"
            self.put(section, "announce", name, f"{place}/token")

    def plain_port(self) -> str:
        return self.take("security.auth.server.port") or self.take("security.auth.server.bind.port") or "10009"

    def tls_port(self) -> str:
        return self.take("security.server.ssl.port") or self.take("security.auth.server.ssl.bind.port") or "10010"

    def listeners(self) -> None:
        secure = self.true("security.server.ssl.enabled")
        origin = self.note("security.server.ssl.enabled")
        router = self.draft.section("listener", "router", "Reactor's router")
        tokens = self.draft.section("listener", "tokens", "the authentication server")
        self.draft.put(tokens, "port", self.plain_port(), origin)
        self.draft.put(tokens, "serve", "tokens", origin)
        sections = [router]
        if secure:
            self.draft.put(tokens, "interface", "127.0.0.1", origin)
            over_tls = self.draft.section("listener", "tokens-tls")
            self.draft.put(over_tls, "port", self.tls_port(), origin)
            self.draft.put(over_tls, "serve", "tokens", origin)
            sections.append(over_tls)
            self.draft.remark(
                origin, f"passwords would cross port {self.plain_port()} in plain text: it is on the loopback interface only"
            )
            self.draft.remark(origin, "the router speaks TLS as well, on port 10443: tokens are worth as much as passwords")
        else:
            self.tls_port()
        self.draft.put(router, "port", self.router_port(secure), origin)
        password = self.take("security.server.ssl.keystore.password")
        path = self.take("security.server.ssl.keystore.path")
        if not secure:
            return
        for section in sections:
            self.draft.put(section, "tls", "yes", origin)
            if path:
                self.put(section, "keystore", "security.server.ssl.keystore.path", path, "file")
            if path and password:
                note = self.note("security.server.ssl.keystore.password")
                self.draft.put_secret(section, "keystore_password", KEYSTORE_PASSWORD, password, note)

    def router_port(self, secure: bool) -> str:
        rule = self.take("router.forward.rule")
        match = re.fullmatch(r"([0-9]+):gateway(.*)", rule)
        if rule and (match is None or match[2]):
            self.draft.left(self.note("router.forward.rule"), f"router.forward.rule: {rule}: write a [route …] for each service")
        if secure:
            return "10443"
        return match[1] if match else "10000"

    def authenticator(self) -> None:
        handler = self.take("security.authentication.handlerClassName")
        module = self.take("security.authentication.loginmodule.className")
        realm_file = self.take("security.authentication.basic.realmfile")
        kind = handler.rpartition(".")[2]
        note = self.note("security.authentication.handlerClassName")
        if not handler:
            self.placeholder(note, "no handlerClassName: nobody can log in until there are users in users.realm")
        elif kind == "BasicAuthenticationHandler":
            section = self.draft.section("authenticator", "basic")
            self.draft.put(section, "type", "realmfile", note)
            self.put(section, "path", "security.authentication.basic.realmfile", realm_file, "file")
            self.realm(section, note)
        elif kind == "LDAPAuthenticationHandler" or module.rpartition(".")[2] == "LdapLoginModule":
            self.ldap(note)
        else:
            self.draft.left(
                self.note("security.authentication.loginmodule.className") if module else note,
                f"{module or handler}: a Java class cannot be loaded here; PAM, LDAP and commands are there as login modules, "
                "and others are written as plug-ins",
            )
            self.placeholder(note, "")

    def placeholder(self, note: Note, remark: str) -> None:
        """A realm file without anybody in it, so that the routes stay closed."""
        section = self.draft.section("authenticator", "users")
        self.draft.put(section, "type", "realmfile", note)
        self.draft.put(section, "path", "users.realm", note)
        self.draft.realms.setdefault("users.realm", [])
        if remark:
            self.draft.remark(note, remark)

    def realm(self, section: Section, note: Note) -> None:
        if realm := self.properties.get("security.realm", ("", None))[0]:
            self.draft.put(section, "realm", realm, note)

    def ldap(self, note: Note) -> None:
        section = self.draft.section("authenticator", "directory")
        self.draft.put(section, "type", "ldap", note)
        self.realm(section, note)
        for theirs, ours in _LDAP.items():
            name = HANDLER + theirs
            value = self.take(name)
            if theirs == "debug" and value:
                self.put(section, ours, name, "yes" if value.lower() == "true" else "no")
            elif theirs == "bindPassword" and value:
                self.draft.put_secret(section, ours, LDAP_PASSWORD, value, self.note(name))
            elif value:
                self.put(section, ours, name, value)
        if "role_base_dn" in section.options and "role_name_attribute" not in section.options:
            # Jetty's default, which is not LDAP's
            self.draft.put(section, "role_name_attribute", "roleName", self.note(HANDLER + "roleBaseDn"))
        if self.true(HANDLER + "useLdaps"):
            self.draft.put(section, "tls", "ldaps", self.note(HANDLER + "useLdaps"))
        else:
            self.draft.put(section, "tls", "none", note)
            self.draft.remark(
                self.note(HANDLER + "hostname"),
                "passwords cross the network to the directory in plain text, as in Reactor: tls = starttls",
            )
        if self.take(HANDLER + "ldapsVerifyCertificate").lower() == "false":
            self.draft.left(
                self.note(HANDLER + "ldapsVerifyCertificate"),
                "the certificate of the directory is always verified: give ca_certificate",
            )

    def token(self) -> None:
        section = self.draft.section("token")
        for name, option in (
            ("security.server.token.expiration.ms", "lifetime"),
            ("security.server.extended.token.expiration.ms", "extended_lifetime"),
            ("security.token.digest.key.expiration.ms", "key_lifetime"),
        ):
            value = self.take(name)
            if value and not value.isdigit():
                self.draft.left(self.note(name), f"{name}: expected milliseconds")
            elif value:
                self.put(section, option, name, f"{int(value) // 1000}s" if int(value) % 1000 == 0 else f"{value}ms")

    def route(self) -> None:
        origin = Note(self.file, 0, "the router")
        upstream = self.draft.section("upstream", "reactor")
        self.draft.put(upstream, "servers", UPSTREAM, origin)
        route = self.draft.section("route", "reactor")
        self.draft.put(route, "path", "/", origin)
        self.draft.put(route, "upstream", "reactor", origin)
        self.draft.remark(
            origin, f"Reactor's router finds its services by itself; here [upstream reactor] says where: {UPSTREAM}"
        )
        bypass = self.take("router.bypass.auth.regex")
        if bypass:
            self.draft.left(
                self.note("router.bypass.auth.regex"),
                "router.bypass.auth.regex: write a [route …] with auth = none for each path",
            )

    def others(self) -> None:
        foreign = []
        for name, (_, note) in self.properties.items():
            if name in self.taken:
                continue
            if name.startswith(_OURS):
                self.draft.left(note, f"{name}: there is nothing like it here")
            else:
                foreign.append(name)
        if foreign:
            shown = ", ".join(foreign[:5]) + (", …" if len(foreign) > 5 else "")
            self.draft.remark(
                Note(self.file, 0, ""), f"{len(foreign)} properties are not of Reactor's security and stay with Reactor: {shown}"
            )

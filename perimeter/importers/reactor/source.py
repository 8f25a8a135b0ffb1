"""Continuuity Reactor's security: ``continuuity-site.xml``. Pure. Its ``logback.xml`` is `perimeter.importers.logback`'s.

Names and defaults are those of Reactor's manual, and of CDAP, the name of later versions (``cdap-site.xml``,
``cdap-security.xml``). Properties that have nothing to do with security or the router stay where they are, and are named in one
remark.
"""

from __future__ import annotations

from collections.abc import Sequence

from perimeter.importers.draft import Draft, DraftSection, ImportFault, Note
from perimeter.importers.reactor.listeners import ReactorListeners
from perimeter.importers.reactor.properties import CONSUMED, Properties
from perimeter.importers.xml_tree import Element, read

HANDLER = "security.authentication.handler."
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
_OURS = ("security.", "router.", "ssl.")


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
    _PropertiesImport(sources[0][1], properties, draft, set(CONSUMED)).all()


def _pair(element: Element) -> tuple[str, str]:
    name, value = element.child("name"), element.child("value")
    return (name.text if name else "", value.text if value else "")


class _PropertiesImport(Properties):
    def all(self) -> None:
        """Everything that the properties say."""
        self.listening = ReactorListeners(self.file, self.properties, self.draft, self.taken)
        self.perimeter()
        self.listening.add()
        self.authenticator()
        self.token()
        self.route()
        self.others()

    # -- the sections

    def perimeter(self) -> None:
        section = self.draft.section("perimeter")
        if "security.enabled" in self.properties:
            # security is off where the file says so in plain words only (attack 48)
            off = self.take("security.enabled").lower() == "false"
            self.put(section, "enabled", "security.enabled", "no" if off else "yes")
        else:
            # Reactor's default is false. It is not taken over: a missing line must not turn security off.
            self.draft.remark(
                Note(self.file, 0, ""), "security.enabled is missing, which Reactor takes for false; here security is on"
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
            host = f"[{address}]" if ":" in address else address
            place = (
                f"https://{host}:{self.listening.tls_port()}"
                if self.listening.secure()
                else f"http://{host}:{self.listening.plain_port()}"
            )
            self.put(section, "announce", name, f"{place}/token")

    def authenticator(self) -> None:
        handler = self.take("security.authentication.handlerClassName")
        module = self.take("security.authentication.loginmodule.className")
        realm_file = self.take("security.authentication.basic.realmfile")
        kind = handler.rpartition(".")[2]
        note = self.note("security.authentication.handlerClassName")
        if not handler:
            self.placeholder(note, "no handlerClassName: no user can log in until users.realm has users")
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
                f"{module or handler}: a Java class cannot be loaded here; there are login modules for PAM, LDAP and commands, "
                "and others can be written as plug-ins",
            )
            self.placeholder(note, "")

    def placeholder(self, note: Note, remark: str) -> None:
        """A realm file without users, so that the routes stay closed."""
        section = self.draft.section("authenticator", "users")
        self.draft.put(section, "type", "realmfile", note)
        self.draft.put(section, "path", "users.realm", note)
        self.draft.realms.setdefault("users.realm", [])
        if remark:
            self.draft.remark(note, remark)

    def realm(self, section: DraftSection, note: Note) -> None:
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
        if HANDLER + "useLdaps" in self.properties and self.take(HANDLER + "useLdaps").lower() != "false":
            self.draft.put(section, "tls", "ldaps", self.note(HANDLER + "useLdaps"))
        else:
            self.draft.put(section, "tls", "none", note)
            self.draft.remark(
                self.note(HANDLER + "hostname"),
                "passwords cross the network to the directory in plain text, as in Reactor; tls = starttls encrypts them",
            )
        if self.take(HANDLER + "ldapsVerifyCertificate").lower() == "false":
            self.draft.left(
                self.note(HANDLER + "ldapsVerifyCertificate"),
                "the certificate of the directory is always verified: set ca_certificate",
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
        self.draft.put(route, "challenge", "bearer", origin)  # as Reactor's clients know it
        self.draft.remark(
            origin, f"Reactor's router finds its services by itself; here [upstream reactor] names them: {UPSTREAM}"
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
                Note(self.file, 0, ""),
                f"{len(foreign)} properties do not belong to Reactor's security and stay with Reactor: {shown}",
            )

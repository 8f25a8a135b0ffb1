"""Reactor's authentication handler as an authenticator. Pure.

A class is known by its whole name: another one with a like name may ask for more than a password, so its users have to be set up
by hand (attack 74).
"""

from __future__ import annotations

from collections.abc import Mapping

from perimeter.importers.draft import USERS, Draft, DraftSection, Note, Setting
from perimeter.importers.judgement import Judge
from perimeter.importers.reactor.properties import Properties
from perimeter.importers.reactor.site_files import Property

HANDLER = "security.authentication.handler."
HANDLER_CLASS = "security.authentication.handlerClassName"
MODULE_CLASS = "security.authentication.loginmodule.className"
REALM_FILE = "security.authentication.basic.realmfile"
LDAP_PASSWORD = "ldap.password"  # noqa: S105 - the name of a file

_HOUSES = ("com.continuuity.", "co.cask.cdap.", "io.cdap.cdap.")
"""Packages of Reactor's own classes, and of those of its later versions."""
_JETTYS = "org.eclipse.jetty."

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
}
_ROLES = {
    "roleBaseDn": "role_base_dn",
    "roleNameAttribute": "role_name_attribute",
    "roleMemberAttribute": "role_member_attribute",
    "roleObjectClass": "role_object_class",
}
_FIXED = {
    "contextFactory": "com.sun.jndi.ldap.LdapCtxFactory",
    "authenticationMethod": "simple",
    "forceBindingLogin": "true",
}
"""Options of Jetty's module for what the gateway does in any case."""


class ReactorAuthentication(Properties):
    """Writes the authenticator. ``judge`` says whether the gateway accepts it."""

    def __init__(self, file: str, properties: Mapping[str, Property], draft: Draft, taken: set[str], judge: Judge) -> None:
        super().__init__(file, properties, draft, taken)
        self.judge = judge

    def add(self) -> None:
        """The authenticator of the handler, or one without users."""
        handler, module = self.take(HANDLER_CLASS), self.take(MODULE_CLASS)
        self.take(REALM_FILE)
        kind = _own(handler)
        modules = _own(module) or (module.rpartition(".")[2] if module.startswith(_JETTYS) else "")
        ldap = not module or modules in ("LdapLoginModule", "LDAPLoginModule")
        if self.unclear(HANDLER_CLASS) or self.unclear(MODULE_CLASS):
            self.placeholder(self.note(HANDLER_CLASS))
        elif not handler:
            self.placeholder(self.note(HANDLER_CLASS), "no handlerClassName: no user can log in until users.realm has users")
        elif kind == "BasicAuthenticationHandler" and not module:
            self.realm_file(REALM_FILE)
        elif (kind == "LDAPAuthenticationHandler" and ldap) or (kind == "JASPIAuthenticationHandler" and module and ldap):
            self.ldap()
        elif kind == "JASPIAuthenticationHandler" and modules == "PropertyFileLoginModule":
            self.realm_file(HANDLER + "file")
        else:
            self.draft.left(
                self.note(MODULE_CLASS if module else HANDLER_CLASS),
                f"{module or handler}: a Java class cannot be loaded here; there are login modules for PAM, LDAP and commands, "
                "and others can be written as plug-ins",
            )
            self.placeholder(self.note(HANDLER_CLASS))

    def placeholder(self, note: Note, remark: str = "") -> None:
        """A realm file without users, so that the routes stay closed."""
        section = self.draft.section("authenticator", "users")
        self.draft.put(section, "type", "realmfile", note)
        self.draft.put(section, "path", USERS, note)
        self.draft.realms.setdefault(USERS, [])
        if remark:
            self.draft.remark(note, remark)

    def realm_file(self, name: str) -> None:
        """The users of the file that a property names."""
        note = self.note(HANDLER_CLASS)
        section = self.draft.section("authenticator", "basic")
        self.draft.put(section, "type", "realmfile", note)
        if not self.put(section, "path", name, needs="file"):
            del self.draft.sections[section.header]
            if not self.unclear(name):
                self.draft.left(self.note(name) if name in self.properties else note, f"{name}: the realm file is missing")
            self.placeholder(note)
            return
        self._realm(section)

    def _realm(self, section: DraftSection) -> None:
        realm = self.take("security.realm")
        if realm:
            self.put(section, "realm", "security.realm", realm)

    def ldap(self) -> None:
        """Jetty's module for directories."""
        note = self.note(HANDLER_CLASS)
        section = self.draft.section("authenticator", "directory")
        self.draft.put(section, "type", "ldap", note)
        self._realm(section)
        for theirs, ours in _LDAP.items():
            self._option(section, theirs, ours)
        roles = self.take(HANDLER + "roleBaseDn")
        for theirs, ours in _ROLES.items():
            if roles:
                self._option(section, theirs, ours)
            elif self.take(HANDLER + theirs):
                self.draft.remark(self.note(HANDLER + theirs), f"{HANDLER}{theirs} has no effect without roleBaseDn")
        if roles:
            # Jetty's default, which is not LDAP's
            section.options.setdefault("role_name_attribute", Setting("roleName", "", self.note(HANDLER + "roleBaseDn")))
            self.draft.remark(
                self.note(HANDLER + "roleBaseDn"),
                "a user without a role may log in; allow = role:… in [route reactor] names the roles that may send requests",
            )
        for theirs, value in _FIXED.items():
            if (found := self.take(HANDLER + theirs)) and found != value:
                self.draft.left(self.note(HANDLER + theirs), f"{HANDLER}{theirs}: it is {value} here")
        self._ldaps(section, note)
        fault = self.judge(section)
        if fault:
            self.draft.left(note, f"the directory is not set up: {fault}")
            del self.draft.sections[section.header]
            self.draft.files.pop(LDAP_PASSWORD, None)
            self.placeholder(note)

    def _option(self, section: DraftSection, theirs: str, ours: str) -> None:
        name = HANDLER + theirs
        value = self.take(name)
        if theirs == "debug" and value:
            self.put(section, ours, name, "yes" if value.lower() == "true" else "no")
        elif theirs == "bindPassword" and value:
            self.draft.put_secret(section, ours, LDAP_PASSWORD, value, self.note(name))
        elif value:
            self.put(section, ours, name, value)

    def _ldaps(self, section: DraftSection, note: Note) -> None:
        if HANDLER + "useLdaps" in self.properties and not self.off(HANDLER + "useLdaps"):
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


def _own(name: str) -> str:
    """The last part of the name of a class of Reactor's own, "" for another one."""
    return name.rpartition(".")[2] if name.startswith(_HOUSES) else ""

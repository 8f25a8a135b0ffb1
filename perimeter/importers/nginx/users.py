"""Where the users of a location are: another service, a password file, or a Kerberos realm. Pure.

``auth_gss`` is a directive of the module spnego-http-auth-nginx-module, which admits users with Kerberos tickets.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from perimeter.importers import htpasswd
from perimeter.importers.draft import Draft, Note
from perimeter.importers.nginx.location import Location
from perimeter.importers.nginx.tree import Directive

Passwords = Callable[[str], tuple[str, str] | None]
"""From the argument of ``auth_basic_user_file`` to the text and the name of that file; None if it is not there."""

AUTHENTICATOR = "kerberos"

DEFAULT_KEYTAB = "/etc/krb5.keytab"
"""The keytab of the module, if none is set."""

_SOME_USERS = ("auth_gss_authorized_principal", "auth_gss_authorized_principal_regex")


@attrs.frozen
class Tickets:
    """Which tickets a location takes: of ``realm``, for ``service`` ("": any), with the keys of ``keytab``."""

    keytab: str
    realm: str
    service: str

    def convert(self, note: Note, draft: Draft) -> str:
        """Add an authenticator to ``draft``. Returns its name, which is its realm."""
        name = draft.free_name("authenticator", AUTHENTICATOR)
        section = draft.section("authenticator", name)
        draft.put(section, "type", "kerberos", note)
        draft.put(section, "keytab", self.keytab, note, "file")
        draft.put(section, "kerberos_realm", self.realm, note)
        if self.service:
            draft.put(section, "service", self.service, note)
        draft.remark(note, "auth_gss: a password in place of a ticket is not tried with the KDC")
        return name


@attrs.frozen
class UsersOf:
    """The arguments of ``auth_request`` and ``auth_basic_user_file``, or the ``tickets`` of users; ``directive`` says it."""

    question: str
    file: str
    tickets: Tickets | None
    directive: Directive = attrs.field(eq=False)


def users_of(location: Location) -> UsersOf:
    """Where the users of ``location`` are."""
    request, basic = (location.word(name) for name in ("auth_request", "auth_basic"))
    file = location.word("auth_basic_user_file") if basic not in ("", "off") else ""
    tickets = _tickets(location)
    name = "auth_gss" if tickets is not None else "auth_basic_user_file" if file else "auth_request"
    return UsersOf("" if request == "off" else request, file, tickets, [location.directive, *location.of(name)][-1])


def realm_of(place: UsersOf, note: Note, passwords: Passwords | None, draft: Draft) -> str:
    """The realm of users in ``place``, for which ``draft`` gets an authenticator; "" if they are not known."""
    if place.tickets is not None:
        return place.tickets.convert(note, draft)
    read = passwords(place.file) if passwords is not None and place.file and not place.question else None
    return "" if read is None else htpasswd.convert(*read, draft)


def _tickets(location: Location) -> Tickets | None:
    if location.word("auth_gss") in ("", "off"):
        return None
    keytab = location.word("auth_gss_keytab") or DEFAULT_KEYTAB
    return Tickets(keytab, location.word("auth_gss_realm"), location.word("auth_gss_service_name"))


def fault_of_tickets(location: Location) -> str:
    """Why a location with tickets cannot be translated; "" if it can, or takes none."""
    if _tickets(location) is None:
        return ""
    if any(location.of(name) for name in _SOME_USERS):
        return "only some principals may use it: write allow = user:NAME"
    if not location.word("auth_gss_realm"):
        return "without auth_gss_realm, krb5.conf names the realm"
    if any(location.word(name) not in ("", "off") for name in ("auth_request", "auth_basic")):
        return "it asks for a ticket and for a password"
    return ""

"""The names of Kerberos principals, and the users that they are. Pure."""

from __future__ import annotations

from perimeter.auth.text import unfit_for_name
from perimeter.errors import Rejected

MAX_NAME = 256
"""Characters of the longest name of a user."""


def user_of(principal: str, realm: str, *, lower: bool) -> str:
    """The user that a ``principal`` of the Kerberos realm ``realm`` is, in lower case if ``lower``.

    Raises `Rejected` for a principal of another realm, and for one that is no user: a service or an instance (``joe/admin``), or
    a computer of Active Directory (``PC1$``).
    """
    name, at, found = principal.rpartition("@")
    if not at or found != realm:
        raise Rejected("the ticket is of another Kerberos realm")
    # MIT Kerberos writes a backslash before an "@" or "/" that belongs to the name (attack 144).
    if not name.strip() or len(name) > MAX_NAME or unfit_for_name(name) or "@" in name or "\\" in name:
        raise Rejected("the ticket has a name that no user can have")
    if "/" in name or name.endswith("$"):
        raise Rejected("the ticket is that of a service, a computer or an instance, and not of a user")
    return name.lower() if lower else name

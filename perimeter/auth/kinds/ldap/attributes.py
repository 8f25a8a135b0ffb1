"""Attributes of an entry that become attributes of the user: for rules, for services, and in tokens."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from twisted.logger import Logger

from perimeter.auth.kinds.ldap.values import LdapEntry
from perimeter.auth.text import unfit_for_name
from perimeter.config.language.datatypes import BadValue, Datatype, list_of

_log = Logger()

MAX_ATTRIBUTES = 16
"""Attributes that users may have: tokens contain all of them."""

MAX_VALUE = 256
"""Characters of the longest value: that of a name or a mail address, and no document."""

_ATTRIBUTE = re.compile(r"[A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)+")

# attributes with passwords or their hashes, of OpenLDAP, Active Directory and Samba
_SECRET = frozenset(
    (
        *("userpassword", "authpassword", "unicodepwd", "dbcspwd", "supplementalcredentials"),
        *("ntpwdhistory", "lmpwdhistory", "sambantpassword", "sambalmpassword", "krbprincipalkey"),
    )
)


def _attribute(text: str, base: Path) -> str:
    if not _ATTRIBUTE.fullmatch(text):
        raise BadValue("expected the name of an attribute or object class, such as uid")
    return text


ATTRIBUTE_NAME: Datatype[str] = Datatype("attribute", _attribute, "")
"""The name of an attribute or object class (RFC 4512, section 1.4)."""


def _checked(names: tuple[str, ...]) -> tuple[str, ...]:
    secret = next((name for name in names if name.lower() in _SECRET), "")
    if secret:
        raise BadValue(f"{secret} has passwords, and every service would see them", complete=True)
    if len(names) > MAX_ATTRIBUTES:
        raise BadValue(f"has {len(names)} attributes, more than {MAX_ATTRIBUTES}", complete=True)
    return names


USER_ATTRIBUTES: Datatype[tuple[str, ...]] = list_of(ATTRIBUTE_NAME, whole=_checked)
"""The attributes of entries that users get."""


def attributes_of(entry: LdapEntry, wanted: Iterable[str], source: str) -> dict[str, str]:
    """The values of the ``wanted`` attributes of ``entry``, by the names as they are wanted; ``source`` names it in messages.

    Of several values the first one in alphabetical order counts, because a directory returns them in any order. A value
    that is not text, has control characters or is longer than `MAX_VALUE` is left out, with a warning.
    """
    found = {}
    for name in wanted:
        values = entry.values(name)
        fit = sorted(text for data in values if (text := _text(data)))
        if len(fit) < len(values):
            _log.warn(
                "{source}: a value of the attribute {name} is no text, or longer than {most} characters; it is left out",
                source=source,
                name=name,
                most=MAX_VALUE,
            )
        if fit:
            found[name] = fit[0]
    return found


def _text(data: bytes) -> str:
    """The text of a value; "" if it cannot be one."""
    try:
        text = data.decode("utf-8").strip()
    except UnicodeDecodeError:
        return ""
    return "" if len(text) > MAX_VALUE or unfit_for_name(text) else text

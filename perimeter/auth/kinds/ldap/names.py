"""User names and distinguished names: their checks, their search filters, and their comparison. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import attrs

from perimeter.auth.kinds.ldap.values import Equal, Filter, LdapEntry, Or
from perimeter.auth.text import folded, unfit_for_name
from perimeter.errors import Rejected

MAX_NAME = 256
"""Characters of the longest user name; directories allow far fewer."""

ACCOUNT = ("userAccountControl", "accountExpires")
"""The attributes that say whether an account of Active Directory is usable (MS-ADTS, section 2.2.16; MS-ADA1, section 2.2)."""

_DISABLED = 2
_NEVER = 0x7FFFFFFFFFFFFFFF
_FILETIME_EPOCH = 11644473600
"""Seconds from 1601, the epoch of Windows, to 1970."""

_HEX_PAIRS = re.compile(r"(?:\\[0-9A-Fa-f]{2})+")
_ESCAPED = re.compile(r"(?:\\[0-9A-Fa-f]{2})+|\\.", re.DOTALL)


def account_closed(entry: LdapEntry, now: float) -> bool:
    """Whether Active Directory refuses this account even with the right password; ``now`` is in epoch seconds."""
    control, expiry = ACCOUNT
    try:
        if any(int(value) & _DISABLED for value in entry.values(control)):
            return True
        expires = [int(value) for value in entry.values(expiry)]
    except ValueError:
        return True
    return any(0 < value < _NEVER and value / 10**7 - _FILETIME_EPOCH <= now for value in expires)


def checked(username: str) -> str:
    """``username`` itself. Raises `Rejected` for a name about which no directory is asked."""
    if not username.strip() or len(username) > MAX_NAME or unfit_for_name(username):
        raise Rejected("a user name that cannot be")
    if username.count("@") > 1:
        # a@evil.com@company.com is ambiguous: either of the two could be taken for the domain (attack 40)
        raise Rejected("a user name with more than one @")
    return username


PRINCIPAL_NAME = "userPrincipalName"
"""The attribute of Active Directory with a name like ``user@domain``, which users may log in by."""


@attrs.frozen
class LoginName:
    """A name that a user logs in by. ``typed`` has no ``DOMAIN\\``; ``plain`` has no domain of ours at all."""

    typed: str
    plain: str

    @property
    def spellings(self) -> frozenset[str]:
        """Both, `folded`."""
        return frozenset((folded(self.typed), folded(self.plain)))


def login_name(username: str, domain: str, netbios_domain: str, principal_names: bool) -> LoginName | None:
    """What ``username`` says; None if the name is of another domain.

    ``DOMAIN\\user`` is understood where a domain is configured or with ``principal_names`` (Active Directory).
    """
    prefix, backslash, rest = username.partition("\\")
    if backslash and (domain or netbios_domain or principal_names):
        ours = {folded(name) for name in (domain, netbios_domain) if name}
        return LoginName(rest, rest) if folded(prefix) in ours and rest and "@" not in rest else None
    local, at, suffix = username.partition("@")
    return LoginName(username, local if at and domain and folded(suffix) == folded(domain) and local else username)


def login_filter(name: LoginName, attributes: Sequence[str], principal_names: bool) -> Filter:
    """The filter that finds the user called ``name``: the first of ``attributes`` has the plain name, the others the typed one.

    With ``principal_names`` (Active Directory) a name with an @ is looked up as userPrincipalName too, whatever its suffix.
    """
    first, *others = attributes
    found: list[Filter] = []
    if principal_names and "@" in name.typed:
        found.append(Equal(PRINCIPAL_NAME, name.typed))
    if not found or name.plain != name.typed:
        found.append(Equal(first, name.plain))
    found += [Equal(other, name.typed) for other in others]
    return found[0] if len(found) == 1 else Or(tuple(found))


def preferred(entries: Sequence[LdapEntry], attributes: Sequence[str], spellings: Collection[str]) -> LdapEntry | None:
    """Which of ``entries`` is meant by a name with these ``spellings``: the one that has it in the earliest of ``attributes``.

    Users who may change their own mail address cannot shut out another one by giving themselves that user's name. None if two
    entries have it in the same attribute, or none has it.
    """
    for attribute in attributes:
        having = [
            one
            for one in entries
            if any(folded(value.decode("utf-8", "surrogateescape")) in spellings for value in one.values(attribute))
        ]
        if having:
            return having[0] if len(having) == 1 else None
    return None


def own_name(entry: LdapEntry, attribute: str) -> str:
    """The value of ``attribute`` that is the user's name; "" without one. Raises `UnicodeDecodeError`.

    Of several values it is the one in the entry's distinguished name, else the first of the alphabet: who logs in by another of
    them is no other person.
    """
    values = sorted(value.decode("utf-8") for value in entry.values(attribute))
    if len(values) < 2:
        return values[0] if values else ""
    try:
        own = folded(first_rdn(entry.dn).get(attribute.lower(), ""))
    except ValueError:
        own = ""
    return next((value for value in values if folded(value) == own), values[0])


def canonical(username: str, domain: str, netbios_domain: str) -> str:
    """The one spelling of all names of a user in this domain, by which wrong passwords are counted (attack 30)."""
    name = folded(username)
    prefix, backslash, rest = name.partition("\\")
    if backslash and prefix in {folded(one) for one in (domain, netbios_domain) if one}:
        name = rest
    local, at, suffix = name.rpartition("@")
    return local if at and domain and suffix == folded(domain) else name


DistinguishedName = tuple[frozenset[tuple[str, str]], ...]


def parse_dn(text: str) -> DistinguishedName:
    """A distinguished name (RFC 4514) to be compared: attribute types in lower case, values `folded`, escapes undone.

    Raises `ValueError` for other text.
    """
    return tuple(frozenset(_assertion(part) for part in _split(rdn, "+")) for rdn in _split(text, ","))


def first_rdn(text: str) -> dict[str, str]:
    """The attribute types (lower case) and values of a name's first component. Raises `ValueError`."""
    found = {}
    for part in _split(_split(text, ",")[0], "+"):
        kind, value = _typed(part)
        found[kind] = value
    return found


def components(text: str) -> tuple[tuple[str, str], ...]:
    """Attribute types (lower case) and values of a name, from the entry up, the values as written except for escapes.

    Raises `ValueError`.
    """
    return tuple(_typed(part) for rdn in _split(text, ",") for part in _split(rdn, "+"))


def same_dn(one: str, other: str) -> bool:
    """Whether two distinguished names are the same; False if one of them is invalid."""
    try:
        return parse_dn(one) == parse_dn(other)
    except ValueError:
        return False


def _split(text: str, separator: str) -> list[str]:
    parts, current, escaped = [], [], False
    for letter in text:
        if escaped or letter == "\\":
            escaped = not escaped
            current.append(letter)
        elif letter == separator or (separator == "," and letter == ";"):
            parts.append("".join(current))
            current = []
        else:
            current.append(letter)
    if escaped:
        raise ValueError("a name that ends in a backslash")
    return [*parts, "".join(current)]


def _typed(part: str) -> tuple[str, str]:
    kind, equals, value = part.partition("=")
    if not equals or not kind.strip():
        raise ValueError("a component without a type")
    value = value.lstrip(" ")
    bare = value.rstrip(" ")
    if bare.endswith("\\") and len(bare) < len(value):
        bare += " "  # an escaped blank at the end belongs to the value
    return kind.strip().lower(), _ESCAPED.sub(_unescape, bare)


def _assertion(part: str) -> tuple[str, str]:
    kind, value = _typed(part)
    return kind, folded(value)


def _unescape(match: re.Match[str]) -> str:
    text = match[0]
    if _HEX_PAIRS.fullmatch(text):
        return bytes.fromhex(text.replace("\\", "")).decode("utf-8", "surrogateescape")
    return text[1:]

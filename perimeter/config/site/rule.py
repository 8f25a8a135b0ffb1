"""A term of ``allow`` and ``deny``: a role, user, realm, method, network, attribute, scope, certificate or time.

`perimeter.config.site.expression` combines terms.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final

import attrs

from perimeter.config.language.datatypes import BadValue, closest
from perimeter.config.language.name_types import checked_name, spelled_name
from perimeter.config.language.net_types import NETWORK
from perimeter.config.site.period import parse_period

_METHOD = re.compile(r"[A-Z][A-Z0-9-]*")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_ATTRIBUTE_NAME = re.compile(r"[^\s=\"(),]+")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
#: RFC 4514 has no blanks between the parts of a name, but many programs print them
_BLANKS_BETWEEN = re.compile(r"(?<!\\), +(?=[A-Za-z0-9.]+=)")
_BASE = Path()


class RuleKind(StrEnum):
    """The part of a request that a term compares."""

    ROLE = "role"
    USER = "user"
    REALM = "realm"
    METHOD = "method"
    NETWORK = "network"
    ATTRIBUTE = "attribute"
    SCOPE = "scope"
    CERTIFICATE = "certificate"
    TIME = "time"


class CertificatePart(StrEnum):
    """The part of a client certificate that a term compares."""

    SUBJECT = "subject"
    ISSUER = "issuer"
    CN = "cn"
    DNS = "dns"
    EMAIL = "email"
    URI = "uri"
    SHA256 = "sha256"


OF_USERS: Final = frozenset((RuleKind.ROLE, RuleKind.USER, RuleKind.REALM, RuleKind.ATTRIBUTE, RuleKind.SCOPE))
"""Kinds of terms about the user: an anonymous client has nothing of that."""


@attrs.frozen
class Rule:
    """One term of ``allow`` or ``deny``. A user or role is of the realm ``realm``, or of any realm if that is "".

    ``name`` is that of an attribute, or a `CertificatePart`; "" for other kinds. The value of ``network`` and ``time`` is the
    text that `perimeter.config.language.net_types` and `perimeter.config.site.period` read.
    """

    kind: RuleKind = attrs.field(converter=RuleKind)
    value: str
    realm: str = ""
    name: str = ""

    def __str__(self) -> str:
        if self.kind in (RuleKind.METHOD, RuleKind.NETWORK, RuleKind.TIME):
            return f"{self.kind}:{self.value}"
        value = f"{self.realm}/{self.value}" if self.realm else self.value
        value = f'"{value}"' if "," in value else spelled_name(value)
        return f"{self.kind}:{self.name}={value}" if self.name else f"{self.kind}:{value}"

    @property
    def terms(self) -> tuple[Rule, ...]:
        """The term itself, as `perimeter.config.site.expression.Expression` has them."""
        return (self,)

    def of_realms(self, realms: Collection[str]) -> Rule:
        """The rule with the realm that its value begins with, if that is one of ``realms``: ``staff/root`` is staff's root."""
        if self.kind not in (RuleKind.USER, RuleKind.ROLE):
            return self
        for realm in sorted(realms, key=len, reverse=True):
            value = self.value.removeprefix(f"{realm}/")
            if value and value != self.value:
                return attrs.evolve(self, value=value, realm=realm)
        return self


def parse_rule(text: str) -> Rule:
    """The term ``text``, ``KIND:VALUE``. Raises `BadValue`."""
    kind, colon, value = (part.strip() for part in text.partition(":"))
    expected = f"expected {', '.join(f'{one}:…' for one in list(RuleKind)[:-1])} or {RuleKind.TIME}:…"
    if not colon or not value:
        word, equals, rest = (part.strip() for part in text.partition("="))
        near = f"{word}:{rest}" if equals and word in list(RuleKind) else ""
        raise BadValue(expected, f"method:{text}" if text in _METHODS else near)
    if kind not in list(RuleKind):
        near = closest(kind, tuple(RuleKind)) if kind.isalpha() else ""
        raise BadValue(expected, f"{near}:{value}" if near else "")
    found = RuleKind(kind)
    reader = _READERS.get(found)
    try:
        return Rule(found, checked_name(value)) if reader is None else reader(value)
    except BadValue as bad:
        suggestion = f"{kind}:{bad.suggestion}" if bad.suggestion else ""
        raise BadValue(bad.message, suggestion, complete=bad.complete) from None


def _method(value: str) -> Rule:
    if not _METHOD.fullmatch(value) or value in ("ALL", "ANY"):
        raise BadValue("expected one method in capitals", value.upper() if value.upper() in _METHODS else "")
    return Rule(RuleKind.METHOD, value)


def _network(value: str) -> Rule:
    return Rule(RuleKind.NETWORK, str(NETWORK.convert(value, _BASE)))


def _time(value: str) -> Rule:
    return Rule(RuleKind.TIME, parse_period(value)[1])


def _attribute(value: str) -> Rule:
    name, equals, wanted = (part.strip() for part in value.partition("="))
    if not equals or not wanted or not _ATTRIBUTE_NAME.fullmatch(name):
        raise BadValue('expected an attribute such as attribute:department=sales or attribute:department="Human Resources"')
    return Rule(RuleKind.ATTRIBUTE, checked_name(wanted), name=name)


def _certificate(value: str) -> Rule:
    name, equals, wanted = (part.strip() for part in value.partition("="))
    parts = tuple(CertificatePart)
    if not equals or not wanted or name not in parts:
        raise BadValue(f"expected certificate:PART=VALUE, where PART is {', '.join(parts[:-1])} or {parts[-1]}")
    part = CertificatePart(name)
    if part in (CertificatePart.SUBJECT, CertificatePart.ISSUER):
        wanted = _distinguished_name(checked_name(wanted))
    elif part is CertificatePart.SHA256:
        wanted = wanted.replace(":", "").lower()
        if not _FINGERPRINT.fullmatch(wanted):
            raise BadValue("expected a SHA-256 fingerprint of 64 hexadecimal digits, with or without colons")
    else:
        wanted = checked_name(wanted)
        if part is CertificatePart.DNS:
            wanted = wanted.lower()
    return Rule(RuleKind.CERTIFICATE, wanted, name=name)


def _distinguished_name(text: str) -> str:
    """``text`` (RFC 4514) in the form in which names of certificates are compared. Raises `BadValue`."""
    from cryptography import x509  # takes 30 ms, and few sites have such a rule

    try:
        return x509.Name.from_rfc4514_string(_BLANKS_BETWEEN.sub(",", text)).rfc4514_string()
    except ValueError:
        raise BadValue('expected a distinguished name such as "CN=alice,O=Example"') from None


_READERS: Final[Mapping[RuleKind, Callable[[str], Rule]]] = {
    RuleKind.METHOD: _method,
    RuleKind.NETWORK: _network,
    RuleKind.ATTRIBUTE: _attribute,
    RuleKind.CERTIFICATE: _certificate,
    RuleKind.TIME: _time,
}

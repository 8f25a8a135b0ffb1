"""Tests that are made of the expressions of ``allow`` and ``deny``, once for each route. Pure, except for the clock.

A test has three answers: True, False, and None for what is not known, such as an attribute that the directory has not named. None
does not admit and is denied, also below a ``not`` (attack 130).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, assert_never

import attrs

from perimeter.auth.roles import has_role
from perimeter.auth.text import folded
from perimeter.config.language.net_types import NETWORK, Network, in_networks
from perimeter.config.site.expression import AllOf, AnyOf, Expression, Not
from perimeter.config.site.period import parse_period
from perimeter.config.site.rule import CertificatePart, Rule, RuleKind
from perimeter.model import UNIX_PEER, ClientConnection, Principal

UNKNOWN_METHOD: Final = "-"
"""Stands for the method of a request whose method is not known, as a proxy that asks about it may leave it out."""

_NO_BASE: Final = Path()

Test = Callable[[Principal | None, str, str, ClientConnection | None], bool | None]
"""Takes the user (None: anonymous), the method, the client's address ("": not known) and its connection (None: not known)."""


@attrs.frozen
class Judging:
    """How terms are compared.

    Roles and attributes of ``directory_realms`` compare without case, as a directory compares them (attack 30). ``clock`` returns
    epoch seconds. ``denies``: the expression is one of ``deny``. Then a name does not match an anonymous client; in ``allow`` it
    is not known whether it does.
    """

    directory_realms: frozenset[str]
    clock: Callable[[], float]
    denies: bool


@attrs.frozen(eq=False)
class Tested:
    """An expression with its test, and with its parts."""

    expression: Expression
    test: Test
    parts: tuple[Tested, ...] = ()


def compiled(expression: Expression, judging: Judging, negated: bool = False) -> Tested:
    """``expression`` with its test. ``negated``: it is below an odd number of ``not``."""
    match expression:
        case Rule():
            return Tested(expression, _term(expression, judging, negated))
        case AllOf():
            parts = tuple(compiled(one, judging, negated) for one in expression.parts)
            return Tested(expression, _combined(parts, False), parts)
        case AnyOf():
            parts = tuple(compiled(one, judging, negated) for one in expression.parts)
            return Tested(expression, _combined(parts, True), parts)
        case Not():
            part = compiled(expression.part, judging, not negated)
            return Tested(expression, _opposite(part.test), (part,))


def _combined(parts: tuple[Tested, ...], deciding: bool) -> Test:
    """``deciding`` if one part is that; otherwise not known if one part is not known."""
    tests = tuple(part.test for part in parts)

    def combined(principal: Principal | None, method: str, address: str, connection: ClientConnection | None) -> bool | None:
        verdict: bool | None = not deciding
        for test in tests:
            found = test(principal, method, address, connection)
            if found is deciding:
                return deciding
            if found is None:
                verdict = None
        return verdict

    return combined


def _opposite(test: Test) -> Test:
    def opposite(principal: Principal | None, method: str, address: str, connection: ClientConnection | None) -> bool | None:
        found = test(principal, method, address, connection)
        return None if found is None else not found

    return opposite


def _term(rule: Rule, judging: Judging, negated: bool) -> Test:
    # A name that is denied does not match an anonymous client. Elsewhere an anonymous client could be the one who is named.
    stranger = False if judging.denies else None
    match rule.kind:
        case RuleKind.ROLE:
            return _role(rule, judging.directory_realms, stranger)
        case RuleKind.USER:
            return _user(rule, stranger)
        case RuleKind.REALM:
            return _realm(rule.value, stranger)
        case RuleKind.METHOD:
            return _method(rule.value, judging.denies is not negated)
        case RuleKind.NETWORK:
            return _network(NETWORK.convert(rule.value, _NO_BASE))
        case RuleKind.ATTRIBUTE:
            return _attribute(rule.name, rule.value, judging.directory_realms)
        case RuleKind.SCOPE:
            return _scope(rule.value, stranger)
        case RuleKind.CERTIFICATE:
            return _certificate(CertificatePart(rule.name), rule.value, judging.clock)
        case RuleKind.TIME:
            return _time(rule.value, judging.clock)
        case _:
            # A kind that is forgotten here must never admit, and never fail to deny.
            assert_never(rule.kind)


# -- the tests of terms


def _role(rule: Rule, directory_realms: frozenset[str], stranger: bool | None) -> Test:
    wanted, realm = rule.value, rule.realm

    def exact(principal: Principal | None, method: str, address: str, connection: ClientConnection | None) -> bool | None:
        return stranger if principal is None else wanted in principal.roles

    def in_realm(principal: Principal | None, method: str, address: str, connection: ClientConnection | None) -> bool | None:
        if principal is None:
            return stranger
        if realm and principal.realm != realm:
            return False
        return has_role(principal.roles, (wanted,), any_case=principal.realm in directory_realms)

    return in_realm if realm or directory_realms else exact


def _user(rule: Rule, stranger: bool | None) -> Test:
    wanted, realm = rule.value, rule.realm

    def user(principal: Principal | None, method: str, address: str, connection: ClientConnection | None) -> bool | None:
        if principal is None:
            return stranger
        return principal.username == wanted and (not realm or principal.realm == realm)

    return user


def _realm(wanted: str, stranger: bool | None) -> Test:
    def realm(principal: Principal | None, method: str, address: str, connection: ClientConnection | None) -> bool | None:
        return stranger if principal is None else principal.realm == wanted

    return realm


def _method(wanted: str, any_case: bool) -> Test:
    """Methods are case-sensitive (RFC 9110, section 9.1), but not for every server: ``delete`` must not pass a denied DELETE.

    ``any_case`` is True where a match refuses.
    """

    def compared(principal: Principal | None, method: str, address: str, connection: ClientConnection | None) -> bool | None:
        if method == UNKNOWN_METHOD:
            return None
        return (method.upper() if any_case else method) == wanted

    return compared


def _network(wanted: Network) -> Test:
    networks = (wanted,)

    def network(principal: Principal | None, method: str, address: str, connection: ClientConnection | None) -> bool | None:
        if address == UNIX_PEER:  # nor is it known whose requests another program sends to a unix socket
            return None
        try:
            return None if address == UNIX_PEER else in_networks(address, networks)
        except ValueError:  # not an IP address
            return None

    return network


def _attribute(name: str, wanted: str, directory_realms: frozenset[str]) -> Test:
    folded_wanted = folded(wanted)

    def attribute(principal: Principal | None, method: str, address: str, connection: ClientConnection | None) -> bool | None:
        value = None if principal is None else principal.attributes.get(name)
        if principal is None or value is None:
            return None
        return value == wanted or (principal.realm in directory_realms and folded(value) == folded_wanted)

    return attribute


def _scope(wanted: str, stranger: bool | None) -> Test:
    """A scope of the user's token, whichever service it is for. A user without a token has none."""

    def scope(principal: Principal | None, method: str, address: str, connection: ClientConnection | None) -> bool | None:
        return stranger if principal is None else any(wanted in scopes for scopes in principal.scopes.values())

    return scope


def _time(text: str, clock: Callable[[], float]) -> Test:
    period, _ = parse_period(text)

    def time(principal: Principal | None, method: str, address: str, connection: ClientConnection | None) -> bool | None:
        return period.contains(clock())

    return time


def _certificate(part: CertificatePart, wanted: str, clock: Callable[[], float]) -> Test:
    from perimeter.gate.certificate_parts import values_of  # cryptography takes 30 ms to import, and few sites have such a rule

    def certificate(principal: Principal | None, method: str, address: str, connection: ClientConnection | None) -> bool | None:
        shown = None if connection is None else connection.certificate
        if shown is None:
            return None
        values = values_of(shown, part, clock())
        return None if values is None else wanted in values

    return certificate

"""Whether a user may do what the request asks for: ``allow`` and ``deny`` of a route."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from math import inf

import attrs

from perimeter.config.site.expression import AllOf, AnyOf, Expression, Not
from perimeter.config.site.rule import OF_USERS, Rule, RuleKind
from perimeter.errors import InsufficientScope, Refusal, SecondFactorNeeded
from perimeter.gate.factors import FactorDemand
from perimeter.gate.terms import UNKNOWN_METHOD, Judging, Test, Tested, compiled
from perimeter.model import ClientConnection, Principal

__all__ = ["UNKNOWN_METHOD", "Policy"]


#: Terms that are not known if the client is anonymous, and only then.
_OF_NAMES = OF_USERS - {RuleKind.ATTRIBUTE}


@attrs.frozen
class Policy:
    """``deny`` wins over ``allow``; in each of them one matching expression is enough. Without ``allow`` every user may.

    ``directory_realms`` are those whose roles and attributes compare without case, as a directory does (attack 30). ``clock``
    returns epoch seconds. ``factors`` says who needs a second factor besides. ``open`` is True if there are no expressions at
    all; ``timed`` if a term compares the time, so that the verdict may change from one minute to the next.
    """

    allow: tuple[Expression, ...] | None = None
    deny: tuple[Expression, ...] = ()
    directory_realms: frozenset[str] = attrs.field(default=frozenset(), kw_only=True)
    clock: Callable[[], float] = attrs.field(default=time.time, kw_only=True, eq=False)
    factors: FactorDemand | None = attrs.field(default=None, kw_only=True)
    open: bool = attrs.field(init=False)
    timed: bool = attrs.field(init=False)
    _allowing: tuple[Tested, ...] | None = attrs.field(init=False, eq=False, repr=False)
    _denying: tuple[Tested, ...] = attrs.field(init=False, eq=False, repr=False)
    #: the same without ``factors``; None if there are none
    _rules: Policy | None = attrs.field(init=False, eq=False, repr=False)
    # the tests alone, which each request goes through
    _allows: tuple[Test, ...] | None = attrs.field(init=False, eq=False, repr=False)
    _denies: tuple[Test, ...] = attrs.field(init=False, eq=False, repr=False)

    @open.default
    def _open(self) -> bool:
        return self.allow is None and not self.deny and self.factors is None

    @timed.default
    def _timed(self) -> bool:
        aged = self.factors is not None and self.factors.age < inf
        return aged or any(term.kind is RuleKind.TIME for one in (*(self.allow or ()), *self.deny) for term in one.terms)

    @_allowing.default
    def _make_allowing(self) -> tuple[Tested, ...] | None:
        return None if self.allow is None else self._tested(self.allow, False)

    @_denying.default
    def _make_denying(self) -> tuple[Tested, ...]:
        return self._tested(self.deny, True)

    @_rules.default
    def _without_factors(self) -> Policy | None:
        return None if self.factors is None else attrs.evolve(self, factors=None)

    @_allows.default
    def _make_allows(self) -> tuple[Test, ...] | None:
        return None if self._allowing is None else tuple(one.test for one in self._allowing)

    @_denies.default
    def _make_denies(self) -> tuple[Test, ...]:
        tests = tuple(one.test for one in self._denying)
        return tests if self.factors is None else (*tests, self.factors.lacks)

    def _tested(self, expressions: tuple[Expression, ...], denies: bool) -> tuple[Tested, ...]:
        judging = Judging(self.directory_realms, self.clock, denies)
        return tuple(compiled(one, judging) for one in expressions)

    def permits(
        self, principal: Principal | None, method: str, address: str = "", connection: ClientConnection | None = None
    ) -> bool:
        """Whether ``principal`` (None: anonymous) may use ``method`` from ``address`` (canonical; "": not known).

        ``connection`` is the client's own, None if that is not known. What is not known is denied, and allows nothing: so
        `UNKNOWN_METHOD` is each method that is denied, and none that is allowed.
        """
        for test in self._denies:
            if test(principal, method, address, connection) is not False:
                return False
        allows = self._allows
        if allows is None:
            return True
        for test in allows:  # noqa: SIM110  # `any` takes 0.3 µs more
            if test(principal, method, address, connection):
                return True
        return False

    def explanation(
        self, principal: Principal | None, method: str, address: str = "", connection: ClientConnection | None = None
    ) -> str:
        """Which term decides about `permits`, for the operator."""
        factors, rules = self.factors, self._rules
        if factors is not None and rules is not None:
            lacks = factors.lacks(principal, method, address, connection)
            return (
                factors.in_words
                if lacks and rules.permits(principal, method, address, connection)
                else rules.explanation(principal, method, address, connection)
            )

        def found(one: Tested) -> bool | None:
            return one.test(principal, method, address, connection)

        for one in self._denying:
            verdict = found(one)
            if verdict is not False:
                return f"deny = {one.expression} {_words(one, verdict, found)}"
        if self._allowing is None:
            return "no term of deny matches" if self.deny else "the route has no rules"
        for one in self._allowing:
            if found(one):
                return f"allow = {one.expression} {_words(one, True, found)}"
        shown = ", ".join(map(str, self.allow or ())) or "(none)"
        reasons = [reason for one in self._allowing if (reason := _reason(one, found(one), found))]
        return f"no term of allow = {shown} matches" + (f": {'; '.join(reasons)}" if reasons else "")

    def refusal(
        self, principal: Principal | None, method: str, address: str = "", connection: ClientConnection | None = None
    ) -> Refusal:
        """Why `permits` is False: `SecondFactorNeeded` if a second factor would help, otherwise `InsufficientScope`."""
        text = self.explanation(principal, method, address, connection)
        rules = self._rules
        helps = rules is not None and rules.permits(principal, method, address, connection)
        return SecondFactorNeeded(text) if helps else InsufficientScope(text)


Find = Callable[[Tested], bool | None]
"""The answer of an expression to the request that is explained."""


def _words(one: Tested, verdict: bool | None, found: Find) -> str:
    """What ``verdict`` says about ``one``, and which of its terms decide."""
    words = "matches" if verdict else "does not match" if verdict is False else "may match, because it is not known"
    if not one.parts:
        return words
    return f"{'matches' if verdict else 'may match'}: {'; '.join(_decisive(one, verdict, found))}"


def _reason(one: Tested, verdict: bool | None, found: Find) -> str:
    """Why ``one`` of ``allow`` does not match, unless that is plain."""
    if one.parts:
        return "; ".join(_decisive(one, verdict, found))
    plain = verdict is False or (isinstance(one.expression, Rule) and one.expression.kind in _OF_NAMES)
    return "" if plain else "".join(_decisive(one, verdict, found))


def _decisive(one: Tested, verdict: bool | None, found: Find) -> Iterator[str]:
    """The terms that make ``verdict`` of ``one``, each with its own answer."""
    match one.expression:
        case Rule():
            if verdict is None:
                yield f"it is not known whether {one.expression} matches"
            else:
                yield f"{one.expression} {'matches' if verdict else 'does not match'}"
        case Not():
            yield from _decisive(one.parts[0], None if verdict is None else not verdict, found)
        case AllOf() | AnyOf():
            # one part decides, unless all had to agree
            alike = [part for part in one.parts if found(part) is verdict]
            all_agree = verdict is isinstance(one.expression, AllOf)
            for part in alike if all_agree else alike[:1]:
                yield from _decisive(part, verdict, found)

"""Who needs a second factor: for a route, or because of a role. Pure, except for the clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf

import attrs

from perimeter.auth.roles import has_role
from perimeter.model import ClientConnection, Principal


@attrs.frozen
class FactorDemand:
    """Users with one of ``roles`` need a second factor, and with ``everybody`` all users do.

    It counts if it was shown less than ``age`` seconds ago, in the session of a browser or when the API token was made in one. A
    password or a token of another kind never has a second factor. Roles of ``directory_realms`` compare without case (attack 30).
    ``clock`` returns epoch seconds.
    """

    roles: tuple[str, ...] = ()
    everybody: bool = False
    age: float = inf
    directory_realms: frozenset[str] = frozenset()
    clock: Callable[[], float] = attrs.field(default=time.time, eq=False)

    def lacks(self, principal: Principal | None, method: str, address: str, connection: ClientConnection | None) -> bool:
        """Whether the request needs a second factor and has none (`perimeter.gate.terms.Test`)."""
        if principal is None:
            return self.everybody
        grant = principal.grant
        if grant is not None and grant.second and self.clock() - grant.second < self.age:
            return False
        return self.everybody or self.concerns(principal)

    def concerns(self, principal: Principal) -> bool:
        """Whether a role of the user demands a second factor everywhere."""
        roles = self.roles
        return bool(roles) and has_role(principal.roles, roles, any_case=principal.realm in self.directory_realms)

    @property
    def in_words(self) -> str:
        """What is demanded, as the configuration has it."""
        if not self.everybody:
            return f"[second_factor] roles = {', '.join(self.roles)} demands a second factor"
        age = "" if self.age == inf else f", shown less than {self.age:g} s ago (factor_age)"
        return f"factors = 2 of the route demands a second factor{age}"

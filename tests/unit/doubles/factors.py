"""Second factors in a state that is kept in memory, and the app of a user."""

from __future__ import annotations

from pyotp import TOTP

from perimeter.factors.book import FactorBook, make_enroll_code
from perimeter.factors.factor import Factor
from perimeter.factors.pending import PENDING
from perimeter.factors.pending_book import PendingBook
from perimeter.factors.stored import FACTORS
from perimeter.factors.totp import encoded
from perimeter.model import Principal
from perimeter.secrets_key import SecretsKey
from perimeter.state.once import ONCE
from perimeter.state.store import IStateStore
from tests.unit.doubles.sessions import ALICE, SessionCase

KEY = SecretsKey(bytes(range(32)))
SECRET = b"12345678901234567890"  # that of RFC 6238, appendix B


class FactorCase(SessionCase):
    """A state with a book of factors and one of sign-ins that wait."""

    def use(self, store: IStateStore) -> None:
        super().use(store)
        self.factors = self.state.view(FACTORS)
        self.factor_book = FactorBook(self.factors, KEY, self.state.view(ONCE), self.clock)
        self.pending = self.state.view(PENDING)
        self.pending_book = PendingBook(self.pending, self.stored, self.state.view(ONCE), self.clock)

    def code(self, steps: int = 0, secret: bytes = SECRET) -> str:
        """What the app shows, so many steps from now."""
        return TOTP(encoded(secret)).at(int(self.clock.seconds()), counter_offset=steps)

    def operators_code(self, realm: str = "local", username: str = "alice") -> str:
        """A code for a first factor."""
        return str(self.done(make_enroll_code(self.factors, realm, username, self.clock.seconds())))

    def with_totp(self, owner: Principal = ALICE) -> Factor:
        """``owner`` has registered an app a minute ago."""
        factor: Factor = self.done(self.factor_book.add_totp(owner.realm, owner.username, "phone", [SECRET], self.code()))
        self.clock.advance(60)
        return factor

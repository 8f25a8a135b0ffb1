"""Passkeys on pages: what a page asks the browser for, and the judgement of what comes back in its form.

The options of a ceremony stand in the page, and the answer is a field of its form. So a script of a service on the same host can
neither read the options nor send the answer: it can do neither with any page of the gateway (attack 76).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import attrs
from twisted.logger import Logger

from perimeter.errors import WrongFactor
from perimeter.factors.book import FactorBook
from perimeter.factors.challenges import Bound, Challenge, Challenges
from perimeter.factors.factor import Factor, FactorKind
from perimeter.factors.webauthn import (
    CounterBack,
    Passkey,
    RelyingParty,
    creation_options,
    credential_of,
    handle_of,
    registered,
    request_options,
    verified,
)
from perimeter.model import Principal
from perimeter.offload import Offload
from perimeter.secrets_key import SecretsKey

_log = Logger()

ANSWER: Final = "answer"
"""The field of the form with the browser's answer."""

CHALLENGE: Final = "challenge"
"""The field of the form with `perimeter.factors.challenges.Challenge.text`."""


@attrs.frozen
class Asked:
    """What a page needs for a ceremony: the JSON for the browser, and the text of the challenge."""

    options: str
    challenge: str


@attrs.frozen(eq=False)
class Passkeys:
    """Passkeys at the site ``party``. ``key`` is the one of the gateway, which numbers users."""

    party: RelyingParty
    book: FactorBook
    key: SecretsKey
    challenges: Challenges
    offload: Offload

    def usable_at(self, origins: frozenset[bytes]) -> bool:
        """Whether a page of one of these origins can use passkeys of the site."""
        return any(one.encode("ascii") in origins for one in self.party.origins)

    # -- a new one

    def offer_new(self, user: Principal, bound: Bound) -> Asked:
        """What the page asks for to register a passkey of ``user``."""
        challenge = self.challenges.issue(bound)
        known = [self._opened(one) for one in self._of(user)]
        number = self._number(user, challenge)
        return Asked(creation_options(self.party, user.username, number, known, challenge.value), challenge.text)

    async def add(self, user: Principal, fields: Mapping[str, str], bound: Bound, name: str) -> Factor:
        """Register the passkey in the form of such a page.

        Raises `WrongFactor`, `perimeter.errors.TooManyFactors`, and `Unavailable` if it cannot be written.
        """
        challenge = self.challenges.recall(fields.get(CHALLENGE, ""), bound)
        number = self._number(user, challenge)
        made, count = await self.offload.run(registered, self.party, fields.get(ANSWER, ""), challenge.value, number)
        await self.challenges.use(challenge)
        if await self.book.with_handle(made.handle) is not None:
            raise WrongFactor("the passkey is registered already")
        kept = attrs.evolve(made, vouched=user.authenticator).encode()
        return await self.book.add(user.realm, user.username, FactorKind.WEBAUTHN, name, kept, handle=made.handle, count=count)

    # -- as a second factor

    def offer(self, user: Principal, bound: Bound) -> Asked | None:
        """What the page asks for as a second factor of ``user``; None if they have no passkey."""
        known = [self._opened(one) for one in self._of(user)]
        return self._asked(known, bound, False) if known else None

    async def prove(self, user: Principal, fields: Mapping[str, str], bound: Bound) -> Factor:
        """The passkey of ``user`` that the form of such a page proves.

        Raises `WrongFactor`, and `Unavailable` if that cannot be established.
        """
        factor, _ = await self._prove(fields, bound, user)
        return factor

    # -- as the only proof

    def offer_alone(self, bound: Bound) -> Asked:
        """What the page asks for to sign in with a passkey and nothing else."""
        return self._asked((), bound, True)

    async def prove_alone(self, fields: Mapping[str, str], bound: Bound) -> tuple[Factor, Passkey]:
        """The passkey that the form of such a page proves; its authenticator has verified the user. Raises as `prove`."""
        return await self._prove(fields, bound, None)

    def _asked(self, known: Sequence[Passkey], bound: Bound, alone: bool) -> Asked:
        challenge = self.challenges.issue(bound)
        return Asked(request_options(self.party, known, challenge.value, alone), challenge.text)

    async def _prove(self, fields: Mapping[str, str], bound: Bound, user: Principal | None) -> tuple[Factor, Passkey]:
        challenge = self.challenges.recall(fields.get(CHALLENGE, ""), bound)
        answer = fields.get(ANSWER, "")
        factor = await self.book.with_handle(handle_of(credential_of(answer)))
        if factor is None:
            raise WrongFactor("the passkey is not registered")
        if user is not None and (factor.realm, factor.username) != (user.realm, user.username):
            raise WrongFactor("the passkey belongs to another user")
        passkey = self._opened(factor)
        try:
            count = await self.offload.run(verified, self.party, answer, challenge.value, passkey, factor.count, user is None)
        except CounterBack as error:
            _log.warn("passkey {id} of {user}: {error}", id=factor.id, user=factor.username, error=str(error))
            raise
        await self.challenges.use(challenge)
        await self.book.used(factor, count)
        return factor, passkey

    # -- what is kept

    def _of(self, user: Principal) -> list[Factor]:
        return [one for one in self.book.factors_of(user.realm, user.username) if one.kind is FactorKind.WEBAUTHN]

    def _opened(self, factor: Factor) -> Passkey:
        return Passkey.decode(self.book.secret_of(factor))

    def _number(self, user: Principal, challenge: Challenge) -> bytes:
        """The number of a user for authenticators: the same one for each key, which says nothing about them to others."""
        names = user.realm.encode("utf-8"), user.username.encode("utf-8")
        return self.key.derive_all(b"passkey user", *names)[challenge.key]

"""The public keys of another issuer, fetched from its JWKS URL and kept for a while. Clients cannot cause more fetches.

`perimeter.tokens.jwk` checks each key before it is used. Unknown names cause one fetch in a cool-down, however many
of them come (attack 38). A set is renewed at half of its time, so that a shorter outage of the issuer has no effect.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from perimeter.auth.chain.flights import Flights
from perimeter.errors import Refusal, Unavailable, Undecided
from perimeter.tokens.jwk import BadKey, Jwk, JwkSet, load_jwk_set

if TYPE_CHECKING:
    from perimeter.web_client.client import RemoteClient

_log = Logger()

RETRY = 5.0
"""Seconds between a failed fetch and the next one, if the cool-down is longer."""


class RemoteKeys:
    """The key set at ``url``, for ``cache`` seconds; fetches begin at least ``cooldown`` seconds apart.

    ``changed`` is called whenever a fetch has brought other keys than those before.
    """

    def __init__(self, client: RemoteClient, url: str, cache: float, cooldown: float, clock: IReactorTime) -> None:
        self.changed: Callable[[], None] = lambda: None
        self._client = client
        self.url = url
        self._cache = cache
        self._cooldown = cooldown
        self._seconds = clock.seconds
        self._keys = JwkSet(())
        self._until = 0.0
        self._pause_ends = 0.0
        self._failed = ""
        self._flights = Flights()

    async def find(self, kid: str | None, algorithm: str) -> tuple[Jwk, ...]:
        """The keys that fit (`JwkSet.fitting`). Raises `Unavailable` if there is no set."""
        now = self._seconds()
        if now < self._until:
            keys = self._keys.fitting(kid, algorithm)
            if not keys:
                return await self._find_anew(kid, algorithm, now)
            if self._until - now < self._cache / 2 and now >= self._pause_ends:
                Deferred.fromCoroutine(self._renew())
            return keys
        if now < self._pause_ends and not self._flights.under_way(b""):
            raise Unavailable(self._failed or f"the keys of {self._client.service} are not available")
        await self._fetch()
        return self._keys.fitting(kid, algorithm)

    async def probe(self) -> None:
        """Return if the key set can be read now, or its keys are in use. Raises `Unavailable`."""
        if self._seconds() >= self._until or self._failed:
            await self._fetch()

    async def _find_anew(self, kid: str | None, algorithm: str, now: float) -> tuple[Jwk, ...]:
        """The keys for a token that fits none of the set: the issuer may have published new keys."""
        if now < self._pause_ends and not self._flights.under_way(b""):
            if self._failed:
                raise Undecided(self._failed)
            return ()
        try:
            await self._fetch()
        except Unavailable as error:
            # The known keys still work, so this says nothing about users whose tokens they verify.
            raise Undecided(error.detail) from None
        return self._keys.fitting(kid, algorithm)

    async def _renew(self) -> None:
        try:
            await self._fetch()
        except Refusal as error:
            _log.warn("The keys of {service} could not be renewed: {reason}", service=self._client.service, reason=error.detail)

    def _fetch(self) -> Deferred[None]:
        return self._flights.join(b"", self._download)

    async def _download(self) -> None:
        began = self._seconds()
        self._pause_ends = began + self._cooldown
        try:
            keys = await self._load()
        except Unavailable as error:
            self._failed = error.detail
            self._pause_ends = began + min(self._cooldown, RETRY)
            raise
        self._failed = ""
        before, self._keys = self._keys, keys
        self._until = began + self._cache
        if keys.left_out != before.left_out:
            for why in keys.left_out:
                _log.warn("The key set of {service}: {why}; it is left out", service=self._client.service, why=why)
        if before.keys and before.keys != keys.keys:
            _log.info("{service} has other keys now", service=self._client.service)
            self.changed()

    async def _load(self) -> JwkSet:
        answer = await self._client.get(self.url)
        if answer.status != 200:
            raise answer.unexpected()
        try:
            return load_jwk_set(answer.members())
        except BadKey as error:
            raise Unavailable(f"the key set of {self._client.service} cannot be used: {error}") from None

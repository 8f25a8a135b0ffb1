"""Asks a provider for its metadata when they are needed, and never at the start: the gateway starts without its providers.

After a failure the next question waits, longer each time, and requests that need the metadata meanwhile are refused at once.
Metadata that were good once stay in use while they cannot be renewed (attacks O7 and O8).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from perimeter.auth.chain.flights import Flights
from perimeter.auth.kinds.remote.keys import RemoteKeys
from perimeter.errors import ProviderMisconfigured, ProviderUnavailable, Refusal, Unavailable
from perimeter.oidc.metadata import BadMetadata, Metadata, discovery_url, read_metadata

if TYPE_CHECKING:
    from perimeter.web_client.client import RemoteClient

_log = Logger()

RENEW: Final = 3600.0
"""Seconds after which the metadata are asked for again, beside a sign-in that uses the known ones."""

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
"""Seconds between a failed question and the next one. Each failure doubles the pause."""

KEY_CACHE: Final = 600.0
KEY_COOLDOWN: Final = 30.0
"""Seconds; see `RemoteKeys`."""


class Discovery:
    """The metadata and the keys of the provider ``issuer``."""

    def __init__(self, client: RemoteClient, issuer: str, clock: IReactorTime) -> None:
        self._client = client
        self._issuer = issuer
        self._clock = clock
        self._metadata: Metadata | None = None
        self._keys: RemoteKeys | None = None
        self._renew_at = 0.0
        self._pause = 0.0
        self._pause_ends = 0.0
        self._refusal: Refusal | None = None
        self._flights = Flights()
        self.provider_date = ""
        """The time of the provider in its last answer, as RFC 9110 (section 5.6.7) writes it; "" if it did not say."""

    async def metadata(self) -> Metadata:
        """The metadata. Raises `ProviderUnavailable`, or `ProviderMisconfigured` if they must not be used."""
        now = self._clock.seconds()
        if self._metadata is None:
            if self._refusal is not None and now < self._pause_ends and not self._flights.under_way(b""):
                raise type(self._refusal)(self._refusal.detail)
            await self._fetch()
            assert self._metadata is not None
        elif now >= max(self._renew_at, self._pause_ends):
            Deferred.fromCoroutine(self._renew())
        return self._metadata

    async def keys(self) -> RemoteKeys:
        """The keys with which the provider signs. Raises like `metadata`."""
        url = (await self.metadata()).jwks_uri
        if self._keys is None or self._keys.url != url:
            self._keys = RemoteKeys(self._client, url, KEY_CACHE, KEY_COOLDOWN, self._clock)
        return self._keys

    @property
    def fault(self) -> str:
        """Why the last question failed, for the operator; "" if it did not, or if there was none."""
        return "" if self._refusal is None else self._refusal.detail

    async def probe(self) -> None:
        """Return if the provider's metadata can be read now. Raises like `metadata`, without regard to a pause."""
        await self._fetch()

    async def _renew(self) -> None:
        try:
            await self._fetch()
        except Refusal as error:
            _log.warn(
                "The metadata of {service} could not be renewed: {reason}", service=self._client.service, reason=error.detail
            )

    def _fetch(self) -> Deferred[None]:
        return self._flights.join(b"", self._download)

    async def _download(self) -> None:
        began = self._clock.seconds()
        try:
            metadata = await self._load()
        except (ProviderUnavailable, ProviderMisconfigured) as error:
            self._refusal = error
            self._pause = min(max(2 * self._pause, FIRST_PAUSE), LONGEST_PAUSE)
            self._pause_ends = self._clock.seconds() + self._pause
            raise
        self._refusal, self._pause, self._pause_ends = None, 0.0, 0.0
        self._metadata, self._renew_at = metadata, began + RENEW

    async def _load(self) -> Metadata:
        service = self._client.service
        try:
            answer = await self._client.get(discovery_url(self._issuer))
            if answer.status != 200:
                raise answer.unexpected()
            members = answer.members()
            self.provider_date = answer.date
        except Unavailable as error:
            raise ProviderUnavailable(error.detail) from None
        try:
            return read_metadata(members, self._issuer)
        except BadMetadata as error:
            raise ProviderMisconfigured(f"{service}: {error}") from None

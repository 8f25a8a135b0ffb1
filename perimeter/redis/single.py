"""The primary of a site that has no Sentinels: the server of ``redis_url``."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from perimeter.config.site.redis_url import RedisUrl
from perimeter.redis.dialling import Dialler
from perimeter.redis.greeting import look
from perimeter.redis.link import Found


class SingleServer:
    """Finds the one server of ``url`` (`perimeter.redis.link.Finder`)."""

    def __init__(self, url: RedisUrl, dialler: Dialler) -> None:
        self._url = url
        self._dialler = dialler

    def connect(self, lost: Callable[[str], object]) -> Deferred[Found]:
        """See `Finder`."""
        host, port = self._url.servers[0]
        return self._dialler.primary(self._url, host, port, 0, lost)

    def look(self, found: Found) -> Deferred[float]:
        """See `Finder`."""
        return look(found.connection)

    def stop(self) -> None:
        """See `Finder`."""

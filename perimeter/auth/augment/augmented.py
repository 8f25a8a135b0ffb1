"""Puts augmenters around an authenticator: they add roles and attributes to the users that it vouches for.

Each augmenter concerns the users of one realm, and takes nothing away. Augmenters that read roles (`IAugmenterFactory.by_roles`)
work after the others, and see the roles that those have added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from twisted.logger import Logger
from zope.interface import directlyProvides, providedBy

from perimeter.auth.building import build_augmenter
from perimeter.auth.chain.watch import Watch, WatchedAugmenter
from perimeter.config.site.augmenter import AugmenterSettings
from perimeter.errors import Overloaded, Unavailable, Undecided
from perimeter.model import AuthenticationRequest, Credentials, Principal
from perimeter.plugin.augmenter import IAugmenter, IAugmenterFactory
from perimeter.plugin.authenticator import IAuthenticator, IRunningAuthenticator
from perimeter.plugin.services import AuthServices

_log = Logger()


def augmenters_of(
    settings: Iterable[AugmenterSettings],
    factories: Mapping[str, IAugmenterFactory],
    services: AuthServices,
    watch: Watch | None = None,
    built: Mapping[str, IAugmenter] | None = None,
) -> list[IAugmenter]:
    """The augmenters in the order in which they work; ``watch`` counts what they do. Raises `StartupError`.

    ``built`` has those that are built already, by their names.
    """
    ready = built or {}
    ordered = sorted(settings, key=lambda one: factories[one.kind].by_roles)
    made = [ready.get(one.name) or build_augmenter(one, factories[one.kind], services) for one in ordered]
    return made if watch is None else [WatchedAugmenter(one, watch, services.reactor.seconds) for one in made]


class Augmented:
    """``inner``, with what ``augmenters`` add to its users. Provides `IRunningAuthenticator` and what ``inner`` does."""

    def __init__(self, inner: Any, augmenters: Sequence[IAugmenter]) -> None:
        self._inner = inner
        self._augmenters = tuple(augmenters)
        directlyProvides(self, IRunningAuthenticator, providedBy(inner))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def start(self, changed: Callable[[], None]) -> None:
        """See `IRunningAuthenticator`."""
        if IRunningAuthenticator.providedBy(self._inner):
            self._inner.start(changed)

    def stop(self) -> None:
        """See `IRunningAuthenticator`. Stops every part, then raises what one of them has raised.

        An augmenter that several authenticators share is stopped several times.
        """
        with ExitStack() as parts:
            for augmenter in self._augmenters:
                parts.callback(augmenter.stop)
            if IRunningAuthenticator.providedBy(self._inner):
                parts.callback(self._inner.stop)

    async def authenticate(self, credentials: Credentials, request: AuthenticationRequest) -> Principal | None:
        """See `IAuthenticator`. A user whose roles cannot all be found is refused: partial roles are never used.

        An unavailable augmenter is reported as `Undecided`: the authenticator did answer, so its circuit breaker stays closed for
        other users.
        """
        found: Any = await self._inner.authenticate(credentials, request)
        if not isinstance(found, Principal) or found.realm != self._inner.realm:
            return found  # type: ignore[no-any-return]  # for the chain to judge
        principal = found
        for augmenter in self._augmenters:
            try:
                principal = await augmenter.augment(principal, request)
            except (Undecided, Overloaded):
                raise
            except Unavailable as error:
                raise Undecided(error.detail, retry_after=error.retry_after) from None
        return principal


def augment(authenticator: IAuthenticator, augmenters: Iterable[IAugmenter]) -> IAuthenticator:
    """``authenticator`` with the augmenters of its realm; the same object if there are none."""
    concerned = [one for one in augmenters if one.realm == authenticator.realm]
    if not concerned:
        return authenticator
    augmented: Any = Augmented(authenticator, concerned)
    return augmented  # type: ignore[no-any-return]

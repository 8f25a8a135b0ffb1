"""Augmenters: after somebody was authenticated, more is known of him than whoever vouched for him said.

They add roles and attributes to the users of one realm, and never take any away. Those of the kind ``match`` go by roles as well
as by names, so they come after the others, and see what those have added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import attrs
from zope.interface import directlyProvides, implementer, providedBy

from perimeter.auth.chain.watch import Watch, WatchedAugmenter
from perimeter.config.site.augmenter import AugmenterSettings
from perimeter.errors import Overloaded, Unavailable, Undecided
from perimeter.model import AuthenticationRequest, Credentials, Principal
from perimeter.plugin.augmenter import IAugmenter
from perimeter.plugin.authenticator import IAuthenticator, IRunningAuthenticator
from perimeter.plugin.services import AuthServices


def added(principal: Principal, roles: Iterable[str], attributes: Iterable[tuple[str, str]] = ()) -> Principal:
    """``principal`` with these roles behind its own, each once, and these attributes; itself where nothing is new."""
    all_roles = tuple(dict.fromkeys((*principal.roles, *roles)))
    all_attributes = {**principal.attributes, **dict(attributes)}
    if all_roles == principal.roles and all_attributes == principal.attributes:
        return principal
    return attrs.evolve(principal, roles=all_roles, attributes=all_attributes)


@implementer(IAugmenter)
class MatchAugmenter:
    """Auth-o-tron's ``plain_advanced``: who has one of these names, or one of these roles, gets further roles and attributes."""

    def __init__(self, settings: AugmenterSettings) -> None:
        self.name = settings.name
        self.realm = settings.realm
        self._settings = settings
        self._names = frozenset(settings.username)
        self._roles = frozenset(settings.role)

    async def augment(self, principal: Principal, request: AuthenticationRequest) -> Principal:
        """See `IAugmenter`."""
        if principal.username not in self._names and self._roles.isdisjoint(principal.roles):
            return principal
        request.explain(f"augmenter {self.name} adds what it has")
        return added(principal, self._settings.add_roles, self._settings.add_attributes)

    def stop(self) -> None:
        """There is nothing to stop."""


@implementer(IAugmenter)
class PlainAugmenter:
    """Roles, and who has them."""

    def __init__(self, settings: AugmenterSettings) -> None:
        self.name = settings.name
        self.realm = settings.realm
        self._roles: dict[str, list[str]] = {}
        for role, users in settings.roles:
            for user in users:
                self._roles.setdefault(user, []).append(role)

    async def augment(self, principal: Principal, request: AuthenticationRequest) -> Principal:
        """See `IAugmenter`."""
        roles = self._roles.get(principal.username)
        if roles is None:
            return principal
        request.explain(f"augmenter {self.name} adds {len(roles)} roles")
        return added(principal, roles)

    def stop(self) -> None:
        """There is nothing to stop."""


def augmenters_of(settings: Iterable[AugmenterSettings], services: AuthServices, watch: Watch | None = None) -> list[IAugmenter]:
    """The augmenters in the order in which they work; ``watch`` hears how they fare. Raises `StartupError`."""
    made = [_augmenter(one, services) for one in sorted(settings, key=lambda one: one.kind == "match")]
    return made if watch is None else [WatchedAugmenter(one, watch, services.reactor.seconds) for one in made]


def _augmenter(settings: AugmenterSettings, services: AuthServices) -> IAugmenter:
    if settings.kind == "match":
        return MatchAugmenter(settings)
    if settings.kind == "plain":
        return PlainAugmenter(settings)
    # ldaptor's messages are imported only by who uses them
    from perimeter.auth.augment.ldap import ldap_augmenter

    return ldap_augmenter(settings, services)


class Augmented:
    """``inner``, but for what ``augmenters`` add to the users that it knows. Provides whatever it provides."""

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

        An augmenter of several authenticators may be stopped several times.
        """
        with ExitStack() as parts:
            for augmenter in self._augmenters:
                parts.callback(augmenter.stop)
            if IRunningAuthenticator.providedBy(self._inner):
                parts.callback(self._inner.stop)

    async def authenticate(self, credentials: Credentials, request: AuthenticationRequest) -> Principal | None:
        """See `IAuthenticator`. Who cannot be told all of his roles is not let in with some.

        An augmenter that is unavailable makes nobody else wait: the authenticator did answer, and may know others, or nothing of
        those who are known to the next one.
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
    """``authenticator`` with those of the augmenters that are of its realm; itself where there are none."""
    concerned = [one for one in augmenters if one.realm == authenticator.realm]
    if not concerned:
        return authenticator
    augmented: Any = Augmented(authenticator, concerned)
    return augmented  # type: ignore[no-any-return]

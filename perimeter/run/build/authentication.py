"""Builds the authenticators, the augmenters and the chain of one configuration."""

from __future__ import annotations

from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from perimeter.auth.augment.augmented import augment, augmenters_of
from perimeter.auth.chain.chain import AuthenticatorChain
from perimeter.auth.chain.throttle import Throttle
from perimeter.auth.chain.watch import Watch
from perimeter.auth.registry import installed_kinds
from perimeter.config.site.config import SiteConfig
from perimeter.errors import StartupError
from perimeter.metrics.counts import Metrics
from perimeter.plugin.authenticator import IAuthenticator, IReadsFields
from perimeter.plugin.services import AuthServices
from perimeter.run.build.surroundings import Surroundings


def authenticators_of(config: SiteConfig, services: AuthServices, watch: Watch | None = None) -> list[IAuthenticator]:
    """The authenticators of ``config``, in the order in which they are asked. Raises `StartupError`."""
    kinds = installed_kinds()
    settings = {authenticator.name: authenticator for authenticator in config.authenticators}
    augmenters = augmenters_of(config.augmenters, kinds.augmenters, services, watch)
    made = []
    for name in config.authentication.order:
        one = settings[name]
        authenticator = kinds.authenticators[one.kind].build(one.name, one.realm, one.settings, services)
        try:
            verifyObject(IAuthenticator, authenticator)
        except Invalid as error:
            fault = " ".join(str(error).split())
            raise StartupError(f"{one.file}: [authenticator {name}] type = {one.kind} cannot be used: {fault}") from None
        made.append(augment(authenticator, augmenters))
    return made


def authenticator_chain(config: SiteConfig, around: Surroundings, metrics: Metrics | None) -> AuthenticatorChain:
    """The chain of the configured authenticators, counted in ``metrics``. Raises `StartupError`."""
    services = AuthServices(around.reactor, around.hashing, around.blocking)
    watch = None if metrics is None else metrics.auth
    authentication = config.authentication
    allowed = authentication.lockout_after
    return AuthenticatorChain(
        authenticators_of(config, services, watch),
        authentication.timeout,
        authentication.remember_password,
        around.reactor,
        timeouts={one.name: one.timeout for one in config.authenticators if one.timeout is not None},
        throttle=Throttle(allowed, around.attempts, around.reactor) if allowed else None,
        at_once=authentication.ask == "all_at_once",
        watch=watch,
    )


def believed_fields(chain: AuthenticatorChain) -> set[bytes]:
    """The header fields by which authenticators know users: no client may send them on to a service."""
    return {name for one in chain.authenticators if IReadsFields.providedBy(one) for name in one.fields}

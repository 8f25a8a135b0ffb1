"""Builds the authenticators, the augmenters and the chain of one configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import attrs
from twisted.logger import Logger

from perimeter.auth.augment.augmented import augment, augmenters_of
from perimeter.auth.building import build_augmenter, build_authenticator, build_provider
from perimeter.auth.chain.chain import AuthenticatorChain
from perimeter.auth.chain.throttle import Throttle
from perimeter.auth.chain.vouching import ProviderUsers
from perimeter.auth.chain.watch import Watch
from perimeter.auth.registry import directory_realms, installed_kinds
from perimeter.config.site.authentication import Ask
from perimeter.config.site.authenticator import AuthenticatorSettings
from perimeter.config.site.config import SiteConfig
from perimeter.plugin.augmenter import IAugmenter
from perimeter.plugin.authenticator import IAuthenticator, IReadsFields
from perimeter.plugin.kinds import PluginKinds
from perimeter.plugin.redirect import IRedirectAuthenticator
from perimeter.plugin.services import AuthServices, IBuildsInThread

if TYPE_CHECKING:  # commands have no runtime
    from perimeter.metrics.counts import Metrics
    from perimeter.run.build.runtime import Runtime
from perimeter.run.build.shared_work import SharedWork

_log = Logger()


@attrs.frozen(eq=False)
class PreparedAuthenticators:
    """What was built in a thread (`perimeter.plugin.services.IBuildsInThread`), by name. The reactor thread builds the rest."""

    kinds: PluginKinds
    services: AuthServices
    authenticators: Mapping[str, IAuthenticator]
    augmenters: Mapping[str, IAugmenter]
    providers: Mapping[str, IRedirectAuthenticator]


def prepared_authenticators(config: SiteConfig, services: AuthServices) -> PreparedAuthenticators:
    """Look for plug-ins, and build what may be built in a thread. Blocks. Raises `StartupError`."""
    kinds = installed_kinds()
    services = attrs.evolve(
        services,
        directory_realms=directory_realms(config, kinds),
        workers=config.perimeter.workers,
        token_issuer=config.token.issuer,
    )
    threaded = IBuildsInThread.providedBy
    authenticators = {
        one.name: build_authenticator(one, kinds.authenticators, services)
        for one in _in_order(config)
        if threaded(kinds.authenticators[one.kind])
    }
    augmenters = {
        one.name: build_augmenter(one, kinds.augmenters[one.kind], services)
        for one in config.augmenters
        if threaded(kinds.augmenters[one.kind])
    }
    providers = {
        one.name: build_provider(one, kinds.providers[one.kind], services)
        for one in config.providers
        if threaded(kinds.providers[one.kind])
    }
    return PreparedAuthenticators(kinds, services, authenticators, augmenters, providers)


def authenticators_of(
    config: SiteConfig,
    prepared: PreparedAuthenticators,
    watch: Watch | None = None,
    users: Iterable[ProviderUsers] = (),
) -> list[IAuthenticator]:
    """The authenticators of ``config`` with their augmenters, in the order in which they are asked. Raises `StartupError`.

    The ``users`` of providers come first: they see by themselves which tokens are not theirs, and others ask a service.
    """
    kinds, services = prepared.kinds, prepared.services
    augmenters = augmenters_of(config.augmenters, kinds.augmenters, services, watch, prepared.augmenters)
    found = [
        prepared.authenticators.get(one.name) or build_authenticator(one, kinds.authenticators, services)
        for one in _in_order(config)
    ]
    return [augment(one, augmenters) for one in (*users, *found)]


def providers_of(config: SiteConfig, prepared: PreparedAuthenticators) -> list[IRedirectAuthenticator]:
    """The providers of ``config``, in the order of the file. Raises `StartupError`."""
    kinds, services = prepared.kinds.providers, prepared.services
    return [prepared.providers.get(one.name) or build_provider(one, kinds[one.kind], services) for one in config.providers]


def _in_order(config: SiteConfig) -> list[AuthenticatorSettings]:
    settings = {one.name: one for one in config.authenticators}
    return [settings[name] for name in config.authentication.order]


def auth_services(runtime: Runtime) -> AuthServices:
    """What the authenticators of one configuration work with."""
    return AuthServices(runtime.reactor, runtime.hashing, runtime.blocking)


def authenticator_chain(
    config: SiteConfig,
    prepared: PreparedAuthenticators,
    runtime: Runtime,
    metrics: Metrics | None,
    users: Iterable[ProviderUsers] = (),
    work: SharedWork | None = None,
) -> AuthenticatorChain:
    """The chain of the authenticators of ``config`` and the ``users`` of providers. Raises `StartupError`.

    ``work`` is what is done with other machines.
    """
    watch = None if metrics is None else metrics.auth
    authentication = config.authentication
    allowed, from_address = authentication.lockout_after, authentication.address_limit
    return AuthenticatorChain(
        authenticators_of(config, prepared, watch, users),
        authentication.timeout,
        authentication.remember_password,
        runtime.reactor,
        timeouts={one.name: one.timeout for one in config.authenticators if one.timeout is not None},
        throttle=throttle_of(config, runtime, work) if allowed or from_address or config.second_factor.methods else None,
        at_once=authentication.ask is Ask.ALL_AT_ONCE,
        watch=watch,
        queue_timeout=authentication.queue_timeout,
        digest_key=_digest_key(runtime, work),
    )


def _digest_key(runtime: Runtime, work: SharedWork | None) -> bytes | None:
    if work is not None:
        return work.guess_key()
    return None if runtime.place is None else runtime.place.page.secret


def throttle_of(config: SiteConfig, runtime: Runtime, work: SharedWork | None = None) -> Throttle:
    """The throttle of wrong passwords, and of wrong codes."""
    settings = config.authentication
    return Throttle(
        settings.lockout_after,
        runtime.attempts,
        runtime.reactor,
        allowed_from_address=settings.address_limit,
        peers=runtime.attempt_peers,
        nodes=None if work is None else work.nodes(),
    )


def believed_fields(chain: AuthenticatorChain) -> set[bytes]:
    """The headers by which authenticators know users. They are not passed on from a client to a service."""
    return {name for one in chain.authenticators if IReadsFields.providedBy(one) for name in one.fields}

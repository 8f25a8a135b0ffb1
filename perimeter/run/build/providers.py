"""The providers of one configuration, at which people sign in."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from perimeter.auth.chain.chain import AuthenticatorChain
from perimeter.auth.chain.vouching import ProviderUsers, vouched
from perimeter.config.site.provider_pages import callback_uri
from perimeter.plugin.redirect import IAcceptsTokens, IRedirectAuthenticator
from perimeter.providers.flows import FLOWS
from perimeter.providers.pins import PINS
from perimeter.state.once import ONCE
from perimeter.web.endpoints.providers.parts import Provider, ProviderParts

if TYPE_CHECKING:
    from perimeter.run.build.prepared import Prepared
    from perimeter.run.build.runtime import Runtime


def provider_users(prepared: Prepared, built: Sequence[IRedirectAuthenticator]) -> list[ProviderUsers]:
    """The users of the providers, with the providers' own access tokens where a section wants them.

    The name of a user is bound to one identity, whichever way the user comes first (attack O4).
    """
    state, services = prepared.state.state, prepared.authenticators.services
    bind = partial(state.view(PINS).bind, state.view(ONCE))
    found = []
    for provider in built:
        accepts = IAcceptsTokens.providedBy(provider)
        tokens = IAcceptsTokens(provider).token_authenticator(services, bind) if accepts else None
        found.append(ProviderUsers(provider, tokens))
    return found


def provider_parts(
    prepared: Prepared, runtime: Runtime, chain: AuthenticatorChain, built: Sequence[IRedirectAuthenticator]
) -> ProviderParts | None:
    """What the endpoints of the providers are made of, which were ``built`` in the order of the file; None without providers."""
    config, state = prepared.config, prepared.state.state
    if not built:
        return None
    providers = [Provider(one, callback_uri(config, settings)) for one, settings in zip(built, config.providers, strict=True)]
    views = state.view(FLOWS), state.view(PINS), state.view(ONCE)
    return ProviderParts(providers, partial(vouched, chain), *views, runtime.reactor)

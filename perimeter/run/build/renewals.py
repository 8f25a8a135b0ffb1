"""What asks the providers of one configuration about users who are signed in, and what their sign-out ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perimeter.config.site.config import SiteConfig
from perimeter.config.site.provider import Logout
from perimeter.plugin.redirect import IBackChannelLogout, IEndsElsewhere
from perimeter.sessions.book import SessionBook
from perimeter.sessions.renewable import Renewable
from perimeter.sessions.renewal import Renewals
from perimeter.sessions.stored import StoredSessions
from perimeter.web.endpoints.back_channel import BackChannelLogout
from perimeter.web.endpoints.logout import SIGNED_OUT, Elsewhere
from perimeter.web.endpoints.providers.parts import ProviderParts

if TYPE_CHECKING:
    from perimeter.metrics.counts import Metrics


def renewals_of(
    config: SiteConfig, parts: ProviderParts | None, stored: StoredSessions, metrics: Metrics | None
) -> Renewals | None:
    """What renews sessions; None without providers."""
    if parts is None:
        return None
    grace = {one.name: one.refresh_grace for one in config.providers}
    augmented = {one.realm for one in config.augmenters}
    providers = {
        one.name: Renewable(one.authenticator, grace[one.name], one.authenticator.realm in augmented) for one in parts.providers
    }
    count = None if metrics is None else metrics.count_renewal
    return Renewals(stored, parts.claims, providers, parts.vouched, parts.reactor, count)


def signed_out_elsewhere(config: SiteConfig, parts: ProviderParts | None) -> dict[str, Elsewhere]:
    """Where users can sign out besides, by the name of the provider."""
    if parts is None:
        return {}
    wanted = {one.name for one in config.providers if one.logout is Logout.PROVIDER}
    return {
        one.name: Elsewhere(one, f"{one.origin}{config.login.path}{SIGNED_OUT}", parts.reactor)
        for one in parts.providers
        if one.name in wanted and IEndsElsewhere.providedBy(one.authenticator)
    }


def back_channels(config: SiteConfig, parts: ProviderParts | None, book: SessionBook) -> list[BackChannelLogout]:
    """The endpoints for messages of providers about users who have signed out there."""
    if parts is None:
        return []
    found = [one for one in parts.providers if IBackChannelLogout.providedBy(one.authenticator)]
    return [BackChannelLogout(config.login.path, one, book, parts.claims, parts.reactor) for one in found]

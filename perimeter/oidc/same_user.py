"""The outcome of a look at a user who is signed in, for every kind of provider."""

from __future__ import annotations

from collections.abc import Awaitable

from perimeter.errors import ProviderMisconfigured, ProviderUnavailable, Rejected
from perimeter.plugin.redirect import SignedIn


async def of_same_user(look: Awaitable[SignedIn], subject: str) -> SignedIn:
    """What ``look`` has found about the user ``subject``.

    Raises `Rejected` if it is about another user. `ProviderMisconfigured` becomes `ProviderUnavailable`: the session of a user
    does not end because the provider refuses the gateway.
    """
    try:
        signed_in = await look
    except ProviderMisconfigured as error:
        raise ProviderUnavailable(error.detail) from None
    if signed_in.subject != subject:
        raise Rejected("the refresh is for another user")
    return signed_in

"""What an augmenter provides: the interface of a plug-in that adds roles and attributes to a user who is known already."""

from __future__ import annotations

from collections.abc import Awaitable

from zope.interface import Attribute, Interface

from perimeter.model import AuthenticationRequest, Principal

# zope interfaces describe what a caller sees, so their methods name no self.


class IAugmenter(Interface):
    """Adds to what is known of the users of one realm, after somebody has vouched for them."""

    name: str = Attribute("The configured name.")
    realm: str = Attribute("The realm whose users it knows more of.")

    def augment(principal: Principal, request: AuthenticationRequest) -> Awaitable[Principal]:
        """``principal`` with roles and attributes added, never with any taken away, and with the same name and realm.

        Raises `perimeter.errors.Unavailable` where it could not tell.
        """

    def stop() -> None:
        """Keep no connections. What is under way is still answered."""

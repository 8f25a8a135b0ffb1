"""What a provider lacks, and what does not fit, by its metadata. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Final

from perimeter.oidc.client_method import ClientMethod
from perimeter.oidc.metadata import Metadata
from perimeter.plugin.redirect import Shortcoming, Trouble

DIFFERENCE: Final = 30.0
"""Seconds by which the clocks may differ without a remark; tokens allow for a minute (`perimeter.tokens.jwt.LEEWAY`)."""

_METHODS: Final = {
    ClientMethod.BASIC: "client_secret_basic",
    ClientMethod.POST: "client_secret_post",
    ClientMethod.PRIVATE_KEY: "private_key_jwt",
    ClientMethod.NONE: "none",
}


def shortcomings(metadata: Metadata, method: ClientMethod, ends_elsewhere: bool) -> Iterator[Shortcoming]:
    """What the provider does not offer, of what the gateway uses. ``method`` is how the gateway authenticates at it.

    ``ends_elsewhere``: a sign-out is to end the user's session at the provider, too.
    """
    if metadata.auth_methods and _METHODS[method] not in metadata.auth_methods:
        message = (
            f"the provider does not list {_METHODS[method]}, which client_auth = {method} is, among the ways to authenticate"
        )
        yield Shortcoming(Trouble.REFUSES, message, f"set client_auth; the provider has {', '.join(metadata.auth_methods)}")
    if not metadata.pkce:
        message = "the provider does not say that it checks PKCE (S256), so a code that was stolen may be of use"
        yield Shortcoming(Trouble.LACKS, message, "let the provider require PKCE with S256 of this client, if it can")
    if not metadata.back_channel:
        message = "the provider sends no message when a user signs out there (back-channel logout): the session here goes on"
        yield Shortcoming(Trouble.LACKS, message, "choose refresh and lifetime so that this is short enough")
    if ends_elsewhere and not metadata.end_session_endpoint:
        message = "the provider has no page that ends its session (end_session_endpoint): a sign-out ends the session here alone"
        yield Shortcoming(Trouble.LACKS, message, "set logout = local, so that nothing else is offered")


def clock_difference(date: str, now: float) -> Iterator[Shortcoming]:
    """Whether the time of a provider, a ``date`` of RFC 9110, differs from ``now`` (epoch seconds)."""
    try:
        ahead = now - parsedate_to_datetime(date).timestamp()
    except ValueError:
        return
    if abs(ahead) > DIFFERENCE:
        way = "ahead of" if ahead > 0 else "behind"
        far = f"{abs(ahead):.0f} s {way}"
        message = f"the clock of this machine is {far} that of the provider: from a minute on, ID tokens are refused"
        yield Shortcoming(Trouble.CLOCK, message, "let both run chrony, ntpd or systemd-timesyncd (timedatectl status)")

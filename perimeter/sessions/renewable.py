"""A provider that is asked about a user again, and what it answers."""

from __future__ import annotations

from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from perimeter.errors import NotAllowedHere, ProviderDenied, ProviderUnavailable, Refusal, Rejected, Unavailable
from perimeter.plugin.redirect import IRedirectAuthenticator, SignedIn
from perimeter.sessions.session import Session

_log = Logger()

LONGEST: Final = 30.0
"""Seconds that a question takes at most."""


@attrs.frozen
class Renewable:
    """A configured provider, and the seconds for which its sessions go on while it does not answer (``refresh_grace``).

    ``augmented``: there are augmenters for its realm, which have their say at each look-up of a user.
    """

    authenticator: IRedirectAuthenticator
    grace: float
    augmented: bool = False


async def ask(authenticator: Any, secret: bytes, subject: str, clock: IReactorTime) -> SignedIn:
    """The answer. Raises what `IRenews.renew` does, and `Unavailable` for all else that goes wrong."""

    async def renewed() -> SignedIn:
        found: SignedIn = await authenticator.renew(secret, subject)
        return found

    try:
        return await Deferred.fromCoroutine(renewed()).addTimeout(LONGEST, clock)
    except TimeoutError:
        raise ProviderUnavailable(f"no answer in {LONGEST:g} s") from None
    except Refusal as error:
        if isinstance(error, Unavailable | Rejected | NotAllowedHere | ProviderDenied):
            raise
        raise ProviderUnavailable(error.detail) from None  # the gateway is at fault, and not the user
    except Exception as error:
        _log.failure("the provider {name} cannot be asked", name=authenticator.name)
        raise ProviderUnavailable(type(error).__name__) from None


def is_same(found: SignedIn, root: Session) -> bool:
    """Whether the answer is about the user of the session, under the same name."""
    vouched, owner = root.vouched, root.owner
    assert vouched is not None
    return (found.issuer, found.subject, found.principal.realm, found.principal.username) == (
        *(vouched.issuer, vouched.subject),
        *(owner.realm, owner.username),
    )

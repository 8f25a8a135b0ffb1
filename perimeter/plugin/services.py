"""What the gateway provides to the authenticators, augmenters and login modules that it builds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from zope.interface import Interface

if TYPE_CHECKING:  # commands read configurations, and shall not wait for Twisted
    from twisted.internet.interfaces import IReactorTime

    from perimeter.offload import Offload
    from perimeter.web_client.clients import WebClients


@attrs.frozen
class AuthServices:
    """``reactor`` is the clock, and gives what else an authenticator needs of a reactor.

    ``offload`` runs work that computes, such as password hashes; ``blocking`` runs work that mostly waits, perhaps for seconds,
    and has many more threads. Both queues belong to logins alone, and clients take turns in them (`perimeter.offload`): nothing
    else that the gateway does waits behind work that any client can cause. ``web`` asks services elsewhere over HTTP.
    """

    reactor: IReactorTime
    offload: Offload
    blocking: Offload = attrs.field()

    @blocking.default
    def _same(self) -> Offload:
        return self.offload

    web: WebClients = attrs.field()

    @web.default
    def _own(self) -> WebClients:
        from perimeter.web_client.clients import WebClients

        return WebClients(self.reactor)

    #: the processes that serve the site: each may use a part of what a service allows (see `share`)
    workers: int = 1
    #: `iss` of the gateway's own tokens: such a token is never sent to a service, and never believed of another issuer
    token_issuer: str = ""
    #: the realms whose roles compare without case (`perimeter.plugin.authenticator.IDirectoryRoles`)
    directory_realms: frozenset[str] = frozenset()

    def share(self, limit: int) -> int:
        """This process's part of a limit of the whole gateway, such as a number of connections: 1 at least."""
        return max(1, limit // self.workers)


class IBuildsInThread(Interface):
    """What a factory of authenticators or augmenters may provide, too: its ``build`` is called in a thread, and may block.

    ``build`` may keep ``services.reactor``, and must neither call it nor start anything (`IRunningAuthenticator.start` does). It
    may be called for a configuration that is not put in force in the end.
    """

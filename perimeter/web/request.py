"""What resources behind a `perimeter.web.bridge.SiteTarget` do with a request, which is a `perimeter.web.bridged.BridgedRequest`.

Resources use `exchange_of` to reach the exchange (principal, client address), `refuse` to end with one of the gateway's own
errors, and `respond` to answer from a coroutine. A `perimeter.errors.Refusal` that is raised while rendering does the same as
`refuse`; any other exception is a logged 500. `twisted.web`'s own error pages and tracebacks never reach a client.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from perimeter.errors import Refusal

if TYPE_CHECKING:
    from perimeter.http.exchange import Exchange

T = TypeVar("T")


class RequestOwner(Protocol):
    """What a `Bridged` request needs of its channel (`perimeter.web.bridge.Stream`)."""

    exchange: Exchange

    def refuse(self, refusal: Refusal) -> None:
        """End with the gateway's own error."""


class Bridged:
    """The part of a request that is the gateway's: its channel, and the exchange that it stands for."""

    stream: RequestOwner
    exchange: Exchange


def exchange_of(request: Any) -> Exchange:
    """The exchange that ``request`` stands for. Raises LookupError if it did not come through a `SiteTarget`."""
    if not isinstance(request, Bridged):
        raise LookupError("this request did not come through the gateway")
    return request.exchange


def refuse(request: Any, refusal: Refusal) -> None:
    """End ``request`` with the gateway's error answer, or cut it if its response has begun."""
    if not isinstance(request, Bridged):
        raise LookupError("this request did not come through the gateway")
    request.stream.refuse(refusal)


def respond(request: Any, work: Coroutine[Deferred[Any], Any, bytes]) -> int:
    """Answer ``request`` with the body that ``work`` returns; to be returned from a resource's ``render`` method.

    A raised `Refusal` is answered as such, anything else is a logged 500. ``work`` is cancelled when the client leaves.
    """
    return _finish_with(request, Deferred.fromCoroutine(work), lambda body: complete(request, body))


def render_after(request: Any, work: Coroutine[Deferred[Any], Any, None], render: Callable[[Any], Any]) -> int:
    """Call ``render``, a resource's method, once ``work`` is done; to be returned from a resource's ``render`` method.

    What ``work`` or ``render`` raises is answered as by `respond`.
    """
    from twisted.web.server import NOT_DONE_YET

    def rendered(_: None) -> None:
        body = render(request)
        if body is not NOT_DONE_YET:
            complete(request, body)

    return _finish_with(request, Deferred.fromCoroutine(work), rendered)


def _finish_with(request: Any, task: Deferred[T], answered: Callable[[T], None]) -> int:
    # Late, so that commands that ask for the access to an endpoint need no server.
    from twisted.web.server import NOT_DONE_YET

    over: list[bool] = []

    def left(_reason: Failure) -> None:
        over.append(True)
        task.cancel()

    request.notifyFinish().addErrback(left)

    def answer(result: T) -> None:
        if not over:
            answered(result)

    def failed(reason: Failure) -> None:
        if not over:
            request.processingFailed(reason)
        else:
            reason.trap(CancelledError, Refusal)

    answering = task.addCallback(answer).addErrback(failed)
    answering.addErrback(lambda reason: Logger(namespace=__name__).failure("an abandoned answer failed", failure=reason))
    return NOT_DONE_YET


def complete(request: Any, body: bytes) -> None:
    """Send ``body``, and end."""
    request.setHeader(b"Content-Length", b"%d" % len(body))
    request.write(body)
    request.finish()

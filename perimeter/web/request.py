"""The request that resources behind a `perimeter.web.bridge.SiteTarget` get, and its methods.

Resources use `exchange_of` to reach the exchange (principal, client address), `refuse` to end with one of the gateway's own
errors, and `respond` to answer from a coroutine. A `perimeter.errors.Refusal` that is raised while rendering does the same as
`refuse`; any other exception is a logged 500. `twisted.web`'s own error pages and tracebacks never reach a client.

A client's input is parsed when a resource asks for it, and not before (attack 45).
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import resource, server
from twisted.web.error import UnsupportedMethod

from perimeter.errors import BadRequest, InternalError, MethodNotAllowed, NoRoute, Refusal
from perimeter.web.form import form, parse_form

if TYPE_CHECKING:
    from perimeter.http.exchange import Exchange

#: Segments of a path: `twisted.web` decodes each before it looks for the first.
_MOST_SEGMENTS = 100


class RequestOwner(Protocol):
    """What a `BridgedRequest` needs of its channel (`perimeter.web.bridge.Stream`)."""

    exchange: Exchange

    def refuse(self, refusal: Refusal) -> None:
        """End with the gateway's own error."""


def exchange_of(request: Any) -> Exchange:
    """The exchange that ``request`` stands for. Raises LookupError if it did not come through a `SiteTarget`."""
    if not isinstance(request, BridgedRequest):
        raise LookupError("this request did not come through the gateway")
    return request.exchange


def refuse(request: Any, refusal: Refusal) -> None:
    """End ``request`` with the gateway's error answer, or cut it if its response has begun."""
    if not isinstance(request, BridgedRequest):
        raise LookupError("this request did not come through the gateway")
    request.stream.refuse(refusal)


def respond(request: Any, work: Coroutine[Deferred[Any], Any, bytes]) -> int:
    """Answer ``request`` with the body that ``work`` returns; to be returned from a resource's ``render`` method.

    A raised `Refusal` is answered as such, anything else is a logged 500. ``work`` is cancelled when the client leaves.
    """
    task: Deferred[bytes] = Deferred.fromCoroutine(work)
    over: list[bool] = []

    def left(_reason: Failure) -> None:
        over.append(True)
        task.cancel()

    request.notifyFinish().addErrback(left)

    def answer(body: bytes) -> None:
        if not over:
            _complete(request, body)

    def failed(reason: Failure) -> None:
        if not over:
            request.processingFailed(reason)
        else:
            reason.trap(CancelledError, Refusal)

    task.addCallback(answer)
    task.addErrback(failed)
    task.addErrback(lambda reason: Logger(namespace=__name__).failure("an abandoned answer failed", failure=reason))
    return server.NOT_DONE_YET


def _complete(request: Any, body: bytes) -> None:
    request.setHeader(b"Content-Length", b"%d" % len(body))
    request.write(body)
    request.finish()


class UnparsedRequest(server.Request):
    """A stock request that parses nothing before a resource asks for it.

    `twisted.web` parses the query, the cookies and the form of every request, whatever its resource needs: nested multipart
    takes seconds. ``args`` and ``getCookie`` work as `twisted.web.http.Request` documents them, with three differences: the work
    is done when they are used, it is bounded (`perimeter.web.form.parse_form`), and a multipart form is never parsed.
    """

    def parseCookies(self) -> None:
        """Do nothing: `getCookie` looks at the headers."""

    def getCookie(self, key: bytes) -> bytes | None:
        """The value of the cookie ``key``, or None. Of several, the last counts."""
        found = None
        for line in self.requestHeaders.getRawHeaders(b"cookie") or ():
            for pair in line.split(b";"):
                name, equals, value = pair.lstrip().partition(b"=")
                if equals and name == key:
                    found = value
        return found

    @property
    def args(self) -> dict[bytes, list[bytes]]:  # type: ignore[override]
        """The arguments in the query, and those of a urlencoded form in a POST. Raises `BadRequest` if they are malformed."""
        found = parse_form(self.uri.partition(b"?")[2])
        if self.method == b"POST":
            found.update(form(self))
        return found

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """The request is complete: look for its resource. ``content`` holds the body."""
        self.content.seek(0)  # type: ignore[union-attr]
        self.method, self.uri, self.clientproto = command, path, version
        self.path = path.partition(b"?")[0]
        self.process()  # type: ignore[no-untyped-call]


class BridgedRequest(UnparsedRequest):
    """A stock request whose failures are answered by the gateway, not by `twisted.web`'s own pages."""

    # The stock default would label a resource's forgotten type as HTML, which a browser runs.
    defaultContentType = b"application/octet-stream"

    def __init__(self, channel: RequestOwner, *args: Any, **kw: Any) -> None:
        super().__init__(channel, *args, **kw)  # type: ignore[no-untyped-call]
        self.stream = channel
        self.exchange = channel.exchange

    def process(self) -> None:
        """Look for the resource, unless the path has more segments than any tree."""
        if self.path.count(b"/") > _MOST_SEGMENTS:
            self.processingFailed(Failure(BadRequest("the path has too many segments")))
        else:
            super().process()  # type: ignore[no-untyped-call]

    def render(self, resrc: Any) -> None:
        """Ask ``resrc`` to render; every way to fail ends in `processingFailed`."""
        if isinstance(resrc, resource.NoResource):
            raise NoRoute("no built-in resource has this path")
        if isinstance(resrc, resource.ErrorPage | resource.ForbiddenResource):
            raise InternalError(f"a twisted.web error page: {resrc.brief}")
        try:
            body = resrc.render(self)
        except UnsupportedMethod as error:
            allow = _methods(error.allowedMethods)
            raise MethodNotAllowed(f"the resource takes {', '.join(allow)}", allow=allow) from None
        if body is server.NOT_DONE_YET:
            return
        if not isinstance(body, bytes):
            raise InternalError(f"{type(resrc).__name__} did not return bytes")
        _complete(self, body)

    def processingFailed(self, reason: Failure) -> Failure:
        """Answer with a `Refusal` that was raised, or else log ``reason`` and answer 500."""
        if isinstance(reason.value, Refusal):
            self.stream.refuse(reason.value)
        else:
            self._log.failure("a resource failed", failure=reason)
            self.stream.refuse(InternalError(f"a resource raised {reason.type.__name__ if reason.type else '?'}"))
        return reason


def _methods(allowed: Iterable[bytes]) -> tuple[str, ...]:
    return tuple(sorted(method.decode("ascii") for method in allowed))

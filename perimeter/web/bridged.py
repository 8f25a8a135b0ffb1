"""The request that resources behind a `perimeter.web.bridge.SiteTarget` get: a stock one with other failures and parsers.

A client's input is parsed when a resource asks for it, and not before (attack 45).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.python.failure import Failure
from twisted.web import resource, server
from twisted.web.error import UnsupportedMethod

from perimeter.errors import BadRequest, InternalError, MethodNotAllowed, NoRoute, Refusal
from perimeter.web.form import form, parse_form
from perimeter.web.request import Bridged, RequestOwner, complete

#: Segments of a path: `twisted.web` decodes each before it looks for the first.
_MOST_SEGMENTS = 100


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


class BridgedRequest(Bridged, UnparsedRequest):
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
        complete(self, body)

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

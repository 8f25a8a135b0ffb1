"""The built-in sample service (``servers = sample:``): it answers with the request that it received.

It shows a newcomer what an upstream receives: the identity headers, the rewritten path, no credential. It stands where a real
service would, behind the gateway's proxy, and does not know the gateway. Every path answers, as JSON or, for a browser, as a
page; ``/events`` is a stream of server-sent events, one a second.
"""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any
from urllib.parse import unquote

from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.web import server
from twisted.web.resource import Resource
from zope.interface import implementer

from perimeter.web.bridged import UnparsedRequest
from perimeter.web.html.inline import HtmlPage, inline_page

_IDENTITY = "x-auth-"


def sample_site(reactor: IReactorTime, prefix: str = "") -> server.Site:
    """The sample service, for `perimeter.proxy` to connect to in memory. ``reactor`` is its clock.

    Its page links to the gateway's own pages, which are below ``prefix``; "" without links.
    """
    return _SampleSite(_Sample(reactor, prefix), requestFactory=_SampleRequest, reactor=reactor)  # type: ignore[no-untyped-call]


class _SampleSite(server.Site):
    def log(self, request: Any) -> None:
        """Log nothing: the gateway's audit log has the request, and a query string may hold a secret (attack 42)."""


class _SampleRequest(UnparsedRequest):
    """A request whose body is counted, not kept: an upload of any size costs nothing."""

    received = 0

    def gotLength(self, length: int | None) -> None:
        """Keep nothing of a body of any length."""
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """Count the body."""
        self.received += len(data)


def _text(data: bytes) -> str:
    # HTTP allows any byte in a field value; a value that is not UTF-8 is shown too
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


class _Sample(Resource):
    """Answers every method on every path."""

    isLeaf = True

    def __init__(self, reactor: IReactorTime, prefix: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._reactor = reactor
        self._prefix = prefix

    def render(self, request: Any) -> Any:
        """The request as it was received."""
        if request.path.rstrip(b"/").endswith(b"/events") and request.method == b"GET":
            return _Events(request, self._reactor).begin()
        path, _, query = request.uri.partition(b"?")
        headers = [(_text(name), _text(value)) for name, values in request.requestHeaders.getAllRawHeaders() for value in values]
        request.setHeader(b"Vary", b"Accept")
        request.setHeader(b"Cache-Control", b"no-store")
        facts = {"method": _text(request.method), "path": _text(path), "query": _text(query)}
        if b"text/html" in (request.getHeader(b"accept") or b""):
            page = _page(facts, headers, request.received, self._prefix)
            for name, value in page.fields:
                request.setHeader(name, value)
            return page.body
        request.setHeader(b"Content-Type", b"application/json")
        received = {"service": "sample", **facts, "headers": _merged(headers), "body": {"size": request.received}}
        return json.dumps(received, indent=2, ensure_ascii=False).encode("utf-8") + b"\n"


def _merged(headers: list[tuple[str, str]]) -> dict[str, str | list[str]]:
    """Names to values; a list of values if a field occurs more than once."""
    merged: dict[str, str | list[str]] = {}
    for name, value in headers:
        there = merged.get(name)
        if there is None:
            merged[name] = value
        else:
            merged[name] = [*(there if isinstance(there, list) else [there]), value]
    return merged


def _page(facts: dict[str, str], headers: list[tuple[str, str]], size: int, prefix: str) -> HtmlPage:
    """A greeting, and the request. The names of the headers with the user's identity are the default ones."""
    known = {name.lower(): unquote(value) for name, value in headers if name.lower().startswith(_IDENTITY)}
    return inline_page(
        "sample.html",
        user=known.get("x-auth-username", ""),
        realm=known.get("x-auth-realm", ""),
        roles=", ".join(role for role in known.get("x-auth-roles", "").split(",") if role),
        links={"account": f"{prefix}/account", "logout": f"{prefix}/logout"} if prefix else None,
        method=facts["method"],
        target=facts["path"] + ("?" + facts["query"] if facts["query"] else ""),
        size=size,
        headers=headers,
    )


@implementer(IPushProducer)
class _Events:
    """A stream of server-sent events; it pauses while the reader is behind."""

    def __init__(self, request: Any, reactor: IReactorTime) -> None:
        self._request = request
        self._count = 0
        self._loop = LoopingCall(self._tick)
        self._loop.clock = reactor

    def begin(self) -> int:
        """Send the head and the first event."""
        request = self._request
        request.setHeader(b"Content-Type", b"text/event-stream")
        request.setHeader(b"Cache-Control", b"no-store")
        request.notifyFinish().addBoth(lambda _: self.pauseProducing())
        request.registerProducer(self, True)
        self.resumeProducing()
        return server.NOT_DONE_YET

    def _tick(self) -> None:
        self._count += 1
        self._request.write(b'id: %d\ndata: {"tick":%d}\n\n' % (self._count, self._count))

    def resumeProducing(self) -> None:
        """Send an event each second."""
        if not self._loop.running:
            self._loop.start(1.0)

    def pauseProducing(self) -> None:
        """Stop sending."""
        if self._loop.running:
            self._loop.stop()

    def stopProducing(self) -> None:
        """The reader has left."""
        self.pauseProducing()

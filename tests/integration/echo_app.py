"""A service on stock `twisted.web` that answers with the request as JSON: ``python echo_app.py PORT``.

``/events`` is a stream of three server-sent events, of which the second and third wait for a ``POST /next`` each.
"""

from __future__ import annotations

import hashlib
import json
import sys

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site


class EchoResource(Resource):
    """Answers every path."""

    isLeaf = True

    def __init__(self) -> None:
        Resource.__init__(self)
        self._streams: list[Request] = []
        self._sent = 0

    def render(self, request: Request) -> bytes | int:
        """Answer with the request."""
        if request.path == b"/events":
            request.setHeader(b"content-type", b"text/event-stream")
            request.write(b"data: 0\n\n")
            self._streams.append(request)
            self._sent = 0
            return NOT_DONE_YET
        if request.path == b"/next":
            return self._next()
        body = request.content.read() if request.content else b""
        request.setHeader(b"content-type", b"application/json")
        fields = request.requestHeaders.getAllRawHeaders()
        return json.dumps(
            {
                "method": request.method.decode("iso-8859-1"),
                "uri": request.uri.decode("iso-8859-1"),
                "headers": [
                    [name.decode("iso-8859-1").lower(), value.decode("iso-8859-1")] for name, values in fields for value in values
                ],
                "length": len(body),
                "sha256": hashlib.sha256(body).hexdigest(),
            }
        ).encode()

    def _next(self) -> bytes:
        self._sent += 1
        for stream in self._streams:
            stream.write(b"data: %d\n\n" % self._sent)
            if self._sent == 2:
                stream.finish()
        if self._sent == 2:
            self._streams.clear()
        return b"sent\n"


if __name__ == "__main__":
    endpoint = TCP4ServerEndpoint(reactor, int(sys.argv[1]), interface="127.0.0.1")
    endpoint.listen(Site(EchoResource()))
    reactor.run()

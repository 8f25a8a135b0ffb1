"""A simple proxy with stock twisted.web, run as a program: ``stock_twisted.py PORT UPSTREAM CERTIFICATE KEY LOG``.

`Site` in front, `Agent` with a pool of persistent connections behind, bodies streamed. It does not authenticate.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet import endpoints, reactor, ssl
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.client import Agent, FileBodyProducer, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

_HOP_BY_HOP = {b"connection", b"keep-alive", b"transfer-encoding", b"te", b"upgrade", b"proxy-connection"}


class _Body(Protocol):
    """Passes an answer's body on to the client, as fast as the client reads it."""

    def __init__(self, request: Request) -> None:
        self._request = request

    def connectionMade(self) -> None:
        self._request.registerProducer(self.transport, True)

    def dataReceived(self, data: bytes) -> None:
        self._request.write(data)

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._request.unregisterProducer()
        self._request.finish()


class Forward(Resource):
    """Forwards every request to the upstream."""

    isLeaf = True

    def __init__(self, agent: Agent, upstream: bytes) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._agent = agent
        self._upstream = upstream

    def render(self, request: Request) -> int:
        """Send the request to the upstream, and answer later."""
        headers = Headers({name: values for name, values in request.requestHeaders.getAllRawHeaders() if _passes(name)})
        headers.setRawHeaders(b"x-forwarded-for", [request.getClientAddress().host.encode()])
        headers.setRawHeaders(b"x-forwarded-proto", [b"https"])
        body = FileBodyProducer(request.content) if request.content and request.getHeader(b"content-length") else None
        asked = self._agent.request(request.method, self._upstream + request.uri, headers, body)
        asked.addCallbacks(self._answer, self._failed, callbackArgs=(request,), errbackArgs=(request,))
        return NOT_DONE_YET

    @staticmethod
    def _answer(response: IResponse, request: Request) -> None:
        request.setResponseCode(response.code)
        for name, values in response.headers.getAllRawHeaders():
            if _passes(name):
                request.responseHeaders.setRawHeaders(name, values)
        if isinstance(response.length, int):
            request.setHeader(b"content-length", b"%d" % response.length)
        response.deliverBody(_Body(request))

    @staticmethod
    def _failed(failure: Failure, request: Request) -> None:
        request.setResponseCode(502)
        request.finish()


def _passes(name: bytes) -> bool:
    return name.lower() not in _HOP_BY_HOP and name.lower() != b"content-length"


def main(port: str, upstream: str, certificate: str, key: str, log: str) -> None:
    """Serve until stopped."""
    loop: Any = reactor
    pool = HTTPConnectionPool(loop, persistent=True)
    pool.maxPersistentPerHost = 512
    pool.cachedConnectionTimeout = 3600
    agent = Agent(loop, pool=pool)
    site = Site(Forward(agent, b"http://127.0.0.1:" + upstream.encode()), logPath=log, timeout=3600)
    with open(certificate) as chain, open(key) as private:
        pem = ssl.PrivateCertificate.loadPEM(chain.read() + private.read())
    endpoints.SSL4ServerEndpoint(loop, int(port), pem.options(), backlog=4096, interface="127.0.0.1").listen(site)
    loop.run()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What the servers of `like_github` and `like_entra` have in common, and their process.

Each is a Twisted server in a process of its own, ``python -m tests.integration.like_github``, which prints its port. A test
changes what it does by `LikeProvider.set`, and reads what was asked by `LikeProvider.asked`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import attrs
import requests
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

ROOT = Path(__file__).parents[2]
START_TIMEOUT = 60.0
TIMEOUT = 20.0

CLIENT, SECRET = "gateway", "s3cr:t+ &"
"""The client that all of them know."""


class LikeProvider:
    """The process of ``kind``, the name of its module. `close` ends it."""

    def __init__(self, kind: str) -> None:
        command = [sys.executable, "-m", f"tests.integration.{kind}"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            assert self._process.stdout is not None
            if not select.select([self._process.stdout], [], [], START_TIMEOUT)[0]:
                raise AssertionError(f"{kind} does not start")
            self.port = int(self._process.stdout.readline())
        except BaseException:
            self.close()
            raise
        self.url = f"http://127.0.0.1:{self.port}"

    def set(self, **state: Any) -> None:
        """Change what it does: the members of its ``state``."""
        requests.post(f"{self.url}/control", json=state, timeout=TIMEOUT).raise_for_status()

    def asked(self) -> list[str]:
        """Method and path of each request since the last call."""
        found: list[str] = requests.get(f"{self.url}/control", timeout=TIMEOUT).json()
        return found

    def close(self) -> None:
        """End it, and wait."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(TIMEOUT)
        self._process.stdout.close()


# -- inside of the process


@attrs.define
class Code:
    """What an authorization code stands for."""

    redirect_uri: str
    challenge: str
    scope: frozenset[str]
    nonce: str = ""


class Refused(Exception):
    """``error`` of RFC 6749, section 5.2, or as the provider words it."""


def query(request: Request, name: str) -> str:
    """A parameter of the query or the form; "" if it is absent."""
    (value,) = request.args.get(name.encode(), [b""])
    return str(value.decode())


class Server(Resource):
    """Finds the method for ``METHOD path`` in ``routes``; ``state`` is what a test changes."""

    isLeaf = True

    def __init__(self, state: dict[str, Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.state = state
        self.base = ""
        self.codes: dict[str, Code] = {}
        self.tokens: dict[str, Code] = {}
        self._asked: list[str] = []
        self.routes: dict[str, Callable[[Request], bytes]] = {}

    def render(self, request: Request) -> bytes:
        """Answer."""
        method, path = request.method.decode(), request.path.decode()
        if path == "/control":
            return self._control(request)
        self._asked.append(f"{method} {path}")
        if path in self.state.get("broken", ()):
            return self.json(request, {"message": "Server Error"}, 500)
        route = self.routes.get(f"{method} {path}")
        return self.json(request, {"message": "Not Found"}, 404) if route is None else route(request)

    def _control(self, request: Request) -> bytes:
        if request.method == b"GET":
            asked, self._asked = self._asked, []
            return self.json(request, asked)
        self.state.update(json.loads(request.content.read()))
        return self.json(request, {})

    def json(self, request: Request, value: Any, status: int = 200) -> bytes:
        """A JSON answer."""
        request.setResponseCode(status)
        request.setHeader("Content-Type", "application/json; charset=utf-8")
        return json.dumps(value).encode()

    def redirect(self, request: Request, **parameters: str) -> bytes:
        """Send the browser back, with the state of its request."""
        parameters["state"] = query(request, "state")
        request.setResponseCode(302)
        request.setHeader("Location", f"{query(request, 'redirect_uri')}?{urlencode(parameters)}")
        return b""

    def issue_code(self, request: Request) -> str:
        """A code for this authorization request, once."""
        code = secrets.token_urlsafe(24)
        scope = frozenset(query(request, "scope").split())
        self.codes[code] = Code(query(request, "redirect_uri"), query(request, "code_challenge"), scope, query(request, "nonce"))
        return code

    def redeem(self, request: Request) -> Code | None:
        """What the code of a token request stands for; None if it is wrong, used, or for another verifier or redirect_uri."""
        code = self.codes.pop(query(request, "code"), None)
        digest = hashlib.sha256(query(request, "code_verifier").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if code is None or challenge != code.challenge or query(request, "redirect_uri") != code.redirect_uri:
            return None
        return code

    def bearer(self, request: Request) -> Code | None:
        """What the token of a request stands for; None for a wrong one, and after a test has revoked all of them."""
        scheme, _, token = (request.getHeader("authorization") or "").partition(" ")
        if scheme != "Bearer" or self.state.get("revoked"):
            return None
        return self.tokens.get(token)

    def issue_token(self, code: Code) -> str:
        """An opaque access token."""
        token = "gho_" + secrets.token_hex(18)
        self.tokens[token] = code
        return token


def serve(server: Server) -> None:
    """Run ``server`` until standard input ends."""
    from twisted.internet import stdio
    from twisted.internet.protocol import Protocol

    running: Any = reactor

    class _Input(Protocol):
        def connectionLost(self, reason: object = None) -> None:
            running.stop()

    def listening(port: Any) -> None:
        number = port.getHost().port
        server.base = f"http://127.0.0.1:{number}"
        print(number, flush=True)

    TCP4ServerEndpoint(running, 0, interface="127.0.0.1").listen(Site(server)).addCallback(listening)
    stdio.StandardIO(_Input())
    running.run()

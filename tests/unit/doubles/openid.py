"""An OpenID provider that says whatever a test wants it to say, on a real socket."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl

import attrs
from jwt import PyJWS
from twisted.internet.defer import Deferred

from perimeter.oidc.flow import flow_secrets
from perimeter.plugin.redirect import Flow
from perimeter.tokens.jwk import Jwk, generate
from tests.integration.upstreams import Connection, Script
from tests.unit.doubles.remote import RemoteCase

CALLBACK = "https://gw.example/.perimeter/callback/corp"
KEY = generate("ES256")
_SECRETS = flow_secrets(b"0" * 43)
FLOW = Flow("corp", CALLBACK, _SECRETS.state, _SECRETS.nonce, _SECRETS.verifier)


def signed(claims: dict[str, Any], key: Jwk = KEY, **headers: Any) -> str:
    """A JWT of these claims; those whose value is ``...`` are left out."""
    body = {name: value for name, value in claims.items() if value is not ...}
    made: str = PyJWS().encode(json.dumps(body).encode(), key.private, key.algorithm, {"kid": key.kid, **headers})  # type: ignore[arg-type]
    return made


class OpenIdCase(RemoteCase):
    """``answers`` has what each path of the provider answers: a JSON value, a status and a JSON value, or a script."""

    def setUp(self) -> None:
        super().setUp()
        self.answers: dict[str, Any] = {}
        self.upstream = self.server(self._serve)
        self.issuer = self.upstream.url
        self.metadata: dict[str, Any] = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/auth",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
        }
        self.answers["/.well-known/openid-configuration"] = self.metadata
        self.answers["/keys"] = {"keys": [KEY.members()]}
        self.answers["/token"] = self.tokens()

    def _serve(self, connection: Connection) -> None:
        while True:
            try:
                path = connection.request().line.split(" ")[1].partition("?")[0]
            except EOFError:
                return
            found = self.answers.get(path, (404, {}))
            if callable(found):
                script: Script = found
                script(connection)
                return
            status, body = found if isinstance(found, tuple) else (200, found)
            data = json.dumps(body).encode()
            connection.send(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(data), data))

    def asked(self, path: str) -> list[dict[str, str]]:
        """The forms of the requests for ``path``."""
        found = [one for one in self.upstream.requests if one.line.split(" ")[1].partition("?")[0] == path]
        return [dict(parse_qsl(one.body.decode(), keep_blank_values=True)) for one in found]

    def claims(self, **changed: Any) -> dict[str, Any]:
        """The claims of a good ID token, changed."""
        now = int(self.time.seconds())
        return {
            "iss": self.issuer,
            "sub": "8f2c",
            "aud": "gateway",
            "exp": now + 300,
            "iat": now,
            "nonce": FLOW.nonce,
            "preferred_username": "alice",
            "roles": ["viewer"],
            "groups": [],
            **changed,
        }

    def tokens(self, **changed: Any) -> dict[str, Any]:
        """A good answer of the token endpoint, whose ID token has changed claims."""
        return {
            "access_token": "at-1",
            "token_type": "Bearer",
            "id_token": signed(self.claims(**changed)),
            "refresh_token": "rt-1",
        }

    def provider(self, text: str = "") -> Any:
        """The provider ``corp`` with more options."""
        return self.build_provider("oidc", f"issuer = {self.issuer}\nclient_id = gateway\nclient_secret = s3cret\n{text}")

    def complete(self, provider: Any, flow: Flow = FLOW) -> Deferred[Any]:
        """The end of a sign-in."""
        return Deferred.fromCoroutine(provider.complete({"code": "c1", "state": flow.state}, flow))

    async def refused(self, provider: Any, *kinds: type[Exception], flow: Flow = FLOW) -> str:
        """The words of the refusal of a sign-in, which is of one of ``kinds``."""
        return str(await self.refusal(lambda: self.complete(provider, flow), *kinds))


def changed(flow: Flow = FLOW, **values: Any) -> Flow:
    """``flow`` with other values."""
    return attrs.evolve(flow, **values)

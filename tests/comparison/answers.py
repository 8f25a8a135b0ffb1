"""An answer as facets that can be compared one by one."""

from __future__ import annotations

import http.client
import itertools
import json
import re
import warnings
from collections.abc import Mapping
from typing import Any

import jwt

from tests.comparison.judge import Facets
from tests.comparison.requests import Request
from tests.comparison.scenes import secret_of

NONE = "no answer: the connection is closed"

_VARIES = {"token": "(a token)", "access_token": "(a token)", "auth_uri": "(the URLs that issue tokens)"}
"""Members of bodies that differ each time."""

_CHALLENGE = re.compile(r'([A-Za-z]+) realm="([^"]*)"')
_MARK = re.compile(r"<([^>]+)>")
_FIELDS = ("X-Auth-Username", "X-Auth-Realm", "X-Auth-Roles", "Allow", "Cache-Control", "Location")
_addresses = itertools.count()


def asked(request: Request, port: int, tokens: dict[str, str]) -> Facets:
    """The facets of the (last) answer to ``request``, whose ``<…>`` are ``tokens``.

    A token that an answer brings is ``given`` from then on, and what a list of tokens calls its first is ``listed``.
    """
    number = next(_addresses)
    host = f"127.1.{number // 250}.{number % 250 + 1}"
    found: Facets = {}
    for _ in range(request.times):
        found = _once(request, port, tokens, host)
    return found


def _once(request: Request, port: int, tokens: dict[str, str], host: str) -> Facets:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20, source_address=(host, 0))
    try:
        connection.putrequest(request.method, _filled(request.path, tokens), skip_accept_encoding=True)
        for name, value in request.fields:
            connection.putheader(name, _filled(value, tokens) if isinstance(value, str) else value)
        connection.endheaders()
        response = connection.getresponse()
        found = _head(response.status, response.headers) | _body(response.headers, response.read(), tokens)
    except (http.client.RemoteDisconnected, ConnectionResetError):
        return {"status": NONE}
    finally:
        connection.close()
    authorization = response.headers.get("Authorization")
    return found if authorization is None else found | _token(authorization.removeprefix("Bearer "), request, port)


def _filled(text: str, tokens: Mapping[str, str]) -> str:
    return _MARK.sub(lambda mark: tokens[mark[1]], text)


def _head(status: int, fields: http.client.HTTPMessage) -> dict[str, Any]:
    found: dict[str, Any] = {"status": status}
    challenges = ", ".join(fields.get_all("WWW-Authenticate", []))
    if challenges:
        found["WWW-Authenticate"] = sorted(f"{scheme} {realm}" for scheme, realm in set(_CHALLENGE.findall(challenges)))
    for name in _FIELDS:
        values = fields.get_all(name)
        if values:
            found[name] = ", ".join(values)
    if "Allow" in found:
        found["Allow"] = ", ".join(sorted(re.split(r"\s*,\s*", found["Allow"])))
    if "Content-Type" in fields:
        found["Content-Type"] = fields.get_content_type()
    return found


def _body(fields: http.client.HTTPMessage, body: bytes, tokens: dict[str, str]) -> dict[str, Any]:
    media = fields.get("Content-Type", "text/plain")
    if not body:
        return {}
    if not media.startswith("application/json"):
        return {"body": body.decode() if media.startswith("text/plain") else f"({media.partition(';')[0]})"}
    value = json.loads(body)
    if not isinstance(value, dict):
        return {"body": value}
    if "token" in value:
        tokens["given"] = value["token"]
    if value.get("tokens"):
        first = value["tokens"][0]
        tokens["listed"] = first.get("token_string") or first["id"]
        value["tokens"] = [sorted(one) for one in value["tokens"]]
    return {f"body.{name}": _VARIES.get(name, part) for name, part in value.items()}


def _token(token: str, request: Request, port: int) -> dict[str, Any]:
    """The claims of the JWT that the answer brings, once its signature is verified."""
    header = jwt.get_unverified_header(token)
    key = secret_of(request.scene) if header["alg"] == "HS256" else _published(header["kid"], port)
    # the judge decides whether it is valid at this moment
    options: Any = {"verify_aud": False, "verify_iat": False, "verify_exp": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)
        claims = jwt.decode(token, key, algorithms=[header["alg"]], options=options)
    found = {f"claim {name}": value for name, value in claims.items() if name not in ("iat", "exp", "jti")}
    found |= {f"JWT {name}": value for name, value in header.items() if name != "kid"}
    found["JWT has"] = sorted({"iat", "exp", "jti"} & claims.keys()) + ["kid"] * ("kid" in header)
    # in minutes: either side may round, and what came with an end of its own has less left each second
    found["JWT lifetime"] = f"{round((claims['exp'] - claims['iat']) / 60)} min"
    return found


def _published(kid: str, port: int) -> Any:
    """A key that Perimeter publishes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/.well-known/jwks.json")
        return jwt.PyJWKSet.from_dict(json.loads(connection.getresponse().read()))[kid]
    finally:
        connection.close()

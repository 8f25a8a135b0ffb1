"""What a service gets in ``Authorization``: nothing, what the client sent, or credentials of the gateway's own."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Final

import attrs

from perimeter.config.language.datatypes import BadValue, Datatype


@attrs.frozen
class UpstreamAuthorization:
    """``passes``: the client's. ``value``: one for all requests ("" for none). At most one of the two is set."""

    passes: bool = False
    value: str = attrs.field(default="", repr=False)

    @property
    def word(self) -> str:
        """How it is shown to an operator, without the secret."""
        return "pass" if self.passes else "fixed" if self.value else "drop"


DROP: Final = UpstreamAuthorization()

_OWN = "basic USER SECRET, bearer SECRET or fixed VALUE"
_BEFORE_SECRET = re.compile(r"(?:basic\s+[^\s:]+|basic(?=\s+(?:file|env|credential):)|bearer|fixed)\s+")
_PAIR = re.compile(r"basic\s+([^\s:]+:.+)", re.DOTALL)
_TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]+=*")


def _authorization(text: str, base: Path) -> UpstreamAuthorization:
    if text == "drop":
        return DROP
    if text == "pass":
        return UpstreamAuthorization(passes=True)
    return _credentials(text, f"drop, pass, {_OWN}")


def _own_authorization(text: str, base: Path) -> UpstreamAuthorization:
    return _credentials(text, _OWN)


def _referred(text: str, base: Path) -> UpstreamAuthorization:
    """A value that came by reference may hold user and password together."""
    pair = _PAIR.fullmatch(text)
    if pair is None:
        return _authorization(text, base)
    if not pair[1].isprintable():
        raise BadValue("expected a secret without control characters", complete=True)
    return _basic(pair[1])


def _basic(pair: str) -> UpstreamAuthorization:
    return UpstreamAuthorization(value=f"Basic {base64.b64encode(pair.encode()).decode('ascii')}")  # RFC 7617


def _credentials(text: str, expected: str) -> UpstreamAuthorization:
    """No message shows any part of the value."""
    match = _BEFORE_SECRET.match(text)
    secret = "" if match is None else text[match.end() :]
    if match is None or not secret:
        raise BadValue(f"expected {expected}", complete=True)
    form, *user = match[0].split()
    if secret.startswith(("/", "./", "../")):
        raise BadValue(f"expected a secret after {form}, and not a path: write file:PATH", complete=True)
    if not secret.isprintable():
        raise BadValue("expected a secret without control characters", complete=True)
    if form == "basic":
        return _basic(":".join((*user, secret)))
    if form == "bearer":
        if not _TOKEN68.fullmatch(secret):
            raise BadValue("expected a token after bearer (RFC 6750, section 2.1)", complete=True)
        return UpstreamAuthorization(value=f"Bearer {secret}")
    if not secret.isascii():
        raise BadValue("expected ASCII characters after fixed", complete=True)
    return UpstreamAuthorization(value=secret)


OWN_AUTHORIZATION: Datatype[UpstreamAuthorization] = Datatype(
    "basic USER SECRET \\| basic SECRET \\| bearer SECRET \\| fixed SECRET",
    _own_authorization,
    DROP,
    secret=True,
    before_reference=_BEFORE_SECRET,
    referred=_referred,
)

UPSTREAM_AUTHORIZATION: Datatype[UpstreamAuthorization] = Datatype(
    "drop \\| pass \\| basic USER SECRET \\| bearer SECRET \\| fixed SECRET",
    _authorization,
    DROP,
    secret=True,
    before_reference=_BEFORE_SECRET,
    referred=_referred,
)

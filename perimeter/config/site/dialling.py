"""Values of options of ``[upstream NAME]`` about how its servers are connected to."""

from __future__ import annotations

import base64
import binascii
import re
from enum import StrEnum
from pathlib import Path

import attrs

from perimeter.config.language.datatypes import BadValue, Datatype


class ProxyProtocol(StrEnum):
    """The version of the PROXY protocol with which a connection begins: text, or binary."""

    V1 = "v1"
    V2 = "v2"


@attrs.frozen
class Pin:
    """A public key: ``digest`` is the SHA-256 of its SubjectPublicKeyInfo (RFC 7469, section 2.4)."""

    digest: bytes

    def __str__(self) -> str:
        return f"sha256//{base64.b64encode(self.digest).decode('ascii')}"


_FORM = re.compile(r"sha256//([A-Za-z0-9+/]{43}=)")
_OTHER_FORM = re.compile(r"(?:sha256//|sha256/|pin-sha256=|sha256:)?\"?([A-Za-z0-9+/_-]{43})=?\"?")


def _pin(text: str, base: Path) -> Pin:
    found = _FORM.fullmatch(text)
    if found is not None:
        try:
            return Pin(base64.b64decode(found[1], validate=True))
        except binascii.Error:
            found = None
    other = _OTHER_FORM.fullmatch(text)
    hint = "" if other is None else f"sha256//{other[1].translate(str.maketrans('-_', '+/'))}="
    raise BadValue("expected sha256// and the base64 of a SHA-256 digest (44 characters)", hint if hint != text else "")


PIN: Datatype[Pin] = Datatype("sha256//BASE64", _pin, Pin(bytes(32)))

"""The words of ``client_auth``: how the gateway authenticates as a client (OpenID Connect Core 1.0, section 9)."""

from __future__ import annotations

from enum import StrEnum


class ClientMethod(StrEnum):
    """The words of ``client_auth``."""

    BASIC = "basic"
    POST = "post"
    PRIVATE_KEY = "private_key_jwt"
    NONE = "none"

"""Values with which the templates of the account page are tried: see `perimeter.web.html.samples`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_TIME: Final = ("2026-11-27T10:52:00Z", "2026-11-27 10:52")
_SESSION: Final = {
    "id": "0123456789abcdef",
    "current": True,
    "browser": "Firefox 140 on Linux",
    "address": "192.0.2.7",
    "since": _TIME,
    "seen": _TIME,
}
_TOKEN: Final = {
    "id": "0123456789abcdef",
    "name": "nightly build",
    "created": _TIME,
    "expires": _TIME,
    "limits": (("routes", "ecflow"), ("methods", "GET")),
}
_FACTOR: Final = {"id": "i", "name": "my phone", "kind": "Passkey", "created": _TIME, "used": _TIME}
_PASSKEY: Final = {"options": "{}", "challenge": "c"}
_NEW_FACTOR: Final = {"token": "t", "name": "my phone", "longest": 100, "error": "The code is wrong."}

ACCOUNT_SAMPLES: Final[Mapping[str, Mapping[str, Any]]] = {
    "account.html": {
        "done": "The session has ended.",
        "facts": (("Name", "alice"),),
        "sessions": (_SESSION, {**_SESSION, "current": False}),
        "tokens": (_TOKEN, {**_TOKEN, "expires": ("", ""), "limits": ()}),
        "passing": 2,
        "full": True,
        "most": 200,
        "with_tokens": True,
        "factors": {"apps": True, "passkeys": True, "demanded": True, "left": 7, "all": (_FACTOR, {**_FACTOR, "used": ("", "")})},
        "end_session": "t",
        "end_token": "t",
    },
    "account_passkey.html": {**_NEW_FACTOR, "asked": _PASSKEY, "site_of_passkeys": "https://gw.example"},
    "account_app.html": {**_NEW_FACTOR, "picture": "p", "secret": "s", "uri": "otpauth://totp/a", "once": "o"},
    "account_factor.html": {
        "factor": {"id": "i", "name": "my phone"},
        "kind": "Passkey",
        "kept": True,
        "token": "t",
        "longest": 100,
    },
    "account_recovery.html": {"left": 7, "challenge": "c", "token": "t"},
    "account_recovery_shown.html": {"codes": ("a", "b"), "done": "The second factor was added."},
    "account_others.html": {"others": 2, "token": "t"},
    "account_token.html": {
        "token": "t",
        "once": "o",
        "name": "nightly build",
        "lifetimes": (("86400", "1 day"), ("0", "no end")),
        "lifetime": "0",
        "routes": ("ecflow",),
        "chosen": ("ecflow",),
        "methods": ("GET",),
        "chosen_methods": ("GET",),
        "other_methods": "PROPFIND",
        "networks": "192.0.2.0/24",
        "wrong": "networks",
        "error": "Networks are needed.",
    },
    "account_token_shown.html": {
        "made": _TOKEN,
        "shown": {"token": "t", "header": "h", "curl": "c", "ecflow": "e"},
    },
    "account_token_made.html": {},
}

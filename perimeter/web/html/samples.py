"""Values with which the template of each page is tried when a configuration is read: every name that the page gets has one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

#: what `perimeter.web.endpoints.page.PageEndpoint.render_page` gives to every template
_COMMON: Final = {"nonce": "n", "user": None}

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

SAMPLES: Final[Mapping[str, Mapping[str, Any]]] = {
    "layout.html": _COMMON,
    "login.html": {
        **_COMMON,
        "to": "/x?y=1",
        "fragment": "#z",
        "token": "t",
        "username": "alice",
        "error": "The user name or the password is wrong.",
        "realms": ("staff", "guests"),
        "realm": "staff",
        "stay": "30 days",
        "current": "alice",
    },
    "go.html": {**_COMMON, "location": "/x", "onwards": True},
    "logout.html": {**_COMMON, "current": "alice", "realm": "staff", "token": "t", "others": 2},
    "signed_out.html": _COMMON,
    "message.html": {**_COMMON, "heading": "h", "text": "t", "link": "/", "label": "l"},
    "account.html": {
        **_COMMON,
        "done": "The session has ended.",
        "facts": (("Name", "alice"),),
        "sessions": (_SESSION, {**_SESSION, "current": False}),
        "tokens": (_TOKEN, {**_TOKEN, "expires": ("", ""), "limits": ()}),
        "passing": 2,
        "full": True,
        "most": 200,
        "with_tokens": True,
        "end_session": "t",
        "end_token": "t",
    },
    "account_others.html": {**_COMMON, "others": 2, "token": "t"},
    "account_token.html": {
        **_COMMON,
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
        **_COMMON,
        "made": _TOKEN,
        "shown": {"token": "t", "header": "h", "curl": "c", "ecflow": "e"},
    },
    "account_token_made.html": _COMMON,
}

"""Values with which the template of each page is tried when a configuration is read: every name that the page gets has one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

#: what `perimeter.web.endpoints.page.PageEndpoint.render_page` gives to every template
_COMMON: Final = {"nonce": "n", "user": None}

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
}

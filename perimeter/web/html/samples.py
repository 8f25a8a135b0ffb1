"""Values with which the template of each page is tried when a configuration is read: every name that the page gets has one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from perimeter.web.html.account_samples import ACCOUNT_SAMPLES

#: what `perimeter.web.endpoints.page.PageEndpoint.render_page` gives to every template
_COMMON: Final = {"nonce": "n", "user": None, "operates": False}
_SIGNED_IN: Final = {**_COMMON, "user": {"username": "alice", "realm": "staff"}, "operates": True}

_PASSKEY: Final = {"options": "{}", "challenge": "c"}
_FACTOR: Final = {
    **_COMMON,
    "current": "alice",
    "waits": True,
    "to": "/",
    "fragment": "",
    "token": "t",
    "error": "The code is wrong.",
}
_TIME_OF_OPERATOR: Final = "2026-11-27 10:52:00"
_OPERATOR: Final = {
    **_SIGNED_IN,
    "section": {"title": "Overview", "actions": {"end": "e"}},
    "sections": (("Overview", "/operator", True), ("Services", "/operator/services", False)),
    "here": "/operator",
    "tokens": {"end": "t", "end-user": "t", "release": "t", "rotate": "t"},
    "fresh": True,
    "done": True,
    "note": "The session has ended.",
    "stream": "/operator/events?token=t",
}
_PAGES: Final = {"user": "alice", "realm": "staff", "previous": "?first=0", "next": "?first=200"}
_SERVER: Final = {
    "upstream": "app",
    "url": "app.example",
    "up": True,
    "word": "up",
    "busy": 1,
    "idle": 2,
    "fault": "",
    "active": 1,
    "weight": 2,
    "backup": False,
}
_AUTHENTICATOR: Final = {
    "name": "local",
    "kind": "realmfile",
    "realm": "staff",
    "line": 7,
    "schemes": "basic",
    "timeout": "5 s",
    "down": False,
    "faulty": False,
    "fault": "",
    "next_try": 0,
    "attempts": (("accepted", 1),),
}
_WORKER: Final = {"slot": 0, "pid": 71, "connections": 2, "since": _TIME_OF_OPERATOR, "restarts": 0}
_CHART: Final = {
    "chart": {"title": "Data", "unit": "/s", "digits": 1, "lines": ({"name": "sent", "colour": "mark"},)},
    "latest": ("1/s",),
    "runs": (("0,0 1,1",),),
    "top": "1/s",
    "rows": ((1.0, ("1/s",)),),
}
_NODE: Final = {
    "name": "gw-1",
    "good": True,
    "state": "serving",
    "version": "1.0",
    "configuration": "0123456789ab",
    "address": "10.0.0.1",
    "heard": "0.1 s",
    "clock": "+0.0 s",
    "up": "1 h",
    "age": "3 s",
}
_OPERATOR_SAMPLES: Final[Mapping[str, Mapping[str, Any]]] = {
    "operator_overview.html": {
        "troubles": ({"severity": 2, "subject": "upstream", "name": "app", "message": "m"},),
        "charts": (_CHART, {**_CHART, "rows": ()}),
        "moment": lambda seconds: _TIME_OF_OPERATOR,
        "history": {"times": [], "series": [], "refusals": []},
        "totals": (("2xx", 1000),),
        "refusals": (("no_route", 1),),
        "all_refusals": (("no_route", 1),),
        "version": "1",
        "uptime": "1 d",
        "started": _TIME_OF_OPERATOR,
        "viewed": _TIME_OF_OPERATOR,
        "refresh": 10,
        "reloaded": _TIME_OF_OPERATOR,
        "refused_reload": "r",
        "sessions": 1,
        "workers": ({**_WORKER, "good": True, "state": "serving"}, {**_WORKER, "good": False, "state": "draining"}),
        "redis": {"node": "gw-1", "primary": "h:6379", "version": "7.0", "problem": ""},
        "nodes": (_NODE, {**_NODE, "good": False, "state": "silent", "address": ""}),
        "listeners": ({"name": "https", "port": 443, "place": "port 443", "connections": 2},),
        "servers": (_SERVER, {**_SERVER, "up": False, "word": "down"}),
        "authenticators": (_AUTHENTICATOR, {**_AUTHENTICATOR, "down": True, "next_try": 3}),
    },
    "operator_services.html": {
        "upstreams": (
            {
                "name": "app",
                "line": 3,
                "timeouts": (("connect", "5 s"),),
                "routes": ("all",),
                "dialling": "PROXY protocol v2",
                "balance": "round-robin",
                "places": "A server gets at most 8 requests at a time",
                "waiting": 1,
                "servers": (_SERVER, {**_SERVER, "fault": "f"}, {**_SERVER, "up": False, "word": "ejected", "backup": True}),
            },
        ),
    },
    "operator_authenticators.html": {
        "authenticators": (
            _AUTHENTICATOR,
            {**_AUTHENTICATOR, "down": True, "next_try": 3, "attempts": ()},
            {**_AUTHENTICATOR, "fault": "f"},
        ),
        "augmenters": ({"name": "roles", "kind": "file", "realm": "staff"},),
    },
    "operator_certificates.html": {
        "listeners": (
            {
                "name": "https",
                "source": "site.pem",
                "ordered": "certificate of gw.example (listener https): to be ordered",
                "chain": ({"subject": "s", "issuer": "i", "since": "a", "until": "b", "state": "good", "left": "9 d"},),
            },
        ),
        "plain": ("metrics",),
    },
    "operator_sessions.html": {
        "pages": _PAGES,
        "count": 1,
        "sessions": (
            {
                "own": True,
                "user": "alice",
                "realm": "staff",
                "roles": "admin",
                "created": "c",
                "seen": "s",
                "id": "i",
                "expires": "e",
                "address": "192.0.2.7",
                "agent": "a",
                "end": "id=i",
                "end_all": "user=alice",
            },
        ),
    },
    "operator_tokens.html": {
        "pages": _PAGES,
        "count": 1,
        "passing": True,
        "tokens_found": (
            {
                "user": "alice",
                "realm": "staff",
                "name": "n",
                "id": "i",
                "created": "c",
                "expires": "e",
                "routes": "all",
                "methods": "GET",
                "networks": "192.0.2.0/24",
                "end": "id=i",
            },
        ),
    },
    "operator_waiting.html": {
        "waiting": tuple(
            {"value": "bob", "kind": "name", "realm": "staff", "failures": 5, "last": "l", "seconds": seconds, "release": "r"}
            for seconds in (0, 9)
        ),
    },
    "operator_routes.html": {
        "file": "site.ini",
        "routes": (
            {
                "name": "all",
                "line": 9,
                "host": "*",
                "path": "/",
                "target": "app",
                "rewrite": "/x",
                "auth": "required",
                "allow": "role:a",
                "deny": "user:b",
                "networks": "192.0.2.0/24",
                "cors": "pass",
                "limits": "rate 5/s per user",
                "maintenance": "10.0.0.0/8",
                "compression": "gzip",
                "identity": "headers",
            },
        ),
    },
    "operator_explain.html": {
        "methods": ("GET",),
        "realms": ("staff",),
        "listeners": ("https", "other"),
        "notes": ("n",),
        "given": {"method": "GET", "url": "/", "user": "bob", "realm": "", "address": "", "listener": "https"},
        "explanations": ({"admitted": False, "status": 403, "reason": "r", "steps": ({"name": "path", "text": "/"},)},),
    },
    "operator_audit.html": {
        "logs": ("a.log", "b.log"),
        "log": "a.log",
        "has_reasons": True,
        "error": "e",
        "more": "?page=2",
        "read": "1 MiB",
        "given": {"user": "", "path": "", "status": "", "reason": "", "request_id": "", "since": "", "until": ""},
        "answer": {"remarks": ("r",)},
        "hits": (
            {
                "time": "t",
                "user": "alice",
                "address": "192.0.2.7",
                "request": "GET /",
                "text": "t",
                "state": "bad",
                "status": 403,
                "reason": "r",
                "event": "e",
            },
        ),
    },
    "operator_configuration.html": {
        "file": "site.ini",
        "reloaded": _TIME_OF_OPERATOR,
        "refused_reload": "",
        "started": _TIME_OF_OPERATOR,
        "warnings": ("w",),
        "sections_in_force": ({"header": "login", "line": 3, "given": (("a", "b", 4),), "defaults": (("c", "", 0),)},),
    },
    "operator_keys.html": {
        "shared_secret": False,
        "keys": ({"state": "signing", "algorithm": "ES256", "kid": "k", "created": "c", "activated": "a", "until": "u"},),
    },
}

SAMPLES: Final[Mapping[str, Mapping[str, Any]]] = {
    "layout.html": _COMMON,
    "factor.html": {**_FACTOR, "app": True, "codes": True, "asked": _PASSKEY},
    "factor_first.html": {
        **_FACTOR,
        "app": {"picture": "p", "secret": "s", "uri": "otpauth://totp/a"},
        "asked": _PASSKEY,
        "by_code": True,
    },
    "factor_codes.html": {**_COMMON, "codes": ("a", "b"), "onwards": "/.perimeter/go?to=%2F"},
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
        "passwords": True,
        "passkey": {"options": "{}", "challenge": "c"},
        "providers": (("Company login", "/.perimeter/start/corp?to=/x"),),
    },
    "onwards.html": {**_COMMON, "text": "You sign in with Company login.", "location": "/.perimeter/start/corp", "begins": True},
    "go.html": {**_COMMON, "location": "/x", "onwards": True},
    "logout.html": {**_COMMON, "current": "alice", "realm": "staff", "token": "t", "others": 2, "elsewhere": "Corp"},
    "signed_out_here.html": {**_COMMON, "location": "/x", "title": "Corp"},
    "signed_out.html": _COMMON,
    "message.html": {**_COMMON, "heading": "h", "text": "t", "link": "/", "label": "l"},
    **{name: {**_SIGNED_IN, **values} for name, values in ACCOUNT_SAMPLES.items()},
    **{name: {**_OPERATOR, **values} for name, values in _OPERATOR_SAMPLES.items()},
}

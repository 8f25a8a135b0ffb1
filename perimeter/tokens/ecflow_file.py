"""``.ecflowapirc``, the file in which ecFlow's client finds its credentials. Pure.

The client uses the first of the ``tokens`` whose ``server``, a regular expression, matches the whole of ``https://host:port``. A
bearer entry needs ``url``, ``key`` and ``email``, a basic one ``username`` and ``password``.
"""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any

VERSION = 1

Entry = dict[str, Any]
"""One of the ``tokens`` of a file."""


class RcError(Exception):
    """A ``.ecflowapirc`` that cannot be used. The message does not quote its content."""


def pattern(url: str) -> str:
    """A regular expression that matches only ``url``, in the dialect of C++ (ECMAScript's) and in Python's."""
    return re.sub(r"([.\[\]])", r"\\\1", url)


def basic_entry(server: str, username: str, password: str) -> Entry:
    """An entry with a password, for the servers that match ``server``."""
    return {"server": server, "type": "basic", "api": {"username": username, "password": password}}


def bearer_entry(server: str, url: str, key: str, email: str) -> Entry:
    """An entry with a token, ``key``, for the servers that match ``server``. The client only requires that there is an ``url``
    and an ``email``."""
    return {"server": server, "type": "bearer", "api": {"url": url, "key": key, "email": email}}


def document(*entries: Entry) -> str:
    """The text of a file with these entries."""
    return _rendered({"version": VERSION, "tokens": list(entries)})


def merged(text: str, entry: Entry, url: str | None) -> str:
    """A file with ``entry`` added: in place of an entry for the same ``server``, otherwise where the client finds it for ``url``.

    ``text`` is the file so far. ``url`` is that of the gateway, or None if the user gave a pattern as ``server``. Everything else
    is unchanged. Raises `RcError`.
    """
    try:
        known = json.loads(text)
    except (ValueError, RecursionError):
        raise RcError("is not JSON") from None
    if not isinstance(known, dict) or known.get("version") != VERSION:
        raise RcError(f"is not of version {VERSION}")
    tokens = known.setdefault("tokens", [])
    if not isinstance(tokens, list) or not all(isinstance(token, dict) for token in tokens):
        raise RcError("has no list of tokens")
    for index, token in enumerate(tokens):
        if token.get("server") == entry["server"]:
            tokens[index] = entry
            break
    else:
        tokens.insert(_place(tokens, url), entry)
    return _rendered(known)


def _place(tokens: list[Entry], url: str | None) -> int:
    """The position before the first entry that matches (such as ``.*``): behind it, an entry would never be used."""
    for index, token in enumerate(tokens):
        with contextlib.suppress(re.error):
            if url is not None and re.fullmatch(str(token.get("server")), url):
                return index
    return len(tokens)


def _rendered(known: dict[str, Any]) -> str:
    return json.dumps(known, indent=2, ensure_ascii=False) + "\n"

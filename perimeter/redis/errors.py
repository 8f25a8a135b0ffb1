"""Error replies of a Redis server, and what each says about the connection."""

from __future__ import annotations

import re
from typing import Final

from perimeter.errors import StateUnavailable

_CODE: Final = re.compile(r"[A-Z]{2,20}(?= |$)")

_OF_THE_COMMAND: Final = frozenset(("NOSCRIPT", "NOPERM", "WRONGTYPE", "OOM", "MISCONF", "BUSY", "EXECABORT", "CROSSSLOT"))
"""Errors after which the connection is as good as before: another server would not answer better."""

CUT_OFF: Final = "NOREPLICAS"
"""The error of a primary that takes no changes because its replicas are away: they, or it, may be cut off. It goes on reading."""

_WORDS: Final = {
    "WRONGPASS": "it refuses the user or the password of redis_url",
    "NOAUTH": "it demands a user and a password, and redis_url has none",
    "NOPERM": "its rules (ACL) do not allow this user a command that is needed",
    "READONLY": "it is a replica, which takes no changes",
    "LOADING": "it is loading its data",
    "MASTERDOWN": "it is a replica that has lost its primary",
    "NOREPLICAS": "it has too few replicas to take changes (min-replicas-to-write)",
    "MISCONF": "it takes no changes, because it cannot write to its disk",
    "OOM": "its memory is full (maxmemory)",
    "BUSY": "it is busy with a script",
    "NOPROTO": "it does not speak RESP3: Redis 7 or newer is needed",
    "DENIED": "it is in protected mode, and takes connections of its own machine only",
}


class ErrorReply(StateUnavailable):
    """The server has answered a call with an error.

    ``code`` is its first word, ``ERR`` if that is none. ``text`` is all of it; it may contain arguments of the call, so it is in
    no message. ``final`` is False if the connection, or the server at its other end, is not to be used any more.
    """

    def __init__(self, text: str) -> None:
        found = _CODE.match(text)
        self.code = found[0] if found else "ERR"
        self.text = text
        self.final = self.code in _OF_THE_COMMAND or self.code == CUT_OFF
        super().__init__(f"Redis: {_WORDS.get(self.code) or 'it answered with the error ' + self.code}")
        self.args = (self.detail,)

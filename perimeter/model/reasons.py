"""Why an exchange ended before its response was complete: the codes that the audit log and the metrics show as ``reason``.

The other reasons are those of refusals (`perimeter.errors.Refusal.reason`). A refusal after the response has begun aborts the
connection, and its code is then the reason. docs/reference/http.md lists both kinds, and a test compares them with the code.
"""

from __future__ import annotations

from enum import StrEnum


class EarlyEnd(StrEnum):
    """A code and the sentence that explains it to an operator."""

    meaning: str

    def __new__(cls, code: str, meaning: str) -> EarlyEnd:
        """Make a member that is equal to its code."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    CLIENT_GONE = "client_gone", "The client closed the connection; without any answer the status is 499"
    CLIENT_TOO_SLOW = "client_too_slow", "The client read the response more slowly than `body_min_rate`"
    CROWDED_OUT = "crowded_out", "The connection had sent a part of a head, and was closed to make room for other clients"
    FILE_TRUNCATED = "file_truncated", "A file became shorter while it was sent"
    RESOURCE_GAVE_UP = "resource_gave_up", "A resource of the gateway closed the connection in the middle of its response"
    RESPONSE_TOO_LONG = "response_too_long", "The response was longer than its Content-Length"
    RESPONSE_TOO_SHORT = "response_too_short", "The response was shorter than its Content-Length"
    SHUTDOWN = (
        "shutdown",
        "The gateway was stopped, and the request was not over within `drain_timeout`; before any answer it is 503",
    )
    TUNNEL_OPENED = "tunnel_opened", "Not an end: a tunnel opens, for example a WebSocket. Another line follows when it ends"
    UPSTREAM_ABORTED = "upstream_aborted", "The service closed the connection in the middle of its response"
    UPSTREAM_TIMEOUT = "upstream_timeout", "The service sent nothing for `read_timeout` in the middle of its response"

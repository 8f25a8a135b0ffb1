"""W3C Trace Context: the headers ``traceparent`` and ``tracestate``. Pure. <https://www.w3.org/TR/trace-context-1/>"""

from __future__ import annotations

import re
from typing import Final

import attrs

from perimeter.model import HeaderBlock

HEADERS: Final = ("traceparent", "tracestate")
"""Their names. With traces, the gateway alone sets them for services."""

#: Section 3.2: version, trace-id, parent-id and trace-flags; a version above 00 may have more.
_PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
#: Section 3.3.1: a list of at most 32 members key=value. The gateway passes it on and does not read it.
_MEMBER = rb"[a-z0-9][a-z0-9_*/@-]{0,255}=[ -+\--<>-~]{0,255}[!-+\--<>-~]"
_STATE = re.compile(rb"(?:" + _MEMBER + rb")?(?:[ \t]*,[ \t]*(?:" + _MEMBER + rb")?){0,31}")
#: Section 3.3.1.5: "Vendors SHOULD propagate at least 512 characters of a combined header". More is not passed on.
_LONGEST_STATE = 512
_SAMPLED = 1


@attrs.frozen
class TraceContext:
    """The trace that a request belongs to: ids in hexadecimal digits; ``state`` is the value of tracestate, perhaps empty."""

    trace_id: str
    parent_id: str
    sampled: bool
    state: bytes = b""


def context_of(headers: HeaderBlock) -> TraceContext | None:
    """The context of a request, or None if it has none, a malformed one, or two.

    Only for the headers of a trusted peer, because the flag decides whether the request is recorded.
    """
    values = headers.get_all(b"traceparent")
    match = _PARENT.fullmatch(values[0]) if len(values) == 1 else None
    if match is None:
        return None
    version, trace_id, parent_id, flags, rest = match.groups()
    # Section 3.2.2.1: "Version ff is invalid"; 3.2.2.3 and 3.2.2.4: ids of zeros are invalid. Version 00 has four parts.
    if version == b"ff" or (version == b"00" and rest) or not trace_id.strip(b"0") or not parent_id.strip(b"0"):
        return None
    state = b",".join(value for value in headers.get_all(b"tracestate") if value)
    if len(state) > _LONGEST_STATE or not _STATE.fullmatch(state):
        state = b""
    return TraceContext(trace_id.decode("ascii"), parent_id.decode("ascii"), bool(int(flags, 16) & _SAMPLED), state)


def context_lines(trace_id: str, span_id: str, sampled: bool, state: bytes) -> bytes:
    """The header lines for a request whose parent is the span ``span_id``."""
    parent = f"traceparent: 00-{trace_id}-{span_id}-{'01' if sampled else '00'}\r\n".encode("ascii")
    return parent + b"tracestate: %b\r\n" % state if state else parent

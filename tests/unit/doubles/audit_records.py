"""Records for the tests of the audit log: a typical record to change, and a Hypothesis strategy for all records."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from perimeter.model import AccessRecord, HeaderBlock, Principal

USUAL: dict[str, Any] = {
    "time": 1407788484.25,
    "duration": 0.0125,
    "address": "127.0.0.1",
    "listener": "https",
    "tls": "TLSv1.3",
    "method": b"GET",
    "target": b"/token",
    "version": "HTTP/1.1",
    "host": b"gw.example.com:9443",
    "headers": None,
    "status": 200,
    "sent": 73,
    "received": 0,
    "principal": None,
    "route": "site",
    "upstream": "web",
    "event": "",
    "request_id": b"",
    "command": "",
    "reason": "",
    "detail": "",
    "attempted_user": None,
}


def make_record(**changes: Any) -> AccessRecord:
    """A typical record with some attributes changed."""
    return _record(**{**USUAL, **changes})


def _record(**values: Any) -> AccessRecord:
    record = AccessRecord()
    for name in AccessRecord.__slots__:
        setattr(record, name, values.pop(name))
    assert not values, values
    return record


def make_headers(**fields: bytes) -> HeaderBlock:
    """Headers by name, with ``_`` for ``-``."""
    return HeaderBlock([(name.replace("_", "-").encode(), value) for name, value in fields.items()])


_NASTY = [
    "\n",
    "\r",
    "\x1b[31m",
    "\x7f",
    "\x85",
    "\u2028",
    "\u2029",
    '"',
    "\\",
    " ",
    "\u202e",
    "é",
    "\ud800",
    "\udcff",
    "-",
    "[",
    "]",
    "=",
    "%",
    "\x00",
]
_text = st.one_of(st.text(max_size=20), st.lists(st.sampled_from([*_NASTY, "a"]), max_size=8).map("".join))
_octets = st.one_of(
    st.binary(max_size=20),
    _text.map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from([b"/a?token=xyzzy", b"/", b"GET", b""]),
)
_principals = st.builds(Principal, _text, _text, st.lists(_text, max_size=3).map(tuple), _text)
_headers = st.builds(
    HeaderBlock,
    st.lists(st.tuples(st.sampled_from([b"referer", b"user-agent", b"authorization", b"cookie"]), _octets), max_size=4),
)
_counts = st.integers(min_value=0, max_value=2**40)

records = st.builds(
    _record,
    time=st.floats(min_value=0, max_value=4e9),
    event=st.sampled_from(["", "login"]),
    duration=st.floats(min_value=0, max_value=1e6),
    address=_text,
    listener=_text,
    tls=_text,
    method=_octets,
    target=_octets,
    version=_text,
    host=_octets,
    headers=st.none() | _headers,
    status=st.integers(min_value=0, max_value=599),
    sent=_counts,
    received=_counts,
    principal=st.none() | _principals,
    route=_text,
    upstream=_text,
    request_id=st.sampled_from([b"", b"0af7651916cd43dd8448eb211c80319c"]),
    command=_text,
    reason=_text,
    detail=_text,
    attempted_user=st.none() | _text,
)

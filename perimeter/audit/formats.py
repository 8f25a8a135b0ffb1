"""The formats of the audit log: functions from an `AccessRecord` to one line, its newline included. Pure but for the time zone.

A line is valid UTF-8, holds no control character but its final newline, and no secret that came in a URL; see
`perimeter.audit.escaping`. Credentials, Authorization and Cookie are never looked at. Where lines go is `perimeter.audit.log`.

In ``reactor`` and ``combined`` a column without a value is ``-``; a user who is really called ``-`` is written ``\\x2d``. In
``json`` octets that are no UTF-8 appear as ``\\xHH`` inside the string, so that strict readers take every line.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from json.encoder import encode_basestring_ascii as quote

from perimeter.audit.escaping import OWN, escape, escape_text, redact
from perimeter.config.site.audit import AuditFormat
from perimeter.model import AccessRecord

Format = Callable[[AccessRecord], bytes]

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

# Everything that may stand in a column as it is: no blank, quote or backslash, and nothing that a URL with a secret in it needs.
# What is left of a line when these are deleted is its skeleton: where that is the expected one, no field added anything to it,
# and nothing has to be escaped or redacted. So one look at the whole line is the only one that most lines need.
_URL_MARKS = b"=%@"
_PLAIN = bytes(octet for octet in range(0x21, 0x7F) if octet not in b'"\\' + _URL_MARKS)
_REACTOR_SKELETON = b'    "  "  '
_COMBINED_SKELETON = b'     "  "  '
_QUOTED_PLAIN = _PLAIN + _URL_MARKS + b" "


class _Stamp:
    """A time as text, made once a second: most requests share theirs with others."""

    __slots__ = ("_make", "_second", "_text")

    def __init__(self, make: Callable[[int], str]) -> None:
        self._make = make
        self._second: int | None = None
        self._text = ""

    def __call__(self, seconds: float) -> str:
        whole = int(seconds)
        if whole != self._second:
            self._text = self._make(whole)
            self._second = whole
        return self._text


def _local(second: int) -> str:
    moment = time.localtime(second)
    offset = moment.tm_gmtoff // 60
    sign, offset = ("-", -offset) if offset < 0 else ("+", offset)
    return (
        f"{moment.tm_mday:02}/{_MONTHS[moment.tm_mon - 1]}/{moment.tm_year:04}:"
        f"{moment.tm_hour:02}:{moment.tm_min:02}:{moment.tm_sec:02} {sign}{offset // 60:02}{offset % 60:02}"
    )


def _utc(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


_local_time = _Stamp(_local)
_utc_time = _Stamp(_utc)


def user_column(name: str | None) -> bytes:
    """The user's column, escaped: nobody (None), somebody, and somebody called like nobody are three things."""
    if name is None:
        return b"-"
    if not name:
        return b'""'
    return rb"\x2d" if name == "-" else escape_text(name)


def _request(record: AccessRecord) -> bytes:
    """What stands between the first quotes, escaped: ``-`` where no request could be read."""
    method, target, version = record.method, record.target, record.version
    if not method and not target and not version:
        return b"-"
    return b"%b %b %b" % (escape(method) or b"-", escape(redact(target)) or b"-", escape_text(version) or b"-")


def _start(record: AccessRecord, between: str, skeleton: bytes) -> bytes:
    """What ``reactor`` and ``combined`` have in common: the address, ``between`` and all up to the length."""
    stamp = _local_time(record.time)
    principal = record.principal
    name = "-" if principal is None else principal.username
    target = record.target
    # a column that is empty does not show in the skeleton
    whole = target and record.method and record.version and record.address and name
    if whole and (principal is None or name != "-"):
        # Latin-1, so that octets beyond ASCII come through as something beyond ASCII, which shows in the skeleton
        line = (
            f'{record.address} {between}{name} [{stamp}] "{record.method.decode("latin-1")} {target.decode("latin-1")} '
            f'{record.version}" {record.status} {record.sent}'
        ).encode("utf-8", "surrogatepass")
        left = line.translate(None, _PLAIN)
        if left == skeleton and OWN not in target:
            return line
        if left.translate(None, _URL_MARKS) == skeleton and redact(target) == target:
            return line
    who = f"{(escape_text(record.address) or b'-').decode()} {between}{user_column(None if principal is None else name).decode()}"
    return f'{who} [{stamp}] "{_request(record).decode()}" {record.status} {record.sent}'.encode()


def reactor(record: AccessRecord) -> bytes:
    """``IP user [dd/MMM/yyyy:HH:mm:ss Z] "METHOD uri PROTO" code length``, local time."""
    return _start(record, "", _REACTOR_SKELETON) + b"\n"


def _quoted(record: AccessRecord, name: bytes) -> bytes:
    headers = record.headers
    value = None if headers is None else headers.get(name)
    if value is None:
        return b"-"
    if name == b"referer":
        value = redact(value)
    return escape(value, blank=True) if value.translate(None, _QUOTED_PLAIN) else value


def combined(record: AccessRecord) -> bytes:
    """Apache's combined format: ``IP - user [time] "request" status octets "referer" "user agent"``, local time."""
    start = _start(record, "- ", _COMBINED_SKELETON)
    return b'%b "%b" "%b"\n' % (start, _quoted(record, b"referer"), _quoted(record, b"user-agent"))


def _string(text: str) -> str:
    if text.isascii():
        return quote(text)
    # a lone surrogate is not well-formed in JSON, and strict readers drop the whole line for it
    return quote(text.encode("utf-8", "backslashreplace").decode())


def _octets(raw: bytes) -> str:
    return quote(raw.decode("utf-8", "backslashreplace"))


def _header(record: AccessRecord, name: bytes) -> str:
    headers = record.headers
    value = None if headers is None else headers.get(name)
    if value is None:
        return "null"
    return _octets(redact(value) if name == b"referer" else value)


def json(record: AccessRecord) -> bytes:
    """One JSON object, all ASCII, always with the same keys; what is not known is null or "". Time is UTC, duration seconds."""
    when = record.time
    principal = record.principal
    if principal is None:
        who = '"user":null,"realm":null,"roles":[],"authenticator":null,"token":null'
    else:
        roles = ",".join(map(_string, principal.roles))
        who = (
            f'"user":{_string(principal.username)},"realm":{_string(principal.realm)},'
            f'"roles":[{roles}],"authenticator":{_string(principal.authenticator)},'
            f'"token":{"null" if principal.grant is None else _string(principal.grant.id)}'
        )
    line = (
        f'{{"time":"{_utc_time(when)}.{int(when % 1 * 1000):03}Z","duration":{record.duration:.6f},'
        f'"address":{_string(record.address)},"listener":{_string(record.listener)},"tls":{_string(record.tls)},'
        f'"method":{_octets(record.method)},"target":{_octets(redact(record.target))},"version":{_string(record.version)},'
        f'"host":{_octets(record.host)},"status":{record.status},"sent":{record.sent},"received":{record.received},'
        f'{who},"route":{_string(record.route)},"upstream":{_string(record.upstream)},"reason":{_string(record.reason)},'
        f'"referer":{_header(record, b"referer")},"user_agent":{_header(record, b"user-agent")}}}\n'
    )
    return line.encode("ascii")


FORMATS: dict[AuditFormat, Format] = {
    AuditFormat.REACTOR: reactor,
    AuditFormat.COMBINED: combined,
    AuditFormat.JSON: json,
}
"""What makes the line of each format."""

"""The formats of the audit log: functions from an `AccessRecord` to one line with its newline. Pure except for the time zone.

A line is valid UTF-8. It contains no control character except its final newline, and no secret from a URL; see
`perimeter.audit.escaping`. The formats never read credentials, Authorization or Cookie. `perimeter.audit.log` writes the lines.

In ``reactor`` and ``combined`` a column without a value is ``-``; a user who is really called ``-`` is written ``\\x2d``. In
``json``, bytes that are not UTF-8 appear as ``\\xHH`` inside the string, so that strict parsers accept every line.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from json.encoder import encode_basestring_ascii as quote

from perimeter.audit.escaping import JWT, OWN, Redactor, escape, escape_text, redact, shown_name
from perimeter.config.site.audit import AuditFormat
from perimeter.model import AccessRecord, Grant, GrantKind

Format = Callable[[AccessRecord], bytes]

_SESSION = GrantKind.SESSION
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

# The bytes that may appear in a column unescaped: no space, quote or backslash, and none of the characters that a URL with a
# secret contains. Deleting them from a line leaves its skeleton. If the skeleton is the expected one, no column contains anything
# else, and nothing has to be escaped or redacted. So most lines need only one test of the whole line.
_URL_MARKS = b"=%@"
_PLAIN = bytes(byte for byte in range(0x21, 0x7F) if byte not in b'"\\' + _URL_MARKS)
_REACTOR_SKELETON = b'    "  "  '
_COMBINED_SKELETON = b'     "  "  '
_QUOTED_PLAIN = _PLAIN + _URL_MARKS + b" "


class _Stamp:
    """Formats a time, at most once a second: requests of the same second share the text."""

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
    """The user's column, escaped. It distinguishes no user (None: ``-``), an empty name and a user called ``-``."""
    if name is None:
        return b"-"
    if not name:
        return b'""'
    return rb"\x2d" if name == "-" else escape_text(name)


def _request(record: AccessRecord, redact: Redactor) -> bytes:
    """The text between the first quotes, escaped: the request line, or ``-`` if none could be read."""
    method, target, version = record.method, record.target, record.version
    if not method and not target and not version:
        return b"-"
    return b"%b %b %b" % (escape(method) or b"-", escape(redact(target)) or b"-", escape_text(version) or b"-")


def _start(record: AccessRecord, between: str, skeleton: bytes, redact: Redactor) -> bytes:
    """The common start of ``reactor`` and ``combined``: the address, ``between``, and the columns up to the length."""
    stamp = _local_time(record.time)
    principal = record.principal
    name = "-" if principal is None else principal.username
    target = record.target
    # the skeleton does not show that a column is empty
    whole = target and record.method and record.version and record.address and name
    if whole and (principal is None or name != "-"):
        # Latin-1, so that bytes beyond ASCII stay beyond ASCII and appear in the skeleton
        line = (
            f'{record.address} {between}{name} [{stamp}] "{record.method.decode("latin-1")} {target.decode("latin-1")} '
            f'{record.version}" {record.status} {record.sent}'
        ).encode("utf-8", "surrogatepass")
        left = line.translate(None, _PLAIN)
        if left == skeleton and OWN not in target and JWT not in target:
            return line
        if left.translate(None, _URL_MARKS) == skeleton and redact(target) == target:
            return line
    who = f"{(escape_text(record.address) or b'-').decode()} {between}{user_column(None if principal is None else name).decode()}"
    return f'{who} [{stamp}] "{_request(record, redact).decode()}" {record.status} {record.sent}'.encode()


def reactor(record: AccessRecord, redact: Redactor = redact) -> bytes:
    """``IP user [dd/MMM/yyyy:HH:mm:ss Z] "METHOD uri PROTO" code length``, local time."""
    return _start(record, "", _REACTOR_SKELETON, redact) + b"\n"


def _quoted(record: AccessRecord, name: bytes, redact: Redactor) -> bytes:
    headers = record.headers
    value = None if headers is None else headers.get(name)
    if value is None:
        return b"-"
    if name == b"referer":
        value = redact(value)
    return escape(value, blank=True) if value.translate(None, _QUOTED_PLAIN) else value


def combined(record: AccessRecord, redact: Redactor = redact) -> bytes:
    """Apache's combined format: ``IP - user [time] "request" status bytes "referer" "user agent"``, local time."""
    start = _start(record, "- ", _COMBINED_SKELETON, redact)
    return b'%b "%b" "%b"\n' % (start, _quoted(record, b"referer", redact), _quoted(record, b"user-agent", redact))


def _string(text: str) -> str:
    if text.isascii():
        return quote(text)
    # a lone surrogate is not well-formed JSON: strict parsers would reject the whole line
    return quote(text.encode("utf-8", "backslashreplace").decode())


def _byte_string(raw: bytes) -> str:
    return quote(raw.decode("utf-8", "backslashreplace"))


def _header(record: AccessRecord, name: bytes, redact: Redactor) -> str:
    headers = record.headers
    value = None if headers is None else headers.get(name)
    if value is None:
        return "null"
    return _byte_string(redact(value) if name == b"referer" else value)


def _attempted(record: AccessRecord) -> str:
    return "null" if record.attempted_user is None else _string(shown_name(record.attempted_user))


def _id(record: AccessRecord) -> str:
    return f'"{record.request_id.decode("ascii")}"' if record.request_id else "null"


def _command(record: AccessRecord, redact: Redactor) -> str:
    command = record.command
    return _byte_string(redact(command.encode("utf-8", "backslashreplace"))) if command else "null"


def _grant(grant: Grant | None) -> str:
    """The members that say by which token or session the user was known, and with how many factors."""
    if grant is None:
        return '"token":null,"session":null,"factors":1'
    factors = 2 if grant.second else 1
    if grant.kind is _SESSION:
        return f'"token":null,"session":{_string(grant.id)},"factors":{factors}'
    return f'"token":{_string(grant.id)},"session":null,"factors":{factors}'


def json(record: AccessRecord, redact: Redactor = redact) -> bytes:
    """One JSON object in ASCII, always with the same keys. Unknown values are null or "". Times are UTC, durations seconds."""
    when = record.time
    principal = record.principal
    if principal is None:
        who = '"user":null,"realm":null,"roles":[],"authenticator":null,"token":null,"session":null,"factors":null'
    else:
        roles = ",".join(map(_string, principal.roles))
        who = (
            f'"user":{_string(principal.username)},"realm":{_string(principal.realm)},'
            f'"roles":[{roles}],"authenticator":{_string(principal.authenticator)},'
            f"{_grant(principal.grant)}"
        )
    line = (
        f'{{"time":"{_utc_time(when)}.{int(when % 1 * 1000):03}Z","duration":{record.duration:.6f},'
        f'"address":{_string(record.address)},"listener":{_string(record.listener)},"tls":{_string(record.tls)},'
        f'"method":{_byte_string(record.method)},"target":{_byte_string(redact(record.target))},'
        f'"version":{_string(record.version)},"host":{_byte_string(record.host)},'
        f'"status":{record.status},"sent":{record.sent},"received":{record.received},'
        f'{who},"route":{_string(record.route)},"upstream":{_string(record.upstream)},'
        f'"event":{_string(record.event) if record.event else "null"},"reason":{_string(record.reason)},'
        f'"detail":{_string(record.detail)},"attempted_user":{_attempted(record)},'
        f'"referer":{_header(record, b"referer", redact)},"user_agent":{_header(record, b"user-agent", redact)},'
        f'"request_id":{_id(record)},"command":{_command(record, redact)}}}\n'
    )
    return line.encode("ascii")


FORMATS: dict[AuditFormat, Callable[..., bytes]] = {
    AuditFormat.REACTOR: reactor,
    AuditFormat.COMBINED: combined,
    AuditFormat.JSON: json,
}
"""What makes the line of each format: of a record, and of a `Redactor` if there are more secrets than usual."""


def line_format(kind: AuditFormat, secrets: Sequence[str] = (), request_id: bool = False, command: bool = False) -> Format:
    """The function that makes a line of the format. ``secrets`` are more parameters to redact (`Redactor`).

    ``request_id``: a line in one of the text formats has the request's id as its last column. ``command``: the command stands
    before it, in quotes. JSON always has both.
    """
    redactor = Redactor(secrets) if secrets else redact
    make: Format = partial(FORMATS[kind], redact=redactor) if secrets else FORMATS[kind]
    if kind is AuditFormat.JSON:
        return make
    if command:
        make = partial(_with_command, make, redactor)
    return partial(_with_id, make) if request_id else make


def _with_command(make: Format, redact: Redactor, record: AccessRecord) -> bytes:
    command = record.command
    shown = b'"%b"' % escape(redact(command.encode("utf-8", "surrogatepass")), blank=True) if command else b"-"
    return b"%b %b\n" % (make(record)[:-1], shown)


def _with_id(make: Format, record: AccessRecord) -> bytes:
    return b"%b %b\n" % (make(record)[:-1], record.request_id or b"-")

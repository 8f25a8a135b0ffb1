"""Message heads: bytes to `RequestHead` and `ResponseHead`, strictly as RFC 9110 and RFC 9112 have them. Pure.

One grammar serves both directions. What two parsers could read in two ways is refused rather than repaired (attack 18): bare
CR or LF, folded lines, white space around a header's name, a repeated or listed Content-Length, Content-Length together with
Transfer-Encoding, any coding but ``chunked``. A refused request raises a `BadRequest`; a refused response raises
`UpstreamBadReply`. Bodies are the business of `perimeter.http.h1.framing`.

The regular expressions use possessive quantifiers: each of them reads its input once, whatever it holds.
"""

from __future__ import annotations

import re
from functools import lru_cache

from perimeter.errors import (
    BadRequest,
    BadTarget,
    ExpectationFailed,
    HeadTooLarge,
    MethodRefused,
    UpstreamBadReply,
    VersionNotSupported,
)
from perimeter.http.cookies import FIELDS as COOKIE_FIELDS
from perimeter.http.cookies import mentions_own, session_value
from perimeter.model import Field, HeaderBlock, RequestHead, ResponseHead, Version
from perimeter.recent import Memo

_HTTP_1_0, _HTTP_1_1 = Version.HTTP_1_0, Version.HTTP_1_1
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"

#: Not allowed in a header line (RFC 9110, section 5.5): controls except HTAB, and except CR and LF, which are counted separately.
_CONTROLS = bytes(code for code in (*range(0x20), 0x7F) if code not in b"\t\r\n")
#: Names of headers that were found to be tokens: as they came -> in lower case.
_names: Memo[bytes, bytes] = Memo(2000)
_LONGEST_NAME = 64
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb"++) ([\x21-\x7e]++) HTTP/1\.([0-9])")
_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9][0-9])(?: ([^\x00-\x08\x0a-\x1f\x7f]*+))?")
_ANY_VERSION = re.compile(rb"[^ \r\n]++ [^ \r\n]++ HTTP/[0-9]++(?:\.[0-9]++)?")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_TOKEN_LIST_ITEM = re.compile(_TOKEN + rb"++")
#: The parameter of Keep-Alive that says for how many seconds the sender keeps an idle connection (RFC 2068, section 19.7.1.1).
_IDLE_TIMEOUT = re.compile(rb"(?:^|[,;\t ])timeout[ \t]*+=[ \t]*+\"?([0-9]{1,6})(?![0-9])", re.IGNORECASE)
_HOPS = re.compile(rb"[0-9]{1,3}")
_PROTOCOL = re.compile(_TOKEN + rb"++(?:/" + _TOKEN + rb"++)?")
#: Bytes of Upgrade that are read. A client that sends more offers nothing that is known here.
_LONGEST_UPGRADE = 512
#: The headers that decide framing and routing, or say who the client is. All except the first eight may be there once only.
_FRAMING = frozenset(
    (
        *COOKIE_FIELDS,
        b"authorization",
        b"connection",
        b"upgrade",
        b"keep-alive",
        b"x-perimeter-hops",
        b"x-auth-realm",
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"expect",
    )
)
#: 18 digits stay below 2**63, which every peer's integers can hold.
_LENGTH = re.compile(rb"[0-9]{1,18}")

#: uri-host [":" port] (RFC 9110, section 7.2): a name, an IPv4 address, or a bracketed IPv6 one. No percent-encoding, no user.
#: A name has at most 255 bytes (RFC 1035, section 2.3.4): code that checks each label must not get thousands of them (attack 54).
_AUTHORITY = re.compile(rb"(?:[0-9A-Za-z._~!$&'()*+,;=-]{1,255}+|\[[0-9A-Fa-f:.]{1,255}+\])(?::[0-9]{0,5})?")
_ABSOLUTE = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://([^/?#]*+)(.*+)")


def has_bare_lf(data: bytes) -> bool:
    """Whether ``data`` holds a line feed that no carriage return precedes: such a head can never become valid."""
    return _BARE_LF.search(data) is not None


def parse_request_line(line: bytes) -> tuple[bytes, bytes, Version]:
    """Method, target and version of a request line without its CRLF (RFC 9112, section 3)."""
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        if _ANY_VERSION.fullmatch(line) and b" HTTP/1." not in line:
            # RFC 9110, section 15.6.6: 505 says that the major version of the request is not supported.
            raise VersionNotSupported("the request line names another version")
        # RFC 9112, section 3: an invalid request line SHOULD be answered with 400, not repaired.
        raise BadRequest("the request line is malformed")
    method, target, minor = match.groups()
    # RFC 9110, section 2.5: with a higher minor version of a known major version, a recipient SHOULD process the message "as if
    # it was in the highest minor version within that major version to which the recipient is conformant": HTTP/1.2 is HTTP/1.1.
    return method, target, _HTTP_1_0 if minor == b"0" else _HTTP_1_1


def parse_request(line: bytes, headers: HeaderBlock) -> RequestHead:
    """The head made of a request line (without CRLF) and its already parsed header block.

    The rules that need both stand here: Host by version (RFC 9112, section 3.2), Transfer-Encoding in HTTP/1.0 (section 6.1),
    and the form of the target (section 3.2): origin-form, or absolute-form whose host replaces that of Host.
    """
    method, target, version = parse_request_line(line)
    host = headers.host
    if host is None:
        if version is _HTTP_1_1:
            # RFC 9112, section 3.2: a request of HTTP/1.1 without Host MUST be answered with 400.
            raise BadRequest("there is no Host field")
        host = b""
    if version is _HTTP_1_0 and headers.chunked:
        # RFC 9112, section 6.1: the framing of such a message MUST be treated as faulty.
        raise BadRequest("Transfer-Encoding in HTTP/1.0")
    if target[0] != 0x2F:
        host, target = _absolute_form(method, target)
    elif method == b"CONNECT":
        # RFC 9112, section 3.2.3: the target of CONNECT is an authority.
        raise BadTarget("CONNECT with a path")
    if b"#" in target:
        # RFC 9112, section 3.2.1: origin-form is the path and the query alone.
        raise BadTarget("a fragment in the request target")
    if method == b"TRACE":
        # RFC 9110, section 9.3.8: TRACE would show what proxies have added. Section 15.6.2: 501.
        raise MethodRefused("TRACE")
    return RequestHead(method, target, version, headers, host)


def _absolute_form(method: bytes, target: bytes) -> tuple[bytes, bytes]:
    """Host and origin-form of an absolute-form target; any other form is refused (attack 2)."""
    match = _ABSOLUTE.fullmatch(target)
    if match is None or method == b"CONNECT":
        raise BadTarget("the request target is neither origin-form nor absolute-form")
    authority, rest = match.groups()
    if not _is_authority(authority):
        raise BadTarget("the authority of the request target is malformed")
    return authority, rest if rest.startswith(b"/") else b"/" + rest


def split_fields(block: bytes, max_fields: int) -> list[Field]:
    """The headers in ``block`` (whole lines, each with its CRLF, no empty line): names in lower case, values trimmed.

    RFC 9112, section 5: no white space before the colon, no folded lines, no bare CR or LF. Raises `BadRequest` if a line is
    malformed and `HeadTooLarge` if there are more than ``max_fields``. (Counting and translating look at 750 bytes in 1 µs;
    one regular expression for all of it took 13.)
    """
    lines = block.split(b"\r\n")
    count = len(lines) - 1
    if count > max_fields:
        # RFC 6585, section 5: 431 is for headers that are too large all together.
        raise HeadTooLarge("too many headers")
    if (
        lines.pop()
        or block.count(b"\r") != count
        or block.count(b"\n") != count
        or len(block.translate(None, _CONTROLS)) != len(block)
    ):
        # RFC 9110, section 5.5: a recipient of CR, LF or NUL within a value MUST reject the message or replace them. RFC 9112,
        # section 2.2: LF alone MAY be taken for a line end, which is not done here. Section 5.2: a folded line MUST be rejected.
        raise BadRequest("a header is malformed")
    fields = []
    for line in lines:
        name, colon, value = line.partition(b":")
        lower = _names.get(name) or _checked_name(name)
        if not colon:
            raise BadRequest("a header is malformed")
        fields.append((lower, value.strip(b" \t")))
    return fields


def _checked_name(name: bytes) -> bytes:
    if not _TOKEN_LIST_ITEM.fullmatch(name):
        # RFC 9110, section 5.1: a name is a token. RFC 9112, section 5.1: with white space before the colon it MUST be rejected.
        raise BadRequest("a header is malformed")
    lower = name.lower()
    if len(name) <= _LONGEST_NAME:
        _names.keep(name, lower)  # clients choose names
    return lower


def parse_block(block: bytes, max_fields: int) -> HeaderBlock:
    """The header block of a request, with what decides its framing. ``block`` as in `split_fields`."""
    headers = HeaderBlock(split_fields(block, max_fields), block)
    expect = _read_framing(headers)
    if headers.host is not None and not _is_authority(headers.host):
        # RFC 9112, section 3.2: an invalid value of Host MUST be answered with 400.
        raise BadRequest("the Host field is malformed")
    if expect:  # RFC 9110, sections 5.6.1 and 10.1.1: Expect is a list; one without elements expects nothing
        if expect.lower() != b"100-continue":
            # RFC 9110, section 10.1.1: an expectation other than 100-continue MAY be answered with 417.
            raise ExpectationFailed("an unknown expectation")
        headers.expect_continue = True
    return headers


def parse_response_head(head: bytes, max_fields: int) -> ResponseHead:
    """The response head in ``head``, which ends with its empty line (CRLF CRLF).

    Raises `UpstreamBadReply`: a reply that can be read in two ways is not passed on (attack 18).
    """
    end = head.find(b"\r\n")
    match = _STATUS_LINE.fullmatch(head, 0, end)
    if match is None:
        # RFC 9112, section 4: HTTP-version SP status-code SP [ reason-phrase ]; the last blank is often left out.
        raise UpstreamBadReply("the status line is malformed")
    minor, status, reason = match.groups()
    try:
        block = head[end + 2 : -2]
        headers = HeaderBlock(split_fields(block, max_fields), block)
        _read_framing(headers)
        headers.dated = headers.get(b"date") is not None
    except BadRequest as refused:
        raise UpstreamBadReply(refused.detail) from None
    if headers.chunked and minor == b"0":
        # RFC 9112, section 6.1: the framing of such a message MUST be treated as faulty.
        raise UpstreamBadReply("Transfer-Encoding in HTTP/1.0")
    # RFC 9110, section 2.5: a higher minor version is processed as HTTP/1.1, as that of a request.
    return ResponseHead(int(status), reason or b"", 0 if minor == b"0" else 1, headers)


def _read_framing(headers: HeaderBlock) -> bytes | None:
    """Set what `HeaderBlock` keeps of the headers in `_FRAMING`. Returns the value of Expect."""
    single: dict[bytes, bytes] = {}
    cookies: list[bytes] = []
    authorization: list[bytes] = []
    connection: list[bytes] = []
    upgrade: list[bytes] = []
    for name, value in [field for field in headers.fields if field[0] in _FRAMING]:
        if name == b"authorization":
            authorization.append(value)
        elif name == b"connection":
            connection.append(value)
        elif name == b"upgrade":
            upgrade.append(value)
        elif name == b"keep-alive":
            timeout = _IDLE_TIMEOUT.search(value)
            headers.kept_idle = None if timeout is None else int(timeout[1])
        elif name == b"x-perimeter-hops":
            headers.hops = max(headers.hops, int(value) if _HOPS.fullmatch(value) else 0)
        elif name == b"x-auth-realm":
            headers.narrowed = True
        elif name in COOKIE_FIELDS:
            if mentions_own(value):
                headers.own_cookies = True
                if name == b"cookie":
                    cookies.append(value)
        elif name in single:
            # RFC 9110, section 5.3: only lists may be repeated. RFC 9112, section 3.2: two Host headers MUST be 400.
            raise BadRequest(f"there are two {name.decode('ascii')} fields")
        else:
            single[name] = value
    headers.host = single.get(b"host")
    headers.authorization = tuple(authorization)
    if cookies:
        headers.session = session_value(cookies)
    length = single.get(b"content-length")
    if length is not None:
        if not _LENGTH.fullmatch(length):
            # RFC 9110, section 8.6: Content-Length is digits alone. RFC 9112, section 6.3: else 400, or 502.
            raise BadRequest("Content-Length is not a number")
        headers.content_length = int(length)
    coding = single.get(b"transfer-encoding")
    if coding is not None:
        if coding.lower() != b"chunked":
            # RFC 9112, section 6.3: without chunked as the last coding the length is in doubt: 400.
            raise BadRequest("Transfer-Encoding is not just chunked")
        if length is not None:
            # RFC 9112, section 6.1: a server MAY reject a request with both. Section 6.3: such a message might be an attack.
            raise BadRequest("both Content-Length and Transfer-Encoding")
        headers.chunked = True
    if connection:
        names = headers.connection = _connection_options(b",".join(connection))
        headers.close = b"close" in names
        headers.keep_alive = b"keep-alive" in names
        # RFC 9110, section 7.8: a sender of Upgrade MUST also name it in Connection; otherwise it does not count.
        if upgrade and b"upgrade" in names:
            headers.upgrade = b",".join(upgrade)
    return single.get(b"expect")


def offered_protocols(upgrade: bytes) -> list[bytes]:
    """The protocols in an Upgrade value, as they were sent: ``name`` or ``name/version`` (RFC 9110, section 7.8).

    Empty elements are ignored (section 5.6.1.2), and so is what is no protocol.
    """
    items = (item.strip(b" \t") for item in upgrade.split(b",")) if len(upgrade) <= _LONGEST_UPGRADE else ()
    return [item for item in items if _PROTOCOL.fullmatch(item)]


def _connection_options(value: bytes) -> frozenset[bytes]:
    """The options in a Connection header (RFC 9110, section 7.6.1), in lower case."""
    return _known_options(value) if len(value) <= _LONGEST_NAME else _read_options(value)


def _read_options(value: bytes) -> frozenset[bytes]:
    names = frozenset(option.strip(b" \t").lower() for option in value.split(b",")) - {b""}
    for name in names:
        if not _TOKEN_LIST_ITEM.fullmatch(name):
            raise BadRequest("the Connection field is malformed")
    return names


_known_options = lru_cache(maxsize=100)(_read_options)


def _is_authority(value: bytes) -> bool:
    return _known_authority(value) if len(value) <= _LONGEST_NAME else _AUTHORITY.fullmatch(value) is not None


@lru_cache(maxsize=1000)
def _known_authority(value: bytes) -> bool:
    return _AUTHORITY.fullmatch(value) is not None

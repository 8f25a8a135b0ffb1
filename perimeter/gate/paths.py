"""One reading for every path: what is judged here is, byte for byte, what is forwarded. Pure.

A path is brought into one normal form, or refused with `BadTarget` if two servers could read it in two ways (attacks 1, 3, 6):

* percent-encoded unreserved characters are decoded, other escapes keep their place with upper-case digits (RFC 3986, section
  6.2.2);
* runs of slashes become one, as nginx does;
* dot segments are refused in any spelling: a client that wants another path can ask for it;
* an encoded backslash, NUL or control byte, and a raw backslash, are refused, and so is UTF-8 in an overlong form;
* an encoded slash is refused unless the route allows it (`has_encoded_slash`).

A route may take paths as they are sent instead: `readings_as_sent` has every path as which some server could read one.

Some servers cut parameters (``;x``) off segments before they match. `readings` gives the other ways in which a path with
parameters or escapes could be read: the gate requires that all of them lead to the same route.
"""

from __future__ import annotations

import re
from string import ascii_letters, digits
from urllib.parse import unquote_to_bytes

from perimeter.errors import BadTarget

#: Nothing in it that normalisation could change: the usual case, recognised in one pass. No possessive group: before 3.11.5
#: Python leaves one half matched where it fails (gh-106052), and this pattern took ``/..``.
_PLAIN = re.compile(rb"(?:/(?!\.{0,2}(?:/|\Z))[0-9A-Za-z\-._~!$&'()*+,=:@]++)*/?")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})?")
_TWICE = re.compile(rb"%25[0-9A-Fa-f]{2}")
#: Overlong UTF-8 (RFC 3629, section 3), which lax decoders took for the ASCII of a dot or slash: ``%C0%AE``.
_OVERLONG = re.compile(rb"%C[01]%[89AB]|%E0%[89]|%F0%8")
_SLASHES = re.compile(rb"/{2,}")
_PARAMETERS = re.compile(rb";[^/]*")
#: pchar without the percent sign (RFC 3986, section 3.3), and what browsers and other clients send raw all the same.
_ALLOWED = re.compile(rb"[!$&'()*+,\-./0-9:;=@A-Z_a-z~%\"<>^`{|}\[\]]*+")

_RESTS = re.compile(rb"[?#].*", re.DOTALL)
_CONTROLS = re.compile(rb"[\x00-\x1f\x7f]")
_LAYER = re.compile(rb"%([0-9A-Fa-f]{2})")
#: Bytes of all readings of a path together: looking at them takes some milliseconds (attack 23).
_MOST_READ = 64 * 1024

_UNRESERVED = frozenset(f"{ascii_letters}{digits}-._~".encode())
_BACKSLASH = 0x5C


def split_target(target: bytes) -> tuple[bytes, bytes]:
    """Path and query of an origin-form target. The query, if any, keeps its question mark."""
    path, mark, query = target.partition(b"?")
    return path, mark + query


def normalise(path: bytes) -> bytes:
    """The one form of ``path`` (which begins with a slash) that is judged and forwarded. Raises `BadTarget`."""
    if _PLAIN.fullmatch(path):
        return path
    if not path.startswith(b"/") or not _ALLOWED.fullmatch(path):
        raise BadTarget("a byte that is not allowed in a path")
    if b"%" in path:
        path = _ESCAPE.sub(_unescape, path)
        # %25 is a literal percent sign; one that spells an escape once decoded is a second layer (``%252e``). Looked for
        # when the digits are decoded too: ``%25%32%65`` is ``%252e``.
        if _TWICE.search(path):
            raise BadTarget("a doubly encoded byte")
        if _OVERLONG.search(path):
            raise BadTarget("an overlong form of a character")
    path = _SLASHES.sub(b"/", path)
    for segment in _PARAMETERS.sub(b"", path).split(b"/"):
        if segment in (b".", b".."):
            raise BadTarget("a dot segment")
    return path


def _unescape(match: re.Match[bytes]) -> bytes:
    escaped = match[1]
    if escaped is None:
        raise BadTarget("a percent sign that escapes nothing")
    byte = int(escaped, 16)
    if byte in _UNRESERVED:
        return bytes((byte,))
    if byte < 0x20 or byte == 0x7F or byte == _BACKSLASH:
        raise BadTarget("an encoded control byte or backslash")
    return b"%" + escaped.upper()


def has_encoded_slash(path: bytes) -> bool:
    """Whether a normalised path holds ``%2F``."""
    return b"%2F" in path


def readings(path: bytes) -> list[bytes]:
    """Other paths as which an upstream could read the normalised ``path``. Raises `BadTarget` for a hidden dot segment."""
    others: list[bytes] = []
    if b";" in path:
        others.append(_SLASHES.sub(b"/", _PARAMETERS.sub(b"", path)))
    if has_encoded_slash(path):
        for form in [path, *others]:
            decoded = normalise(form.replace(b"%2F", b"/"))
            others.append(decoded)
            if b";" in decoded:  # a server may decode first, and cut then
                others.append(_SLASHES.sub(b"/", _PARAMETERS.sub(b"", decoded)))
    if b"%" in path:
        # servers decode all escapes, also those of characters that stand for themselves in the path of a route
        for form in [path, *others]:
            decoded = _SLASHES.sub(b"/", unquote_to_bytes(form))
            others += [decoded, _SLASHES.sub(b"/", _PARAMETERS.sub(b"", decoded))]
    return [one for one in dict.fromkeys(others) if one != path]


def readings_as_sent(path: bytes) -> frozenset[bytes]:
    """Every path as which a server could read ``path``, which is forwarded byte for byte. ``path`` is among them.

    A server may decode escapes, once or several times, turn backslashes into slashes, merge slashes, cut parameters, and cut what
    looks like a query once it is decoded: these steps in every order. Raises `BadTarget` if a reading has a dot segment or a
    control byte, or if all of them together have more than 64 KiB.
    """
    if path.startswith(b"/") and _PLAIN.fullmatch(path):
        return frozenset((path,))
    if not path.startswith(b"/") or not _ALLOWED.fullmatch(path):
        raise BadTarget("a byte that is not allowed in a path")
    if path.count(b"%") != len(_LAYER.findall(path)):
        raise BadTarget("a percent sign that escapes nothing")
    found = {path}
    new = [path]
    left = _MOST_READ
    while new:
        reading = new.pop()
        left -= len(reading)
        if left < 0:
            raise BadTarget("a path with too many readings")
        _refuse_reading(reading)
        others = {other for other in _read_on(reading) if other not in found}
        found |= others
        new.extend(others)
    return frozenset(found)


def _read_on(path: bytes) -> tuple[bytes, ...]:
    """What one more step makes of a reading."""
    return (
        _LAYER.sub(lambda match: bytes((int(match[1], 16),)), path),
        path.replace(b"\\", b"/"),
        _SLASHES.sub(b"/", path),
        _PARAMETERS.sub(b"", path),
        _RESTS.sub(b"", path),
    )


def _refuse_reading(path: bytes) -> None:
    if _CONTROLS.search(path):
        raise BadTarget("a control byte, encoded")
    if _OVERLONG.search(path.upper()):
        raise BadTarget("an overlong form of a character")
    if any(segment in (b".", b"..") for segment in _PARAMETERS.sub(b"", path).split(b"/")):
        raise BadTarget("a dot segment")

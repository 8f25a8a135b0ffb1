"""Conditional and range requests for a file (RFC 9110, sections 13 and 14). Pure.

Dates are whole seconds since the epoch. A range is ``(start, stop)``: the offsets of its first byte and of the byte after its
last.
"""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from itertools import pairwise

import attrs

from perimeter.model import HeaderBlock

#: More ranges than this in one request, or ranges that overlap, are answered with the whole file (section 14.2: many small or
#: overlapping ranges are a broken client or an attack).
MAX_RANGES = 16

_ENTITY_TAG = re.compile(rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_RANGES = re.compile(rb"bytes=([0-9, \t\-]+)", re.IGNORECASE)
_RANGE = re.compile(rb"([0-9]{0,18})-([0-9]{0,18})")


@attrs.frozen
class Validators:
    """What distinguishes one state of a file from another: a strong entity tag, and the time of its last change."""

    etag: bytes
    modified: int


def precondition_status(method: bytes, headers: HeaderBlock, validators: Validators) -> int | None:
    """304 or 412 if a precondition decides the answer, else None. The order is that of section 13.2.2."""
    if_match = headers.get_all(b"if-match")
    if if_match:
        if not _matches(if_match, validators.etag, weak=False):
            return 412
    else:
        since = _date(headers, b"if-unmodified-since")
        if since is not None and validators.modified > since:
            return 412
    safe = method in (b"GET", b"HEAD")
    if_none_match = headers.get_all(b"if-none-match")
    if if_none_match:
        if _matches(if_none_match, validators.etag, weak=True):
            return 304 if safe else 412
    elif safe:
        since = _date(headers, b"if-modified-since")
        if since is not None and validators.modified <= since:
            return 304
    return None


def requested_ranges(
    method: bytes, headers: HeaderBlock, validators: Validators, size: int, now: int
) -> list[tuple[int, int]] | None:
    """The ranges to send, in the order asked for; None for the whole file; an empty list if none can be satisfied (416).

    Only GET has ranges (section 14.2), and only if If-Range holds (section 13.1.5).
    """
    values = headers.get_all(b"range")
    if method != b"GET" or len(values) != 1 or not _if_range_holds(headers, validators, now):
        return None
    return parse_ranges(values[0], size)


def parse_ranges(value: bytes, size: int) -> list[tuple[int, int]] | None:
    """The satisfiable ranges in ``value``; None if the field is to be ignored (section 14.2)."""
    match = _RANGES.fullmatch(value)
    if match is None:
        return None
    specs = [spec for spec in (part.strip(b" \t") for part in match[1].split(b",")) if spec]
    if not specs or len(specs) > MAX_RANGES:
        return None
    ranges = []
    for spec in specs:
        found = _RANGE.fullmatch(spec)
        if found is None or spec == b"-":
            return None
        first, last = found.groups()
        if first:
            if last and int(last) < int(first):
                return None
            start, stop = int(first), min(int(last) + 1, size) if last else size
        else:
            start, stop = max(size - int(last), 0), size
        if start < stop:
            ranges.append((start, stop))
    ordered = sorted(ranges)
    if any(later[0] < earlier[1] for earlier, later in pairwise(ordered)):
        return None
    return ranges


def _matches(values: list[bytes], etag: bytes, *, weak: bool) -> bool:
    """Whether a list of entity tags holds ``etag``, by weak or strong comparison (section 8.8.3.2), or is ``*``."""
    joined = b",".join(values)
    if joined.strip(b" \t") == b"*":
        return True
    return any(tag == etag or (weak and tag == b"W/" + etag) for tag in _ENTITY_TAG.findall(joined))


def _if_range_holds(headers: HeaderBlock, validators: Validators, now: int) -> bool:
    value = headers.get(b"if-range")
    if value is None:
        return True
    if b'"' in value:
        return value == validators.etag
    # A date must equal Last-Modified, and be old enough to be a strong validator (section 8.8.2.2).
    return parse_date(value) == validators.modified and now - validators.modified >= 1


def _date(headers: HeaderBlock, name: bytes) -> int | None:
    values = headers.get_all(name)
    return parse_date(values[0]) if len(values) == 1 else None


def parse_date(value: bytes) -> int | None:
    """An HTTP-date in any of its three forms (section 5.6.7), or None if it is not a date."""
    try:
        date = parsedate_to_datetime(value.decode("ascii"))
        return int((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp())
    except (TypeError, ValueError, IndexError, OverflowError):
        return None

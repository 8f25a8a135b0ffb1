"""What an ``Authorization`` header says: from its raw values to credentials. Pure.

Three readings, and what each means for a request:

* nothing usable (no header, one without a space in it, or a scheme that is neither Basic nor Bearer): None. The route decides;
  where it requires authentication the answer is the 401 of a missing token, which is what Reactor's clients probe for.
* malformed (given twice, far too long, or a Bearer token of illegal characters): `InvalidCredentialsRequest`, the 400 of
  RFC 6750, section 3.1.
* a Basic value that holds no user name and password (bad base64, no colon, control characters): `Rejected`. RFC 7617 knows
  no error for it, and RFC 9110, section 11.4, answers credentials that are not valid with 401.

One value may hold several credentials, separated by commas, as Auth-o-tron has it; ``Plain`` is another word for Basic.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence

from perimeter.auth.text import decode_either, unfit_for_name
from perimeter.errors import InvalidCredentialsRequest, Rejected
from perimeter.model import BasicCredentials, BearerCredentials, Credentials

MAX_AUTHORIZATION = 16 * 1024
"""Octets of an Authorization value that are looked at: tokens with many groups reach 8 KiB, nothing honest more."""

MAX_REALMS = 8
"""Names that ``X-Auth-Realm`` may narrow to."""

MAX_CREDENTIALS = 3
"""Different credentials that one Authorization value may hold."""

_KNOWN = {b"basic": b"basic", b"plain": b"basic", b"bearer": b"bearer"}
_CREDENTIAL = re.compile(rb"[ \t]*([A-Za-z0-9!#$%&'*+.^_`|~-]+) +([A-Za-z0-9\-._~+/]+=*)[ \t]*")
_TOKEN68 = re.compile(rb"[A-Za-z0-9\-._~+/]+=*")
# RFC 7617, section 2, forbids control characters in both halves.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def parse_credentials(values: Sequence[bytes]) -> tuple[Credentials, ...]:
    """All credentials in the values of a request's Authorization fields, in their order; none where there are no usable ones.

    Raises `InvalidCredentialsRequest` or `Rejected`, see the module.
    """
    if len(values) == 1 and b"," in values[0] and len(values[0]) <= MAX_AUTHORIZATION:
        return _list(values[0])
    one = parse_authorization(values)
    return () if one is None else (one,)


def _list(value: bytes) -> tuple[Credentials, ...]:
    """Every item is exactly a scheme and a credential. Those of unknown schemes are passed over, like one that stands alone."""
    matches = [_CREDENTIAL.fullmatch(item) for item in value.split(b",")]
    if None in matches:
        # Parameters of another scheme (Digest) have commas of their own.
        if value.strip(b" \t").partition(b" ")[0].lower() in _KNOWN:
            raise InvalidCredentialsRequest("an Authorization list with something else than a scheme and a credential in it")
        return ()
    pairs = [(_KNOWN.get(match[1].lower()), match[2]) for match in matches if match is not None]
    distinct = list(dict.fromkeys(pair for pair in pairs if pair[0] is not None))
    if len(distinct) > MAX_CREDENTIALS:
        raise InvalidCredentialsRequest(f"{len(distinct)} credentials in an Authorization value")
    return tuple(_basic(text) if scheme == b"basic" else _bearer(text) for scheme, text in distinct)


def parse_authorization(values: Sequence[bytes]) -> Credentials | None:
    """The one credential in the values of a request's Authorization fields, or None where there is no usable one.

    Raises `InvalidCredentialsRequest` or `Rejected`, see the module.
    """
    if not values:
        return None
    if len(values) > 1:
        raise InvalidCredentialsRequest("more than one Authorization field")
    value = values[0]
    if len(value) > MAX_AUTHORIZATION:
        raise InvalidCredentialsRequest(f"an Authorization value of {len(value)} octets")
    scheme, space, rest = value.partition(b" ")
    if not space:
        return None
    known = _KNOWN.get(scheme.lower())
    rest = rest.strip(b" ")
    if known == b"bearer":
        return _bearer(rest)
    if known == b"basic":
        return _basic(rest)
    return None


def _bearer(token: bytes) -> BearerCredentials:
    """RFC 6750, section 2.1: a ``b64token``."""
    if _TOKEN68.fullmatch(token) is None:
        raise InvalidCredentialsRequest("a Bearer token with characters that no token has")
    return BearerCredentials(token.decode("ascii"))


def _basic(value: bytes) -> BasicCredentials:
    """RFC 7617, section 2: base64 of ``user-id:password``, in UTF-8 as our challenge asks, or in ISO-8859-1 as of old."""
    try:
        # Strict: by default stray characters are skipped. Padding may be missing, as it is with more than one client.
        pair = base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Rejected("a Basic credential that is not base64") from None
    username, colon, password = decode_either(pair).partition(":")
    if not colon:
        raise Rejected("a Basic credential without a colon")
    if unfit_for_name(username) or _CONTROL.search(password):
        raise Rejected("a Basic credential with control characters")
    return BasicCredentials(username, password)


def parse_realms(values: Sequence[bytes]) -> frozenset[str]:
    """The realms that ``X-Auth-Realm`` fields narrow a request to; empty: not narrowed.

    A value that no realm can have narrows to nothing (never to everything): it stays in the set and matches none.
    Raises `InvalidCredentialsRequest` for more than `MAX_REALMS` names.
    """
    names: set[str] = set()
    for value in values:
        names.update(name.strip(" \t") for name in value.decode("utf-8", "backslashreplace").split(","))
    if len(names) > MAX_REALMS:
        raise InvalidCredentialsRequest(f"{len(names)} realms in X-Auth-Realm")
    return frozenset(names)

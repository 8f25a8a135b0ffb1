"""Reads credentials from the raw values of ``Authorization`` headers. Pure.

There are three results:

* nothing usable (no header, one without a space in it, or a scheme that is neither Basic nor Bearer): None. The route decides; if
  it requires authentication, the answer is the 401 of a missing token, for which Reactor's clients probe.
* malformed (given twice, or a Bearer token of illegal characters): `InvalidCredentialsRequest`, the 400 of RFC 6750, section 3.1;
  longer than the limit: `CredentialsTooLarge`, 431.
* a Basic value without a user name and password (bad base64, no colon, control characters): `Rejected`. RFC 7617 has no error
  for it, and RFC 9110, section 11.4, answers invalid credentials with 401.

One value may hold several credentials, separated by commas, as in Auth-o-tron; ``Plain`` is a synonym of Basic.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence

from perimeter.auth.text import decode_either, unfit_for_name
from perimeter.errors import CredentialsTooLarge, InvalidCredentialsRequest, Rejected
from perimeter.model import BasicCredentials, BearerCredentials, Credentials, NegotiateCredentials

MAX_AUTHORIZATION = 16 * 1024
"""Bytes of the longest Authorization value that is read, if the site sets no other limit: tokens with many groups reach 8 KiB."""

MAX_REALMS = 8
"""Names in ``X-Auth-Realm`` at most."""

MAX_CREDENTIALS = 3
"""Different credentials in one Authorization value at most."""

_KNOWN = {b"basic": b"basic", b"plain": b"basic", b"bearer": b"bearer"}
_CREDENTIAL = re.compile(rb"[ \t]*([A-Za-z0-9!#$%&'*+.^_`|~-]+) +([A-Za-z0-9\-._~+/]+=*)[ \t]*")
_TOKEN68 = re.compile(rb"[A-Za-z0-9\-._~+/]+=*")
# RFC 7617, section 2, forbids control characters in both halves.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def parse_credentials(values: Sequence[bytes], limit: int = MAX_AUTHORIZATION) -> tuple[Credentials, ...]:
    """All usable credentials in the values of a request's Authorization headers, in their order; ``limit`` is for each, in bytes.

    Raises `InvalidCredentialsRequest` or `Rejected`, see the module.
    """
    if len(values) == 1 and b"," in values[0] and len(values[0]) <= limit:
        return _list(values[0])
    one = parse_authorization(values, limit)
    return () if one is None else (one,)


def _list(value: bytes) -> tuple[Credentials, ...]:
    """Each item is exactly a scheme and a credential. Unknown schemes are skipped, as they are in a value with one credential."""
    matches = [_CREDENTIAL.fullmatch(item) for item in value.split(b",")]
    if None in matches:
        # The parameters of other schemes (Digest) are separated by commas too.
        if value.strip(b" \t").partition(b" ")[0].lower() in _KNOWN:
            raise InvalidCredentialsRequest("an Authorization list with something else than a scheme and a credential in it")
        return ()
    pairs = [(_KNOWN.get(match[1].lower()), match[2]) for match in matches if match is not None]
    distinct = list(dict.fromkeys(pair for pair in pairs if pair[0] is not None))
    if len(distinct) > MAX_CREDENTIALS:
        raise InvalidCredentialsRequest(f"{len(distinct)} credentials in an Authorization value")
    return tuple(_basic(text) if scheme == b"basic" else _bearer(text) for scheme, text in distinct)


def parse_authorization(values: Sequence[bytes], limit: int = MAX_AUTHORIZATION) -> Credentials | None:
    """The credential in the values of a request's Authorization headers, or None if there is no usable one.

    Raises `InvalidCredentialsRequest` or `Rejected`, see the module.
    """
    if not values:
        return None
    if len(values) > 1:
        raise InvalidCredentialsRequest("more than one Authorization field")
    value = values[0]
    check_length(value, limit)
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


def parse_negotiate(values: Sequence[bytes], limit: int = MAX_AUTHORIZATION) -> NegotiateCredentials | None:
    """The token of a request whose one Authorization value is ``Negotiate`` (RFC 4559, section 4.2); None for any other request.

    Raises `CredentialsTooLarge` for one of over ``limit`` bytes, and `Rejected` for one that is not base64.
    """
    if len(values) != 1:
        return None
    scheme, _, text = values[0].partition(b" ")
    if scheme.lower() != b"negotiate":
        return None
    check_length(values[0], limit)
    try:
        token = base64.b64decode(text.strip(b" "), validate=True)
    except (binascii.Error, ValueError):
        raise Rejected("a Negotiate credential that is not base64") from None
    if not token:
        raise Rejected("a Negotiate credential without a token")
    return NegotiateCredentials(token)


def check_length(value: bytes, limit: int) -> None:
    """Raise `CredentialsTooLarge` if an Authorization ``value`` has more than ``limit`` bytes."""
    if len(value) > limit:
        raise CredentialsTooLarge(f"an Authorization value of {len(value)} bytes, over [limits] max_authorization = {limit}")


def _bearer(token: bytes) -> BearerCredentials:
    """RFC 6750, section 2.1: a ``b64token``."""
    if _TOKEN68.fullmatch(token) is None:
        raise InvalidCredentialsRequest("a Bearer token with characters that no token has")
    return BearerCredentials(token.decode("ascii"))


def _basic(value: bytes) -> BasicCredentials:
    """RFC 7617, section 2: base64 of ``user-id:password``, in UTF-8 as the challenge requires, or in ISO-8859-1."""
    try:
        # Strict, because the default skips stray characters. Several clients leave the padding out.
        pair = base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Rejected("a Basic credential that is not base64") from None
    username, colon, password = decode_either(pair).partition(":")
    if not colon:
        raise Rejected("a Basic credential without a colon")
    return password_credentials(username, password)


def password_credentials(username: str, password: str) -> BasicCredentials:
    """A user name and a password, from a Basic value or a form. Raises `Rejected` for what RFC 7617 does not allow in them."""
    if ":" in username or unfit_for_name(username) or _CONTROL.search(password):
        raise Rejected("a user name or password with control characters, or a user name with a colon")
    return BasicCredentials(username, password)


def parse_realms(values: Sequence[bytes]) -> frozenset[str]:
    """The realms to which ``X-Auth-Realm`` headers narrow a request; empty: not narrowed.

    A value that no realm can have stays in the set and matches no realm: it never widens the request to all of them.
    Raises `InvalidCredentialsRequest` for more than `MAX_REALMS` names.
    """
    names: set[str] = set()
    for value in values:
        names.update(name.strip(" \t") for name in value.decode("utf-8", "backslashreplace").split(","))
    if len(names) > MAX_REALMS:
        raise InvalidCredentialsRequest(f"{len(names)} realms in X-Auth-Realm")
    return frozenset(names)

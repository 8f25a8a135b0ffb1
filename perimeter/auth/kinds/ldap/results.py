"""The meaning of a directory's result codes for a login. Pure.

A refused bind is "wrong" (`Rejected`) if the directory has decided about this user, otherwise "could not decide"
(`Unavailable`): an unknown code never means that a password is wrong, and never admits a user.
"""

from __future__ import annotations

import re

from perimeter.auth.kinds.ldap.values import Result, ServerFailure
from perimeter.errors import Rejected, Unavailable, Undecided

SUCCESS = 0
SIZE_LIMIT_EXCEEDED = 4
REFERRAL = 10
NO_SUCH_OBJECT = 32
INVALID_CREDENTIALS = 49

NAMES = {
    0: "success",
    1: "operationsError",
    2: "protocolError",
    3: "timeLimitExceeded",
    4: "sizeLimitExceeded",
    7: "authMethodNotSupported",
    8: "strongerAuthRequired",
    10: "referral",
    11: "adminLimitExceeded",
    12: "unavailableCriticalExtension",
    13: "confidentialityRequired",
    16: "noSuchAttribute",
    17: "undefinedAttributeType",
    18: "inappropriateMatching",
    19: "constraintViolation",
    21: "invalidAttributeSyntax",
    32: "noSuchObject",
    33: "aliasProblem",
    34: "invalidDNSyntax",
    36: "aliasDereferencingProblem",
    48: "inappropriateAuthentication",
    49: "invalidCredentials",
    50: "insufficientAccessRights",
    51: "busy",
    52: "unavailable",
    53: "unwillingToPerform",
    54: "loopDetect",
    80: "other",
}
"""RFC 4511, appendix A."""

# Results of a bind that are due to the user: 49 usually; 32 for an entry that was just removed; 48 for one without a password; 50
# for one that no rule lets authenticate; 19 and 53 for one that is locked or inactive (389 Directory Server).
_ABOUT_THE_USER = frozenset((19, NO_SUCH_OBJECT, 48, INVALID_CREDENTIALS, 50, 53))

# Results that are due to the server: another server may succeed.
_ABOUT_THE_SERVER = frozenset((51, 52))

# A limit of the server was reached by this search; other searches may stay within it.
_TOO_MUCH = frozenset((3, SIZE_LIMIT_EXCEEDED, 11))

_NEEDS_TLS = frozenset((8, 13))

_HINTS = {
    1: "the directory wants a bind before a search: set bind_dn and bind_password",
    3: "raise server_timeout, or have the directory index what is searched for",
    8: "the directory takes passwords over TLS only: set tls = starttls or ldaps",
    13: "the directory takes passwords over TLS only: set tls = starttls or ldaps",
    REFERRAL: "this part of the directory is on another server, and referrals are not followed",
    NO_SUCH_OBJECT: "the base is not there, or bind_dn may not see it",
    50: "bind_dn may not search here",
}

AD_REASONS = {
    "525": "no such user",
    "52e": "wrong password",
    "530": "not at this time of day",
    "531": "not from this computer",
    "532": "the password has expired",
    "533": "the account is disabled",
    "568": "the user is in too many groups",
    "701": "the account has expired",
    "773": "the password must be changed first",
    "775": "the account is locked",
}
"""Active Directory's sub-codes of invalidCredentials, in hexadecimal: the Windows error codes of a failed logon."""

_AD_DATA = re.compile(r"\bdata ([0-9a-fA-F]{1,8})\b")


def describe(result: Result) -> str:
    """A result for the log: its name, and the reason that Active Directory gives. The server's own text is left out."""
    name = NAMES.get(result.code, f"code {result.code}")
    data = _AD_DATA.search(result.message) if result.code == INVALID_CREDENTIALS else None
    if data is None:
        return name
    code = data[1].lower()
    return f"{name}, {code}: {AD_REASONS.get(code, 'a reason that is not known here')}"


def judge_login(result: Result) -> None:
    """Return if a user's bind succeeded; otherwise raise `Rejected`, `ServerFailure` or `Unavailable`."""
    if result.code == SUCCESS:
        return
    if result.code in _ABOUT_THE_USER:
        raise Rejected(f"the directory refused the login ({describe(result)})")
    _judge_server(result)
    if result.code in _NEEDS_TLS:
        raise Unavailable(f"the directory refuses every login ({describe(result)}); {_HINTS[result.code]}")
    hint = _HINTS[REFERRAL] if result.code == REFERRAL else ""
    raise Undecided(f"the directory could not judge a login ({describe(result)}){hint and '; '}{hint}")


def judge_service(result: Result) -> None:
    """Return if the gateway's own bind succeeded; otherwise raise `ServerFailure`."""
    if result.code == SUCCESS:
        return
    _judge_server(result)
    hint = _HINTS.get(result.code, "") if result.code in _NEEDS_TLS else "look at bind_dn and bind_password"
    raise ServerFailure(f"it refuses the bind of bind_dn ({describe(result)}); {hint}", final=True)


def judge_search(result: Result) -> None:
    """Return if a search was completed; otherwise raise `ServerFailure` or `Unavailable`."""
    if result.code == SUCCESS:
        return
    _judge_server(result)
    hint = _HINTS.get(result.code, "")
    kind = Undecided if result.code in _TOO_MUCH else Unavailable
    raise kind(f"the directory could not answer a search ({describe(result)}){hint and '; '}{hint}")


def _judge_server(result: Result) -> None:
    if result.code in _ABOUT_THE_SERVER:
        raise ServerFailure(f"it says {describe(result)}")

"""The exception tree: one class for each fact that a caller can act on.

Three families, never mixed:

* `StartupError` (and its `ConfigError`): the daemon cannot start. Its text is what the operator reads.
* `Refusal`: a request is answered with an error. ``reason`` is the code for the audit log, ``phrase`` the fixed sentence that the
  client reads, ``detail`` what only the operator's log may hold. `perimeter.http.answers` maps it to a response.
* What an authenticator says: `Rejected` ("mine, and wrong") and `Unavailable` ("could not tell"), both of them refusals.

No secret, token or unverified claim may stand in ``detail``.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import ClassVar

import attrs

from perimeter.model.reasons import EarlyEnd


class PerimeterError(Exception):
    """The root of everything that this project raises on purpose."""


class StartupError(PerimeterError):
    """The daemon cannot start, and ``str()`` is one line that says what is wrong and where."""


@attrs.frozen
class Problem:
    """One fault of a configuration file.

    ``line`` counts from 1; 0 stands for "not at any one line" (a section that is missing, say).
    """

    file: str
    line: int
    section: str
    option: str
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        where = f" [{self.section}]" if self.section else ""
        option = f" {self.option}:" if self.option else (":" if where else "")
        hint = f", did you mean {self.suggestion}?" if self.suggestion else ""
        return f"{place}:{where}{option} {self.message}{hint}"


class ConfigError(StartupError):
    """A configuration cannot be used; carries every fault that was found, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class Challenges(StrEnum):
    """Which challenges a 401 carries (WWW-Authenticate; RFC 9110, section 11.6.1).

    ``BEARER``: the gateway's own token, and what authenticators take beside passwords. ``BASIC``: what authenticators take.
    ``BOTH``: the two together. ``JOINED``: the same in one line, for a proxy that asks on behalf of a client.
    """

    BEARER = "bearer"
    BASIC = "basic"
    BOTH = "both"
    JOINED = "joined"


class Refusal(PerimeterError):
    """A request that is answered with an error.

    ``detail`` explains to the operator, ``retry_after`` is in seconds, and ``close`` says that the connection cannot be used
    for another request (the framing is in doubt). ``stranger`` is what a client gets that has to authenticate: the gate sets it
    to what the route says, just before the answer is rendered.
    """

    status: ClassVar[int] = 500
    reason: ClassVar[str] = "internal_error"
    phrase: ClassVar[str] = "Something went wrong inside the gateway"
    close: ClassVar[bool] = False
    stranger: Challenges = Challenges.BEARER

    def __init__(self, detail: str = "", *, retry_after: int | None = None) -> None:
        super().__init__(detail or self.phrase)
        self.detail = detail
        self.retry_after = retry_after


class InternalError(Refusal):
    """A bug or an impossible state: 500, nothing was allowed."""


# -- the request itself


class BadRequest(Refusal):
    """Not HTTP as RFC 9112 has it, or ambiguous: the connection is closed, because its framing is in doubt."""

    status = 400
    reason = "bad_request"
    phrase = "The request is malformed"
    close = True


class BadTarget(BadRequest):
    """A request target or path with more than one reading (attacks 1 to 3)."""

    reason = "bad_target"
    phrase = "The request target is malformed or ambiguous"


class HeadTooLarge(BadRequest):
    """More header bytes or fields than the limits allow (RFC 6585, section 5)."""

    status = 431
    reason = "head_too_large"
    phrase = "The request header is too large"


class TargetTooLong(BadRequest):
    """A request line over the limit (RFC 9110, section 15.5.15)."""

    status = 414
    reason = "target_too_long"
    phrase = "The request target is too long"


class VersionNotSupported(BadRequest):
    """HTTP of another major version (RFC 9110, section 15.6.6)."""

    status = 505
    reason = "version_not_supported"
    phrase = "This HTTP version is not supported"


class MethodRefused(BadRequest):
    """CONNECT and TRACE, which a gateway does not serve (RFC 9110, section 15.6.2)."""

    status = 501
    reason = "method_refused"
    phrase = "This method is not supported"


class RequestTimeout(BadRequest):
    """The head or body came too slowly (RFC 9110, section 15.5.9)."""

    status = 408
    reason = "request_timeout"
    phrase = "The request took too long to arrive"


class BodyTooLarge(Refusal):
    """The body is larger than the route's ``max_body`` (RFC 9110, section 15.5.14)."""

    status = 413
    reason = "body_too_large"
    phrase = "The request body is too large"
    close = True


class ExpectationFailed(BadRequest):
    """``Expect`` with anything but ``100-continue`` (RFC 9110, section 10.1.1)."""

    status = 417
    reason = "expectation_failed"
    phrase = "This expectation is not supported"


# -- where it goes


class NoRoute(Refusal):
    """No route matches; no upstream is touched."""

    status = 404
    reason = "no_route"
    phrase = "There is nothing here"


class NoSuchToken(NoRoute):
    """The user has no such API token; whether somebody else has is not told (attack 37)."""

    reason = "no_such_token"
    phrase = "There is no such API token"


class TooManyTokens(Refusal):
    """The user has as many API tokens as one may have."""

    status = 409
    reason = "too_many_tokens"
    phrase = "This user has as many API tokens as one may have: end some of them first"


class Unreadable(Refusal):
    """A file that the gateway's own user may not read."""

    status = 403
    reason = "unreadable"
    phrase = "This file may not be read"


class MethodNotAllowed(Refusal):
    """The resource exists and does not do this method. ``allow`` is what it does, for Allow (RFC 9110, section 15.5.6)."""

    status = 405
    reason = "method_not_allowed"
    phrase = "This method is not allowed here"

    def __init__(self, detail: str = "", *, allow: tuple[str, ...] = ()) -> None:
        super().__init__(detail)
        self.allow = allow


class Maintenance(Refusal):
    """The operator has closed the gateway for the time being."""

    status = 503
    reason = "maintenance"
    phrase = "The service is closed for maintenance"


# -- who asks, and whether they may


class MissingCredentials(Refusal):
    """No usable credential came with the request (RFC 6750, section 3.1: no error code)."""

    status = 401
    reason = "missing_credentials"
    phrase = "Authentication is required"


class InvalidCredentialsRequest(Refusal):
    """The credentials are malformed or given twice (RFC 6750, section 3.1: ``invalid_request``)."""

    status = 400
    reason = "invalid_request"
    phrase = "The Authorization header is malformed"


class InvalidToken(Refusal):
    """The access token is forged, malformed, of another audience or revoked (RFC 6750, section 3.1: ``invalid_token``)."""

    status = 401
    reason = "invalid_token"
    phrase = "The access token is invalid"


class ExpiredToken(InvalidToken):
    """The access token was ours, and its time is over."""

    reason = "expired_token"
    phrase = "The access token expired"


class RevokedToken(InvalidToken):
    """A token was revoked while a request that it had admitted was being answered."""

    reason = "revoked"


class ForeignToken(InvalidToken):
    """A token that is none of ours: unless an authenticator knows it, it is invalid."""


class Rejected(Refusal):
    """An authenticator knows these credentials to be wrong: 401, and no other authenticator is asked."""

    status = 401
    reason = "wrong_credentials"
    phrase = "The credentials are wrong"


class TooManyAttempts(Refusal):
    """Wrong passwords for this name or from this address have used up what is allowed (RFC 6585, section 4)."""

    status = 429
    reason = "too_many_attempts"
    phrase = "Too many wrong passwords: try again later"

    def __init__(self, detail: str = "", *, retry_after: int | None = 1) -> None:
        super().__init__(detail, retry_after=retry_after)


class InsufficientScope(Refusal):
    """The identity is known, and may not do this (RFC 6750, section 3.1: ``insufficient_scope``)."""

    status = 403
    reason = "insufficient_scope"
    phrase = "This identity is not allowed to do this"


class NetworkRefused(Refusal):
    """The client's address is outside the route's ``networks``."""

    status = 403
    reason = "network_refused"
    phrase = "This address is not allowed here"


class Unavailable(Refusal):
    """An authentication backend could not tell: 503, never "allowed", never "wrong password"."""

    status = 503
    reason = "authentication_unavailable"
    phrase = "Authentication is unavailable at the moment"

    def __init__(self, detail: str = "", *, retry_after: int | None = 5) -> None:
        super().__init__(detail, retry_after=retry_after)


class Undecided(Unavailable):
    """An authentication backend works, and could not tell for this one user: it says nothing of other logins."""


class Overloaded(Unavailable):
    """A bounded queue is full; the client is asked to come back."""

    reason = "overloaded"
    phrase = "The gateway is too busy at the moment"


class StateUnavailable(Unavailable):
    """What must outlive the process cannot be written: nothing is given that would be forgotten."""

    reason = "state_unavailable"
    phrase = "The gateway cannot write its state at the moment"


class AuditUnavailable(Unavailable):
    """The audit log cannot be written and ``strict`` is on: nothing is served that could not be written down."""

    reason = "audit_unavailable"
    phrase = "The gateway cannot serve requests at the moment"


# -- the service behind


class UpstreamUnreachable(Refusal):
    """Refused, unresolvable, or closed before it answered (RFC 9110, section 15.6.3)."""

    status = 502
    reason = "upstream_unreachable"
    phrase = "The service behind the gateway cannot be reached"


class UpstreamBadReply(Refusal):
    """The reply is not HTTP, or ambiguous: it is not passed on, and its connection is dropped."""

    status = 502
    reason = "upstream_bad_reply"
    phrase = "The service behind the gateway gave an invalid answer"


class UpstreamTimeout(Refusal):
    """No connection, or no answer, within the upstream's time (RFC 9110, section 15.6.5)."""

    status = 504
    reason = EarlyEnd.UPSTREAM_TIMEOUT
    phrase = "The service behind the gateway did not answer in time"

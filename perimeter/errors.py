"""The exception tree: one class for each fact that a caller can act on.

Three families, never mixed:

* `StartupError` (and its subclass `ConfigError`): the daemon cannot start. The operator reads its text.
* `Refusal`: a request is answered with an error. ``reason`` is the code in the audit log. ``phrase`` is the fixed sentence that
  the client reads. ``detail`` is for the operator's log only. `perimeter.http.answers` turns a refusal into a response.
* The failures of an authenticator: `Rejected` (it knows that the credentials are wrong) and `Unavailable` (it could not decide).
  Both are refusals.

``detail`` must not contain a secret, a token or an unverified claim.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import ClassVar

import attrs

from perimeter.model.reasons import EarlyEnd


class PerimeterError(Exception):
    """The base class of every exception that this project raises on purpose."""


class StartupError(PerimeterError):
    """The daemon cannot start. ``str()`` is one line that says what is wrong and where."""


@attrs.frozen
class Problem:
    """One fault of a configuration file.

    ``line`` counts from 1. It is 0 where the fault has no line (a missing section, for example).
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
    """A configuration cannot be used. ``problems`` holds every fault that was found, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class Challenges(StrEnum):
    """Which challenges a 401 carries (WWW-Authenticate; RFC 9110, section 11.6.1).

    ``BEARER``: tokens, the gateway's own first, then those of authenticators; no Basic, whatever was wrong. ``BASIC``: passwords
    alone. ``BOTH``: the two together, and Kerberos. ``FIRST_HAND``: the schemes of authenticators, not the gateway's own tokens.
    """

    BEARER = "bearer"
    BASIC = "basic"
    BOTH = "both"
    FIRST_HAND = "first-hand"


@attrs.frozen
class SignIn:
    """What the page of a refusal offers to a person in a browser, on a route where people sign in.

    ``location`` is path and query of the sign-in page, and ``label`` the words of the link to it. ``framed``: the page is shown
    in a frame of another page. ``sent``: a form came with the request and was not processed. ``user``: the signed-in user; ""
    without a session.
    """

    location: str
    framed: bool = False
    sent: bool = False
    user: str = ""
    label: str = "Sign in"


@attrs.frozen
class Page:
    """A page of the operator or a built-in one: its body, and the header lines that go with it."""

    lines: bytes
    body: bytes


class Refusal(PerimeterError):
    """A request that is answered with an error.

    ``detail`` explains the refusal to the operator. ``retry_after`` is in seconds. ``close`` says that the connection cannot be
    used for another request (the framing is in doubt). ``stranger`` says which challenges a client gets that has to authenticate:
    the gate sets it according to the route, just before the answer is rendered. ``one_line`` puts them in one header, for a proxy
    that asks on behalf of a client. ``login`` is the path of the login page, where the client can get a session for this request;
    empty if it cannot. ``sign_in`` is for the page that a browser shows. ``attempted_user`` is the user name of a login that
    failed, as the client sent it: an unverified claim, which the logs show as such. ``page`` is the operator's page for this
    refusal alone.
    """

    status: ClassVar[int] = 500
    reason: str = "internal_error"
    phrase: ClassVar[str] = "Something went wrong inside the gateway"
    close: ClassVar[bool] = False
    stranger: Challenges = Challenges.BEARER
    one_line: bool = False
    login: bytes = b""
    sign_in: SignIn | None = None
    attempted_user: str | None = None
    page: Page | None = None

    def __init__(self, detail: str = "", *, retry_after: int | None = None) -> None:
        self.detail = detail
        self.retry_after = retry_after

    def __str__(self) -> str:
        return self.detail or self.phrase


class InternalError(Refusal):
    """A bug or an impossible state: 500. The request was not allowed."""


# -- the request itself


class BadRequest(Refusal):
    """The request is not valid HTTP (RFC 9112) or is ambiguous. The connection is closed, because its framing is in doubt."""

    status = 400
    reason = "bad_request"
    phrase = "The request is malformed"
    close = True


class BadTarget(BadRequest):
    """A request target or path with more than one reading (attacks 1 to 3)."""

    reason = "bad_target"
    phrase = "The request target is malformed or ambiguous"


class HeadTooLarge(BadRequest):
    """The header has more bytes or more lines than the limits allow (RFC 6585, section 5)."""

    status = 431
    reason = "head_too_large"
    phrase = "The request header is too large"


class TargetTooLong(BadRequest):
    """The request line is longer than the limit (RFC 9110, section 15.5.15)."""

    status = 414
    reason = "target_too_long"
    phrase = "The request target is too long"


class VersionNotSupported(BadRequest):
    """HTTP of another major version (RFC 9110, section 15.6.6)."""

    status = 505
    reason = "version_not_supported"
    phrase = "This HTTP version is not supported"


class MethodRefused(BadRequest):
    """The method is CONNECT or TRACE, which a gateway does not serve (RFC 9110, section 15.6.2)."""

    status = 501
    reason = "method_refused"
    phrase = "This method is not supported"


class RequestTimeout(BadRequest):
    """The head or the body arrived too slowly (RFC 9110, section 15.5.9)."""

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
    """``Expect`` has a value other than ``100-continue`` (RFC 9110, section 10.1.1)."""

    status = 417
    reason = "expectation_failed"
    phrase = "This expectation is not supported"


# -- the route and the resource


class NoRoute(Refusal):
    """No route matches. The request is sent to no upstream."""

    status = 404
    reason = "no_route"
    phrase = "There is nothing here"


class NoSuchToken(NoRoute):
    """The user has no such API token. The answer does not reveal whether another user has it (attack 37)."""

    reason = "no_such_token"
    phrase = "This API token does not exist"


class NoSuchSession(NoRoute):
    """The user has no such session. The answer does not reveal whether another user has it."""

    reason = "no_such_session"
    phrase = "This session does not exist"


class NoSuchFactor(NoRoute):
    """The user has no such second factor. The answer does not reveal whether another user has it."""

    reason = "no_such_factor"
    phrase = "This second factor does not exist"


class TooManyTokens(Refusal):
    """The user has reached the maximum number of API tokens."""

    status = 409
    reason = "too_many_tokens"
    phrase = "This user has the maximum number of API tokens: revoke some of them first"


class TooManyFactors(Refusal):
    """The user has reached the maximum number of second factors."""

    status = 409
    reason = "too_many_factors"
    phrase = "This user has the maximum number of second factors: remove some of them first"


class FactorDemanded(Refusal):
    """The user wants to remove the last second factor, and has a role that demands one."""

    status = 409
    reason = "factor_demanded"
    phrase = "Your role demands a second factor: add another one before you remove this one"


class Unreadable(Refusal):
    """The gateway's system user has no permission to read the file."""

    status = 403
    reason = "unreadable"
    phrase = "This file may not be read"


class MethodNotAllowed(Refusal):
    """The resource does not support this method. ``allow`` lists those it supports, for Allow (RFC 9110, section 15.5.6)."""

    status = 405
    reason = "method_not_allowed"
    phrase = "This method is not allowed here"

    def __init__(self, detail: str = "", *, allow: tuple[str, ...] = ()) -> None:
        super().__init__(detail)
        self.allow = allow


class Maintenance(Refusal):
    """The operator has closed the gateway for maintenance."""

    status = 503
    reason = "maintenance"
    phrase = "The service is closed for maintenance"


class RouteMaintenance(Maintenance):
    """The operator has closed the route for maintenance."""

    def __init__(self, detail: str = "", *, page: Page | None = None, retry_after: int | None = None) -> None:
        super().__init__(detail, retry_after=retry_after)
        self.page = page


class ShuttingDown(Refusal):
    """The gateway stops, and the request was not answered in time."""

    status = 503
    reason = EarlyEnd.SHUTDOWN
    phrase = "The gateway is being stopped: send the request again"
    close = True


# -- authentication and authorization


class MissingCredentials(Refusal):
    """The request carries no usable credential (RFC 6750, section 3.1: no error code)."""

    status = 401
    reason = "missing_credentials"
    phrase = "Authentication is required"


class SessionExpired(Refusal):
    """The session of the cookie does not exist or has ended: too old, not used, signed out, or revoked."""

    status = 401
    reason = "session_expired"
    phrase = "The session has ended: sign in again"


class SessionUnused(SessionExpired):
    """The session is open, but was not used for a longer time than the route allows: the user has to sign in again."""


class LoginNeeded(MissingCredentials):
    """A browser that asks for a page is sent to the login page (RFC 9110, section 15.4.3), because of ``cause``.

    ``location`` is the path and query of the page. Everything else is as ``cause`` has it, also the reason in the audit log.
    """

    status = 302
    phrase = "Sign in to see this page"

    def __init__(self, location: bytes, cause: Refusal) -> None:
        super().__init__(cause.detail)
        self.location = location
        self.reason = cause.reason
        self.stranger = cause.stranger
        self.login = cause.login or location.partition(b"?")[0]


class LoginNeededBehindProxy(LoginNeeded):
    """The same for a proxy that does not pass on redirects (nginx): 401, and X-Perimeter-Login has the location."""

    status = 401


class InvalidCredentialsRequest(Refusal):
    """The credentials are malformed or given twice (RFC 6750, section 3.1: ``invalid_request``)."""

    status = 400
    reason = "invalid_request"
    phrase = "The Authorization header is malformed"


class CredentialsTooLarge(InvalidCredentialsRequest):
    """The Authorization header is longer than ``max_authorization`` (RFC 6585, section 5: a single header is at fault)."""

    status = 431
    reason = "credentials_too_large"
    phrase = "The Authorization header is too large"


class InvalidToken(Refusal):
    """The access token is forged, malformed, revoked or for another audience (RFC 6750, section 3.1: ``invalid_token``)."""

    status = 401
    reason = "invalid_token"
    phrase = "The access token is invalid"


class ExpiredToken(InvalidToken):
    """This gateway issued the access token, and the token has expired."""

    reason = "expired_token"
    phrase = "The access token expired"


class RevokedToken(InvalidToken):
    """The token was revoked while a request that it had admitted was being answered."""

    reason = "revoked"


class IdentityChanged(InvalidToken):
    """An exchange was open for long, and by now its credential is another user's, or the user has lost a role."""

    reason = "identity_changed"
    phrase = "The user or the user's roles have changed"


class ForeignToken(InvalidToken):
    """The token was not issued by this gateway.

    It is offered to the authenticators that accept bearer tokens. If none of them accepts it, it is invalid.
    """


class UnknownKey(ForeignToken):
    """The token names a key that this process does not have. Another process may have made it a moment ago."""


class UnknownToken(InvalidToken):
    """This process does not have the API token with the SHA-256 ``digest``. The store may have it."""

    def __init__(self, detail: str = "", *, digest: bytes = b"") -> None:
        super().__init__(detail)
        self.digest = digest


class UncheckedToken(UnknownToken):
    """The same for the text of a token from before the check: clients can send any number of texts that were never issued."""


class Rejected(Refusal):
    """An authenticator knows that these credentials are wrong: 401. No other authenticator is asked."""

    status = 401
    reason = "wrong_credentials"
    phrase = "The credentials are wrong"


class TooManyAttempts(Refusal):
    """There were too many wrong passwords for this user name or from this address (RFC 6585, section 4)."""

    status = 429
    reason = "too_many_attempts"
    phrase = "Too many wrong passwords: try again later"

    def __init__(self, detail: str = "", *, retry_after: int | None = 1) -> None:
        super().__init__(detail, retry_after=retry_after)


class TooManyCodes(TooManyAttempts):
    """So many codes were tried for one sign-in, or in one session, that it has ended: the user has to sign in again."""

    phrase = "Too many wrong codes: sign in again"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail, retry_after=None)


class InsufficientScope(Refusal):
    """The identity is established but is not allowed to do this (RFC 6750, section 3.1: ``insufficient_scope``)."""

    status = 403
    reason = "insufficient_scope"
    phrase = "You are not allowed to do this"


class SecondFactorNeeded(Refusal):
    """The user is known, and has to show a second factor for this: a session with one factor, or a password, is not enough."""

    status = 403
    reason = "second_factor_needed"
    phrase = "A second factor is needed for this"


class WrongFactor(Refusal):
    """The second factor, or the passkey, is wrong: another code, an answer that does not fit, or one that was used before."""

    status = 403
    reason = "wrong_factor"
    phrase = "The second factor is wrong"


class CommandRefused(Refusal):
    """The user may only read on this route (``read_only``), and the request's command is not known to do no more than that."""

    status = 403
    reason = "command_refused"
    phrase = "You may only read here"


class NetworkRefused(Refusal):
    """The client's address is outside the route's ``networks``."""

    status = 403
    reason = "network_refused"
    phrase = "This address is not allowed here"


class CrossSite(Refusal):
    """A browser sent the request on behalf of another site, with credentials that it adds by itself (attack 50)."""

    status = 403
    reason = "cross_site"
    phrase = "This request comes from another site"


class CorsRefused(Refusal):
    """A browser asks whether a page of another site may use a route, and the route does not list that site."""

    status = 403
    reason = "cors_refused"
    phrase = "Pages of this site may not use this address"


class PlainConnection(Refusal):
    """A password was sent to a page of the gateway over plain HTTP. It is not verified, and no cookie is set (attack 80)."""

    status = 403
    reason = "https_needed"
    phrase = "People can sign in over https only"


class Unavailable(Refusal):
    """An authentication backend could not decide: 503, never "allowed", never "wrong password"."""

    status = 503
    reason = "authentication_unavailable"
    phrase = "Authentication is unavailable at the moment"

    def __init__(self, detail: str = "", *, retry_after: int | None = 5) -> None:
        super().__init__(detail, retry_after=retry_after)


class Undecided(Unavailable):
    """The backend is up but could not decide for this user; its circuit breaker stays closed."""


class Overloaded(Unavailable):
    """A bounded queue is full. The client is asked to try again later."""

    reason = "overloaded"
    phrase = "The gateway is too busy at the moment"


class ProviderUnavailable(Unavailable):
    """A provider that signs people in does not answer, or answers with what cannot be used."""

    reason = "provider_unavailable"
    phrase = "The sign-in provider is unavailable at the moment"


class ProviderDenied(Refusal):
    """The user, or the provider, has ended the sign-in there. The user may begin again."""

    status = 403
    reason = "provider_denied"
    phrase = "The provider has not signed you in"


class ProviderMisconfigured(Refusal):
    """The provider refuses the gateway itself, such as its client id: an operator has to act. ``detail`` says what is wrong."""

    status = 502
    reason = "provider_misconfigured"
    phrase = "The provider does not accept this site: its operator has to look into it"


class NotAllowedHere(Refusal):
    """The provider has identified the user, who may not come in here. ``attempted_user`` is their name."""

    status = 403
    reason = "not_allowed_here"
    phrase = "You are known to the provider, and may not use this site"


class NameConflict(Refusal):
    """Another identity of a provider has this user name here already. An operator can release the name."""

    status = 403
    reason = "name_conflict"
    phrase = "This user name belongs to another account of the provider"


class FlowGone(Refusal):
    """The sign-in at a provider is not known to this browser: too old, used, or begun in another browser."""

    status = 403
    reason = "flow_expired"
    phrase = "This sign-in has expired: begin again"


class BadTicket(Refusal):
    """The ticket of a hand-over between two hosts is unknown, too old, used, for another host or of another browser."""

    status = 403
    reason = "bad_ticket"
    phrase = "This sign-in was not completed in time, or in another browser: begin again"


class StateUnavailable(Unavailable):
    """The state cannot be written or looked up, or may be out of date: nothing is issued, and no token or session is judged."""

    reason = "state_unavailable"
    phrase = "The gateway cannot read or write its state at the moment"


class NotWritten(StateUnavailable):
    """Something was taken away: it is in force on this machine, and is not written, or not known to all machines, yet."""

    phrase = "This is in force, but it could not be written everywhere yet"


class AuditUnavailable(Unavailable):
    """The audit log cannot be written and ``strict`` is on, so no request is served."""

    reason = "audit_unavailable"
    phrase = "The gateway cannot serve requests at the moment"


# -- limits of a route


class RateExceeded(Refusal):
    """The client has sent more requests than a `rate` of the route allows (RFC 6585, section 4).

    ``lines`` are the header lines RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers-11).
    """

    status = 429
    reason = "rate_exceeded"
    phrase = "Too many requests: try again later"

    def __init__(self, detail: str, *, retry_after: int, lines: bytes) -> None:
        super().__init__(detail, retry_after=retry_after)
        self.lines = lines


class TooManyInFlight(Refusal):
    """The client has as many requests in flight as the route allows (`in_flight`)."""

    status = 429
    reason = "too_many_in_flight"
    phrase = "Too many requests at the same time: try again later"


class DeadlineExceeded(Refusal):
    """The response was not complete within `request_timeout`. A response that has begun is cut."""

    status = 504
    reason = "deadline_exceeded"
    phrase = "The request took too long"


# -- the upstream


class UpstreamUnreachable(Refusal):
    """The upstream has no address, refused the connection, or closed it before it answered (RFC 9110, section 15.6.3)."""

    status = 502
    reason = "upstream_unreachable"
    phrase = "The service behind the gateway cannot be reached"


class UpstreamDown(Refusal):
    """No server of the upstream passes its health checks (RFC 9110, section 15.6.4)."""

    status = 503
    reason = "upstream_down"
    phrase = "The service behind the gateway is down at the moment"


class UpstreamBusy(Refusal):
    """All servers of the upstream have `max_requests` requests, and the request has waited for too long or could not wait."""

    status = 503
    reason = "upstream_busy"
    phrase = "The service behind the gateway is too busy at the moment"


class LoopDetected(Refusal):
    """The request has passed this gateway, or others like it, several times (RFC 5842, section 7.2)."""

    status = 508
    reason = "loop"
    phrase = "The request went round in a circle: a service behind the gateway is the gateway itself"


class UpstreamBadReply(Refusal):
    """The reply is not valid HTTP or is ambiguous. It is not passed on, and its connection is dropped."""

    status = 502
    reason = "upstream_bad_reply"
    phrase = "The service behind the gateway gave an invalid answer"


class UpstreamTimeout(Refusal):
    """The upstream did not accept a connection or did not answer within its timeouts (RFC 9110, section 15.6.5)."""

    status = 504
    reason = EarlyEnd.UPSTREAM_TIMEOUT
    phrase = "The service behind the gateway did not answer in time"

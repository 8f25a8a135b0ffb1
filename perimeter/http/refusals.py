"""The lines about refused requests in the daemon's own log: what was refused, for whom, and why.

A refusal that is the client's fault is logged at info, a failed login with the name that was tried, and a fault of the gateway or
of a service as a warning. A redirect of a browser without credentials to the sign-in page is not an error: it is logged at level
debug. Each kind is logged a few times and then counted (`perimeter.repeats`), so that refused requests in a loop cost little. The
audit log has every request, with the same reason and detail.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from twisted.logger import Logger

from perimeter.audit.escaping import escape, escape_text, redact, shown_name
from perimeter.errors import LoginNeeded, MissingCredentials, Refusal
from perimeter.http.roles import Admission
from perimeter.model import ClientConnection, RequestHead
from perimeter.repeats import Count, Repeats

_log = Logger()

REFUSALS: Final = 5
"""Refusals of one kind that are logged before the rest are counted."""

LOGINS: Final = 10
"""Failed logins from one address that are logged before the rest are counted: more than a program that reads the log to block
addresses waits for."""

_LONGEST_TARGET: Final = 256
"""Bytes of a request target that are read for the log: reading 32 KiB takes 2 ms."""

_CUT: Final = 56
"""Bytes at the end of a target that was cut, which are not logged: they may be the start of a token."""

_LONGEST_METHOD: Final = 32

_REFUSED: Final = "request refused for {address}, {method} {target}: {status} {reason}: {detail}"
_SENT_TO_LOGIN: Final = "request of {address} sent to the sign-in page, {method} {target}: {status} {reason}: {detail}"

_Kind = tuple[str, str]
"""Reason and detail of a refusal; reason and address of a failed login."""


class RefusedExchange(Protocol):
    """What is read of an exchange (`perimeter.http.exchange.Exchange`)."""

    head: RequestHead
    asked: RequestHead | None
    connection: ClientConnection
    decision: Admission | None

    @property
    def request_id(self) -> str:
        """The request's id, or ""."""


class RefusalLog:
    """Logs refusals. ``clock`` returns seconds. The owner calls `report` about once a second, and `finish` at the end."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._faults: Repeats[_Kind] = Repeats(clock)
        self._refusals: Repeats[_Kind] = Repeats(clock, REFUSALS)
        self._sent_to_login: Repeats[_Kind] = Repeats(clock, REFUSALS)
        self._logins: Repeats[_Kind] = Repeats(clock, LOGINS)

    def note(self, refusal: Refusal, exchange: RefusedExchange, status: int | None = None) -> None:
        """Log ``refusal`` of ``exchange``, or count it. ``status`` is that of the response, if it is not the refusal's own."""
        kind = (refusal.reason, refusal.detail)
        if refusal.status >= 500:
            if self._faults.admit(kind):
                _log.warn(
                    "{reason}: {detail}",
                    reason=refusal.reason,
                    detail=_detail(refusal),
                    counted=True,
                    request_id=exchange.request_id,
                )
        elif isinstance(refusal, LoginNeeded) and refusal.reason == MissingCredentials.reason:
            if self._sent_to_login.admit(kind):
                _log_request(_log.debug, _SENT_TO_LOGIN, refusal, exchange, status)
        elif refusal.attempted_user is None:
            if self._refusals.admit(kind):
                _log_request(_log.info, _REFUSED, refusal, exchange, status)
        else:
            address = _address(exchange)
            if self._logins.admit((refusal.reason, address)):
                _log.info(
                    'login refused for {address}, user "{user}": {status} {reason}: {detail}',
                    address=address,
                    user=escape_text(shown_name(refusal.attempted_user), blank=True).decode(),
                    status=status or refusal.status,
                    reason=refusal.reason,
                    detail=_detail(refusal),
                    request_id=exchange.request_id,
                )

    def report(self) -> None:
        """Log the counts that are due."""
        self._write(self._faults.due(), self._refusals.due(), self._sent_to_login.due(), self._logins.due())

    def finish(self) -> None:
        """Log all counts, at the end."""
        self._write(self._faults.rest(), self._refusals.rest(), self._sent_to_login.rest(), self._logins.rest())

    @staticmethod
    def _write(
        faults: list[Count[_Kind]], refusals: list[Count[_Kind]], sent: list[Count[_Kind]], logins: list[Count[_Kind]]
    ) -> None:
        for log, counts, words in (
            (_log.warn, faults, "{reason}: {detail}: {more} more in {seconds} s"),
            (_log.info, refusals, "requests refused: {reason}: {detail}: {more} more in {seconds} s"),
            (_log.debug, sent, "requests sent to the sign-in page: {reason}: {detail}: {more} more in {seconds} s"),
            (_log.info, logins, "logins refused for {detail}: {reason}: {more} more in {seconds} s"),
        ):
            for count in counts:
                reason, detail = count.key or ("of other kinds", "")
                log(words, reason=reason, detail=detail or "-", more=count.more, seconds=round(count.seconds), counted=True)


def _address(exchange: RefusedExchange) -> str:
    """The client's address, as the audit log shows it."""
    decision = exchange.decision
    return exchange.connection.address if decision is None else decision.address


def _log_request(log: Callable[..., None], words: str, refusal: Refusal, exchange: RefusedExchange, status: int | None) -> None:
    head = exchange.asked or exchange.head
    log(
        words,
        address=_address(exchange),
        method=escape(head.method[:_LONGEST_METHOD]).decode() or "-",
        target=_shown_target(head.target),
        status=status or refusal.status,
        reason=refusal.reason,
        detail=_detail(refusal),
        request_id=exchange.request_id,
    )


def _shown_target(target: bytes) -> str:
    if len(target) <= _LONGEST_TARGET:
        return escape(redact(target)).decode() or "-"
    return f"{escape(redact(target[:_LONGEST_TARGET])[:-_CUT]).decode()}…"


def _detail(refusal: Refusal) -> str:
    return refusal.detail or refusal.phrase

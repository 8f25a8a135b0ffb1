"""One HTTP exchange with another service, bounded in time and size. It ends with an answer or with `Unavailable`.

Each kind of authenticator decides what an answer means. No message contains a URL, a token or a body.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote, quote_plus

import attrs
from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH

from perimeter.connection_faults import Options, connect_fault, handshake_fault, reason_of
from perimeter.errors import Unavailable
from perimeter.fair_queue import FairSemaphore
from perimeter.strict_json import decode, decode_object
from perimeter.web_client.pooled import MAX_BODY, PooledClient

if TYPE_CHECKING:
    from treq.response import _Response

MAX_UNDER_WAY = 200
"""Exchanges of one authenticator at a time: a flood of tokens must not become a flood of requests to another service."""

MAX_WAITING = 200
"""Exchanges that wait until one of those ends. Clients take turns (`perimeter.fair_queue`)."""

_HEADERS = {"Accept": "application/json", "User-Agent": "Perimeter"}


@attrs.frozen
class RemoteAnswer:
    """The answer of ``service``. ``body`` is None if it was larger than `MAX_BODY`.

    ``link`` is the header Link (RFC 8288), ``date`` the header Date (RFC 9110, section 6.6.1); "" if it is absent.
    """

    service: str
    status: int
    body: bytes | None = attrs.field(repr=False)
    link: str = attrs.field(default="", repr=False)
    date: str = ""

    def members(self) -> dict[str, Any]:
        """The body as a JSON object. Raises `Unavailable`."""
        found: dict[str, Any] = self._decoded("a JSON object", decode_object)
        return found

    def value(self) -> Any:
        """The body as any JSON value. Raises `Unavailable`."""
        return self._decoded("JSON", decode)

    def _decoded(self, what: str, decoder: Callable[[bytes], Any]) -> Any:
        if self.body is None:
            raise Unavailable(f"{self.service} answered with more than {MAX_BODY} bytes")
        try:
            return decoder(self.body)
        except ValueError as error:
            raise Unavailable(f"{self.service} answered with a body that is not {what}: {error}") from None

    def unexpected(self) -> Unavailable:
        """Return the exception to raise for a status that the caller does not expect."""
        return Unavailable(f"{self.service} answered with status {self.status}")


class _Body(Protocol):
    """Collects a body up to `MAX_BODY`. ``done`` fires with its bytes, or with None if it is longer."""

    def __init__(self, length: int | object) -> None:
        self.done: Deferred[bytes | None] = Deferred(lambda _: self._abort())
        self._fits = not isinstance(length, int) or length <= MAX_BODY
        self._received = bytearray()

    def _abort(self) -> None:
        abort = getattr(self.transport, "abortConnection", None)
        if abort is not None:
            abort()

    def connectionMade(self) -> None:
        """Do not begin to read a body that is too long."""
        if not self._fits:
            self._too_much()

    def dataReceived(self, data: bytes) -> None:
        """Collect ``data``."""
        self._received += data
        if len(self._received) > MAX_BODY and self._fits:
            self._fits = False
            self._too_much()

    def _too_much(self) -> None:
        self._received.clear()
        done, self.done = self.done, Deferred()
        self._abort()
        done.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Report the body, or that the connection was lost before the body was complete."""
        if not self._fits or self.done.called:
            return
        if reason.check(ResponseDone) or (reason.check(PotentialDataLoss) and self._received):
            self.done.callback(bytes(self._received))
        else:
            self.done.errback(reason)


class RemoteClient:
    """Calls ``service`` (its name in messages). ``timeout`` (seconds) covers one exchange from the connect to the last byte."""

    def __init__(self, service: str, client: PooledClient, timeout: float, clock: IReactorTime) -> None:
        self.service = service
        self._client = client
        self._timeout = timeout
        self._clock = clock
        self._slots = FairSemaphore(MAX_UNDER_WAY, MAX_WAITING, f"answers of {service}")

    async def get(self, url: str, *, authorization: str = "") -> RemoteAnswer:
        """GET; ``authorization`` is that header. Raises `Unavailable`, like `post`."""
        return await self._within("GET", url, {"Authorization": authorization} if authorization else {})

    async def post(self, url: str, *, authorization: str = "", content_type: str = "", **body: Any) -> RemoteAnswer:
        """POST with ``data=`` (a form, or bytes of ``content_type``) or ``json=``; ``authorization`` is that header."""
        headers = {"Authorization": authorization, "Content-Type": content_type}
        return await self._within("POST", url, {name: value for name, value in headers.items() if value}, **body)

    async def _within(self, method: str, url: str, headers: dict[str, str], **body: Any) -> RemoteAnswer:
        await self._slots.acquire()
        try:
            exchange = Deferred.fromCoroutine(self._exchange(method, url, headers | _HEADERS, body))
            return await exchange.addTimeout(self._timeout, self._clock, self._late)
        except (Unavailable, CancelledError):
            raise
        except Exception as error:
            # Only its kind: the text of an exception may contain the URL, and the URL may contain the token.
            raise Unavailable(f"{self.service} cannot be asked: {_fault(error)}") from None
        finally:
            self._slots.release()

    def _late(self, result: object, timeout: float) -> NoReturn:
        # whatever became of the exchange when it was cancelled: Twisted reports an answer that never came in several ways
        raise Unavailable(f"{self.service} took longer than {timeout:g} s")

    async def _exchange(self, method: str, url: str, headers: dict[str, str], body: dict[str, Any]) -> RemoteAnswer:
        reactor: Any = self._clock
        fields: Any = {name: [value] for name, value in headers.items()}
        response: _Response = await self._client.http.request(
            method, url, headers=Headers(fields), allow_redirects=False, unbuffered=True, reactor=reactor, **body
        )
        length = response.length
        collected = _Body(None if length is UNKNOWN_LENGTH else length)
        done = collected.done
        response.deliverBody(collected)
        link = ", ".join(response.headers.getRawHeaders("Link", ()))
        date = ", ".join(response.headers.getRawHeaders("Date", ()))
        return RemoteAnswer(self.service, response.code, await done, link, date)


_OPTIONS = Options("use an http:// URL", timeout="timeout")


def _fault(error: BaseException) -> str:
    """What ``error``, or the reason that Twisted has wrapped in it, means. Without the words of an exception in general."""
    inner: BaseException | None = error
    while reasons := getattr(inner, "reasons", None):
        inner = reasons[0].value if isinstance(reasons[0], Failure) else None
    if isinstance(inner, SSL.Error):
        return handshake_fault(reason_of(inner), 0, _OPTIONS)
    if isinstance(inner, VerificationError | CertificateError):
        return "its certificate is for another name: check the host in the URL"
    if isinstance(inner, ConnectError | DNSLookupError):
        return connect_fault(inner, _OPTIONS)
    return _kind(error)


def _kind(error: BaseException) -> str:
    """The name of ``error``'s class, and of the reasons that Twisted has wrapped in it."""
    reasons = getattr(error, "reasons", None)
    if isinstance(reasons, (list, tuple)) and reasons and isinstance(reasons[0], Failure) and reasons[0].value is not None:
        return f"{type(error).__name__} ({_kind(reasons[0].value)})"
    return type(error).__name__


def with_query(url: str, name: str, value: str) -> str:
    """Add a query parameter to ``url``. Every character of ``value`` except letters, digits and ``-._~`` is escaped."""
    return f"{url}{'&' if '?' in url else '?'}{name}={quote(value, safe='')}"


def client_basic(client_id: str, secret: str) -> str:
    """The Authorization of an OAuth client; both parts are form-encoded before they are joined (RFC 6749, section 2.3.1)."""
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return "Basic " + base64.b64encode(pair.encode()).decode("ascii")

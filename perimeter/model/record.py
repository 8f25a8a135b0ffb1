"""What is known of a request when it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perimeter.model.identity import Principal
    from perimeter.model.wire import HeaderBlock


class AccessRecord:
    """Everything that the audit log may say of one request. Text is raw here: formats escape it.

    ``time`` is seconds since the epoch, ``duration`` seconds; ``sent`` and ``received`` count body octets; ``status`` is 0
    where nothing was answered; ``target`` is the request target as sent ("" where none could be read); ``reason`` is the code of
    the refusal or of the early end (``client_gone``, ``upstream_aborted``…), or "".
    """

    __slots__ = (
        "address",
        "duration",
        "headers",
        "host",
        "listener",
        "method",
        "principal",
        "reason",
        "received",
        "route",
        "sent",
        "status",
        "target",
        "time",
        "tls",
        "upstream",
        "version",
    )

    def __init__(
        self,
        time: float,
        duration: float,
        address: str,
        listener: str,
        tls: str,
        method: bytes,
        target: bytes,
        version: str,
        host: bytes,
        headers: HeaderBlock | None,
        status: int,
        sent: int,
        received: int,
        principal: Principal | None,
        route: str,
        upstream: str,
        reason: str,
    ) -> None:
        self.time = time
        self.duration = duration
        self.address = address
        self.listener = listener
        self.tls = tls
        self.method = method
        self.target = target
        self.version = version
        self.host = host
        self.headers = headers
        self.status = status
        self.sent = sent
        self.received = received
        self.principal = principal
        self.route = route
        self.upstream = upstream
        self.reason = reason

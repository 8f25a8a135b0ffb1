"""What is known of a request when it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perimeter.model.identity import Principal
    from perimeter.model.wire import HeaderBlock


class AccessRecord:
    """Everything that the audit log may say of one request. Text is raw here: formats escape it.

    Whatever makes a record sets every attribute by name (17 keywords would take 0.6 µs longer). A record is not changed later.
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

    #: seconds since the epoch when the request began, and seconds until its end
    time: float
    duration: float
    #: of the client, as rules see it
    address: str
    #: where the request came in: section name, and TLS version or ""
    listener: str
    tls: str
    method: bytes
    #: as sent; b"" if none could be read
    target: bytes
    #: ``HTTP/1.1``
    version: str
    host: bytes
    headers: HeaderBlock | None
    #: 0 if nothing was answered
    status: int
    #: bytes of the bodies
    sent: int
    received: int
    principal: Principal | None
    route: str
    upstream: str
    #: code of the refusal or of the early end (`perimeter.model.reasons`), or ""
    reason: str

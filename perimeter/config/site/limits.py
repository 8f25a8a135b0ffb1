"""``[limits]``: how much time, memory and connections one client may use."""

from __future__ import annotations

import attrs

from perimeter.config.language.datatypes import SIZE, duration, integer
from perimeter.config.language.option import SectionKind, option
from perimeter.config.language.settings import Settings


@attrs.frozen
class LimitSettings(Settings):
    """``[limits]``. Times are seconds, sizes are bytes."""

    handshake_timeout: float = option(
        duration(), "longest time for a TLS handshake, from its first byte to its last", default="10s"
    )
    head_timeout: float = option(
        duration(), "longest time for the request line and headers, from the first byte to the last", default="10s"
    )
    idle_timeout: float = option(
        duration(), "how long a connection stays open without a request before it is closed", default="75s"
    )
    body_timeout: float = option(duration(), "longest time between two parts of a request body", default="30s")
    body_min_rate: int = option(SIZE, "minimum average rate of a request body, in bytes per second", default="256")
    send_timeout: float = option(
        duration(), "longest time that a client may read nothing of its response before it is disconnected", default="60s"
    )
    linger_timeout: float = option(
        duration(),
        "longest time for which the rest of a request that was refused is read and discarded, so that the client gets the answer",
        default="30s",
    )
    max_head: int = option(SIZE, "largest request line and headers together", default="32KiB")
    max_headers: int = option(integer(1, 100_000), "largest number of headers in a request", default="100")
    max_authorization: int = option(
        SIZE, "largest value of the `Authorization` header, within `max_head`; a longer one is answered with 431", default="16KiB"
    )
    remembered_tokens: int = option(
        integer(3, 100_000_000),
        "number of verified tokens to keep, which need no verification when they are used again; each takes about 2 KiB",
        default="32768",
    )
    connections: int = option(
        integer(1, 10_000_000),
        "client connections at a time, of all workers together; in each process at most half of the file descriptors that it may "
        "have. For one more, those that have sent no request for the longest time are closed",
        default="20000",
    )
    connections_per_address: int = option(
        integer(1, 10_000_000),
        "client connections at a time from one address. Several workers divide the number; each allows its part, an eighth of "
        "that more, and 4, but at most the number itself",
        default="1000",
    )


KIND = SectionKind(
    "limits",
    LimitSettings,
    "How much one client may use.",
    "idle_timeout = 30s\nmax_head = 16KiB\nconnections_per_address = 200\n",
)

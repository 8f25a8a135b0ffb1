"""What the gate needs of the exchange that it judges."""

from __future__ import annotations

from typing import Protocol

from perimeter.http.roles import Admission
from perimeter.model import ClientConnection, RequestHead


class Judged(Protocol):
    """An exchange, or what stands for one that is judged again (`perimeter.gate.review`)."""

    decision: Admission | None
    #: header lines of every response; see `perimeter.http.exchange.Exchange`
    answer_lines: bytes

    @property
    def time(self) -> float:
        """When the request came, in epoch seconds."""

    @property
    def head(self) -> RequestHead:
        """The request that came over the connection."""

    @property
    def connection(self) -> ClientConnection:
        """Where it came from."""

    @property
    def ended(self) -> bool:
        """Whether the judgement is not needed any more."""

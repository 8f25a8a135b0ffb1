"""The HTTP connections to a CA: https alone, without redirects, and bounded in time and size.

For the library acme, which uses requests. Everything here blocks, and is for one thread.
"""

from __future__ import annotations

import io
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import requests

MOST: Final = 1024 * 1024
"""Bytes of an answer."""

STEP: Final = 10.0
"""Seconds to connect, and between two pieces of an answer."""

LONGEST: Final = 30.0
"""Seconds for a whole answer."""

_PIECE: Final = 16 * 1024


class BoundedSession(requests.Session):
    """``deadline`` is when the last answer has to be complete, as ``clock`` says it (seconds).

    ``pause`` is how many seconds the CA asked for with its last refusal; 0 if it did not.
    """

    def __init__(self, deadline: float, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        # neither proxies nor passwords from the environment: an order goes to the CA that the configuration names
        self.trust_env = False
        # nothing to unpack: a small answer stays small
        self.headers["Accept-Encoding"] = "identity"
        self.deadline = deadline
        self.pause = 0.0

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        """As in `requests.Session`. Raises `requests.RequestException`, also for what is too large or takes too long."""
        text = url.decode("ascii", "replace") if isinstance(url, bytes) else url
        if not text.lower().startswith("https://"):
            raise requests.exceptions.InvalidSchema("the CA refers to a URL without https")
        now = self._clock()
        until = min(now + LONGEST, self.deadline)
        kwargs |= {"stream": True, "allow_redirects": False, "timeout": max(0.1, min(STEP, until - now))}
        response = super().request(method, text, *args, **kwargs)
        try:
            received = self._read(response, until)
        finally:
            response.close()
        response.raw = io.BytesIO(received)
        if response.status_code in (429, 503):
            self.pause = _seconds(response.headers.get("Retry-After", ""))
        return response

    def _read(self, response: requests.Response, until: float) -> bytes:
        received = bytearray()
        # `read1` returns what has arrived, so that bytes that come one by one do not get around the deadline
        while piece := response.raw.read1(_PIECE, decode_content=False):
            received += piece
            if len(received) > MOST:
                raise requests.exceptions.ContentDecodingError(f"the answer of the CA has more than {MOST} bytes")
            if self._clock() > until:
                raise requests.ReadTimeout("the answer of the CA takes too long")
        return bytes(received)


def _seconds(text: str) -> float:
    """The seconds of a Retry-After header; 0 for a date, and for anything else."""
    return float(text[:9]) if text.isascii() and text.isdigit() else 0.0


def trusted(ca_certificate: Path | None) -> str | bool:
    """What requests verifies the CA's own certificate by: the file, or else the CAs of the system."""
    if ca_certificate is not None:
        return str(ca_certificate)
    system = ssl.get_default_verify_paths()
    return system.cafile or system.capath or True

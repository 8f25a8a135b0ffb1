"""``/operator/events``: a stream of figures for the operator's page, one event a second (server-sent events).

Pages answer navigations only, but a script reads this stream. So its URL has a token, which is in the page and is valid
only for this session. A stream ends with its session, and with the role of its user, as everything does that is open for long
(`perimeter.gate.review`). There are at most `MOST_VIEWERS`; a viewer that reads too slowly loses samples, and does not delay
others.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from perimeter.errors import CrossSite, Overloaded
from perimeter.gate.access import session_only
from perimeter.metrics.figures import STREAM_ROUTE
from perimeter.metrics.samples import Sample, Sampler
from perimeter.web.endpoints.operator.access import PATH, operator_policy
from perimeter.web.endpoints.operator.charts import series
from perimeter.web.endpoints.operator.gateway import Trouble
from perimeter.web.endpoints.operator.services import state_word
from perimeter.web.endpoints.page import PageEndpoint, Pages, query_fields
from perimeter.web.request import exchange_of

_log = Logger()

STREAM: Final = "operator_stream"
"""The event of a stream in the audit log, and the purpose of its token."""

STREAM_PATH: Final = f"{PATH}/events"
"""Its path below the prefix of the gateway's pages."""

MOST_VIEWERS: Final = 20
"""Streams at a time in one process, of all operators together."""

TROUBLES_EVERY: Final = 10
"""Samples between two searches for problems."""


def described(sample: Sample) -> dict[str, Any]:
    """The members of a sample's event."""
    return {
        "time": sample.time,
        "series": series(sample),
        "sessions": sample.sessions,
        "refusals": sorted(sample.refusals.items(), key=lambda one: (-one[1], one[0])),
        "audit": not sample.audit_failing,
        "servers": [[f"{one.upstream} {one.url}", one.busy, one.idle, state_word(one.state)] for one in sample.servers],
        "authenticators": [one.next_try if one.down else -1 for one in sample.authenticators],
    }


def described_trouble(trouble: Trouble) -> dict[str, Any]:
    """The members of a problem in an event."""
    return {"severity": int(trouble.severity), "subject": str(trouble.subject), "name": trouble.name, "message": trouble.message}


def event(name: str, value: Any) -> bytes:
    """An event of the stream. JSON has no line breaks, so it is one line of data."""
    return f"event: {name}\ndata: {json.dumps(value, separators=(',', ':'))}\n\n".encode("ascii")


class Audience:
    """All streams, across reloads. Each sample is encoded once for all streams.

    ``troubles`` finds what is wrong (`perimeter.web.endpoints.operator.gateway.Gateway.troubles`).
    """

    def __init__(self, samples: Sampler, troubles: Callable[[], Awaitable[Sequence[Trouble]]]) -> None:
        self._samples = samples
        self._troubles = troubles
        self._viewers: set[Viewer] = set()
        self._end: Callable[[], None] | None = None
        self._count = 0
        self._asking = False

    @property
    def full(self) -> bool:
        """Whether there is room for no more."""
        return len(self._viewers) >= MOST_VIEWERS

    def __len__(self) -> int:
        return len(self._viewers)

    def enter(self, viewer: Viewer) -> None:
        """``viewer`` gets all events from now on."""
        self._viewers.add(viewer)
        if self._end is None:
            self._end = self._samples.watch(self._sample)

    def leave(self, viewer: Viewer) -> None:
        """``viewer`` gets no more events."""
        self._viewers.discard(viewer)
        if not self._viewers and self._end is not None:
            self._end()
            self._end = None

    def _sample(self, sample: Sample) -> None:
        self._send(event("sample", described(sample)))
        self._count += 1
        if self._count % TROUBLES_EVERY == 0 and not self._asking:
            self._asking = True
            Deferred.fromCoroutine(self._ask()).addErrback(
                lambda failure: _log.failure("what is wrong is not known", failure=failure)
            )

    async def _ask(self) -> None:
        try:
            found = await self._troubles()
            self._send(event("troubles", [described_trouble(one) for one in found]))
        finally:
            self._asking = False

    def _send(self, text: bytes) -> None:
        for viewer in tuple(self._viewers):
            viewer.take(text)


@implementer(IPushProducer)
class Viewer:
    """One stream, as the producer of its request."""

    def __init__(self, request: Any, audience: Audience) -> None:
        self._request = request
        self._audience = audience
        self._behind = False
        self.lost = 0

    def begin(self) -> int:
        """Send the head, and events from now on."""
        request = self._request
        request.setHeader(b"Content-Type", b"text/event-stream")
        request.setHeader(b"Cache-Control", b"no-store")
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        request.setHeader(b"Cross-Origin-Resource-Policy", b"same-origin")
        request.notifyFinish().addBoth(lambda _: self.stopProducing())
        request.registerProducer(self, True)
        request.write(b"retry: 5000\n\n")
        self._audience.enter(self)
        return NOT_DONE_YET

    def take(self, text: bytes) -> None:
        """Send an event, or lose it if the reader has not read the last one yet."""
        if self._behind:
            self.lost += 1
        else:
            self._request.write(text)

    # -- IPushProducer

    def pauseProducing(self) -> None:
        """The reader is behind."""
        self._behind = True

    def resumeProducing(self) -> None:
        """The reader has caught up."""
        self._behind = False

    def stopProducing(self) -> None:
        """The reader has left, or must."""
        self._audience.leave(self)


class OperatorEvents(PageEndpoint):
    """The stream of figures: the one thing of the operator's page that a script may read."""

    lasting = True

    def __init__(self, pages: Pages, audience: Audience, role: str, directory_realms: frozenset[str]) -> None:
        access = session_only(f"{pages.prefix}/login")
        super().__init__(STREAM_PATH, {b"GET": access}, pages)
        self.name = STREAM_ROUTE
        self.otherwise = access
        self.policy = operator_policy(role, directory_realms)
        self._audience = audience

    def check_navigation(self, request: Any) -> None:
        """Let a script of a page of this origin ask, which the token proves."""
        self.check_origin(request)

    def render_GET(self, request: Any) -> int:
        """Begin a stream. Raises `CrossSite` without the token of a page in this session, and `Overloaded`."""
        exchange_of(request).event = STREAM
        if not self.has_token(request, query_fields(request).get("token", ""), STREAM):
            raise CrossSite("the stream of figures without the token of its page in this session")
        if self._audience.full:
            raise Overloaded("there are too many streams of figures", retry_after=60)
        return Viewer(request, self._audience).begin()

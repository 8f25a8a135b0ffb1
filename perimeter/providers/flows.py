"""Sign-ins at providers that are under way, as one kind of state: another worker may get the browser's next request.

The browser stores 256 random bits in a cookie, and the state stores their SHA-256 with where the user wanted to go. Whether a
flow was used is not known here (`perimeter.state.once`): a flow stays until it is too old, so that a browser that comes back a
second time is led on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import attrs
from twisted.python.failure import Failure

from perimeter.state.changes import Change
from perimeter.state.kinds import Codec, Execute, IndexedView, Kind
from perimeter.state.writer import ChangeWriter, look

LIFETIME: Final = 600.0
"""Seconds that a user may take to sign in at a provider."""

MOST_FLOWS: Final = 10_000
"""Flows that there may be. One more replaces the oldest."""

MOST_OF_CLIENT: Final = 20
"""Flows that clients of one block of addresses may have. One more replaces the oldest of these."""


@attrs.frozen(slots=True)
class BegunFlow(Change):
    """A sign-in at ``provider`` has begun, at ``created`` (epoch seconds).

    ``digest`` is the SHA-256 of the cookie's value. ``to`` is the path that the user wanted. ``client`` is the block of addresses
    that it comes from. ``again``: the provider was asked to authenticate the user anew.
    """

    digest: bytes = attrs.field(repr=False)
    provider: str
    to: str = attrs.field(repr=False)
    client: str
    created: float
    again: bool = False

    @property
    def adds(self) -> bool:
        """True: a flow counts once it is written."""
        return True

    @property
    def passing(self) -> bool:
        """True: after a power failure the user begins anew."""
        return True


@attrs.frozen(slots=True)
class EndedFlow(Change):
    """Nothing is known of the flow any more."""

    digest: bytes = attrs.field(repr=False)

    @property
    def passing(self) -> bool:
        """True: a flow gives no access by itself."""
        return True


def flow_digest(cookie: bytes) -> bytes:
    """What is kept in place of the value of a flow's cookie: 32 bytes."""
    return sha256(cookie).digest()


class FlowIndex:
    """Flows in memory, the oldest first: all by their digest, and by the block of addresses that they come from."""

    def __init__(self) -> None:
        self.by_digest: dict[bytes, BegunFlow] = {}
        self.of_client: dict[str, dict[bytes, BegunFlow]] = {}

    def apply(self, change: Change) -> None:
        """Put one change in force."""
        if isinstance(change, BegunFlow):
            self.by_digest.setdefault(change.digest, change)
            self.of_client.setdefault(change.client, {}).setdefault(change.digest, change)
        elif isinstance(change, EndedFlow):
            flow = self.by_digest.pop(change.digest, None)
            if flow is not None:
                self._drop(flow)

    def _drop(self, flow: BegunFlow) -> None:
        of_client = self.of_client[flow.client]
        del of_client[flow.digest]
        if not of_client:
            del self.of_client[flow.client]

    def use(self, flow: BegunFlow) -> None:
        """Let ``flow`` be the first of its client to be replaced: it is only good to lead a browser on."""
        of_client = self.of_client.get(flow.client, {})
        if flow.digest in of_client:
            self.of_client[flow.client] = {flow.digest: flow, **of_client}

    def forget(self, now: float) -> None:
        """Drop the flows that had ended by ``now`` (epoch seconds)."""
        for flow in [one for one in self.by_digest.values() if one.created <= now - LIFETIME]:
            self.apply(EndedFlow(flow.digest))


class StoredFlows(IndexedView[FlowIndex]):
    """The flows that exist (`perimeter.state.kinds.View`)."""

    def __init__(self, writer: ChangeWriter) -> None:
        super().__init__(writer, FlowIndex)

    # -- flows

    def __len__(self) -> int:
        return len(self._index.by_digest)

    def known(self, cookie: bytes) -> BegunFlow | None:
        """The flow of a cookie's value, as far as this process knows it; None if it is too old."""
        flow = self._index.by_digest.get(flow_digest(cookie))
        return None if flow is None or flow.created + LIFETIME <= self._writer.seconds() else flow

    async def find(self, cookie: bytes) -> BegunFlow | None:
        """The flow of a cookie's value, perhaps of another process. Raises `perimeter.errors.Unavailable`."""
        flow = self.known(cookie)
        if flow is None:
            await look(self)
            flow = self.known(cookie)
        return flow

    def used(self, flow: BegunFlow) -> None:
        """The browser has come back: ``flow`` makes room for other flows of its client, before those under way."""
        self._index.use(flow)

    async def begin(self, flow: BegunFlow, replaced: bytes | None = None) -> None:
        """Keep ``flow``; that of the cookie ``replaced`` ends. Raises `perimeter.errors.Unavailable` if it cannot be written."""
        index = self._index
        ended = [] if replaced is None else [flow_digest(replaced)]
        of_client = index.of_client.get(flow.client, {})
        if len(of_client) >= MOST_OF_CLIENT:
            ended.append(next(iter(of_client)))
        elif len(index.by_digest) >= MOST_FLOWS:
            ended.append(next(iter(index.by_digest)))
        for digest in ended:
            self._writer.remove(EndedFlow(digest)).addErrback(_logged)
        await self._writer.add(flow)


def _logged(_: Failure) -> None:
    """The state has logged it, and tries again."""


_TABLE: Final = """
CREATE TABLE provider_flow (
    digest BLOB PRIMARY KEY, provider TEXT NOT NULL, target TEXT NOT NULL, client TEXT NOT NULL, created REAL NOT NULL,
    again INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX provider_flow_by_age ON provider_flow (created);
"""

_ALL: Final = "SELECT digest, provider, target, client, created, again FROM provider_flow ORDER BY created"


class FlowTable:
    """`perimeter.state.kinds.Table` of flows."""

    migrations: Sequence[str] = (_TABLE,)

    def load(self, execute: Execute) -> Iterator[Change]:
        """All flows, the oldest first."""
        for digest, provider, to, client, created, again in execute(_ALL):
            yield BegunFlow(digest, provider, to, client, created, bool(again))

    def write(self, execute: Execute, change: Change) -> None:
        """Apply one change."""
        if isinstance(change, BegunFlow):
            execute("INSERT OR IGNORE INTO provider_flow VALUES (?, ?, ?, ?, ?, ?)", attrs.astuple(change))
        elif isinstance(change, EndedFlow):
            execute("DELETE FROM provider_flow WHERE digest = ?", (change.digest,))

    def forget(self, execute: Execute, now: float) -> None:
        """Delete what ended by ``now``."""
        execute("DELETE FROM provider_flow WHERE created <= ?", (now - LIFETIME,))


def _encode(flow: BegunFlow) -> str:
    digest, *rest = attrs.astuple(flow)
    return json.dumps([digest.hex(), *rest])


def _decode(text: str) -> BegunFlow:
    digest, *rest = json.loads(text)
    return BegunFlow(bytes.fromhex(digest), *rest)


CODECS: Final[Mapping[str, Codec[Any]]] = {
    "provider_flow": Codec(BegunFlow, _encode, _decode),
    "provider_flow_ended": Codec(EndedFlow, lambda ended: ended.digest.hex(), lambda text: EndedFlow(bytes.fromhex(text))),
}
"""By the word in the log."""

FLOWS: Final = Kind("provider_flows", CODECS, FlowTable(), StoredFlows)

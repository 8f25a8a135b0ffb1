"""Clients that send one request after the other on lasting connections, and record the outcome of each.

Every request has a target of its own, so that its record can be found. Strangers and holders of revoked tokens send requests too:
a successful answer to one of them is a breach.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import attrs

TIMEOUT = 30.0
"""Seconds to wait for an answer. The gateway answers sooner if the service does not."""

PAUSE = 0.02
"""Seconds to wait before a new connection after one has failed."""

THINK = 0.005
"""Seconds between an answer and the next request, so that the load does not starve the gateway."""


@attrs.frozen
class Sort:
    """A sort of client: the ``headers`` it sends, and the statuses that it may get besides errors of the gateway (5xx).

    ``user`` is the user name that the service must receive.
    """

    name: str
    headers: str
    expected: frozenset[int]
    user: str = ""


@attrs.define
class Outcome:
    """The outcomes of the requests so far. Times are of the monotonic clock.

    ``answered`` has the targets of complete answers with their status. ``breaches`` describes forbidden answers.
    """

    answered: dict[str, int] = attrs.field(factory=dict)
    statuses: Counter[int] = attrs.field(factory=Counter)
    cut: int = 0
    refused: int = 0
    unexpected: Counter[str] = attrs.field(factory=Counter)
    breaches: list[str] = attrs.field(factory=list)
    last_trouble: float = 0.0
    slowest: float = 0.0


class Load:
    """``clients`` connections of each of ``sorts`` to ``port``; ``mark`` begins the targets.

    ``think`` is the time between an answer and the next request, in seconds.
    """

    def __init__(self, port: int, sorts: tuple[Sort, ...], clients: int, mark: str, think: float = THINK) -> None:
        self._think = think
        self.outcome = Outcome()
        self._port = port
        self._mark = mark
        self._stopping = False
        self._tasks = [asyncio.create_task(self._client(sort, number)) for sort in sorts for number in range(clients)]

    async def stop(self) -> Outcome:
        """Let every request under way end."""
        self._stopping = True
        await asyncio.gather(*self._tasks)
        return self.outcome

    async def _client(self, sort: Sort, number: int) -> None:
        sent = 0
        while not self._stopping:
            try:
                reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", self._port), TIMEOUT)
            except (OSError, TimeoutError):
                self.outcome.refused += 1
                self._trouble()
                await asyncio.sleep(PAUSE)
                continue
            try:
                while not self._stopping:
                    sent += 1
                    if not await self._request(reader, writer, sort, f"/{self._mark}/{sort.name}/{number}/{sent}"):
                        break
                    await asyncio.sleep(self._think)
            finally:
                writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sort: Sort, target: str) -> bool:
        """Send a request. Returns whether the connection can be used for another one."""
        began = time.monotonic()
        try:
            writer.write(f"GET {target} HTTP/1.1\r\nHost: gateway\r\n{sort.headers}\r\n".encode())
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), TIMEOUT)
            fields = {
                name.strip().lower(): value.strip()
                for name, _, value in (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:])
            }
            body = await asyncio.wait_for(reader.readexactly(int(fields.get("content-length", "0"))), TIMEOUT)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            # the gateway may close a connection between two requests
            self.outcome.cut += 1
            self._trouble()
            await asyncio.sleep(PAUSE)
            return False
        self._judge(sort, target, int(head[9:12]), body.decode("latin-1"))
        self.outcome.slowest = max(self.outcome.slowest, time.monotonic() - began)
        return fields.get("connection", "").lower() != "close"

    def _judge(self, sort: Sort, target: str, status: int, body: str) -> None:
        outcome = self.outcome
        outcome.answered[target] = status
        outcome.statuses[status] += 1
        if 200 <= status < 300 and (status not in sort.expected or body != f"{target} {sort.user}"):
            outcome.breaches.append(f"{sort.name} got {status} with {body[:80]!r} for {target}")
        if status not in sort.expected:
            self._trouble()
            if status < 500:
                outcome.unexpected[f"{sort.name}: {status}"] += 1

    def _trouble(self) -> None:
        self.outcome.last_trouble = time.monotonic()

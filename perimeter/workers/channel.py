"""The connection between the manager and one worker, for control only: a socket pair with one JSON object in each message.

Either side asks questions, answers questions of the other side, and sends messages that need no answer. Listening sockets are
passed as descriptors. Messages have a length of 4 bytes in front (`twisted.protocols.basic.Int32StringReceiver`). Twisted's AMP
was measured at five times the CPU, imports TLS, and limits a value to 64 KiB, which is too short for metrics.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from inspect import isawaitable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IFileDescriptorReceiver, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from perimeter.errors import StartupError

_log = Logger()

MAX_MESSAGE: Final = 64 * 1024 * 1024
"""Bytes of the longest message."""

Handler = Callable[[Mapping[str, Any]], Any]
"""Answers a question, or handles a message, by its arguments. Returns a JSON value, or an awaitable of one.

Raises `Refused`, `StartupError` or ValueError with a text that the other side may show to the operator.
"""


class ChannelClosed(Exception):
    """The other process has ended, or is about to end."""


class Refused(Exception):
    """The other process has refused the question; the text has the reason."""


@implementer(IFileDescriptorReceiver)
class Channel(Int32StringReceiver):
    """One end. ``handlers`` are by the name of the question; ``closed`` is called when the other end has gone.

    ``descriptors`` have arrived and were not taken yet, in the order of their sending; the code that takes one has to close it.
    They arrive before the message that is sent after them.
    """

    MAX_LENGTH = MAX_MESSAGE
    transport: Any

    def __init__(self, handlers: Mapping[str, Handler], clock: IReactorTime, closed: Callable[[], None] = lambda: None) -> None:
        self.descriptors: deque[int] = deque()
        self.handlers = handlers
        self._clock = clock
        self._closed = closed
        #: the number of the last question
        self.asked = 0
        self._asked: dict[int, Deferred[Any]] = {}
        self._open = True

    # -- to the other side

    def ask(self, name: str, timeout: float, /, **arguments: Any) -> Deferred[Any]:
        """The answer to a question. Fails with `Refused`, `ChannelClosed` or, after ``timeout`` seconds, with TimeoutError."""
        answer: Deferred[Any] = Deferred()
        if not self._open:
            answer.errback(ChannelClosed("the other process has gone"))
            return answer
        self.asked += 1
        number = self.asked
        self._asked[number] = answer
        self._send({"ask": number, "name": name, "with": arguments})

        def ended(result: Any) -> Any:
            self._asked.pop(number, None)
            return result

        return answer.addTimeout(timeout, self._clock, _late).addBoth(ended)

    def tell(self, name: str, /, **arguments: Any) -> None:
        """Send a message that needs no answer. Does nothing if the other end has gone."""
        if self._open:
            self._send({"name": name, "with": arguments})

    def send_descriptor(self, descriptor: int) -> None:
        """Send a copy of ``descriptor``, which the caller keeps. Does nothing if the other end has gone.

        The system drops descriptors above the limit of the other process, so a message has to contain their number.
        """
        if self._open:
            self.transport.sendFileDescriptor(descriptor)

    def _send(self, message: Mapping[str, Any]) -> None:
        self.sendString(json.dumps(message, separators=(",", ":")).encode("ascii"))  # type: ignore[no-untyped-call]

    # -- for another program that continues with the connection

    @property
    def unread(self) -> bytes:
        """The part of the next message that has arrived."""
        return bytes(self._unprocessed)

    @property
    def flushed(self) -> bool:
        """Whether all messages have left this process."""
        transport = self.transport
        return not self._open or not (transport.dataBuffer or transport._tempDataBuffer or transport._sendmsgQueue)

    # -- from the other side

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """See `IFileDescriptorReceiver`."""
        self.descriptors.append(descriptor)

    def stringReceived(self, string: bytes) -> None:
        """A message. The two ends are of one program, so a broken one is a bug, and ends the connection."""
        message = json.loads(string)
        if "reply" in message:
            asked = self._asked.get(message["reply"])
            if asked is None or asked.called:
                return  # too late
            if "refused" in message:
                asked.errback(Refused(message["refused"]))
            else:
                asked.callback(message["is"])
            return
        number = message.get("ask")
        Deferred.fromCoroutine(self._handle(message["name"], message["with"])).addCallback(self._reply, number)

    async def _handle(self, name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            handler = self.handlers.get(name)
            if handler is None:
                raise ValueError(f"this process does not know {name!r}")
            found = handler(arguments)
            return {"is": await _awaited(found) if isawaitable(found) or isinstance(found, Deferred) else found}
        except (Refused, StartupError, ValueError) as error:
            return {"refused": str(error)}
        except Exception:
            _log.failure("a question of the other process could not be answered: {name}", name=name)
            return {"refused": "the process failed to answer; its log says why"}

    def _reply(self, answer: Mapping[str, Any], number: int | None) -> None:
        if number is not None and self._open:
            self._send({"reply": number, **answer})

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The other process has gone."""
        self._open = False
        for asked in list(self._asked.values()):
            if not asked.called:
                asked.errback(ChannelClosed("the other process has gone"))
        self._closed()


async def _awaited(found: Awaitable[Any]) -> Any:
    return await found


def _late(_: Any, timeout: float) -> Any:
    raise TimeoutError(f"no answer within {timeout:g} s")

"""The control socket in ``state_dir``, through which the operator's commands ask the running gateway (`perimeter.run.asking`).

One JSON object on a line each way, then the connection ends. The socket belongs to the gateway's user alone (mode 0600), and only
that user and root may connect. The questions and answers are `perimeter.run.operations`'.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from perimeter.descriptors import system_reason
from perimeter.errors import StartupError, Unavailable
from perimeter.run.asking import LONG_TIMEOUT, NAME, TIMEOUT, short_path
from perimeter.strict_json import decode_object

_log = Logger()

MAX_QUESTION = 64 * 1024

PAUSE: Final = 1.0
"""Seconds without a look at new connections, when no descriptor is free."""

Answer = Callable[[Mapping[str, Any]], Mapping[str, Any] | Awaitable[Mapping[str, Any]]]


class ControlPort:
    """Listens in a ``state_dir``. ``answer`` answers questions, or raises ValueError or `StartupError` for the operator."""

    def __init__(self, directory: Path, answer: Answer, reactor: Any) -> None:
        self.directory = directory
        self._answer = answer
        self._reactor = reactor
        self._listening: socket.socket | None = None

    def open(self) -> None:
        """Listen. A failure is only logged, since the gateway works without the socket."""
        try:
            self._listening = self._bound()
        except OSError as problem:
            _log.warn("no control socket in {directory}: {reason}", directory=str(self.directory), reason=system_reason(problem))
            return
        self._reactor.addReader(self)

    def _bound(self) -> socket.socket:
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            with short_path(self.directory) as path:
                _clear(path)
                os.fchmod(listening.fileno(), 0o600)  # before it has a name: it never has another mode
                listening.bind(path)
            listening.listen(8)
        except BaseException:
            listening.close()
            raise
        return listening

    def close(self) -> None:
        """Listen no more."""
        listening, self._listening = self._listening, None
        if listening is None:
            return
        self._reactor.removeReader(self)
        listening.close()
        with suppress(OSError):
            (self.directory / NAME).unlink()

    # -- for the reactor

    def fileno(self) -> int:
        """Descriptor of the listening socket."""
        return -1 if self._listening is None else self._listening.fileno()

    def logPrefix(self) -> str:
        """For the log."""
        return "control"

    def doRead(self) -> None:
        """Accept a connection."""
        if self._listening is None:
            return
        try:
            connection, _ = self._listening.accept()
        except OSError as problem:
            if problem.errno not in (errno.EAGAIN, errno.ECONNABORTED):  # no descriptor is free: it would be tried at each turn
                self._reactor.removeReader(self)
                self._reactor.callLater(PAUSE, self._accept_again)
            return
        with connection:
            if _peer(connection) not in (0, os.geteuid()):
                return
            factory = Factory.forProtocol(lambda: _Conversation(self._answer, self._reactor))
            with suppress(OSError):  # no descriptor is free: this connection is closed, not the socket
                self._reactor.adoptStreamConnection(connection.fileno(), socket.AF_UNIX, factory)

    def _accept_again(self) -> None:
        if self._listening is not None:
            self._reactor.addReader(self)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor stops, or the descriptor has failed."""
        self.close()


def _clear(path: str) -> None:
    """Remove a socket that no process listens on. Raises OSError if one does."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(17, "something else is in its place")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise FileExistsError(17, "another gateway uses this state_dir")


def _peer(connection: socket.socket) -> int:
    """The user id at the other end."""
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", packed)[1])


class _Conversation(Protocol):
    """One question and its answer."""

    transport: Any

    def __init__(self, answer: Answer, reactor: Any) -> None:
        self._answer = answer
        self._received = b""
        self._asked = False
        self._deadline = reactor.callLater(TIMEOUT, self._late)

    def _late(self) -> None:
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Some of the question. What follows its line is ignored."""
        if self._asked:
            return
        self._received += data
        if len(self._received) > MAX_QUESTION:
            self.transport.abortConnection()
        elif b"\n" in self._received:
            self._asked = True
            self._deadline.reset(LONG_TIMEOUT)
            Deferred.fromCoroutine(self._reply()).addCallback(self._send)

    def _send(self, reply: bytes) -> None:
        self.transport.write(reply + b"\n")
        self.transport.loseConnection()

    async def _reply(self) -> bytes:
        try:
            found = self._answer(decode_object(self._received.partition(b"\n")[0]))
            answer = found if isinstance(found, Mapping) else await found
        except (ValueError, StartupError) as error:
            answer = {"error": str(error)}
        except Unavailable as error:
            answer = {"error": f"the gateway cannot answer now: {error.detail or error.phrase}"}
        except Exception:
            _log.failure("a question on the control socket could not be answered")
            answer = {"error": "the gateway failed to answer; its log says why"}
        return json.dumps(answer).encode("ascii")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection has ended."""
        if self._deadline.active():
            self._deadline.cancel()

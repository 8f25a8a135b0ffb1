"""Redis servers and Sentinels in memory, which answer commands as a test says, and a dialler that leads to them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import hiredis
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from perimeter.errors import StateUnavailable
from perimeter.redis.connection import RedisConnection
from perimeter.redis.dialling import Dialler, at

Command = list[bytes]


class Server:
    """Answers ``replies``: by the first word of the command, the bytes to send, or what makes them; None: nothing is sent."""

    def __init__(self, **replies: bytes | Callable[[Command], bytes | None] | None) -> None:
        self.replies = replies
        self.commands: list[Command] = []
        self.connections: list[RedisConnection] = []

    def answer(self, command: Command) -> bytes | None:
        self.commands.append(command)
        found = self.replies.get(command[0].decode(), b"-ERR unknown command\r\n")
        return found(command) if callable(found) else found

    def words(self) -> list[bytes]:
        """The first words of the commands that came."""
        return [command[0] for command in self.commands]


def hello(mode: bytes) -> bytes:
    """The reply to HELLO of a server in this mode."""
    return b"%%2\r\n+proto\r\n:3\r\n+mode\r\n$%d\r\n%b\r\n" % (len(mode), mode)


def primary(run_id: str = "r1", role: bytes = b"master", version: str = "7.2.4") -> Server:
    """A server that says that it is the primary, with a clock at 1,000 s after the epoch."""
    info = f"# Server\r\nredis_version:{version}\r\nrun_id:{run_id}\r\n".encode()
    return Server(
        HELLO=hello(b"standalone"),
        SELECT=b"+OK\r\n",
        INFO=b"=%d\r\ntxt:%b\r\n" % (len(info) + 4, info),
        ROLE=b"*3\r\n$%d\r\n%b\r\n:0\r\n*0\r\n" % (len(role), role),
        TIME=b"*2\r\n$4\r\n1000\r\n$6\r\n500000\r\n",
        GET=b"$1\r\nx\r\n",
    )


def sentinel(host: str = "10.0.0.1", port: int = 6379, epoch: int = 0, flags: str = "master") -> Server:
    """A Sentinel that names a primary."""
    facts = {"name": "site", "ip": host, "port": str(port), "flags": flags, "config-epoch": str(epoch)}
    text = b"".join(b"$%d\r\n%b\r\n" % (len(part), part.encode()) for fact in facts.items() for part in fact)
    return Server(HELLO=hello(b"sentinel"), SENTINEL=b"%%%d\r\n%b" % (len(facts), text))


class _Transport(StringTransport):
    def __init__(self, clock: Clock, server: Server, connection: RedisConnection) -> None:
        super().__init__()
        self._clock = clock
        self._server = server
        self._connection = connection
        self._reader = hiredis.Reader()

    def write(self, data: bytes) -> None:
        self._reader.feed(data)
        while (command := self._reader.gets()) is not False:
            reply = self._server.answer(command)
            if reply is not None:
                self._clock.callLater(0, self._connection.dataReceived, reply)

    def abortConnection(self) -> None:
        self._server.connections.remove(self._connection)


class MemoryDialler(Dialler):
    """Connects to ``servers``, by HOST:PORT. What is not there refuses the connection; None never answers."""

    def __init__(self, clock: Clock, servers: dict[str, Server | None], timeout: float = 2.0) -> None:
        super().__init__(clock, None, timeout)  # type: ignore[arg-type]
        self.clock = clock
        self.servers = servers
        self.timeout = timeout

    @inlineCallbacks
    def dial(self, host: str, port: int, lost: Callable[[str], object]) -> Generator[Deferred[Any], Any, RedisConnection]:
        place = at(host, port)
        server = self.servers.get(place)
        if server is None:
            if place in self.servers:
                yield Deferred().addTimeout(self.timeout, self.clock, lambda result, timeout: None)
            raise StateUnavailable(f"Redis: {place}: refused")
        connection = RedisConnection(self.clock, self.timeout, lost)
        connection.makeConnection(_Transport(self.clock, server, connection))
        server.connections.append(connection)
        return connection


def settle(clock: Clock, turns: int = 12) -> None:
    """Let everything happen that needs no time."""
    for _ in range(turns):
        clock.advance(0)

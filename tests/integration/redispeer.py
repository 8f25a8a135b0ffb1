"""Real Redis servers and Sentinels for the tests, which scripts/install-test-peers installs.

Each is a process in a directory of its own, on a free port of 127.0.0.1. They are killed, frozen and started again as a test
wants. The machine's own Redis, if there is one, is not touched.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any
from unittest import SkipTest
from urllib.parse import quote

import hiredis

from tests.integration.ports import eventually, free_port

PASSWORD = "redis-password"
"""The password of ``default`` unless a server is made with other users; Sentinels and replicas use it."""


FLAVOUR = "valkey" if os.environ.get("PERIMETER_TEST_VALKEY") else "redis"
"""Whose programs are used: with the environment variable, all tests run on Valkey."""


def program(name: str, flavour: str = FLAVOUR) -> str:
    """The path of ``server`` or ``sentinel`` of a flavour. Skips the test if it is not installed."""
    found = shutil.which(f"{flavour}-{name}")
    if found is None:
        raise SkipTest(f"{flavour}-{name} not installed: scripts/install-test-peers installs all that is needed")
    return found


class Peer:
    """A process with a configuration file and a port."""

    PROGRAM = ""
    USER = "default"
    """Who asks."""

    def __init__(
        self, directory: Path, lines: list[str], tls: tuple[Path, Path, Path] | None, password: str, flavour: str = FLAVOUR
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.port = free_port()
        own, other = ("tls-port", "port") if tls else ("port", "tls-port")
        head = ["bind 127.0.0.1", f"{own} {self.port}", f"{other} 0", f"dir {directory}", f"logfile {directory}/log"]
        if tls:
            certificate, key, ca = tls
            head += [f"tls-cert-file {certificate}", f"tls-key-file {key}", f"tls-ca-cert-file {ca}", "tls-auth-clients no"]
        self.tls = tls
        self._begin("\n".join([*head, *lines, ""]), password, flavour)

    def _begin(self, text: str, password: str, flavour: str = FLAVOUR) -> None:
        """Write the configuration, and start."""
        self._password = password
        self.configuration = self.directory / "redis.conf"
        self.configuration.write_text(text)
        self._process: subprocess.Popen[bytes] | None = None
        self._command = [program(self.PROGRAM, flavour), str(self.configuration)]
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Start the process on the same port and directory, and wait until it answers."""
        with (self.directory / "out").open("ab") as out:
            self._process = subprocess.Popen(self._command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        eventually(self._answers, f"{self.PROGRAM} answers; its log: {self.directory}/log")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"{self.PROGRAM} ended; its log:\n{self.log}"
        try:
            reply = self.ask("PING")
        except OSError:
            return False
        return reply == b"PONG" or (isinstance(reply, hiredis.ReplyError) and not str(reply).startswith("LOADING"))

    @property
    def log(self) -> str:
        """What the process has logged."""
        found = [path.read_text(errors="replace") for path in (self.directory / "log", self.directory / "out") if path.exists()]
        return "".join(found)

    def ask(self, *arguments: str | bytes | int) -> Any:
        """The reply to one command of `USER`, on a connection of its own; an error is a ``hiredis.ReplyError``. Blocks."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as plain:
            connection: socket.socket = self._encrypted(plain) if self.tls else plain
            login = [("AUTH", self.USER, self._password)] if self._password else []
            for call in (*login, arguments):
                connection.sendall(hiredis.pack_command(call))  # type: ignore[arg-type]
            reader = hiredis.Reader(notEnoughData=_MORE)
            replies: list[Any] = []
            while len(replies) <= len(login):
                data = connection.recv(65536)
                if not data:
                    raise ConnectionError("closed")
                reader.feed(data)
                while (reply := reader.gets()) is not _MORE:
                    replies.append(reply)
            return replies[-1]

    def _encrypted(self, plain: socket.socket) -> socket.socket:
        import ssl

        assert self.tls is not None
        context = ssl.create_default_context(cafile=str(self.tls[2]))
        context.check_hostname = False
        return context.wrap_socket(plain)

    def kill(self) -> None:
        """End the process as by a crash (SIGKILL)."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End the process in order (SIGTERM)."""
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(number)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)

    def freeze(self) -> None:
        """Stop the process where it is (SIGSTOP): it accepts connections, and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Undo `freeze`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    close = kill
    """The end of the peer in a test's clean-up."""


class RedisPeer(Peer):
    """A redis-server that keeps each write (append-only file).

    ``password`` is that of ``default``, "" for none. ``users`` are further users, as ``ACL SETUSER`` has them:
    ``{"gateway": "on >secret ~perimeter:* +@all"}``. ``replica_of`` is the primary at the start. ``min_replicas``: it takes no
    changes with fewer replicas. ``tls`` are the files of a certificate, of its key, and of the CA. ``options`` are further lines.
    ``flavour`` is ``redis`` or ``valkey``.
    """

    PROGRAM = "server"

    def __init__(
        self,
        directory: Path,
        *options: str,
        password: str = PASSWORD,
        users: dict[str, str] | None = None,
        replica_of: RedisPeer | None = None,
        min_replicas: int = 0,
        tls: tuple[Path, Path, Path] | None = None,
        flavour: str = FLAVOUR,
    ) -> None:
        lines = ["appendonly yes", "appendfsync no", 'save ""', "repl-diskless-sync-delay 0", "repl-ping-replica-period 1"]
        if password:
            lines += [f"requirepass {password}", f"masterauth {password}"]
        lines += [f"user {name} {rules}" for name, rules in (users or {}).items()]
        if min_replicas:
            lines += [f"min-replicas-to-write {min_replicas}", "min-replicas-max-lag 2"]
        if replica_of is not None:
            lines += [f"replicaof 127.0.0.1 {replica_of.port}"]
        if tls:
            lines += ["tls-replication yes"]
        super().__init__(directory, [*lines, *options], tls, password, flavour)
        if replica_of is not None:
            eventually(lambda: self.ask("ROLE")[3] == b"connected", "the replica has its primary's data")

    @property
    def role(self) -> str:
        """``master`` or ``slave``."""
        return str(self.ask("ROLE")[0].decode())

    def url(self, username: str = "", password: str | None = None, database: int = 0, host: str = "127.0.0.1") -> str:
        """The ``redis_url`` of this server."""
        credentials = credentials_of(username, self._password if password is None else password)
        return f"redis{'s' if self.tls else ''}://{credentials}{host}:{self.port}/{database}"


class SentinelPeer(Peer):
    """A redis-sentinel that watches ``primary`` as ``name``; ``quorum`` Sentinels have to agree that it is lost.

    It takes a primary for lost after ``down_after`` milliseconds.
    """

    PROGRAM = "sentinel"

    def __init__(
        self,
        directory: Path,
        primary: RedisPeer,
        *options: str,
        quorum: int = 2,
        name: str = "perimeter",
        down_after: int = 1000,
        password: str = "",
    ) -> None:
        self.name = name
        lines = [
            f"sentinel monitor {name} 127.0.0.1 {primary.port} {quorum}",
            f"sentinel down-after-milliseconds {name} {down_after}",
            f"sentinel failover-timeout {name} 3000",
        ]
        if primary._password:
            lines += [f"sentinel auth-pass {name} {primary._password}"]
        if password:
            lines += [f"requirepass {password}"]
        if primary.tls:
            lines += ["tls-replication yes"]
        super().__init__(directory, [*lines, *options], primary.tls, password)

    def primary(self) -> int:
        """The port of the primary that this Sentinel names."""
        return int(self.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name)[1])


class SentinelSet:
    """A primary, replicas and Sentinels, which know each other. ``replicas`` and ``sentinels`` are their numbers."""

    def __init__(
        self, directory: Path, replicas: int = 1, sentinels: int = 3, tls: tuple[Path, Path, Path] | None = None, **options: Any
    ) -> None:
        self.servers: list[RedisPeer] = []
        self.sentinels: list[SentinelPeer] = []
        try:
            self.servers.append(RedisPeer(directory / "redis-0", tls=tls, **options))
            for number in range(1, replicas + 1):
                place = directory / f"redis-{number}"
                self.servers.append(RedisPeer(place, tls=tls, replica_of=self.servers[0], **options))
            for number in range(sentinels):
                quorum = sentinels // 2 + 1
                self.sentinels.append(SentinelPeer(directory / f"sentinel-{number}", self.servers[0], quorum=quorum))
            eventually(self._know_each_other, "the Sentinels know each other and the replicas")
        except BaseException:
            self.close()
            raise

    def _know_each_other(self) -> bool:
        for sentinel in self.sentinels:
            facts = sentinel.ask("SENTINEL", "MASTER", sentinel.name)
            known = dict(zip(facts[::2], facts[1::2], strict=True))
            if (
                int(known[b"num-other-sentinels"]) != len(self.sentinels) - 1
                or int(known[b"num-slaves"]) != len(self.servers) - 1
            ):
                return False
        return True

    def primary(self) -> RedisPeer:
        """The server that most Sentinels name."""
        ports = [sentinel.primary() for sentinel in self.sentinels if sentinel._process is not None]
        return self.at(f"127.0.0.1:{max(ports, key=ports.count)}")

    def at(self, place: str) -> RedisPeer:
        """The server with this host and port."""
        return next(server for server in self.servers if f"127.0.0.1:{server.port}" == place)

    def url(self, username: str = "", password: str | None = None, database: int = 0, host: str = "127.0.0.1") -> str:
        """The ``redis_url`` of all of them."""
        credentials = credentials_of(username, self.servers[0]._password if password is None else password)
        hosts = ",".join(f"{host}:{sentinel.port}" for sentinel in self.sentinels)
        tls = "s" if self.servers[0].tls else ""
        return f"redis{tls}+sentinel://{credentials}{hosts}/{self.sentinels[0].name}/{database}"

    def close(self) -> None:
        """End all processes."""
        for peer in (*self.sentinels, *self.servers):
            peer.close()

    kill = close


def credentials_of(username: str, password: str) -> str:
    """The part of a URL before the host."""
    return f"{quote(username, safe='')}:{quote(password, safe='')}@" if username or password else ""


_MORE = object()

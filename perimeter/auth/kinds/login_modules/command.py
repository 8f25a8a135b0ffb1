"""The login module ``command``: an external program reads the question on standard input, and answers on standard output.

One JSON object each way. The program gets ``username``, ``password``, ``address``, ``realm`` and ``version`` 1, and answers with
``result`` (``accept``, ``reject``, ``unknown`` or ``ignore``) and, if it accepts, optionally ``username``, ``roles`` and
``attributes``. Anything else, including an exit status other than 0, means that it could not decide.

It is started without a shell and without the gateway's environment (which may contain secrets), in a process group of its own.
The whole group is killed after the answer, after the deadline, and when the gateway ends.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import threading
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import attrs
from twisted.plugin import IPlugin
from zope.interface import implementer

from perimeter.auth.text import unfit_for_name
from perimeter.config.language.datatypes import TEXT, duration, file_path, list_of
from perimeter.config.language.option import option, options_of
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings, read
from perimeter.descriptors import system_reason
from perimeter.errors import Rejected, StartupError, Unavailable
from perimeter.offload import Offload
from perimeter.plugin.login_module import ILoginModule, ILoginModuleFactory, LoginAttempt, UnknownUser
from perimeter.plugin.services import AuthServices
from perimeter.plugin.verified_login import Known, VerifiedLogin
from perimeter.strict_json import decode_object

MAX_ANSWER = 64 * 1024
"""Bytes of the longest answer of a program."""

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
"""The environment of a program."""


class _Groups:
    """The process groups of the running programs, so that none of them outlives the gateway."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[int] = set()
        self._watched: weakref.WeakSet[Any] = weakref.WeakSet()

    def watch(self, reactor: Any) -> None:
        """Kill all groups when ``reactor`` has shut down: their threads do not end by themselves."""
        if reactor not in self._watched and hasattr(reactor, "addSystemEventTrigger"):
            self._watched.add(reactor)
            reactor.addSystemEventTrigger("after", "shutdown", self._end)

    def add(self, group: int) -> None:
        with self._lock:
            self._running.add(group)

    def kill(self, group: int) -> None:
        """Kill one group. Call it before its leader is reaped: until then no other group can have its number."""
        with self._lock:
            self._running.discard(group)
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)

    def _end(self) -> None:
        for group in list(self._running):
            self.kill(group)


_groups = _Groups()


def run(command: tuple[str, ...], question: bytes, deadline: float) -> bytes:
    """The answer of ``command`` to ``question`` within ``deadline`` seconds. Blocks. Raises `Unavailable`."""
    until = time.monotonic() + deadline
    try:
        process = subprocess.Popen(  # noqa: S603  # the operator's own program, without a shell
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise Unavailable(f"{command[0]} cannot be started: {system_reason(error)}") from None
    _groups.add(process.pid)
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        answer = _converse(process.stdin, process.stdout, question, until)
        if answer is not None and len(answer) > MAX_ANSWER:
            raise Unavailable(f"{command[0]} answered with more than {MAX_ANSWER} bytes")
        if answer is None or not _ended(process, until):
            raise Unavailable(f"{command[0]} took longer than {deadline:g} s")
    finally:
        _groups.kill(process.pid)
        process.wait()
        for stream in (process.stdin, process.stdout):
            with suppress(OSError):
                assert stream is not None
                stream.close()
    if process.returncode:
        raise Unavailable(f"{command[0]} ended with {process.returncode}")
    return answer


def _converse(stdin: IO[bytes], stdout: IO[bytes], question: bytes, until: float) -> bytes | None:
    """Write and read at the same time, so that neither side blocks the other. None after the deadline."""
    os.set_blocking(stdin.fileno(), False)
    answer = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(stdin, selectors.EVENT_WRITE)
        selector.register(stdout, selectors.EVENT_READ)
        while len(answer) <= MAX_ANSWER:
            ready = selector.select(max(0.0, until - time.monotonic()))
            if not ready:
                return None
            for key, _ in ready:
                if key.fileobj is stdout:
                    data = os.read(stdout.fileno(), 16384)
                    if not data:
                        return bytes(answer)
                    answer += data
                else:
                    question = question[_write(stdin, question) :]
                    if not question:
                        selector.unregister(stdin)
                        with suppress(OSError):
                            stdin.close()
    return bytes(answer)


def _write(stdin: IO[bytes], data: bytes) -> int:
    try:
        return os.write(stdin.fileno(), data)
    except BlockingIOError:
        return 0
    except BrokenPipeError:  # it answers before it has read everything
        return len(data)


def _ended(process: subprocess.Popen[bytes], until: float) -> bool:
    """Wait for the end of a process without reaping it, so that its group can still be killed. False after the deadline."""
    handle = os.pidfd_open(process.pid)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(handle, selectors.EVENT_READ)
            return bool(selector.select(max(0.0, until - time.monotonic())))
    finally:
        os.close(handle)


def judged(answer: bytes, username: str, command: str) -> Known | None:
    """The meaning of an answer about ``username``; None for ``ignore``. Raises `Rejected`, `UnknownUser` and `Unavailable`."""
    try:
        fields = decode_object(answer)
        result = fields["result"]
    except (ValueError, KeyError):
        raise Unavailable(f"{command} answered without a JSON object with a result") from None
    if result == "reject":
        raise Rejected(f"{command} rejects the password")
    if result == "unknown":
        raise UnknownUser(f"{command} does not know the user")
    if result == "ignore":
        return None
    known = Known(fields.get("username", username), _roles(fields.get("roles", [])), _attributes(fields.get("attributes", {})))
    names = (known.username, *known.roles, *known.attributes, *known.attributes.values())
    if result != "accept" or not known.username or any(not isinstance(name, str) or unfit_for_name(name) for name in names):
        raise Unavailable(f"{command} answered with something that cannot be used")
    return known


def _roles(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list) else (None,)


def _attributes(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, dict) else {"": None}


@implementer(ILoginModule)
class CommandModule:
    """Asks ``command`` on behalf of ``realm``."""

    def __init__(self, command: tuple[str, ...], deadline: float, realm: str, blocking: Offload) -> None:
        self._command = command
        self._deadline = deadline
        self._realm = realm
        self._blocking = blocking

    def begin(self, attempt: LoginAttempt) -> VerifiedLogin:
        """Its part in a login."""
        return VerifiedLogin(attempt, self._ask)

    async def _ask(self, attempt: LoginAttempt) -> Known | None:
        credentials = attempt.credentials
        attempt.request.explain(f"asking {self._command[0]}")
        fields = {
            "version": 1,
            "username": credentials.username,
            "password": credentials.password,
            "address": attempt.request.address,
            "realm": self._realm,
        }
        question = json.dumps(fields).encode("ascii") + b"\n"
        answer = await self._blocking.run(run, self._command, question, self._deadline)
        return judged(answer, credentials.username, self._command[0])


@attrs.frozen
class CommandSettings(Settings):
    """``program`` is an absolute path; ``deadline`` is in seconds."""

    program: Path = option(file_path("file"), "the program, asked at each login", name="command")
    arguments: tuple[str, ...] = option(list_of(TEXT), "its arguments", default="")
    deadline: float = option(duration(), "longest time for its answer", default="4s")

    @property
    def command(self) -> tuple[str, ...]:
        """The program and its arguments."""
        return (str(self.program), *self.arguments)


@implementer(IPlugin, ILoginModuleFactory)
class CommandFactory:
    """``modules = command …``, with ``option.command``, ``option.arguments`` and ``option.deadline``."""

    kind = "command"
    options = options_of(CommandSettings)

    def parse(self, options: Section) -> CommandSettings:
        """See `ILoginModuleFactory`."""
        return read(options, CommandSettings)

    def build(self, name: str, realm: str, settings: CommandSettings, services: AuthServices) -> CommandModule:
        """Raises `StartupError` for a program that cannot be run."""
        if not os.access(settings.command[0], os.X_OK):
            raise StartupError(f"authenticator {name}: {settings.command[0]} is not executable")
        _groups.watch(services.reactor)
        return CommandModule(settings.command, settings.deadline, realm, services.blocking)

"""Asks the running gateway, through the control socket in its ``state_dir`` (`perimeter.run.control`). For commands: it blocks.

It imports no Twisted, since a command should start at once.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from perimeter.descriptors import system_reason
from perimeter.errors import StartupError

NAME: Final = "control"
"""Name of the socket in ``state_dir``."""

MAX_ANSWER: Final = 64 * 1024 * 1024

TIMEOUT: Final = 5.0
"""Seconds for a question and its answer, on either side."""

LONG_TIMEOUT: Final = 100.0
"""Seconds for the answer to a question that changes the whole gateway. A reload reads files for a minute at most."""


class NoGateway(StartupError):
    """No gateway is running with this ``state_dir``."""


@contextmanager
def short_path(directory: Path) -> Iterator[str]:
    """The socket's path, short enough for the limit of 108 bytes however deep the directory is."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{handle}/{NAME}"
    finally:
        os.close(handle)


def ask(directory: Path, question: Mapping[str, Any], timeout: float = TIMEOUT) -> dict[str, Any]:
    """The answer of the gateway that uses the ``state_dir`` ``directory``. Raises `StartupError`.

    ``timeout`` is in seconds, for each wait. An answer with an ``error`` is raised.
    """
    try:
        with short_path(directory) as path, socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect(path)
            connection.sendall(json.dumps(question).encode("ascii") + b"\n")
            received = bytearray()
            while data := connection.recv(65536):
                received += data
                if len(received) > MAX_ANSWER:
                    raise StartupError("the gateway's answer has no end")
    except PermissionError:
        raise StartupError(f"{directory}: only the gateway's own user and root may ask it") from None
    except (FileNotFoundError, ConnectionRefusedError):
        raise NoGateway(f"no gateway is running with state_dir {directory}") from None
    except OSError as problem:
        raise StartupError(f"the gateway with state_dir {directory} does not answer: {system_reason(problem)}") from None
    try:
        answer = json.loads(received)
    except ValueError:
        raise StartupError(f"the gateway with state_dir {directory} did not answer") from None
    if "error" in answer:
        raise StartupError(str(answer["error"]))
    return dict(answer)

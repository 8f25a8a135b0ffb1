"""The program of `tests.integration.forking`: forks processes that go on as ``twistd``, with all that it imports already there.

It is run with ``python -c``, like the twistd of the tests: then the module search path is the same.
"""

from __future__ import annotations

import array
import json
import os
import resource
import socket
import sys
import threading
from importlib import import_module
from typing import Any, Final

PRELOADED: Final = (
    "twisted.scripts.twistd",
    "twisted.application.app",
    "perimeter.cli.tap",
    "perimeter.net.reactor",
    "perimeter.run.daemon",
    "perimeter.manager.start",
    "perimeter.auth.kinds.realm_file",
    "perimeter.run.operations",
    "encodings.idna",
    "twisted.cred.strcred",
    "twisted.trial.itrial",
)
"""What a gateway imports at each start. None of it may start a thread or choose a reactor."""


def receive(channel: socket.socket) -> dict[str, Any]:
    """The next request, and in ``descriptors`` the descriptors that came with it. Exits if no more will come."""
    data, ancillary, _, _ = channel.recvmsg(1 << 20, socket.CMSG_SPACE(12))
    if not data:
        os._exit(0)
    descriptors = array.array("i")
    for _, _, content in ancillary:
        descriptors.frombytes(content)
    return {**json.loads(data), "descriptors": descriptors.tolist()}


def become(request: dict[str, Any]) -> None:
    """Make this process what ``subprocess.Popen`` would make of it; no descriptor but the standard ones stays open."""
    os.environ.clear()
    os.environ.update(request["environ"])
    os.chdir(request["directory"])
    for number, limits in request["limits"].items():
        resource.setrlimit(int(number), tuple(limits))
    for standard, descriptor in enumerate(request["descriptors"]):
        os.dup2(descriptor, standard)
    os.closerange(3, 1 << 20)
    sys.argv = request["arguments"]


def forked(channel: socket.socket) -> dict[str, Any]:
    """Serve requests. Returns only in a forked process: the request that made it.

    The process is forked twice, so that it has no parent for a moment. It becomes a child of the process that asked.
    """
    while True:
        request = receive(channel)
        reading, writing = os.pipe()
        first = os.fork()
        if not first:
            second = os.fork()
            if not second:
                channel.detach()  # `become` closes it
                return request
            os.write(writing, str(second).encode())
            os._exit(0)
        os.close(writing)
        for descriptor in request["descriptors"]:
            os.close(descriptor)
        os.waitpid(first, 0)
        channel.send(os.read(reading, 32))
        os.close(reading)


def main() -> None:
    """Serve, and go on as twistd in each forked process."""
    for name in PRELOADED:
        import_module(name)
    assert threading.active_count() == 1, threading.enumerate()
    assert "twisted.internet.reactor" not in sys.modules, "the reactor is chosen"
    become(forked(socket.socket(fileno=int(sys.argv[1]))))
    from twisted.scripts.twistd import run

    run()


if __name__ == "__main__":
    main()

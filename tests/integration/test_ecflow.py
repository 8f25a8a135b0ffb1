"""ecFlow behind the gateway: ten thousand commands to a server that closes after each reply, none lost and none sent twice."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

from click.testing import CliRunner

from perimeter.cli.main import main
from tests.integration.harness import USERS, Gateway, GatewayCase, site
from tests.integration.ports import free_port
from tests.integration.upstreams import Process
from tests.integration.wire import Wire, insecure_context

COMMANDS = 10_000
LARGE = 64 << 20
ROUTE = """\
[upstream ecflow]
servers = {url}
connect_timeout = 90s
read_timeout = 500s

[route ecflow]
path = /v1/ecflow
upstream = ecflow
identity = headers, jwt
"""
ALICE = b"Authorization: Basic " + b64encode(b"alice:secret") + b"\r\n"


class EcflowServer(Process):
    """`tests.integration.ecflow_server` in its own process."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        script = Path(__file__).with_name("ecflow_server.py")
        super().__init__([sys.executable, str(script), str(self.port)], directory / "ecflow.log")
        self._await_port()

    def report(self) -> dict[str, object]:
        """The commands it has received so far. The test asks it directly, not through the gateway."""
        with Wire(self.port) as wire:
            found: dict[str, object] = json.loads(wire.get("/report").text)
            return found


def body(command: int, size: int) -> bytes:
    """A command's JSON of exactly ``size`` bytes (or the minimum size)."""
    start = b'{"command": %d, "definition": "' % command
    return start + b"x" * (size - len(start) - 2) + b'"}'


def size(command: int) -> int:
    """Most commands are short. Two of a thousand contain a suite, and three a very large suite."""
    if command in (2500, 5003, 7508):
        return LARGE
    return 1 << 20 if command % 1000 in (1, 502) else 60 + command % 400


def post(wire: Wire, command: int, connection: bytes = b"") -> str:
    """Send a command and read its reply. Returns what is wrong with it, or ""."""
    content = body(command, size(command))
    head = b"POST /v1/ecflow HTTP/1.1\r\nHost: gateway.test:443\r\nContent-Type: application/json\r\n" + ALICE + connection
    wire.send(head + b"Content-Length: %d\r\n\r\n" % len(content) + content)
    answer = wire.response("POST")
    expected = {"command": command, "sha256": hashlib.sha256(content).hexdigest()}
    if answer.status != 200 or json.loads(answer.text) != expected:
        return f"command {command}: {answer.status} {answer.text[:200]}"
    return ""


class EcflowTests(GatewayCase):
    def _started(self) -> tuple[EcflowServer, Gateway]:
        server = EcflowServer(self.directory())
        self.addCleanup(server.close)
        config = site(ROUTE.format(url=server.url), tls=True, extra="[authentication]\nremember_password = 60s")
        return server, self.gateway(config, USERS)

    def _at_once(self, *workers: Callable[[list[str]], None]) -> None:
        """Run each worker in its own thread, and record what went wrong."""
        faults: list[str] = []

        def guarded(worker: Callable[[list[str]], None]) -> None:
            try:
                worker(faults)
            except Exception as error:
                faults.append(repr(error))

        threads = [threading.Thread(target=guarded, args=(worker,), daemon=True) for worker in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(300)
        self.assertEqual(faults, [])
        self.assertFalse(any(thread.is_alive() for thread in threads), "a client still waits for its reply")

    def test_the_client_gets_in_with_what_ecflowrc_writes(self) -> None:
        server, gateway = self._started()
        url = f"https://gateway.test:{gateway['https']}"
        rc = gateway.directory / ".ecflowapirc"
        for command, kind in enumerate(("basic", "bearer")):
            arguments = [
                "--config",
                str(gateway.config),
                "--user",
                "alice",
                "--host",
                "gateway.test",
                "--type",
                kind,
                "-o",
                str(rc),
            ]
            if kind == "basic":
                arguments.append("--stdin")
            written = CliRunner().invoke(main, ["ecflowrc", *arguments, "--merge"], input="secret\n")
            self.assertEqual(written.exit_code, 0, written.output)
            # like the client: the first whose pattern matches the whole URL
            entry = next(one for one in json.loads(rc.read_text())["tokens"] if re.fullmatch(one["server"], url))
            self.assertEqual(entry["type"], kind)
            api = entry["api"]
            pair = f"{api.get('username')}:{api.get('password')}".encode()
            credential = f"Basic {b64encode(pair).decode()}" if kind == "basic" else f"Bearer {api['key']}"
            with Wire(gateway["https"], tls=True) as wire:
                answer = wire.get("/v1/ecflow", f"Authorization: {credential}", method="POST", body=body(command, 100))
            self.assertEqual((answer.status, json.loads(answer.text)["command"]), (200, command))
        self.assertEqual(server.report()["users"], {"alice": 2})

    def test_ten_thousand_commands_none_lost_none_sent_twice(self) -> None:
        server, gateway = self._started()
        context = insecure_context()
        lock = threading.Lock()
        # two of ten commands use a new connection: a handshake costs more than everything else
        alone: Iterator[int] = (command for command in range(COMMANDS) if command % 10 in (0, 5))
        together: Iterator[int] = (command for command in range(COMMANDS) if command % 10 not in (0, 5))

        def take(commands: Iterator[int]) -> int | None:
            with lock:
                return next(commands, None)

        def as_ecflow_client(faults: list[str]) -> None:
            """One connection for each command."""
            while (command := take(alone)) is not None:
                with Wire(gateway["https"], tls=context, timeout=60) as wire:
                    if fault := post(wire, command, b"Connection: close\r\n"):
                        faults.append(fault)

        def as_user_interface(faults: list[str]) -> None:
            """One connection for many commands, like a client that polls."""
            with Wire(gateway["https"], tls=context, timeout=60) as wire:
                while (command := take(together)) is not None:
                    if fault := post(wire, command):
                        faults.append(fault)

        self._at_once(*[as_ecflow_client] * 4, *[as_user_interface] * 4)
        report = server.report()
        self.assertEqual(report["lost"], 0)
        taken = report["taken"]
        assert isinstance(taken, dict)
        self.assertEqual([command for command in range(COMMANDS) if str(command) not in taken], [], "lost")
        self.assertEqual({command: times for command, times in taken.items() if times != 1}, {}, "sent twice")
        self.assertEqual(report["users"], {"alice": COMMANDS})
        statuses = {line.rpartition('" ')[2].partition(" ")[0] for line in gateway.await_audit(COMMANDS)}
        self.assertEqual(statuses, {"200"})

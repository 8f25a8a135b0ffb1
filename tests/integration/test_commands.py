"""Commands in JSON bodies, such as ecFlow's: in the audit log by name, and only some of them for users who may only read."""

from __future__ import annotations

import json
import socket
import subprocess
from typing import Any, ClassVar

from tests.integration.harness import TIMEOUT, site
from tests.integration.stage import StageCase
from tests.integration.wire import basic

REQUEST = "21ClientToServerRequest"
"""The name of the outermost member in a request of ecflow_client."""

ROUTES = f"""\
[upstream ecflow]
servers = <service>

[route ecflow]
path = /v1/ecflow
upstream = ecflow
audit_body =
    json:/{REQUEST}/cmd_/polymorphic_name
    json:/{REQUEST}/cmd_/ptr_wrapper/data/api_
read_only = role:viewer
read_only_commands = CSyncCmd, ClientHandleCmd, CFileCmd, CtsNodeCmd:3, CtsCmd:8, ServerVersionCmd
"""
FILES = {"users.realm": "alice: secret,operator\nvera: pw,viewer,operator\n"}
ALICE, VERA = basic("alice", "secret"), basic("vera", "pw")


def command(name: str, **data: Any) -> bytes:
    """A request as ecflow_client sends it: the archive of cereal, without white space."""
    user = {"value0": {"cl_host_": "client"}, "user_": "vera"}
    wrapper = {"id": 2147483649, "data": {"cereal_class_version": 0, "value0": user, **data}}
    request = {"cmd_": {"polymorphic_id": 2147483649, "polymorphic_name": name, "ptr_wrapper": wrapper}}
    return json.dumps({REQUEST: request}, separators=(",", ":")).encode()


def request_of_client(*arguments: str) -> bytes:
    """The request of ecflow_client for ``arguments``, which it sends with its length in eight hexadecimal digits in front."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(TIMEOUT)
        port = str(server.getsockname()[1])
        client = subprocess.Popen(
            ["ecflow_client", "--host", "127.0.0.1", "--port", port, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            connection, _ = server.accept()
            with connection, connection.makefile("rb") as stream:
                connection.settimeout(TIMEOUT)
                return stream.read(int(stream.read(8), 16))
        finally:
            client.kill()
            client.wait()


class Commands(StageCase):
    """One gateway for all tests, with the audit log in JSON."""

    CONFIG = site(ROUTES).replace("path = access.log\n", "path = access.log\nformat = json\n")
    FILES: ClassVar = FILES

    def sent(self, body: bytes, user: str, *lines: str, chunked: bool = False) -> int:
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
        head = ["POST /v1/ecflow HTTP/1.1", "Host: gw.test", "Content-Type: application/json", framing, user, *lines, "", ""]
        data = body
        if chunked:
            half = len(body) // 2
            data = b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (half, body[:half], len(body) - half, body[half:])
        return self.raw("\r\n".join(head).encode() + data).status

    def last(self) -> tuple[int, str, str | None]:
        """The status, the reason and the command of the last line of the log."""
        line = json.loads(self.served.audit()[-1])
        return line["status"], line["reason"], line["command"]

    def test_commands_of_a_user_who_may_do_everything(self) -> None:
        for body, shown in (
            (command("CtsCmd", api_=8), "CtsCmd:8"),
            (command("DeleteCmd", paths_=["/s"], force_=False), "DeleteCmd"),
            (command("RequeueNodeCmd", paths_=["/s"], option_=0), "RequeueNodeCmd"),
            (command("PathsCmd", api_=1, paths_=["/s"]), "PathsCmd:1"),
            (command("LoadDefsCmd", force_=False, defs_="suite s\n" * 400_000), "LoadDefsCmd:?"),
        ):
            for chunked in (False, True):
                self.assertEqual(self.sent(body, ALICE, chunked=chunked), 200)
                self.assertEqual(self.last(), (200, "", shown))

    def test_commands_of_a_user_who_may_only_read(self) -> None:
        for body, shown in (
            (command("CtsCmd", api_=8), "CtsCmd:8"),
            (command("CtsNodeCmd", api_=3, absNodePath_="/s"), "CtsNodeCmd:3"),
            (command("CSyncCmd", api_=1, client_handle_=0), "CSyncCmd:1"),
        ):
            for chunked in (False, True):
                self.assertEqual(self.sent(body, VERA, chunked=chunked), 200)
                self.assertEqual(self.last(), (200, "", shown))
        for body, shown in (
            (command("CtsCmd", api_=4), "CtsCmd:4"),
            (command("CtsNodeCmd", api_=1, absNodePath_="/s"), "CtsNodeCmd:1"),
            (command("DeleteCmd", paths_=["/s"]), "DeleteCmd"),
            (command("GroupCTSCmd", cmdVec_=[]), "GroupCTSCmd"),
        ):
            for chunked in (False, True):
                self.assertEqual(self.sent(body, VERA, chunked=chunked), 403)
                self.assertEqual(self.last(), (403, "command_refused", shown))

    def test_attack_114_a_body_with_two_commands(self) -> None:
        name = b'"polymorphic_name":"CSyncCmd"'
        for twice in (b'"polymorphic_name":"DeleteCmd",' + name, b'"polymorphic_name\\u0000":"DeleteCmd",' + name):
            self.assertEqual(self.sent(command("CSyncCmd", api_=1).replace(name, twice), VERA), 403)
            status, reason, _ = self.last()
            self.assertEqual((status, reason), (403, "command_refused"))

    def test_requests_of_the_real_client(self) -> None:
        """What ecflow_client sends, with the archive that it also sends over HTTP in newer releases."""
        self.need("ecflow_client")
        for arguments, shown, reads in (
            (("--ping",), "CtsCmd:8", True),
            (("--stats",), "CtsCmd:10", False),
            (("--halt=yes",), "CtsCmd:4", False),
            (("--suspend=/s",), "PathsCmd:1", False),
            (("--requeue=/s",), "RequeueNodeCmd", False),
            (("--get=/s",), "CtsNodeCmd:3", True),
            (("--sync_full=1",), "CSyncCmd:2", True),
            (("--file=/s/t", "script"), "CFileCmd", True),
            (("--group=ping; suspend /s",), "GroupCTSCmd", False),
        ):
            body = request_of_client(*arguments)
            self.assertEqual(self.sent(body, ALICE), 200, arguments)
            self.assertEqual(self.last(), (200, "", shown))
            self.assertEqual(self.sent(body, VERA), 200 if reads else 403, arguments)
            self.assertEqual(self.last(), (200, "", shown) if reads else (403, "command_refused", shown))

"""Commands in bodies: what the audit log shows of them, and who may send which."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial import unittest

from perimeter.config.site.rule import Rule, RuleKind
from perimeter.gate.decision import Admitted
from perimeter.gate.policy import Policy
from perimeter.http.exchange import Exchange
from perimeter.http.h1.framing import chunk
from perimeter.http.request_ids import no_line
from perimeter.model import Principal
from perimeter.targets.commands import MOST, CommandTarget, _member
from tests.unit.doubles.http_rig import Client
from tests.unit.doubles.http_upstream import OK, Gateway

JSON = "Content-Type: application/json"
NAME = ("req", "cmd_", "polymorphic_name")
API = ("req", "cmd_", "ptr_wrapper", "data", "api_")


def body(name: str = "CtsCmd", api: Any = 8, more: str = "") -> bytes:
    data = {"cl_host_": "h", **({} if api is None else {"api_": api}), "more": more}
    command = {"polymorphic_id": 2147483649, "polymorphic_name": name, "ptr_wrapper": {"id": 1, "data": data}}
    return json.dumps({"req": {"cmd_": command}}).encode()


class Commanded(Gateway):
    """A gateway in front of a service with commands, for a user with these roles."""

    def __init__(self, *roles: str) -> None:
        super().__init__(read_only=Policy(None, (Rule(RuleKind.ROLE, "viewer"),)))
        self.roles = roles
        self.next_id_line = no_line
        self.outer = CommandTarget(self.target, (NAME, API), (("CSyncCmd",), ("CtsCmd", "8")))

    def dispatch(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)
        user = Principal("alice", "local", self.roles)
        exchange.decision = Admitted(self.route, user, b"/v1/ecflow", b"", "192.0.2.7")
        self.outer.handle(exchange)


class CommandCase(unittest.TestCase):
    def sent(self, *lines: str, body: bytes = b"", roles: tuple[str, ...] = (), method: str = "POST") -> tuple[Commanded, Client]:
        gateway = Commanded(*roles)
        client = gateway.client()
        framed = any(line.startswith(("Content-Length:", "Transfer-Encoding:")) for line in lines)
        length = [f"Content-Length: {len(body)}"] if body and not framed else []
        client.request(method, "/v1/ecflow", *length, *lines, body=body)
        return gateway, client

    def forwarded(self, gateway: Commanded) -> bytes:
        """The body that the service gets, once it has answered."""
        peer = gateway.attempts[0].accept()
        head, _, data = peer.request().partition(b"\r\n\r\n")
        peer.reply(OK)
        return data if head else b""

    def command(self, client: Client) -> str:
        (record,) = client.records
        return record.command


class MemberTests(unittest.TestCase):
    def test_members(self) -> None:
        value = {"a": ["x", 7, {"b": "y"}], "": "e", "c": None, "d": False, "n": -1}
        for pointer, found in (
            (("a", "0"), "x"),
            (("a", "1"), "7"),
            (("a", "2", "b"), "y"),
            (("a", "3"), None),
            (("a", "-1"), None),
            (("a", "x"), None),
            (("a", "\u0660"), None),
            (("a",), None),
            (("",), "e"),
            (("c",), None),
            (("d",), None),
            (("n",), "-1"),
            (("z",), None),
            (("n", "a"), None),
            ((), None),
        ):
            self.assertEqual(_member(value, pointer), found, pointer)


class AuditTests(CommandCase):
    def test_the_command_is_in_the_record(self) -> None:
        for data, command in (
            (body(), "CtsCmd:8"),
            (body("DeleteCmd", None), "DeleteCmd"),
            (body("LoadDefsCmd", None, "x" * 20000), "LoadDefsCmd:?"),
            (body("A\nB", 1), "A\nB:1"),
            (b'{"req":{"cmd_":{"polymorphic_name":"GetCmd","polymorphic_name":"DeleteCmd"}}}', "GetCmd,DeleteCmd"),
            (b"no JSON", ""),
            (b" " * MOST + body(), "?"),  # the command is hidden, and the log shows that
            (b" " * (MOST - 100) + body(), "CtsCmd:?"),
            (b"{}" + b" " * (MOST - 2), ""),
            (b"{}" + b" " * (MOST - 1), "?"),
            (b" " * (MOST - len(body())) + body(), "CtsCmd:8"),
        ):
            gateway, client = self.sent(JSON, body=data)
            self.assertEqual(self.forwarded(gateway), data)
            self.assertEqual((client.response().status, self.command(client)), (200, command), data[:60])

    def test_only_plain_json_is_looked_at(self) -> None:
        for lines, command in (
            (("Content-Type: application/JSON; charset=utf-8",), "CtsCmd:8"),
            (("Content-Type: application/x+json",), "CtsCmd:8"),
            (("Content-Type: text/plain",), "?"),
            ((), "?"),
            ((JSON, JSON), "?"),
            ((JSON, "Content-Encoding: gzip"), "?"),
        ):
            gateway, client = self.sent(*lines, body=body())
            self.assertEqual(self.forwarded(gateway), body())
            self.assertEqual(self.command(client), command, lines)

    def test_the_body_streams(self) -> None:
        """Each part is forwarded when it comes, and the command is known before all of it has come."""
        whole = body("LoadDefsCmd", None, "y" * 100)
        gateway, client = self.sent(JSON, "Transfer-Encoding: chunked", body=chunk(whole[:90]))
        peer = gateway.attempts[0].accept()
        self.assertTrue(peer.request().endswith(b"\r\n\r\n" + chunk(whole[:90])))
        for at in range(90, len(whole), 7):
            client.send(chunk(whole[at : at + 7]))
            self.assertEqual(peer.request(), chunk(whole[at : at + 7]))
        self.assertEqual(gateway.exchanges[0].command, "LoadDefsCmd:?")
        client.send(b"0\r\n\r\n")
        peer.reply(OK)
        self.assertEqual((client.response().status, self.command(client)), (200, "LoadDefsCmd"))

    def test_an_early_answer(self) -> None:
        gateway, client = self.sent(JSON, "Content-Length: 100000", body=body())
        gateway.attempts[0].accept().reply(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual((client.response().status, self.command(client)), (413, "CtsCmd:8"))

    def test_byte_by_byte_costs_a_few_looks(self) -> None:
        looks: list[int] = []
        gateway, client = self.sent(JSON, "Content-Length: 10000")
        gateway.attempts[0].accept()
        front: Any = gateway.exchanges[0]._sink
        look = front._look
        front._look = lambda data, whole: (looks.append(len(data)), look(data, whole))
        for _ in range(10000):
            client.send(b"{")
        self.assertEqual(looks, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192])
        self.assertEqual(len(front._seen), MOST)

    def test_a_request_without_a_body(self) -> None:
        gateway, client = self.sent(method="GET")
        self.forwarded(gateway)
        self.assertEqual((client.response().status, self.command(client)), (200, ""))


class ReadOnlyTests(CommandCase):
    def refused(self, *lines: str, body: bytes = b"", method: str = "POST") -> tuple[str, str]:
        """The command and the detail of a refused request."""
        gateway, client = self.sent(*lines, body=body, roles=("viewer", "admin"), method=method)
        self.assertEqual((client.response().status, gateway.attempts), (403, []), body[:60])
        (record,) = client.records
        self.assertEqual(record.reason, "command_refused")
        return record.command, record.detail

    def test_commands_that_only_read(self) -> None:
        for data, command in (
            (body(), "CtsCmd:8"),
            (body("CSyncCmd", 2), "CSyncCmd:2"),
            (body("CSyncCmd", None), "CSyncCmd"),
            (body("CtsCmd", "8"), "CtsCmd:8"),
        ):
            gateway, client = self.sent(JSON, body=data, roles=("viewer",))
            self.assertEqual(self.forwarded(gateway), data)
            self.assertEqual((client.response().status, self.command(client)), (200, command))

    def test_users_who_may_do_more(self) -> None:
        gateway, client = self.sent(JSON, body=body("DeleteCmd", None), roles=("admin",))
        self.forwarded(gateway)
        self.assertEqual(client.response().status, 200)

    def test_other_commands(self) -> None:
        unlisted = "the command is not one of read_only_commands"
        for data, command in (
            (body("DeleteCmd", None), "DeleteCmd"),
            (body("CtsCmd", 4), "CtsCmd:4"),
            (body("CtsCmd", 80), "CtsCmd:80"),
            (body("CtsCmd", None), "CtsCmd"),
            (body("CtsCmd:8", None), "CtsCmd:8"),
            (body("CtsCmd", True), "CtsCmd"),
            (body("CtsCmd", 8.0), "CtsCmd"),
            (body("csynccmd", 1), "csynccmd:1"),
            (body("", 8), ":8"),
            (b"[]", ""),
            (b'"CSyncCmd"', ""),
            (b'{"req":{"cmd_":["CSyncCmd"]}}', ""),
        ):
            self.assertEqual(self.refused(JSON, body=data), (command, unlisted))

    def test_requests_without_a_command(self) -> None:
        for method in ("GET", "POST", "HEAD", "OPTIONS", "DELETE"):
            if method != "HEAD":
                self.assertEqual(self.refused(method=method)[1], "the request names no command, because it has no body")
        plain = "the body is not plain application/json"
        for lines in ((), ("Content-Type: text/plain",), (JSON, JSON), (JSON, "Content-Encoding: identity")):
            self.assertEqual(self.refused(*lines, body=body())[1], plain, lines)

    def test_attack_114_bodies_with_two_readings(self) -> None:
        """The service has another parser: what it could read differently is refused."""
        safe, name = body("CSyncCmd", 1), b'"polymorphic_name": "CSyncCmd"'
        self.assertIn(name, safe)
        for data in (
            safe.replace(name, b'"polymorphic_name":"DeleteCmd",' + name),
            safe.replace(name, name + b',"polymorphic_name":"DeleteCmd"'),
            safe.replace(name, name + b',"polymorphic\\u005fname":"DeleteCmd"'),
            safe.replace(name, b'"polymorphic_name\\u0000":"DeleteCmd",' + name),
            safe.replace(name, b'"polymorphic_name\x00":"DeleteCmd",' + name),
            safe.replace(b"CSyncCmd", b"CSyncCmd\\u0000"),
            b'{"req":{},' + safe[1:],
            b"\xef\xbb\xbf" + safe,
            safe.decode().encode("utf-16"),
            safe + safe,
            safe + b"}",
            safe[:-1],
            safe.replace(b"CSyncCmd", b"\xff"),
            safe.replace(b"CSyncCmd", b"\\ud800"),
            safe.replace(b'"cl_host_": "h"', b'"cl_host_": NaN'),
            b"[" * 5000 + b"]" * 5000,
        ):
            command, detail = self.refused(JSON, body=data)
            self.assertIn(detail, ("the body is not JSON with one reading", "the body is longer than 8 KiB"), data)
            self.assertEqual(command, "?", data)

    def test_long_bodies(self) -> None:
        long = "the body is longer than 8 KiB"
        fits = body("CSyncCmd", 1) + b" " * (MOST - len(body("CSyncCmd", 1)))
        self.assertEqual(self.refused(JSON, body=fits + b" ")[1], long)
        chunked = "Transfer-Encoding: chunked"
        self.assertEqual(self.refused(JSON, chunked, body=chunk(fits) + chunk(b" "))[1], long)
        for lines, data in (((JSON,), fits), ((JSON, chunked), chunk(fits[:9]) + chunk(fits[9:]) + b"0\r\n\r\n")):
            gateway, client = self.sent(*lines, body=data, roles=("viewer",))
            self.assertEqual(self.forwarded(gateway).count(b"CSyncCmd"), 1)
            self.assertEqual(client.response().status, 200)

    def test_nothing_is_sent_before_the_body_is_whole(self) -> None:
        data = body("CSyncCmd", 1)
        gateway, client = self.sent(JSON, f"Content-Length: {len(data)}", "Expect: 100-continue", roles=("viewer",))
        self.assertEqual([one.status for one in client.responses()], [100])
        client.send(data[:-1])
        self.assertEqual(gateway.attempts, [])
        client.send(data[-1:])
        self.assertEqual(self.forwarded(gateway), data)
        self.assertEqual(client.response().status, 200)
        # the connection goes on
        client.request("POST", "/", JSON, f"Content-Length: {len(data)}", body=data)
        self.assertEqual(len(gateway.exchanges), 2)

    def test_a_client_that_leaves(self) -> None:
        gateway, client = self.sent(JSON, "Content-Length: 100", body=b"{", roles=("viewer",))
        client.transport.lose()
        self.assertEqual((gateway.attempts, [record.reason for record in client.records]), ([], ["client_gone"]))

    def test_trailers_are_forwarded(self) -> None:
        data = body("CSyncCmd", 1)
        gateway, client = self.sent(
            JSON, "Transfer-Encoding: chunked", body=chunk(data) + b"0\r\nX-Sum: 1\r\n\r\n", roles=("viewer",)
        )
        self.assertTrue(self.forwarded(gateway).endswith(b"\r\n0\r\nx-sum: 1\r\n\r\n"))
        self.assertEqual(client.response().status, 200)

    def test_a_failure_of_the_target_is_answered(self) -> None:
        data = body("CSyncCmd", 1)
        gateway = Commanded("viewer")
        client = gateway.client()
        client.request("POST", "/", JSON, f"Content-Length: {len(data)}", "X-Perimeter-Hops: 5", body=data)
        self.assertEqual((client.response().status, gateway.attempts), (508, []))

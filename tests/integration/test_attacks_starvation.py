"""Rows 45 and 46 of the attacks, against a running gateway: no stranger's input makes the others wait."""

from __future__ import annotations

import psutil

from tests.integration.harness import USERS, GatewayCase, site
from tests.integration.wire import Wire

TOKENS = "[listener tokens]\nport = @tokens@\ninterface = 127.0.0.1\nserve = tokens\n"


def nested_multipart(depth: int, size: int = 64 * 1024 - 1) -> bytes:
    """The body of a form whose parts hold parts, ``depth`` deep; its boundary is ``b0``."""
    lines = [b"--b0\r\nContent-Disposition: form-data; name=x\r\n"]
    for level in range(1, depth):
        lines.append(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level))
    body = b"".join(lines)
    return body + b"\r\n" + b"a\r\n" * ((size - len(body)) // 3 - 1)


class ParsingTests(GatewayCase):
    def test_attack_45_nested_multipart(self) -> None:
        served = self.gateway(site("", extra=TOKENS), USERS)
        process = psutil.Process(served.pid)
        for listener, targets in (
            ("http", ("/token", "/token/x", "/extendedtoken", "/tokens", "/revoke", "/whoami", "/status")),
            ("tokens", ("/", "/token", "/tokens", "/revoke", "/whoami", "/status", "/none", "/none/at/all")),
        ):
            for target in targets:
                for depth in (40, 250):
                    with self.subTest(listener=listener, target=target, depth=depth):
                        before = sum(process.cpu_times()[:2])
                        with served.connect(listener) as wire:
                            response = post(wire, target, nested_multipart(depth))
                        spent = sum(process.cpu_times()[:2]) - before
                        self.assertIn(response, (400, 401, 404, 405))
                        self.assertLess(spent, 0.15)


def post(wire: Wire, target: str, body: bytes) -> int:
    return wire.get(target, "Content-Type: multipart/form-data; boundary=b0", method="POST", body=body).status

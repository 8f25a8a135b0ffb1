"""An upload that is refused: the client gets the answer, whatever it makes of an end of the connection, over TLS and without.

The answers are those of the gateway (401, 413) and of the service, which refuses before it has read the body.
"""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path
from typing import Any, ClassVar

import requests
import urllib3

from tests.integration.harness import USERS, site
from tests.integration.stage import StageCase
from tests.integration.upstreams import Connection

ROUTES = """\
[upstream scripted]
servers = <scripted>

[route private]
path = /private
upstream = scripted

[route small]
path = /small
upstream = scripted
auth = none
max_body = 1MiB

[route service]
path = /service
upstream = scripted
auth = none
"""

LISTENER = "[listener https]\nport = @https@\ninterface = 127.0.0.1\ntls = yes"

MIB = 1 << 20
SIZES = (2 * MIB, 10 * MIB)
ANSWERS = (("/private", 401), ("/small", 413), ("/service", 403))
SEND = Path(__file__).with_name("java") / "Send.java"


def refusing(connection: Connection) -> None:
    """Refuses at the head of a request, reads and discards the rest, and closes, as nginx does."""
    connection.head()
    with contextlib.suppress(OSError):  # the gateway has refused, too, and closed the connection: also ENOTCONN
        connection.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        connection.half_close()
        while connection.read_some():
            pass


class RefusedUploadTests(StageCase):
    CONFIG = site(ROUTES, extra=LISTENER)
    FILES: ClassVar = USERS

    def setUp(self) -> None:
        """The service refuses."""
        super().setUp()
        self.play(refusing)

    def urls(self) -> list[tuple[str, int]]:
        """Every URL, and the status of its answer."""
        ports = (("http", self.served["http"]), ("https", self.served["https"]))
        return [(f"{scheme}://127.0.0.1:{port}{path}", status) for scheme, port in ports for path, status in ANSWERS]

    def test_requests(self) -> None:
        """Python's requests, with a body of known length and in chunks."""
        for url, status in self.urls():
            for size in SIZES:
                bodies: tuple[Any, ...] = (b"x" * size, iter([b"x" * 65536] * (size // 65536)))
                for body in bodies:
                    response = requests.post(url, data=body, verify=False, timeout=20)
                    # of chunks, the service sees the first ones before they are too many
                    expected = (status, 403) if status == 413 and not isinstance(body, bytes) else (status,)
                    self.assertIn(response.status_code, expected, (url, size))

    def test_urllib3(self) -> None:
        """urllib3 by itself, on a pool whose connection was used before."""
        for url, status in self.urls():
            with urllib3.PoolManager(cert_reqs="CERT_NONE", assert_hostname=False) as pool:
                for size in (10, *SIZES):
                    response = pool.request("POST", url, body=b"x" * size, retries=False, timeout=20)
                    self.assertEqual(response.status, 403 if size == 10 and status == 413 else status, (url, size))

    def test_curl(self) -> None:
        """curl, which waits for 100 Continue unless it is told not to."""
        self.need("curl")
        for url, status in self.urls():
            for expect in ("Expect: 100-continue", "Expect:"):
                command = [
                    "curl",
                    "-sk",
                    "--max-time",
                    "20",
                    "-o",
                    "-",
                    "-w",
                    "%{http_code}",
                    "-H",
                    expect,
                    "--data-binary",
                    "@-",
                    url,
                ]
                done = subprocess.run(command, input=b"x" * SIZES[1], capture_output=True, timeout=30, check=False)
                self.assertEqual((done.returncode, done.stdout[-3:]), (0, b"%d" % status), (url, expect, done.stderr))

    def test_java(self) -> None:
        """The HTTP client of the JDK, which offers h2c without TLS."""
        self.need("java", "javac")
        for url, status in self.urls():
            for size in SIZES:
                done = subprocess.run(
                    ["java", str(SEND), url, str(size), "-", "2"], capture_output=True, timeout=60, text=True, check=False
                )
                self.assertEqual(done.stdout.split("\n")[:2], [f"{status} HTTP_1_1"] * 2, (url, size, done.stderr))

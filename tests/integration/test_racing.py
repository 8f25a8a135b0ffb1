"""`ask = all_at_once` on a running gateway, with services that are quick, slow and down."""

from __future__ import annotations

import contextlib
import threading
import time

from tests.integration.harness import USERS, Gateway, GatewayCase, site
from tests.integration.upstreams import OK, Connection, Script
from tests.unit.doubles.figures import read
from tests.unit.doubles.remote import answering

ASK = """
[authentication]
ask = {ask}
timeout = 3s

[authenticator ecmwf]
type = ecmwf-api
uri = {first}

[authenticator efas]
type = efas-api
uri = {second}

[listener figures]
port = @figures@
serve = metrics
"""

ROUTE = """
[upstream service]
servers = {url}

[route all]
path = /
upstream = service
"""

WRONG = answering(403, b"")
BROKEN = answering(500, b"")
KNOWN = answering(200, b'{"username": "alice"}')


class Hanging:
    """A service that never answers.

    ``asked`` is set when it has a request, ``left`` when the client has closed the connection.
    """

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.left = threading.Event()

    def __call__(self, connection: Connection) -> None:
        connection.request()
        self.asked.set()
        with contextlib.suppress(OSError):
            while connection.read_some():
                pass
        self.left.set()


class RacingTests(GatewayCase):
    def running(self, first: Script, second: Script, ask: str = "all_at_once") -> Gateway:
        self.first, self.second = self.upstream(first), self.upstream(second)
        extra = ASK.format(ask=ask, first=self.first.url, second=self.second.url)
        return self.gateway(site(ROUTE.format(url=self.upstream(OK).url), extra=extra), USERS)

    def login(self, gateway: Gateway) -> int:
        wire = self.connect(gateway, "http")
        return wire.get("/", "Authorization: Bearer of-another-issuer").status

    def test_the_quick_one_wins_and_the_slow_one_is_let_go(self) -> None:
        hanging = Hanging()

        def quick(connection: Connection) -> None:
            hanging.asked.wait(2)  # else the gateway may win before it has asked the slow one
            KNOWN(connection)

        gateway = self.running(hanging, quick)
        began = time.monotonic()
        self.assertEqual(self.login(gateway), 200)
        self.assertLess(time.monotonic() - began, 2.5, "the slow one was not waited for")
        self.assertTrue(hanging.left.wait(10), "and its request is cancelled")
        figures = read(self.connect(gateway, "figures").get("/metrics").body)
        self.assertEqual(figures.total("auth_provider_attempts_total", result="success"), 1)
        self.assertEqual(figures.total("auth_provider_attempts_total"), 1, "who lost has no result")
        self.assertEqual(figures.total("perimeter_authenticator_down"), 0, "and is not taken to be down")

    def test_in_order_the_slow_one_is_waited_for(self) -> None:
        gateway = self.running(Hanging(), KNOWN, "in_order")
        self.assertEqual(self.login(gateway), 503)
        self.assertEqual(self.second.requests, [], "and no other service sees the token")

    def test_one_wins_while_another_is_broken(self) -> None:
        gateway = self.running(BROKEN, KNOWN)
        self.assertEqual(self.login(gateway), 200)

    def test_attack_41_none_accepts_and_one_is_broken(self) -> None:
        for first, second, status in ((BROKEN, WRONG, 503), (WRONG, BROKEN, 503), (WRONG, WRONG, 401)):
            gateway = self.running(first, second)
            self.assertEqual(self.login(gateway), status)
            self.assertEqual((len(self.first.requests), len(self.second.requests)), (1, 1), "both were asked")

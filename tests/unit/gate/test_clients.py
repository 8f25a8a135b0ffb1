"""Who counts as one client."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from perimeter.gate.clients import client_of
from perimeter.gate.decision import Admitted
from perimeter.gate.routes import Route
from perimeter.model import Principal


class ClientTests(SynchronousTestCase):
    def test_whose_requests_count_together(self) -> None:
        route = Route(name="a", prefix=b"", target=None, audit=None)  # type: ignore[arg-type]

        def client(address: str, principal: Principal | None = None) -> str:
            return client_of(Admitted(route, principal, b"/", b"", address))

        self.assertEqual(client("192.0.2.1", Principal("ann", "realm")), "realm/ann")
        self.assertEqual(client("192.0.2.1"), "192.0.2.1")
        self.assertEqual(client("2001:db8::1"), client("2001:db8::ffff:1"))
        self.assertNotEqual(client("2001:db8::1"), client("2001:db8:0:1::1"))
        self.assertEqual(client(""), "")

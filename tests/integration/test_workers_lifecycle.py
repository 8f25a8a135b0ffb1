"""What holds for one process from start to end holds for several workers, too: the same tests."""

from __future__ import annotations

from tests.integration import test_lifecycle
from tests.integration.harness import GatewayOfTwo


class WorkersReloadTests(test_lifecycle.ReloadTests):
    gateway_class = GatewayOfTwo


class WorkersEndTests(test_lifecycle.EndTests):
    gateway_class = GatewayOfTwo
    stops_at_once = False

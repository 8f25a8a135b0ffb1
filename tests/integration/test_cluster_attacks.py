"""The attacks on sessions and tokens again, on two machines with one state: consecutive connections meet different machines."""

from __future__ import annotations

from tests.integration import test_attacks_sign_in as sign_in
from tests.integration.machines import GatewayOfMachines


class FixationTests(sign_in.FixationTests):
    gateway_class = GatewayOfMachines


class ForgedFormTests(sign_in.ForgedFormTests):
    gateway_class = GatewayOfMachines

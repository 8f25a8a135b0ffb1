"""All attacks on sessions and tokens again, on two machines whose state is in Redis: each connection meets the next machine.

``tox -e machines``, or ``python -m twisted.trial tests.machines.attacks_on_two_machines``. CI runs some of
them (`tests.integration.test_cluster_attacks`). What attacks ``state.db`` itself, and what one machine remembers of passwords, is
not here.
"""

from __future__ import annotations

import time

from tests.integration import test_attacks_api_tokens as api_tokens
from tests.integration import test_attacks_sign_in as sign_in
from tests.integration import test_attacks_tokens as tokens
from tests.integration.machines import GatewayOfMachines

SOON = 0.2
"""Seconds after which an end that was answered by one machine is in force at the other."""


class WebSocketAttackTests(sign_in.WebSocketAttackTests):
    gateway_class = GatewayOfMachines


class FixationTests(sign_in.FixationTests):
    gateway_class = GatewayOfMachines


class MarkupTests(sign_in.MarkupTests):
    gateway_class = GatewayOfMachines


class ForgedFormTests(sign_in.ForgedFormTests):
    gateway_class = GatewayOfMachines


class CookieTests(sign_in.CookieTests):
    gateway_class = GatewayOfMachines


class RevokedMeanwhileTests(api_tokens.RevokedMeanwhileTests):
    gateway_class = GatewayOfMachines


class RestrictedTests(api_tokens.RestrictedTests):
    gateway_class = GatewayOfMachines

    def end(self, which: str, *credentials: str) -> int:
        """See `ApiTokenCase.end`: the test goes on when it is in force everywhere."""
        status = super().end(which, *credentials)
        time.sleep(SOON)
        return status


class TrustedProxyTests(api_tokens.TrustedProxyTests):
    gateway_class = GatewayOfMachines


class ForgedTokenTests(tokens.ForgedTokenTests):
    gateway_class = GatewayOfMachines


class ExpiredTokenTests(tokens.ExpiredTokenTests):
    gateway_class = GatewayOfMachines


class SharedSecretTests(tokens.SharedSecretTests):
    gateway_class = GatewayOfMachines

"""Sessions of a provider on two machines: of many requests at both, one asks the provider, which accepts a refresh token once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from tests.integration import test_provider_sessions as provider_sessions
from tests.integration.machines import GatewayOfMachines
from tests.integration.ports import eventually


class RenewalTests(provider_sessions.ProviderSessionCase):
    gateway_class = GatewayOfMachines

    def trust_both(self) -> None:
        """Let visitors trust the certificates of both machines."""
        assert isinstance(self.served, GatewayOfMachines)
        trusted = self.served.directory / "state" / "selfsigned.crt"
        trusted.parent.mkdir(exist_ok=True)
        own = [machine.directory / "state" / "selfsigned.crt" for machine in self.served.machines]
        trusted.write_bytes(b"".join(certificate.read_bytes() for certificate in own))

    def test_attack_192_requests_at_two_machines_refresh_once(self) -> None:
        self.begin("refresh = 2s")
        self.trust_both()
        visitor = self.sign_in()
        cookie = self.cookie(visitor)

        def ask(_: int) -> int:
            with self.served.connect("https") as wire:
                return wire.get("/x", cookie).status

        with ThreadPoolExecutor(10) as pool:
            self.assertEqual(set(pool.map(ask, range(4))), {200})
            before, began = self.refreshes(), time.monotonic()
            time.sleep(2.0)
            self.assertEqual(set(pool.map(ask, range(20))), {200})
            eventually(lambda: self.refreshes() > before, "a refresh")
            asked = self.refreshes() - before
            self.assertLessEqual(asked, (time.monotonic() - began) // 2, "for each time that it was due")
            self.assertEqual(set(pool.map(ask, range(4))), {200}, "no refresh token was used twice")

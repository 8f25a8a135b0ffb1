"""What of second factors is built from a configuration."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import TestCase

from perimeter.auth.registry import installed_kinds
from perimeter.config.site.load import load_site
from perimeter.net.deadlines import Deadlines
from perimeter.run.build.assembly import Assembly, assemble
from perimeter.run.build.prepared import Prepared, prepare
from perimeter.run.build.runtime import Runtime
from tests.unit.doubles.auth import ImmediateThreads, ThreadClock, offload_with

SITE = """\
[perimeter]
state = memory
state_dir = state

[listener http]
port = 8080
interface = 127.0.0.1

[authenticator local]
type = realmfile
path = users.realm

[authentication]
lockout_after = 0

[upstream app]
servers = http://127.0.0.1:8888

[route app]
path = /
upstream = app
browser_login = yes
"""
FACTORS = "factors = 2\nfactor_age = 1h\n[second_factor]\nmethods = totp\nroles = admin\n"


class SecondFactorTests(TestCase):
    def built(self, text: str) -> tuple[Prepared, Assembly]:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.state = directory / "state"
        (directory / "users.realm").write_text("alice: {plain}x,admin\n")
        file = directory / "site.ini"
        file.write_text(text)
        config = load_site(file, kinds=installed_kinds())
        clock = ThreadClock()
        clock.advance(1_800_000_000)
        at_once = offload_with(ImmediateThreads(), clock)
        runtime = Runtime(clock, at_once, Deadlines(clock), hashing=at_once, blocking=at_once)
        prepared = prepare(lambda: config, runtime)
        self.addCleanup(prepared.discard)
        return prepared, assemble(prepared, runtime)

    def test_without_them_nothing(self) -> None:
        _, assembly = self.built(SITE)
        self.assertIsNone(assembly.chain.throttle)
        gate = assembly.gates["http"]
        found = gate.routes.matching(b"gw", b"/app")[0]
        self.assertEqual((found.policy.open, found.access.factor), (True, b""))
        self.assertNotEqual(gate.routes.matching(b"gw", b"/.perimeter/factor")[0].name, "factor")

    def test_a_route_and_a_role(self) -> None:
        _, assembly = self.built(SITE + FACTORS)
        self.assertEqual((self.state / "secrets.key").stat().st_mode & 0o777, 0o600)
        gate = assembly.gates["http"]
        demand = gate.routes.matching(b"gw", b"/app")[0].policy.factors
        assert demand is not None
        self.assertEqual((demand.roles, demand.everybody, demand.age), (("admin",), True, 3600.0))
        self.assertEqual(gate.routes.matching(b"gw", b"/app")[0].access.factor, b"/.perimeter/factor")
        self.assertEqual(gate.routes.matching(b"gw", b"/.perimeter/factor")[0].name, "factor")
        for path in (b"/token", b"/tokens"):
            own = gate.routes.matching(b"gw", path)[0].policy.factors
            assert own is not None
            self.assertEqual((own.roles, own.everybody), (("admin",), False), path)
        self.assertIsNone(gate.routes.matching(b"gw", b"/token/7")[0].policy.factors, "a token may always end itself")

    def test_attack_b3_all_workers_hear_of_wrong_codes_also_without_a_lockout(self) -> None:
        """They hear of them through the throttle of the chain."""
        _, assembly = self.built(SITE + FACTORS)
        throttle = assembly.chain.throttle
        assert throttle is not None
        for _ in range(100):
            throttle.admit([("local", "alice")], "192.0.2.1").failed()
        self.assertEqual(list(throttle.refused()), [])
        for _ in range(10):
            throttle.admit_code("local", "alice").failed()
        self.assertEqual([str(key) for key, _ in throttle.refused()], ["second factor 'alice' of realm local"])

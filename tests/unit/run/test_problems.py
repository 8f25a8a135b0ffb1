"""What ``perimeter status`` finds: each problem with its severity, the worst first, within the time that there is."""

from __future__ import annotations

import os
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from perimeter.acme.record import Record, write_record
from perimeter.config.site.server import ServerScheme
from perimeter.errors import Unavailable
from perimeter.plugin.authenticator import IProbe
from perimeter.proxy.health import HealthRules, ServerHealth
from perimeter.run.problems import TIMEOUT, Examination, Problem, Severity, problems
from tests.integration.netkit import identity
from tests.unit.doubles.exchange_rig import FakeOffload


@implementer(IProbe)
class Probed:
    """An authenticator whose backend answers as ``outcome`` says."""

    def __init__(self, outcome: Deferred[None]) -> None:
        self.outcome = outcome

    def probe(self) -> Awaitable[None]:
        return self.outcome


def guarded(name: str, authenticator: Any, *, down: bool = False) -> Any:
    return SimpleNamespace(name=name, authenticator=authenticator, breaker=SimpleNamespace(open=down, remaining=7.2))


def pool(name: str, **faults: str) -> Any:
    """An upstream with servers by their names, each with what is wrong with it."""

    async def probe(server: Any, timeout: float, clock: Any) -> str:
        return faults[server.settings.url]

    servers = [
        SimpleNamespace(
            settings=SimpleNamespace(url=url, scheme=ServerScheme.HTTP),
            place=url,
            health=ServerHealth(HealthRules(), lambda: 0.0),
        )
        for url in faults
    ]
    return SimpleNamespace(name=name, servers=servers, probe=probe)


class ProblemsTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.guarded: list[Any] = []
        self.listeners: list[Any] = []
        self.directory = Path("/var")
        self.pools: list[Any] = []
        self.upkeep: list[Any] = []
        self.audit: list[str] = []
        self.paths: list[Path] = []
        self.strict = True
        self.state, self.stale = "", False

    def begin(self, refused: str = "", **identities: Any) -> Deferred[list[Problem]]:
        assembly: Any = SimpleNamespace(
            chain=SimpleNamespace(guarded=self.guarded),
            pools=self.pools,
            upkeep=self.upkeep,
            audit=SimpleNamespace(problems=lambda: self.audit, paths=self.paths),
            config=SimpleNamespace(
                audit=SimpleNamespace(strict=self.strict),
                perimeter=SimpleNamespace(state_dir=self.directory),
                file=Path("/site.ini"),
                orders_certificates=bool(self.listeners),
                listeners=self.listeners,
            ),
            state=SimpleNamespace(problem=lambda: self.state, stale=self.stale),
        )
        runtime: Any = SimpleNamespace(reactor=self.clock, offload=FakeOffload())
        return Deferred.fromCoroutine(problems(Examination(assembly, runtime, identities, refused)))

    def found(self, refused: str = "", **identities: Any) -> list[tuple[int, str, str, str]]:
        found = self.successResultOf(self.begin(refused, **identities))
        return [(one.severity, one.subject, one.name, one.message) for one in found]

    def test_nothing(self) -> None:
        self.guarded = [guarded("a", Probed(succeed(None))), guarded("b", object())]
        self.pools = [pool("app", a=""), pool("none")]
        self.assertEqual(self.found(https=(identity("gw.example"),)), [])

    def test_the_audit_log(self) -> None:
        self.audit = ["/log: No space left on device"]
        message = "the audit log cannot be written (No space left on device): no request is served until it can be written"
        self.assertEqual(self.found(), [(0, "audit", "/log", message)])
        self.strict = False
        message = "the audit log cannot be written (No space left on device): requests are not recorded"
        self.assertEqual(self.found(), [(2, "audit", "/log", message)])

    def test_authenticators(self) -> None:
        self.guarded = [
            guarded("down", Probed(fail(Unavailable("no connection")))),
            guarded("broken", Probed(fail(ValueError("a secret")))),
            guarded("paused", Probed(succeed(None)), down=True),
            guarded("silent", object(), down=True),
        ]
        self.assertEqual(
            self.found(),
            [
                (1, "authenticator", "down", "no connection"),
                (1, "authenticator", "broken", "it failed with ValueError"),
                (1, "authenticator", "paused", "it failed, and is not asked for 7 s"),
                (1, "authenticator", "silent", "it failed, and is not asked for 7 s"),
            ],
        )

    def test_a_backend_that_hangs_is_given_up(self) -> None:
        self.guarded = [guarded("hangs", Probed(Deferred()))]
        asked = self.begin()
        self.clock.advance(TIMEOUT - 0.1)
        self.assertNoResult(asked)
        self.clock.advance(0.2)
        self.assertEqual(self.successResultOf(asked), [Problem(1, "authenticator", "hangs", "no answer within 3 s")])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_services(self) -> None:
        self.pools = [pool("half", a="", b="refused"), pool("dead", c="refused", d="no answer")]
        self.assertEqual(
            self.found(),
            [
                (1, "upstream", "dead", "c: refused"),
                (1, "upstream", "dead", "d: no answer"),
                (2, "upstream", "half", "b: refused"),
            ],
        )

    def test_certificates(self) -> None:
        now = datetime.now(UTC)
        over = identity("a.example", start=now - timedelta(100), days=50)
        soon = identity("b.example", start=now - timedelta(50), days=55)
        (first, second) = self.found(one=(soon, identity("c.example")), two=(over,))
        self.assertEqual((first[:3], second[:3]), ((1, "certificate", "two"), (2, "certificate", "one")))
        self.assertIn("the certificate of CN=a.example expired on", first[3])
        self.assertIn("the certificate of CN=b.example expires on", second[3])

    def test_names_that_cannot_be_looked_up(self) -> None:
        lookups = {host: SimpleNamespace(host=host, fault=fault) for host, fault in (("a", ""), ("b", "it has no address"))}
        self.upkeep = [SimpleNamespace(pool=SimpleNamespace(name="app"), lookups=lookups)]
        self.assertEqual(self.found(), [(2, "upstream", "app", "b cannot be looked up: it has no address")])

    def test_state_and_reload(self) -> None:
        self.state = "1 revocations are in force, but not on disk yet"
        self.assertEqual(
            self.found("site.ini:3: no"),
            [
                (2, "state", "/var", "1 revocations are in force, but not on disk yet"),
                (2, "reload", "/site.ini", "the last reload was refused, the earlier configuration is in force: site.ini:3: no"),
            ],
        )

    def test_a_state_that_is_stale_makes_requests_fail(self) -> None:
        self.state, self.stale = "tokens and sessions get 503: why", True
        self.assertEqual(self.found(), [(1, "state", "/var", "tokens and sessions get 503: why")])

    def test_file_systems(self) -> None:
        path = Path(self.mktemp())
        path.write_text("")
        self.paths = [path, Path("/dev/null"), Path("/dev/none")]
        for free, blocks, expected in (
            (0, 10**6, (0, "the file system of the audit log is full: no request is served when it cannot be written")),
            (15, 10**6, (0, "the file system of the audit log is full: no request is served when it cannot be written")),
            (9999, 10**6, (2, "the file system of the audit log is almost full: 39 MiB are free")),
            (16, 1600, None),
            (10**4, 10**6, None),
        ):
            system = SimpleNamespace(f_bfree=free, f_bavail=free, f_frsize=4096, f_blocks=blocks)
            self.patch(os, "statvfs", lambda _, system=system: system)
            found = self.found()
            self.assertEqual(found, [] if expected is None else [(expected[0], "audit", str(path), expected[1])], free)

    def test_only_root_may_use_the_last_blocks(self) -> None:
        path = Path(self.mktemp())
        path.write_text("")
        self.paths = [path]
        self.patch(os, "statvfs", lambda _: SimpleNamespace(f_bfree=10**5, f_bavail=0, f_frsize=4096, f_blocks=10**6))
        self.patch(os, "geteuid", lambda: 0)
        self.assertEqual(self.found(), [])
        self.patch(os, "geteuid", lambda: 1000)
        self.assertEqual([one[0] for one in self.found()], [Severity.NOTHING_IS_SERVED])

    def test_certificates_that_the_ca_does_not_issue(self) -> None:
        self.directory = Path(self.mktemp())
        (self.directory / "acme").mkdir(parents=True)
        self.listeners = [SimpleNamespace(name="https", acme_names=("gw.example", "www.example"))]
        self.assertEqual(self.found(), [])
        record = self.directory / "acme" / "gw.example.json"
        write_record(record, Record(failures=1, fault="refused", try_at=1_800_000_000.0))
        later = "refused; the next try is at 2027-01-15 08:00:00 UTC"
        text = f"gw.example, www.example: there is no certificate from the CA yet: {later}"
        self.assertEqual(self.found(), [(1, "certificate", "https", text)])
        record.with_suffix(".pem").write_text("")
        self.assertEqual(self.found(), [(2, "certificate", "https", f"gw.example, www.example: it was not renewed: {later}")])

"""What the workers of one gateway divide, and what they tell each other about the audit log."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from perimeter.net.deadlines import Deadlines
from perimeter.offload import Offload
from perimeter.plugin.services import AuthServices
from perimeter.run.build.prepared import TORN
from perimeter.run.build.runtime import HASHING_THREADS, Runtime, hashing_threads
from perimeter.run.upkeep import Upkeep
from perimeter.workers.page import SharedPage
from perimeter.workers.place import Place


class DividedTests(SynchronousTestCase):
    def test_hashing_threads(self) -> None:
        self.assertEqual(hashing_threads(1), HASHING_THREADS)
        self.assertEqual(hashing_threads(2), HASHING_THREADS // 2)
        self.assertEqual(hashing_threads(HASHING_THREADS), 1)
        self.assertEqual(hashing_threads(64), 1)

    def test_limits_of_services(self) -> None:
        services = AuthServices(Clock(), cast(Offload, None))
        self.assertEqual([services.share(limit) for limit in (1, 2, 32)], [1, 2, 32])
        services = AuthServices(Clock(), cast(Offload, None), workers=3)
        self.assertEqual([services.share(limit) for limit in (1, 2, 3, 5, 6, 32)], [1, 1, 1, 1, 2, 10])


class TornTests(SynchronousTestCase):
    def test_log_of_the_configuration_in_force_begins_a_new_line(self) -> None:
        page = SharedPage.create()
        self.addCleanup(page.close)
        place = Place(0, page, cast(Any, None), {})
        clock: Any = Clock()
        upkeep = Upkeep(Runtime(clock, Offload(clock), Deadlines(clock), place=place), list)
        told = place.handlers[TORN]
        told({"path": "/log"})
        torn: list[str] = []
        upkeep._assembly = cast(Any, SimpleNamespace(audit=SimpleNamespace(torn=torn.append)))
        told({"path": "/log"})
        self.assertEqual(torn, ["/log"])

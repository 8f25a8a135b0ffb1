"""What the daemon says about its listeners."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from perimeter.config.site.limits import LimitSettings
from perimeter.config.site.listener import ListenerSettings, Serve
from perimeter.net.connection_limits import ConnectionLimits
from perimeter.net.deadlines import Deadlines
from perimeter.net.share import MAKE_ROOM, SharedLimits
from perimeter.offload import Offload
from perimeter.run.build.runtime import Runtime
from perimeter.run.listening import Listeners, described
from perimeter.run.sockets import BoundSockets
from perimeter.workers.page import SharedPage
from perimeter.workers.place import Place


class DescribedTests(TestCase):
    def test_a_listener_with_routes_has_a_url_to_open(self) -> None:
        for interface, tls, url in (
            ("127.0.0.1", True, "https://127.0.0.1:9443/"),
            ("192.0.2.1", False, "http://192.0.2.1:9443/"),
            ("", True, "https://localhost:9443/"),
            ("0.0.0.0", True, "https://localhost:9443/"),
            ("::", False, "http://localhost:9443/"),
            ("::1", True, "https://[::1]:9443/"),
        ):
            settings = ListenerSettings("web", 0, interface, tls=tls)
            self.assertEqual(described(settings, 9443), f"web on port 9443 ({url})")

    def test_other_listeners_have_none(self) -> None:
        for serve in (Serve.TOKENS, Serve.METRICS, Serve.REDIRECT):
            self.assertEqual(described(ListenerSettings("other", 80, serve=serve), 8080), "other on port 8080")


class SharedListenersTests(TestCase):
    def test_attack_86_another_worker_asks_to_make_room(self) -> None:
        page = SharedPage.create()
        self.addCleanup(page.close)
        clock: Any = Clock()
        place = Place(0, page, cast(Any, None), {})
        listeners = Listeners(Runtime(clock, Offload(clock), Deadlines(clock), place=place), LimitSettings(), BoundSockets())
        self.assertEqual(place.handlers[MAKE_ROOM]({}), 0)
        self.assertIsInstance(listeners._limits, SharedLimits)

    def test_single_process_shares_nothing(self) -> None:
        clock: Any = Clock()
        listeners = Listeners(Runtime(clock, Offload(clock), Deadlines(clock)), LimitSettings(), BoundSockets())
        self.assertIs(type(listeners._limits), ConnectionLimits)

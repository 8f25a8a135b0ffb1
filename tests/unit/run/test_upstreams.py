"""What a worker hears from the others about servers, and what a reload keeps of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import TestCase

from perimeter.config.site.balancing import HealthCheck
from perimeter.proxy.health import ServerState
from perimeter.proxy.upkeep import UpstreamUpkeep
from perimeter.run.build.upstreams import HEALTH, WorkersTold, hear
from perimeter.run.succession import go_on
from tests.unit.doubles.http_upstream import Gateway


class Place:
    """A place that remembers what the others are told."""

    leads = True

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []

    def tell_others(self, name: str, /, **arguments: Any) -> None:
        self.told.append((name, arguments))


class ToldTests(TestCase):
    def setUp(self) -> None:
        self.gateway = Gateway("one", settings={"health": HealthCheck("GET", "/", 200, 399, 5.0, 5.0), "health_fall": 1})
        self.upkeep = UpstreamUpkeep(self.gateway.pool, self.gateway.reactor)
        self.place: Any = Place()

    def state(self, gateway: Gateway) -> ServerState:
        return gateway.pool.servers[0].health.state()

    def test_what_one_tells_the_others_hear(self) -> None:
        workers = WorkersTold(self.place)
        self.assertTrue(workers.leads)
        for upstream, server in (("other", "http://one:8080"), ("backend", "http://two:8080")):
            workers.tell(upstream, server, "it answered 500")
        for name, told in self.place.told:
            self.assertEqual(name, HEALTH)
            hear([self.upkeep], told)
        self.assertEqual(self.state(self.gateway), ServerState.UP, "these are others")
        workers.tell("backend", "http://one:8080", "it answered 500")
        hear([self.upkeep], self.place.told[-1][1])
        self.assertEqual(self.state(self.gateway), ServerState.DOWN)

    def test_a_reload_goes_on_with_services_of_the_same_name(self) -> None:
        hear([self.upkeep], {"upstream": "backend", "server": "http://one:8080", "fault": "it answered 500"})
        after = Gateway("one", settings={"health": self.gateway.pool.settings.health})
        new: Any = SimpleNamespace(upkeep=[UpstreamUpkeep(after.pool, after.reactor)])
        old: Any = SimpleNamespace(upkeep=[self.upkeep])
        go_on(None, new)
        self.assertEqual(self.state(after), ServerState.UP)
        go_on(old, new)
        self.assertEqual(self.state(after), ServerState.DOWN)

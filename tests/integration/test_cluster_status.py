"""What the operator sees of two gateways that share one state."""

from __future__ import annotations

from typing import Any

from tests.integration.cluster import ClusterCase
from tests.integration.fleet import asked
from tests.integration.ports import eventually


class StatusTests(ClusterCase):
    def status(self, name: str = "one") -> dict[str, Any]:
        return asked(self.cluster.gateways[name], "status")

    def nodes(self, name: str = "one") -> dict[str, dict[str, Any]]:
        return {one["name"]: one for one in self.status(name)["nodes"]}

    def test_each_gateway_shows_both(self) -> None:
        for name in ("one", "two"):
            eventually(lambda name=name: list(self.nodes(name)) == ["one", "two"], "both have written their records")
            answer = self.status(name)
            self.assertEqual(answer["redis"]["node"], name)
            self.assertEqual(answer["redis"]["primary"], f"127.0.0.1:{self.cluster.redis.port}")
            self.assertEqual([one["state"] for one in answer["nodes"]], ["serving", "serving"])
            self.assertEqual({one["address"] for one in answer["nodes"]}, {"127.0.0.1"})
            self.assertLess(max(abs(one["clock"]) for one in answer["nodes"]), 0.5)

    def test_a_gateway_that_stops_is_shown_no_more(self) -> None:
        two = self.cluster.gateways["two"]
        eventually(lambda: list(self.nodes("two")) == ["one", "two"], "both have written their records")
        two.stop()
        self.assertEqual(list(self.nodes()), ["one"])
        two.start()
        eventually(lambda: list(self.nodes()) == ["one", "two"], "the second gateway has written its record")

    def test_a_gateway_with_another_configuration_is_a_problem(self) -> None:
        eventually(lambda: list(self.nodes()) == ["one", "two"], "both have written their records")
        hashes = {name: one["configuration"] for name, one in self.nodes().items()}
        (found,) = [one["message"] for one in self.status()["problems"] if one["subject"] == "node"]
        # the ports of the two differ
        self.assertEqual(found, f"its configuration ({hashes['two']}) is not that of one ({hashes['one']})")

    def test_redis_does_not_answer(self) -> None:
        self.cluster.redis.freeze()
        self.addCleanup(self.cluster.await_serving)
        self.addCleanup(self.cluster.redis.thaw)
        answer = self.status()
        self.assertEqual(answer["nodes"], [])
        eventually(lambda: "Redis" in self.status()["redis"]["problem"], "the gateway has lost Redis")

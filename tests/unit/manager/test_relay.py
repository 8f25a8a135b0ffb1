"""Questions of workers to each other, and of the operator to a worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from perimeter.manager.relay import Relay
from perimeter.workers.channel import Channel, Handler
from tests.unit.workers.channels import connected


class Worker:
    """Stands for a worker process: the manager's end of its channel is ``channel``, its own is ``own``."""

    def __init__(self, number: int, clock: Clock, answers: Mapping[str, Handler]) -> None:
        self.number = number
        self.channel: Channel
        self.channel, self.own, self.pump = connected({}, answers, clock)


class RelayTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[tuple[int, Any]] = []
        self.questions: list[int] = []
        self.workers = [Worker(number, self.clock, self.answers(number)) for number in range(3)]
        self.relay = Relay(lambda: self.workers)  # type: ignore[arg-type, return-value]
        for worker in self.workers:
            worker.channel.handlers = self.relay.handlers(worker)  # type: ignore[arg-type]

    def answers(self, number: int) -> dict[str, Handler]:
        def refuse(_: Mapping[str, Any]) -> Any:
            raise ValueError(f"not {number}")

        def hear(told: Mapping[str, Any]) -> None:
            self.told.append((number, dict(told)))

        def control(asked: Mapping[str, Any]) -> Any:
            self.questions.append(number)
            return {"by": number, **asked["question"]}

        return {
            "add": lambda asked: asked["n"] + number,
            "refuse": refuse,
            "hang": lambda _: Deferred(),
            "hear": hear,
            "turns": lambda _: None,
            "control": control,
        }

    def pump(self) -> None:
        for _ in range(6):
            for worker in self.workers:
                worker.pump()

    def pump_without_first(self) -> None:
        for _ in range(6):
            for worker in self.workers[1:]:
                worker.pump()

    def gathered(self, name: str, wait: Callable[[], None] = lambda: None, **arguments: Any) -> Any:
        asked = self.workers[1].own.ask("gather", 30, name=name, timeout=1.0, arguments=arguments)
        self.pump()
        wait()
        self.pump()
        return self.successResultOf(asked)

    def test_gather(self) -> None:
        self.assertEqual(self.gathered("add", n=10), [{"slot": 0, "value": 10}, {"slot": 2, "value": 12}])
        self.assertEqual(self.gathered("refuse"), [{"slot": 0, "refused": "not 0"}, {"slot": 2, "refused": "not 2"}])
        late = self.gathered("hang", lambda: self.clock.advance(1.0))
        self.assertEqual(late, [{"slot": 0, "late": True}, {"slot": 2, "late": True}])

    def test_others(self) -> None:
        self.workers[0].own.tell("others", name="hear", arguments={"x": 1})
        self.pump()
        self.assertEqual(self.told, [(1, {"x": 1}), (2, {"x": 1})])

    def test_control_asks_the_first_one_that_answers(self) -> None:
        self.workers[0].channel.connectionLost()
        answer = Deferred.fromCoroutine(self.relay.control({"command": "status"}))
        self.pump()
        self.assertEqual(self.successResultOf(answer), {"by": 1, "command": "status"})
        for worker in self.workers:
            worker.channel.connectionLost()
        failed = self.failureResultOf(Deferred.fromCoroutine(self.relay.control({})), ValueError)
        self.assertIn("no worker serves", str(failed.value))

    def test_attack_91_control_does_not_wait_for_a_worker_that_hangs(self) -> None:
        answer = Deferred.fromCoroutine(self.relay.control({"command": "status"}))
        self.clock.advance(0.49)
        self.pump_without_first()
        self.assertNoResult(answer)
        self.clock.advance(0.01)
        self.pump_without_first()
        self.assertEqual(self.successResultOf(answer), {"by": 1, "command": "status"})
        self.pump()  # the first one goes on, and has not got the question
        self.assertEqual(self.questions, [1])

    def test_renewed(self) -> None:
        heard: list[Any] = []
        self.relay.renewed = lambda generation, paths: heard.append((generation, paths))
        self.workers[2].own.tell("renewed", generation=3, paths=["/a"])
        self.pump()
        self.assertEqual(heard, [(3, ["/a"])])

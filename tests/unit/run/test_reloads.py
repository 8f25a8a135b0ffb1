"""Reloads one after the other."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import TestCase

from perimeter.run.reloads import STOPPING, Reloads


class ReloadTests(TestCase):
    def setUp(self) -> None:
        self.begun: list[tuple[bool, Deferred[str]]] = []
        self.cancelled = 0
        self.reloads = Reloads(self.reload)

    async def reload(self, whole: bool) -> str:
        result: Deferred[str] = Deferred()
        self.begun.append((whole, result))
        try:
            return await result
        except CancelledError:
            self.cancelled += 1
            raise

    def end(self, result: str = "") -> None:
        self.begun[-1][1].callback(result)

    def test_the_result_is_for_those_who_asked_before_it_began(self) -> None:
        first = self.reloads.ask(True)
        second, third = self.reloads.ask(True), self.reloads.ask(True)
        self.assertEqual(len(self.begun), 1)
        self.assertTrue(self.reloads.busy)
        self.end("wrong")
        self.assertEqual(self.successResultOf(first), "wrong")
        self.assertNoResult(second)
        self.assertEqual(len(self.begun), 2, "once, for both")
        self.end()
        self.assertEqual((self.successResultOf(second), self.successResultOf(third)), ("", ""))
        self.assertEqual(len(self.begun), 2)
        self.assertFalse(self.reloads.busy)

    def test_what_is_read_next(self) -> None:
        for asked, read in (((False,), False), ((True,), True), ((False, True), True), ((True, False), True)):
            self.reloads.ask(True)
            for whole in asked:
                self.reloads.ask(whole)
            self.end()
            self.assertEqual(self.begun[-1][0], read, asked)
            self.end()

    def test_one_that_is_over_at_once(self) -> None:
        async def at_once(whole: bool) -> str:
            return "done"

        reloads = Reloads(at_once)
        self.assertEqual(self.successResultOf(reloads.ask(True)), "done")
        self.assertEqual(self.successResultOf(reloads.ask(True)), "done")

    def test_stop(self) -> None:
        first, second = self.reloads.ask(True), self.reloads.ask(True)
        self.reloads.stop()
        for asked in (first, second, self.reloads.ask(True)):
            self.assertEqual(self.successResultOf(asked), STOPPING)
        self.assertEqual((len(self.begun), self.cancelled), (1, 1))

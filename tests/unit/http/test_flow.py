"""The table of `perimeter.http.h1.flow`: what a connection does about data from the client, in each phase."""

from __future__ import annotations

from itertools import product

from twisted.trial.unittest import TestCase

from perimeter.http.h1.flow import MAX_WAITING, Flow, Phase, next_flow

MUCH = MAX_WAITING + 1


def flow(phase: Phase, unread: int, *, waiting: bool = False, writes_paused: bool = False, body_paused: bool = False) -> Flow:
    return next_flow(phase, unread, waiting=waiting, writes_paused=writes_paused, body_paused=body_paused)


class FlowTests(TestCase):
    def test_64_kibibytes_may_wait(self) -> None:
        self.assertEqual(MAX_WAITING, 65536)

    def test_what_waits_for_a_turn_holds_the_client_back(self) -> None:
        for phase, unread, paused in product(Phase, (0, 1, MUCH), (False, True)):
            self.assertIs(flow(phase, unread, waiting=True, body_paused=paused), Flow.HOLD)

    def test_a_body_is_fed_while_its_sink_takes_it(self) -> None:
        for unread, paused, expected in (
            (0, False, Flow.READ),
            (0, True, Flow.READ),
            (1, False, Flow.FEED),
            (MUCH, False, Flow.FEED),
            (1, True, Flow.HOLD),
        ):
            self.assertIs(flow(Phase.BODY, unread, body_paused=paused), expected)

    def test_only_a_body_is_fed(self) -> None:
        for phase, unread, writes, body in product(set(Phase) - {Phase.BODY}, (0, 1, MUCH), (False, True), (False, True)):
            self.assertIsNot(flow(phase, unread, writes_paused=writes, body_paused=body), Flow.FEED)

    def test_a_tunnel_is_read_while_its_sink_takes_it(self) -> None:
        for unread in (0, 1, MUCH):
            self.assertIs(flow(Phase.TUNNEL, unread), Flow.READ)
            self.assertIs(flow(Phase.TUNNEL, unread, body_paused=True), Flow.HOLD)

    def test_what_comes_before_the_answer_is_bounded(self) -> None:
        for unread, expected in ((0, Flow.READ), (MAX_WAITING, Flow.READ), (MUCH, Flow.HOLD)):
            self.assertIs(flow(Phase.ANSWERING, unread), expected)
            self.assertIs(flow(Phase.HEAD, unread, writes_paused=True), expected)
            self.assertIs(flow(Phase.HEAD, unread), Flow.READ)

    def test_after_the_last_response_everything_is_read(self) -> None:
        for unread, writes in product((0, MUCH), (False, True)):
            self.assertIs(flow(Phase.LINGER, unread, writes_paused=writes), Flow.READ)

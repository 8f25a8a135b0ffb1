"""Sign-ins at providers that are under way: found, bounded, and kept in SQLite."""

from __future__ import annotations

import attrs

from perimeter.errors import Unavailable
from perimeter.providers.flows import (
    CODECS,
    FLOWS,
    LIFETIME,
    MOST_FLOWS,
    MOST_OF_CLIENT,
    BegunFlow,
    EndedFlow,
    FlowTable,
    StoredFlows,
    flow_digest,
)
from tests.unit.doubles.sessions import START, SessionCase
from tests.unit.doubles.tables import TableCase


def flow(number: int, client: str = "192.0.2.7", created: float = START) -> BegunFlow:
    """The flow of the cookie `cookie`."""
    return BegunFlow(flow_digest(cookie(number)), "corp", "/x?y=é", client, created)


def cookie(number: int) -> bytes:
    return b"%043d" % number


class StoredTests(SessionCase):
    def setUp(self) -> None:
        super().setUp()
        self.flows: StoredFlows = self.state.view(FLOWS)

    def test_a_flow_is_found_until_it_is_too_old(self) -> None:
        self.done(self.flows.begin(flow(1)))
        self.clock.advance(LIFETIME - 0.1)
        self.assertEqual(self.flows.known(cookie(1)), flow(1))
        self.assertIsNone(self.flows.known(cookie(2)))
        self.clock.advance(0.1)
        self.assertIsNone(self.flows.known(cookie(1)))
        self.flows.forget(self.clock.seconds() - 0.1)
        self.assertEqual(len(self.flows), 1)
        self.flows.forget(self.clock.seconds())
        self.assertEqual(len(self.flows), 0)

    def test_a_flow_of_another_process(self) -> None:
        self.store.others_write(flow(1))
        self.assertIsNone(self.flows.known(cookie(1)))
        self.assertEqual(self.done(self.flows.find(cookie(1))), flow(1))
        self.assertIsNone(self.done(self.flows.find(cookie(2))))

    def test_a_flow_counts_once_it_is_written(self) -> None:
        self.store.fails = True
        self.fails(Unavailable, self.flows.begin(flow(1)))
        self.assertIsNone(self.flows.known(cookie(1)))

    def test_a_replaced_flow_is_gone(self) -> None:
        self.done(self.flows.begin(flow(1)))
        self.done(self.flows.begin(flow(2), cookie(1)))
        self.assertEqual((self.flows.known(cookie(1)), self.flows.known(cookie(2))), (None, flow(2)))

    def test_one_client_has_a_bounded_number_of_flows(self) -> None:
        self.done(self.flows.begin(flow(0, "198.51.100.1")))
        for number in range(1, MOST_OF_CLIENT + 2):
            self.done(self.flows.begin(flow(number)))
        self.assertIsNotNone(self.flows.known(cookie(0)))
        self.assertIsNone(self.flows.known(cookie(1)))
        self.assertIsNotNone(self.flows.known(cookie(2)))
        self.assertEqual(len(self.flows), MOST_OF_CLIENT + 1)

    def test_used_flows_are_replaced_first(self) -> None:
        for number in range(MOST_OF_CLIENT):
            self.done(self.flows.begin(flow(number)))
        for number in (7, 3):
            self.flows.used(flow(number))
        self.flows.used(flow(MOST_OF_CLIENT + 9))  # not one of these
        gone = []
        for number in range(MOST_OF_CLIENT, MOST_OF_CLIENT + 3):
            self.done(self.flows.begin(flow(number)))
            gone.append([one for one in range(MOST_OF_CLIENT) if self.flows.known(cookie(one)) is None])
        self.assertEqual(gone, [[3], [3, 7], [0, 3, 7]])

    def test_all_flows_are_bounded(self) -> None:
        for number in range(MOST_FLOWS):
            self.flows.apply(flow(number, str(number)))
        self.done(self.flows.begin(flow(MOST_FLOWS)))
        self.assertEqual(len(self.flows), MOST_FLOWS)
        self.assertIsNone(self.flows.known(cookie(0)))
        self.assertIsNotNone(self.flows.known(cookie(MOST_FLOWS)))

    def test_a_flow_is_loaded(self) -> None:
        self.flows.replace(self.flows.index([flow(1), flow(2), EndedFlow(flow(2).digest)]))
        self.assertEqual(self.flows.known(cookie(1)), flow(1))
        self.assertEqual(len(self.flows), 1)

    def test_changes_are_passing_and_may_be_applied_twice(self) -> None:
        one = flow(1)
        self.assertTrue(one.adds and one.passing and EndedFlow(b"").passing)
        self.assertFalse(EndedFlow(b"").adds)
        for change in (one, one, EndedFlow(one.digest), EndedFlow(one.digest)):
            self.flows.apply(change)
        self.assertEqual(len(self.flows), 0)
        self.assertEqual(self.flows._index.of_client, {})


class TableTests(TableCase):
    TABLE = FlowTable

    def test_flows_are_read_as_they_were_written(self) -> None:
        old = attrs.evolve(flow(1), again=True)
        new = flow(2, created=START + 1)
        self.write(new, old, old, flow(3), EndedFlow(flow(3).digest))
        self.assertEqual(self.held(), [old, new])

    def test_old_flows_are_deleted(self) -> None:
        self.write(flow(1), flow(2, created=START + 1))
        self.table.forget(self.database.execute, START + LIFETIME)
        self.assertEqual(self.held(), [flow(2, created=START + 1)])

    def test_the_log(self) -> None:
        for word, change in (
            ("provider_flow", attrs.evolve(flow(1), again=True)),
            ("provider_flow_ended", EndedFlow(b"\0\xff")),
        ):
            codec = CODECS[word]
            self.assertEqual(codec.decode(codec.encode(change)), change)

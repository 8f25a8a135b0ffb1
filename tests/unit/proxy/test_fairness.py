"""The share of a client in a busy upstream."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from perimeter.proxy.fairness import FairShares


class ShareTests(SynchronousTestCase):
    def fill(self, places: int, *clients: str) -> dict[str, int]:
        """Each of ``clients`` in turn begins requests, as long as one of them may. Returns how many each has."""
        shares, held = FairShares(), dict.fromkeys(clients, 0)
        changed = True
        while changed:
            changed = False
            for client in clients:
                if shares.may_begin(client, places - sum(held.values())):
                    shares.begin(client)
                    held[client] += 1
                    changed = True
        return held

    def test_one_client_gets_half_of_the_places(self) -> None:
        self.assertEqual(self.fill(10, "ann"), {"ann": 5})
        self.assertEqual(self.fill(3, "ann"), {"ann": 2})
        self.assertEqual(self.fill(1, "ann"), {"ann": 1})
        self.assertEqual(self.fill(0, "ann"), {"ann": 0})

    def test_several_clients_share(self) -> None:
        self.assertEqual(self.fill(9, "ann", "ben"), {"ann": 3, "ben": 3})
        self.assertEqual(self.fill(8, "ann", "ben", "eve"), {"ann": 2, "ben": 2, "eve": 2})

    def test_the_end_of_a_request_makes_room(self) -> None:
        shares = FairShares()
        shares.begin("ann")
        shares.begin("ann")
        self.assertFalse(shares.may_begin("ann", 2))
        self.assertTrue(shares.may_begin("ann", 3))
        self.assertTrue(shares.may_begin("ben", 1))
        self.assertFalse(shares.may_begin("ben", 0))
        shares.end("ann")
        self.assertTrue(shares.may_begin("ann", 2))
        shares.end("ann")
        self.assertTrue(shares.may_begin("ann", 1))

    def test_clients_without_requests_are_forgotten(self) -> None:
        shares = FairShares()
        shares.begin("ann")
        shares.end("ann")
        self.assertEqual(shares._held, {})

"""Two gateways with one state: what one of them gives or takes away holds at the other one."""

from __future__ import annotations

import time

from tests.integration.cluster import ClusterCase


class TokenTests(ClusterCase):
    def test_a_token_made_at_one_gateway_is_good_at_the_other_at_once(self) -> None:
        token = self.cluster.made("one")["token"]
        self.assertEqual(self.cluster.status("two", token), 200)
        self.assertEqual(self.cluster.status("one", token), 200)

    def test_a_token_that_is_removed_at_one_gateway_is_refused_by_the_other_within_a_second(self) -> None:
        made = self.cluster.made("one")
        self.assertEqual(self.cluster.status("one", made["token"]), 200)
        self.assertEqual(self.cluster.status("two", made["token"]), 200)
        self.assertEqual(self.cluster.ended("two", made["id"]), 204)
        answered = time.monotonic()
        while self.cluster.status("one", made["token"]) == 200:
            self.assertLess(time.monotonic() - answered, 1.0)
        self.assertEqual(self.cluster.status("one", made["token"]), 401)
        self.assertEqual(self.cluster.status("two", made["token"]), 401)

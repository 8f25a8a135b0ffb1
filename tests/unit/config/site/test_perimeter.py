"""``[perimeter]``: what its options mean together."""

from __future__ import annotations

from tests.unit.doubles.site import SiteCase


class StateTests(SiteCase):
    def test_attack_88_several_workers_share_their_state(self) -> None:
        """In memory, what one worker revokes would stay valid in the others."""
        several = self.with_option("perimeter", "workers", "2")
        (found,) = self.problems(several.replace("workers = 2", "workers = 2\nstate = memory"))
        self.assertIn("[perimeter] state: memory works with workers = 1 only, and here workers is 2", found)
        self.load(several)
        self.load(self.with_option("perimeter", "state", "memory"))

    def test_a_number_of_workers_that_is_wrong_is_the_only_fault(self) -> None:
        several = self.with_option("perimeter", "workers", "65")
        (found,) = self.problems(several.replace("workers = 65", "workers = 65\nstate = memory"))
        self.assertIn("[perimeter] workers: expected a number from 1 to 64", found)

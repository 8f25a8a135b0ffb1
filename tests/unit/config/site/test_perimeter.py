"""``[perimeter]``: what its options mean together."""

from __future__ import annotations

from pathlib import Path

from tests.unit.doubles.site import SiteCase


class StateTests(SiteCase):
    def test_attack_88_several_workers_share_their_state(self) -> None:
        """In memory, what one worker revokes would stay valid in the others."""
        several = self.with_option("perimeter", "workers", "2")
        (found,) = self.problems(several.replace("workers = 2", "workers = 2\nstate = memory"))
        self.assertIn("[perimeter] state: memory works with workers = 1 only, and here workers is 2", found)
        self.load(several)
        self.load(self.with_option("perimeter", "state", "memory"))

    def test_machines_need_some_time_to_hear_of_each_other(self) -> None:
        secret = Path(self.mktemp())
        secret.write_text("x" * 32)
        secret.chmod(0o600)
        lines = f"redis\nredis_url = redis://h\ncluster_secret = {secret.absolute()}\nstale_limit = "
        (found,) = self.problems(self.with_option("perimeter", "state", f"{lines}1.9s"))
        self.assertIn("[perimeter] stale_limit: expected 2 seconds or more", found)
        self.assertEqual(self.load(self.with_option("perimeter", "state", f"{lines}2s")).perimeter.stale_limit, 2.0)
        self.load(self.with_option("perimeter", "stale_limit", "1s"))

    def test_a_number_of_workers_that_is_wrong_is_the_only_fault(self) -> None:
        several = self.with_option("perimeter", "workers", "65")
        (found,) = self.problems(several.replace("workers = 65", "workers = 65\nstate = memory"))
        self.assertIn("[perimeter] workers: expected a number from 1 to 64", found)

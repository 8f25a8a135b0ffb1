"""The secret of two gateways with one state is replaced while they serve."""

from __future__ import annotations

import secrets

from tests.integration.cluster import ClusterCase
from tests.integration.ports import eventually


class RotationTests(ClusterCase):
    """The gateways have one file, and each reads it when it is reloaded."""

    def write(self, *lines: str) -> None:
        (self.cluster.directory / "cluster.secret").write_text("".join(f"{line}\n" for line in lines))

    def reload(self, name: str) -> None:
        self.cluster.gateways[name].reload()

    def good(self, token: str) -> None:
        self.assertEqual([self.cluster.status(name, token) for name in ("one", "two")], [200, 200])

    def test_tokens_are_good_at_both_gateways_in_each_step(self) -> None:
        old, new = (self.cluster.directory / "cluster.secret").read_text().strip(), secrets.token_urlsafe(48)
        before = [self.cluster.made("one")]
        for lines in ((old, new), (new, old)):
            self.write(*lines)
            for name in ("one", "two"):
                self.reload(name)
                before.append(self.cluster.made("one"))
                before.append(self.cluster.made("two"))
                for made in before:
                    self.good(made["token"])
        first = before[0]
        self.assertEqual(self.cluster.ended("one", first["id"]), 204)
        self.assertEqual(self.cluster.status("one", first["token"]), 401)
        eventually(lambda: self.cluster.status("two", first["token"]) == 401, "the token is refused", 1)

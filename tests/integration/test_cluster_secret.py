"""The secret of two gateways with one state: it is replaced while they serve, and forged tokens fail without a look-up."""

from __future__ import annotations

import re
import secrets

from perimeter.secrets_key import SecretsKey, cluster_keys
from perimeter.tokens.check import TokenCheck
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
        self.cluster.await_serving()
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


class ForgedTests(ClusterCase):
    def looked_up(self) -> int:
        """How many values Redis was asked for."""
        said = self.cluster.redis.ask("INFO", "commandstats")
        text = said.decode() if isinstance(said, bytes) else str(said)
        return sum(int(calls) for calls in re.findall(r"cmdstat_m?get:calls=(\d+)", text))

    def refused(self, check: TokenCheck) -> int:
        """The look-ups for 30 tokens that were never issued."""
        before = self.looked_up()
        for _ in range(30):
            self.assertEqual(self.cluster.status("one", check.make()), 401)
        return self.looked_up() - before

    def test_attack_179_forged_tokens_are_not_looked_up(self) -> None:
        self.cluster.await_serving()
        own = (self.cluster.directory / "cluster.secret").read_text()
        self.assertLess(self.refused(TokenCheck(SecretsKey(b"x" * 32))), 10)
        self.assertGreaterEqual(self.refused(TokenCheck(SecretsKey(*cluster_keys(own)))), 30, "with the secret of the site")

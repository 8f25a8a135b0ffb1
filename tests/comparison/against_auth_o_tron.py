"""Builds Auth-o-tron, starts it and a Perimeter that was configured by ``perimeter import``, and compares their answers.

``tox -e auth-o-tron``, or ``python -m twisted.trial tests.comparison.against_auth_o_tron``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from click.testing import CliRunner

from bench import auth_o_tron
from perimeter.cli.main import main
from tests.comparison.answers import asked
from tests.comparison.differences import DIFFERENCES
from tests.comparison.judge import Facets, complaints
from tests.comparison.mongo import Mongo
from tests.comparison.requests import REQUESTS
from tests.comparison.scenes import UNTRANSLATED, Scene, configuration
from tests.comparison.surroundings import Services, directory
from tests.integration.harness import Gateway, GatewayCase
from tests.integration.ports import free_port
from tests.integration.upstreams import Process


class AuthOTron(Process):
    """Auth-o-tron's program with a configuration."""

    def __init__(self, config: Path, port: int) -> None:
        self.port = port
        super().__init__(["env", f"AOT_CONFIG_PATH={config}", str(auth_o_tron.binary())], config.parent / "auth-o-tron.log")
        self._await_port()


class ComparisonTests(GatewayCase):
    def setUp(self) -> None:
        auth_o_tron.build()
        self.need("slapd")
        self.services = Services()
        self.addCleanup(self.services.close)
        self.slapd = directory(self.directory())
        self.addCleanup(self.slapd.kill)
        self.mongo = Mongo()
        self.addCleanup(self.mongo.close)
        self.nowhere = free_port()

    def written(self, scene: str) -> tuple[Path, int]:
        """The configuration, for a port of its own."""
        port = free_port()
        path = self.directory() / "config.yaml"
        path.write_text(configuration(scene, Scene(port, self.services.url, self.slapd.port, self.nowhere, self.mongo.uri)))
        return path, port

    def original(self, scene: str) -> int:
        """Auth-o-tron's port."""
        path, port = self.written(scene)
        original = AuthOTron(path, port)
        self.addCleanup(original.close)
        return port

    def imported(self, scene: str) -> int:
        """Perimeter's."""
        path, port = self.written(scene)
        made = CliRunner().invoke(main, ["import", str(path), "-o", str(path.parent / "site.ini")])
        left = re.findall(r"^not translated: .*config\.yaml:\d+: (.*)$", made.output, re.M)
        self.assertEqual(left, UNTRANSLATED[scene], made.output)
        gateway = Gateway(path.parent, (path.parent / "site.ini").read_text())
        self.addCleanup(gateway.stop)
        gateway.start()
        return port

    def compare(self, scene: str) -> None:
        requests = [request for request in REQUESTS if request.scene == scene]
        answers: list[dict[str, Facets]] = []
        for name, port in (("theirs", self.original(scene)), ("ours", self.imported(scene))):
            tokens = dict(self.services.tokens)
            answers.append({request.name: asked(request, port, tokens) for request in requests})
            # all answers, for readers who need more than the differences
            (self.directory() / f"{name}.json").write_text(json.dumps(answers[-1], indent=1, ensure_ascii=False))
        declared = [one for one in DIFFERENCES if one.scene == scene]
        found = complaints(requests, answers[0], answers[1], declared)
        self.assertEqual(found, [], "\n" + "\n".join(found))

    def test_everything(self) -> None:
        self.compare("all")

    def test_passwords_alone_and_a_short_secret(self) -> None:
        self.compare("passwords")

    def test_an_issuer_with_a_symmetric_key(self) -> None:
        self.compare("symmetric")

    def test_a_store_of_tokens(self) -> None:
        self.compare("store")

"""``perimeter status --alive``: whether the gateway answers, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from perimeter.cli.exits import Exit
from perimeter.cli.main import main
from perimeter.cli.site import Site
from perimeter.run.asking import NoGateway


class AliveTests(SynchronousTestCase):
    def run_command(self, answer: Mapping[str, Any] | Exception, *options: str) -> Any:
        asked: list[Mapping[str, Any]] = []

        def ask(_: Site, question: Mapping[str, Any], **__: Any) -> Mapping[str, Any]:
            asked.append(question)
            if isinstance(answer, Exception):
                raise answer
            return answer

        self.patch(Site, "ask", ask)
        result = CliRunner().invoke(main, ["status", "--alive", "--state-dir", str(Path("/nowhere")), *options])
        self.assertEqual(asked, [{"command": "status", "brief": True}])
        return result

    def test_a_gateway_that_answers(self) -> None:
        result = self.run_command({"pid": 12, "problems": [{"message": "a directory is away"}]})
        self.assertEqual((result.exit_code, result.output), (0, "process 12 answers\n"))

    def test_no_gateway(self) -> None:
        result = self.run_command(NoGateway("no gateway is running with state_dir /nowhere"))
        self.assertEqual(result.exit_code, Exit.NO_GATEWAY)
        self.assertIn("no gateway is running", result.output)

    def test_json(self) -> None:
        result = self.run_command({"pid": 12}, "--json")
        self.assertEqual(result.exit_code, 0)
        self.assertIn('"pid": 12', result.output)

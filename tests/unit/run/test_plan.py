"""The process that reads a site.ini for the manager."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import attrs
from twisted.trial.unittest import TestCase

import perimeter
from perimeter.workers.plan import Address, Plan, content

SITE = """\
[perimeter]
workers = 3
pin = yes
state_dir = var
drain_timeout = 7s
[listener http]
port = 8080
interface = 127.0.0.1
[listener any]
port = 0
[upstream sample]
servers = sample:
[route all]
path = /
upstream = sample
auth = none
[logging]
level = warn
"""


class PlanTests(TestCase):
    def planned(self, text: str) -> tuple[dict[str, object], bytes]:
        """What the process that reads a site.ini reports, and the text that it leaves."""
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        file = directory / "site.ini"
        file.write_text(text)
        left = os.memfd_create("text", os.MFD_ALLOW_SEALING)
        self.addCleanup(os.close, left)
        script = f"import os, runpy, sys; os.dup2({left}, 3); runpy.run_module('perimeter.run.plan', run_name='__main__')"
        shown = subprocess.run(
            [sys.executable, "-c", script, str(file)],
            env={**os.environ, "PYTHONPATH": str(Path(perimeter.__file__).parent.parent)},
            pass_fds=[left],
            check=True,
            capture_output=True,
            timeout=60,
        ).stdout
        return json.loads(shown), content(left)

    def test_a_plan_is_what_the_manager_needs_of_a_configuration(self) -> None:
        found, text = self.planned(SITE)
        plan = Plan.from_json(found["plan"])  # type: ignore[arg-type]
        self.assertEqual((plan.workers, plan.pin, plan.drain_timeout, plan.level, plan.format), (3, True, 7.0, "warn", "console"))
        self.assertEqual(plan.listeners, (Address("http", "127.0.0.1", 8080), Address("any", "", 0)))
        self.assertTrue(plan.state_dir.endswith("/var") and plan.state_dir.startswith("/"))
        self.assertEqual(text.decode(), SITE)
        self.assertEqual(Plan.from_json(json.loads(json.dumps(attrs.asdict(plan)))), plan)

    def test_every_fault_is_reported(self) -> None:
        found, text = self.planned(SITE.replace("pin = yes", "pin = maybe").replace("level = warn", "level = loud"))
        self.assertIn("pin:", str(found["fault"]))
        self.assertIn("level:", str(found["fault"]))
        self.assertEqual(text, b"")

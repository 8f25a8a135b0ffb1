"""What one program hands over to the next."""

from __future__ import annotations

import os
import site
import sys
from pathlib import Path

from twisted.trial.unittest import TestCase

import perimeter
from perimeter.manager import handover


class ProgramTests(TestCase):
    def test_the_same_code_is_found_again(self) -> None:
        self.assertEqual(handover.python("a.b", "c")[:5], [sys.executable, "-P", "-m", "a.b", "c"])
        own = str(Path(perimeter.__file__).parent.parent)
        self.patch(site, "getsitepackages", lambda: ["/elsewhere"])
        self.assertEqual(handover.environment({"A": "b"}), {"A": "b", "PYTHONPATH": own})
        self.assertEqual(handover.environment({"PYTHONPATH": f"{os.pathsep}/x"}), {"PYTHONPATH": f"{own}{os.pathsep}/x"})
        self.assertEqual(handover.environment({"PYTHONPATH": f"/x{os.pathsep}{own}"}), {"PYTHONPATH": f"/x{os.pathsep}{own}"})
        # installed code is found without, and so is other code that is installed in its place
        self.patch(site, "getsitepackages", lambda: [own])
        self.assertEqual(handover.environment({"A": "b"}), {"A": "b"})

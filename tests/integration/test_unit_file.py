"""``etc/perimeter.service``: systemd accepts every line, and the service has few permissions."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.integration.harness import ETC, GatewayCase

UNIT = ETC / "perimeter.service"


class UnitFileTests(GatewayCase):
    def analyze(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        self.need("systemd-analyze")
        return subprocess.run(
            ["systemd-analyze", "--no-pager", *arguments], capture_output=True, text=True, timeout=60, check=False
        )

    def test_no_line_is_unknown_to_systemd(self) -> None:
        # verify looks for the programs, so the test uses existing ones
        text = re.sub(r"/opt/perimeter/bin/\w+", sys.executable, UNIT.read_text())
        self.assertIn(f"ExecStart={sys.executable} ", text)
        copy = self.directory() / UNIT.name
        copy.write_text(text)
        result = self.analyze("verify", str(copy))
        # systemd also reports faults of other units of the machine
        about_this = [line for line in result.stderr.splitlines() if UNIT.name in line]
        self.assertEqual(about_this, [])

    def test_exposure(self) -> None:
        """1.5 of 10: the remaining permissions are the network, AF_UNIX for notifications, and ports below 1024."""
        result = self.analyze("security", "--offline=true", "--threshold=15", str(UNIT))
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertIn("Overall exposure level", result.stdout)

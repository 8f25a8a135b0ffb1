"""``etc/perimeter.service`` and ``.socket``: systemd accepts every line, the service has few permissions, the sockets fit."""

from __future__ import annotations

import re
import subprocess
import sys

from perimeter.auth.registry import installed_kinds
from perimeter.config.site.load import load_site
from tests.integration.harness import ETC, GatewayCase

UNIT = ETC / "perimeter.service"
SOCKET = ETC / "perimeter.socket"


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
        directory = self.directory()
        (directory / UNIT.name).write_text(text)
        (directory / SOCKET.name).write_text(SOCKET.read_text())
        result = self.analyze("verify", str(directory / UNIT.name), str(directory / SOCKET.name))
        # systemd also reports faults of other units of the machine
        about_this = [line for line in result.stderr.splitlines() if UNIT.name in line or SOCKET.name in line]
        self.assertEqual(about_this, [])

    def test_the_sockets_are_those_of_the_example(self) -> None:
        site = load_site(ETC / "site.ini", kinds=installed_kinds())
        found = re.findall(r"^ListenStream=(.*)$", SOCKET.read_text(), re.MULTILINE)
        self.assertEqual(found, [f"{one.interface}:{one.port}" for one in site.listeners])

    def test_exposure(self) -> None:
        """1.5 of 10: the remaining permissions are the network, AF_UNIX for notifications, and ports below 1024."""
        result = self.analyze("security", "--offline=true", "--threshold=15", str(UNIT))
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertIn("Overall exposure level", result.stdout)

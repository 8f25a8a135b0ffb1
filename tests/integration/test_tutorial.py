"""The site.ini and the commands of docs/tutorial.md: only ports and places are others."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.integration.harness import GatewayCase

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"
COMMANDS = f"{Path(sys.executable).parent}/"


class TutorialTests(GatewayCase):
    def setUp(self) -> None:
        self.need("curl")
        self.page = PAGE.read_text()
        self.place = self.directory()
        self.service = self.echo()
        (self.place / "mine").mkdir()
        self.run_as_written("perimeter password", "builder\nbuilder\n")
        config = next(text for text in self.blocks("ini") if "[perimeter]" in text)
        config = config.replace("port = 9443", "port = @https@").replace("http://127.0.0.1:8000", self.service.url)
        self.site = self.gateway(config, {"users.realm": (self.place / "mine" / "users.realm").read_bytes()})
        self.base = f"https://127.0.0.1:{self.site['https']}"

    def blocks(self, language: str) -> list[str]:
        return re.findall(rf"^```{language}\n(.*?)^```$", self.page, re.MULTILINE | re.DOTALL)

    def run_as_written(self, start: str, answers: str = "") -> str:
        """The output of the command of the page that begins with ``start``."""
        lines = (line for block in self.blocks("sh") for line in block.splitlines())
        line = next(line for line in lines if line.startswith(f".venv/bin/{start}"))
        line = line.replace(".venv/bin/", COMMANDS)
        if hasattr(self, "site"):
            line = line.replace("mine/site.ini", str(self.site.config)).replace("https://127.0.0.1:9443", self.base)
        done = subprocess.run(["bash", "-c", line], input=answers, cwd=self.place, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def curl(self, *arguments: str) -> str:
        command = ["curl", "-k", "-s", "-b", "cookies", "-c", "cookies", *arguments]
        return subprocess.run(command, cwd=self.place, capture_output=True, text=True, timeout=60, check=True).stdout

    def test_a_browser_gets_the_sign_in_page_and_then_the_service(self) -> None:
        sent = self.curl("-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", "-H", "Accept: text/html", f"{self.base}/")
        self.assertEqual(sent, f"302 {self.base}/.perimeter/login?to=/")
        self.assertIn("mine</title>", self.curl("-H", "Accept: text/html", f"{self.base}/.perimeter/login"))
        (self.place / "cookies").unlink()  # with the cookie of the form, its token is needed, too
        form = "username=carol&password=builder"
        self.assertEqual(self.curl("-d", form, "-o", "/dev/null", "-w", "%{http_code}", f"{self.base}/.perimeter/login"), "303")
        received = self.curl(f"{self.base}/").lower()
        for header, value in (("username", "carol"), ("realm", "mine"), ("roles", "reader")):
            self.assertRegex(received, rf"x-auth-{header}\W+{value}\b")
        self.assertIn(" carol [", (self.site.directory / "access.log").read_text())

    def test_the_commands_of_the_page(self) -> None:
        self.assertIn(self.service.url, self.run_as_written("perimeter check"))
        self.assertIn("result: admitted", self.run_as_written("perimeter explain"))
        self.assertIn(f"process {self.site.pid} has loaded ", self.run_as_written("perimeter reload"))

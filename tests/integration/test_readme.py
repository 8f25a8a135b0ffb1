"""The commands of README.md, pasted into a shell as they are: only ports and places are others."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.integration.test_seed_commands import SeedCase

README = Path(__file__).parents[2] / "README.md"


class TourTests(SeedCase):
    def blocks(self) -> list[str]:
        """The blocks of the tour, for the gateway that runs."""
        tour = README.read_text().partition("\n## A tour\n")[2].partition("\n## ")[0]
        text = tour.replace("127.0.0.1:9443", f"127.0.0.1:{self.site['9443']}")
        text = text.replace("127.0.0.1:10009", f"127.0.0.1:{self.site['10009']}")
        text = text.replace("etc/site.ini", str(self.site.config)).replace(".venv/bin/", f"{Path(sys.executable).parent}/")
        return re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)

    def test_every_block_of_the_tour_does_what_the_text_says(self) -> None:
        blocks = self.blocks()
        self.assertEqual(len(blocks), 7)
        script = "\necho '=== next'\n".join(blocks)
        self.assertNotIn("#", script, "a comment is no command in some interactive shells")
        done = subprocess.run(
            ["bash", "-e", "-u", "-o", "pipefail"],
            input=script,
            cwd=self.site.directory,
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        refused, asked, forged, password, opened, log, loaded = done.stdout.split("=== next\n")
        self.assertIn("401 Unauthorized", refused)
        for answer in (asked, forged, password):
            self.assertIn("alice", answer)
            self.assertNotIn("root", answer)
        self.assertIn('"token"', password)
        self.assertIn("/public", opened)
        self.assertIn('"keys"', opened)
        self.assertEqual(log.count("GET /apps"), 4)
        self.assertIn("PATH", loaded)
        self.assertIn(f"process {self.site.pid} has loaded ", loaded)
        self.site.await_notification("READY=1")


class ReloadTests(SeedCase):
    def reload(self, config: Path) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).parent / "perimeter"), "reload", "--config", str(config)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    def test_a_changed_configuration_is_in_force(self) -> None:
        self.site.configure(self.site.config.read_text().replace("path = /public", "path = /open"))
        self.assertEqual(self.reload(self.site.config).returncode, 0)
        self.site.await_notification("RELOADING=1")
        self.site.await_notification("READY=1")
        self.assertEqual(self.connect(self.site, "9443", tls=True).get("/open").status, 200)

    def test_a_fault_or_another_file_changes_nothing(self) -> None:
        other = self.site.directory / "other.ini"
        other.write_text(self.site.config.read_text())
        done = self.reload(other)
        self.assertEqual(done.returncode, 1)
        self.assertIn("has another configuration", done.stderr)
        self.site.configure(self.site.config.read_text().replace("path = /public", "paht = /public"))
        done = self.reload(self.site.config)
        self.assertEqual(done.returncode, 1)
        self.assertIn("paht", done.stderr)
        self.assertEqual(self.connect(self.site, "9443", tls=True).get("/public").status, 200)

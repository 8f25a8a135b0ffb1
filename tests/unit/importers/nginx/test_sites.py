"""Whole configurations of common shapes: what each of them becomes, and that the gateway accepts it.

``tests/data/nginx/NAME`` has a configuration, and ``site.ini`` is what it becomes. To write the files again after a change, run
``python -m tests.unit.importers.nginx.test_sites``. Review the differences.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from click.testing import CliRunner
from twisted.trial.unittest import TestCase

from perimeter.cli.checking import run_check
from perimeter.cli.exits import Exit
from perimeter.cli.main import main

DATA = Path(__file__).parents[3] / "data" / "nginx"
LOGS = "/var/log/nginx"
"""May exist on the machine that runs the tests."""


def imported(name: str, directory: Path) -> tuple[int, str]:
    """The exit status of the import of ``tests/data/nginx/NAME`` in ``directory``, and the site.ini without its name."""
    copy = directory / name
    shutil.copytree(DATA / name, copy)
    (directory / "log").mkdir()
    for path in copy.rglob("*"):
        if path.is_file():
            path.write_text(path.read_text().replace(LOGS, f"{directory}/log"))
    (copy / "site.ini").unlink(missing_ok=True)
    result = CliRunner().invoke(main, ["import", str(copy / "nginx.conf"), "-o", str(copy / "site.ini")])
    assert result.exit_code in (0, Exit.PARTLY), result.output
    text = (copy / "site.ini").read_text()
    return result.exit_code, text.replace(f"{directory}/log", LOGS).replace(f"{copy}/", "")


class SiteTests(TestCase):
    COMPLETE = ("certbot", "ecflow", "gitea", "grafana", "monitoring", "pool")
    """The site.ini says all of these; for the others, a person has something to do."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir()

    def test_each_configuration(self) -> None:
        names = sorted(path.name for path in DATA.iterdir())
        self.assertGreaterEqual(len(names), 10)
        for name in names:
            directory = self.directory / name
            directory.mkdir()
            status, text = imported(name, directory)
            self.assertEqual(text, (DATA / name / "site.ini").read_text(), name)
            self.assertEqual(status, 0 if name in self.COMPLETE else Exit.PARTLY, name)
            self.assertEqual("; Not translated:" in text, name not in self.COMPLETE, name)
            status, output = run_check(directory / name / "site.ini")
            self.assertEqual(status, 0, f"{name}: {output}")

    def test_what_is_not_translated_has_its_line(self) -> None:
        for path in DATA.glob("*/site.ini"):
            _, _, rest = path.read_text().partition("; Not translated:\n")
            for line in rest.splitlines():
                file, number, text = line.removeprefix("; ").split(":", 2)
                word = text.split()[0].rstrip(";:")
                source = (path.parent / file).read_text().splitlines()[int(number) - 1]
                self.assertIn(word if word != "user" else "bob", source, (path, line))


def _renew() -> None:
    for path in DATA.iterdir():
        with tempfile.TemporaryDirectory() as directory:
            (path / "site.ini").write_text(imported(path.name, Path(directory).resolve())[1])


if __name__ == "__main__":
    sys.exit(_renew())

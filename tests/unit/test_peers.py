"""scripts/install-test-peers installs every program that an integration test needs.

On a bare machine such a test would be skipped.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import TestCase

ROOT = Path(__file__).parents[2]
#: packages of Debian, where they are not named like the program
PACKAGES = {
    "ecflow_client": "ecflow-client",
    "fail2ban-regex": "fail2ban",
    "java": "default-jdk-headless",
    "javac": "default-jdk-headless",
    "keytool": "default-jdk-headless",
    "kinit": "krb5-user",
    "ldapmodify": "ldap-utils",
    "nginx": "nginx-light",
    "node": "nodejs",
    "promtool": "prometheus",
    "samba-tool": "samba",
    "slapadd": "slapd",
    "systemd-analyze": "systemd",
    "systemd-socket-activate": "systemd",
    "unshare": "util-linux",
}


def programs(source: str) -> Iterator[str]:
    """The programs that ``source`` names in calls of ``need`` and ``which``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("need", "which"):
            yield from (one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str))


class PeersTests(TestCase):
    def test_every_program_that_a_test_needs_is_installed(self) -> None:
        script = (ROOT / "scripts" / "install-test-peers").read_text()
        listed = re.search(r"^packages=\(\n(.*?)^\)$", script, re.M | re.S)
        assert listed is not None
        installed = {line.split()[0] for line in listed[1].splitlines() if line.strip()}
        # those of some distributions, or machines, only: their tests are left out elsewhere, and not skipped
        installed.update(*(more.split() for more in re.findall(r"^ +packages\+=\(([^)]*)\)$", script, re.M)))
        needed = {
            program for path in (ROOT / "tests" / "integration").rglob("*.py") for program in programs(path.read_text("utf-8"))
        }
        self.assertIn("wrk", needed)
        self.assertEqual({program for program in needed if PACKAGES.get(program, program) not in installed}, set())

    def test_how_programs_are_found(self) -> None:
        self.assertEqual(list(programs('self.need("a", "b")\nshutil.which("c", path=P)\nself.need(kind)')), ["a", "b", "c"])

"""The manager's process is small, and has nothing to do with TLS, requests and passwords."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from twisted.trial.unittest import TestCase

PROGRAM = """
import json, sys
import perimeter.manager.__main__, perimeter.net.reactor
perimeter.net.reactor.install()
import perimeter.manager.service
print(json.dumps(sorted(name for name, module in sys.modules.items() if module is not None)))
"""

ALLOWED = {
    "audit.escaping",
    "config.language.*",
    "config.site.logging",
    "descriptors",
    "errors",
    "limits.tables",
    "manager.*",
    "model.*",
    "net.binding",
    "net.reactor",
    "repeats",
    "run.asking",
    "run.control",
    "run.launch",
    "run.log_target",
    "run.logs",
    "run.notify",
    "run.reloads",
    "strict_json",
    "workers.*",
}


class ImportTests(TestCase):
    def test_the_manager_imports_little(self) -> None:
        # without the measurement of coverage, which imports a database
        environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
        done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, timeout=60, env=environ)
        shown = done.stdout
        loaded = json.loads(shown)
        packages = {name for name in loaded if name.startswith("perimeter.")}
        own = {name.removeprefix("perimeter.") for name in loaded if name.startswith("perimeter.")}
        leaves = {name for name in own if not any(f"perimeter.{name}.{rest}" in packages for rest in _tails(name, own))}
        strange = {name for name in leaves if name not in ALLOWED and not any(f"{part}.*" in ALLOWED for part in _parents(name))}
        self.assertEqual(strange, set())
        for heavy in ("OpenSSL", "cryptography", "ssl", "sqlite3", "jinja2", "twisted.web", "click", "ldap3", "bcrypt"):
            self.assertNotIn(heavy, loaded)


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]


def _tails(name: str, all_names: set[str]) -> list[str]:
    return [other.removeprefix(f"{name}.") for other in all_names if other.startswith(f"{name}.")]

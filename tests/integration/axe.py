"""Looks for what keeps people from using a page, with axe-core, which scripts/install-test-peers gets from npm."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import SkipTest

from playwright.sync_api import Page

RUN = """() => axe.run(document, {resultTypes: ['violations']}).then(found => found.violations.map(
    one => one.id + ': ' + one.help + ': ' + one.nodes.map(node => node.html + ' ' + node.failureSummary).join('; ')))"""


def violations(page: Page) -> list[str]:
    """The violations on the page as it is now: rule, what it asks for, and the elements."""
    peers = Path(os.environ.get("PERIMETER_TEST_PEERS") or Path.home() / ".cache" / "perimeter-test-peers")
    script = peers / "browser_peers" / "node_modules" / "axe-core" / "axe.min.js"
    if not script.is_file():
        raise SkipTest("axe-core not installed: scripts/install-test-peers installs all that is needed")
    # by the debugger, which no Content-Security-Policy restricts
    page.evaluate(script.read_text())
    found: list[str] = page.evaluate(RUN)
    return found

"""The column of the gateway in docs/explanation/strictness.md says what happens."""

from __future__ import annotations

import re
from pathlib import Path
from unittest import SkipTest

from tests.integration.harness import GatewayCase
from tests.integration.strictness import CLIENT, SERVICE, Service, gateway, measured

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "strictness.md"


class StrictnessTests(GatewayCase):
    def test_the_table_is_true(self) -> None:
        """Each case is in the table of its sender, with what the gateway does."""
        if not PAGE.exists():
            raise SkipTest("the manual is not here")
        tables = dict(zip(("client", "service"), PAGE.read_text().split("## What a service sends"), strict=True))
        told = {
            (sender, row[0].strip()): row[4].strip()
            for sender, text in tables.items()
            for row in (line.strip("|").split("|") for line in re.findall(r"^\|.+\|$", text, re.MULTILINE))
            if len(row) == 6
        }
        cases = {("client", name) for name, _ in CLIENT} | {("service", name) for name, _ in SERVICE}
        self.assertEqual(set(told) - {("client", "case"), ("client", "---"), ("service", "case"), ("service", "---")}, cases)
        service = Service()
        self.addCleanup(service.upstream.close)
        own = gateway(self.directory(), service)
        self.addCleanup(own.stop)
        own.start()
        for sender, name, (found,) in measured({"Perimeter": own["http"]}, service):
            self.assertEqual(found, told[sender, name], (sender, name))

"""The example's ACL file lets the gateway use the commands of Redis that it uses, and no others."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import TestCase

import perimeter

ROOT = Path(perimeter.__file__).parent
ACL = ROOT.parent / "etc" / "cluster" / "users.acl"

OF_CONNECTIONS = {"hello", "auth", "client|setname", "xread"}
"""Commands that are not written as calls in the source: the greeting of a connection, and the reader of the log."""


def used() -> set[str]:
    """The commands in the source, of Python and of Lua scripts."""
    found = set(OF_CONNECTIONS)
    for package in ("redis", "cluster"):
        for path in (ROOT / package).glob("*.py"):
            text = path.read_text()
            found.update(re.findall(r"""\bp?call\(\s*["']([A-Z]{2,})["']""", text))
    return {one.lower() for one in found} - {"sentinel", "xinfo"} | {"xinfo|stream"}


class AclTests(TestCase):
    def test_the_rules_of_the_gateway_name_the_commands_that_it_uses(self) -> None:
        (line,) = [one for one in ACL.read_text().splitlines() if one.startswith("user gateway ")]
        rules = line.split()
        self.assertEqual(rules[3:7], [">GATEWAY-PASSWORD", "resetchannels", "~perimeter:*", "-@all"])
        self.assertEqual({one[1:] for one in rules[7:]}, used(), "change etc/cluster/users.acl")
        self.assertTrue(all(one.startswith("+") for one in rules[7:]))

    def test_the_user_default_is_off(self) -> None:
        self.assertIn("user default off\n", ACL.read_text())
        self.assertIn("user default off\n", (ACL.parent / "sentinel.conf").read_text())

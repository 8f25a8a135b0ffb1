"""`perimeter identity` without a gateway: on the database that it has left."""

from __future__ import annotations

import json

from perimeter.cli.site import WallClock
from perimeter.providers.pins import Pin
from perimeter.run import identity_operations
from tests.unit.cli.test_token import CommandCase
from tests.unit.doubles.sessions import session

ISSUER = "https://sso.example"


class IdentityCommandTests(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.now = float(int(WallClock().seconds()))
        self.pins = [
            Pin("corp", "Carol", ISSUER, "7", self.now - 5),
            Pin("corp", "dave", ISSUER, "8", self.now - 6),
            Pin("local", "alice", ISSUER, "9", self.now - 4),
        ]
        self.session = session(created=self.now - 4, expires=self.now + 900, idle=300.0)
        self.stored(*self.pins, self.session)

    def listed(self, *arguments: str) -> list[str]:
        return [json.loads(line)["subject"] for line in self.output("identity", "list", "--json", *arguments).splitlines()]

    def test_list(self) -> None:
        self.assertEqual(self.listed(), ["7", "8", "9"])
        self.assertEqual(self.listed("--user", "dave"), ["8"])
        self.assertEqual(self.listed("--realm", "local"), ["9"])
        self.assertEqual(self.listed("--user", "dave", "--realm", "local"), [])
        for size in (1, 2, 3, 4):
            self.patch(identity_operations, "PAGE", size)
            self.assertEqual(self.listed(), ["7", "8", "9"], f"{size} in a page")
        self.fails("there is no realm nowhere; there are: corp, local", "identity", "list", "--realm", "nowhere")

    def test_what_is_shown(self) -> None:
        heading, first, *_ = self.output("identity", "list").splitlines()
        self.assertEqual(heading.split(), ["USER", "REALM", "SINCE", "ISSUER", "SUBJECT"])
        since = str(identity_operations.utc_time(self.now - 5))
        self.assertEqual(first.split(), ["Carol", "corp", *since.split(), ISSUER, "7"])

    def test_release(self) -> None:
        done = self.output("identity", "release", "--user", "carol", "--realm", "corp")
        self.assertEqual(done, f"released: Carol was 7 of {ISSUER}; ended: 0 sessions, 0 API tokens\n")
        self.assertEqual(self.listed(), ["8", "9"])
        answer = json.loads(self.output("identity", "release", "--user", "alice", "--realm", "local", "--json"))
        self.assertEqual((answer["subject"], answer["sessions"], answer["api_tokens"]), ("9", 1, 0))
        self.assertEqual(self.run_command("session", "list").stderr, "there are no sessions\n")
        fault = "no identity of a provider has the name carol in the realm corp"
        self.fails(fault, "identity", "release", "--user", "carol", "--realm", "corp")

    def test_nothing_is_listed(self) -> None:
        for pin in self.pins:
            self.output("identity", "release", "--user", pin.username, "--realm", pin.realm)
        self.assertEqual(self.run_command("identity", "list").stderr, "there are no identities\n")

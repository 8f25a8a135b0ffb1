"""The operator's commands against a running gateway: status, unban, login."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.integration.harness import SOURCE, USERS, Gateway, GatewayCase, site
from tests.integration.wire import basic

ROUTES = """\
[upstream sample]
servers = sample:

[route all]
path = /
upstream = sample
"""

SECOND = """\
[authentication]
lockout_after = 3
lockout_after_address = 3
"""


class Ran:
    """A command, its exit status and what it printed."""

    def __init__(self, *arguments: str, stdin: str = "") -> None:
        done = subprocess.run(
            [sys.executable, "-c", "from perimeter.cli.main import main; main()", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            cwd="/",
        )
        self.status, self.output = done.returncode, done.stdout + done.stderr


class OperatorCase(GatewayCase):
    def guess(self, gateway: Gateway, name: str) -> None:
        """Guess at a password until a guess has to wait. On a slow machine the first delays end before the next guess."""
        statuses: list[int] = []
        while 429 not in statuses:
            with gateway.connect("http") as wire:
                statuses.append(wire.get("/", basic(name, f"guess{len(statuses)}")).status)
            self.assertLess(len(statuses), 15)
        self.assertEqual(statuses[:3], [401] * 3)
        self.assertEqual(set(statuses), {401, 429})


class StatusTests(OperatorCase):
    def test_who_is_made_to_wait_is_shown_and_can_be_let_go(self) -> None:
        gateway = self.gateway(site(ROUTES, extra=SECOND), USERS)
        config = ("--config", str(gateway.config))
        shown = Ran("status", *config)
        self.assertEqual(shown.status, 0, shown.output)
        self.assertRegex(shown.output, rf"LISTENER +PORT +CONNECTIONS\nhttp +{gateway['http']} +0\n")
        self.assertRegex(shown.output, "\nlocal +in use +realmfile +local\n")
        self.assertNotIn("WRONG PASSWORDS", shown.output)

        self.guess(gateway, "alice")
        shown = Ran("status", *config)
        self.assertRegex(shown.output, r"WRONG PASSWORDS +OF +REALM +COUNT +STATE\n(.*\n)?alice +name +local +\d+ ")
        self.assertRegex(shown.output, r"127\.0\.0\.1 +address +- +\d+ ")
        waiting = json.loads(Ran("status", "--json", *config).output)["waiting"]
        self.assertEqual({one["value"] for one in waiting}, {"alice", "127.0.0.1"})
        gateway.await_log("3 wrong passwords for name 'alice' of realm local: further ones are refused for 1 s")

        self.assertIn("name 'alice' of realm local may try again", Ran("unban", *config, "ALICE").output)
        self.assertIn("address '127.0.0.1' may try again", Ran("unban", *config, "127.0.0.1").output)
        self.guess(gateway, "alice")
        nobody = Ran("unban", *config, "nobody")
        self.assertEqual((nobody.status, "no wrong passwords" in nobody.output), (1, True))

    def test_the_state_dir_is_enough(self) -> None:
        gateway = self.gateway(site(ROUTES, extra=SECOND), USERS)
        state_dir = ("--state-dir", str(gateway.directory / "state"))
        self.assertRegex(Ran("status", *state_dir).output, rf"\nhttp +{gateway['http']} +0\n")
        self.assertIn("there were no wrong passwords", Ran("unban", "alice", *state_dir).output)
        listed = Ran("token", "list", "--json", *state_dir)
        self.assertEqual((listed.status, listed.output), (0, ""))
        revoked = Ran("token", "revoke", "--user", "alice", "--realm", "local", *state_dir)
        self.assertIn("revoked: 0 API tokens, every access token", revoked.output)
        both = Ran("status", "--config", "x", *state_dir)
        self.assertEqual((both.status, "name the same thing" in both.output), (2, True), both.output)
        gateway.stop()
        self.assertIn("no gateway is running with state_dir", Ran("status", *state_dir).output)

    def test_no_gateway_runs(self) -> None:
        gateway = self.gateway(site(ROUTES), USERS)
        gateway.stop()
        shown = Ran("status", "--config", str(gateway.config))
        self.assertEqual(shown.status, 4)
        self.assertIn("no gateway is running with state_dir", shown.output)

    def test_a_reload_forgets_no_wrong_passwords(self) -> None:
        gateway = self.gateway(site(ROUTES, extra=SECOND), USERS)
        self.guess(gateway, "alice")
        gateway.reload()
        self.assertRegex(Ran("status", "--config", str(gateway.config)).output, r"alice +name +local +\d+ ")


class LoginTests(OperatorCase):
    def config(self, authenticators: str = "") -> Path:
        directory = self.directory()
        (directory / "users.realm").write_text(USERS["users.realm"])
        (directory / "more.realm").write_text("carol: correct-horse\n")
        path = directory / "site.ini"
        path.write_text(site(ROUTES, extra=authenticators).replace("@http@", "8080"))
        return path

    def login(self, config: Path, user: str, password: str, *arguments: str) -> Ran:
        return Ran("login", "--config", str(config), "--user", user, "--stdin", *arguments, stdin=f"{password}\n")

    def test_each_step_is_reported_and_no_secret(self) -> None:
        config = self.config("[authenticator more]\ntype = realmfile\npath = more.realm\n")
        ran = self.login(config, "carol", "correct-horse")
        self.assertEqual(ran.status, 0, ran.output)
        for line in (
            "local (realm local, at most 5 s):",
            "users.realm has no such user",
            "does not know the user: the next one is asked",
            "more.realm, line 1, keeps the password as plain text",
            "user 'carol' of realm more, roles: none",
            "login succeeds",
        ):
            self.assertIn(line, ran.output)
        self.assertNotIn("correct-horse", ran.output)
        self.assertEqual(list(config.parent.glob("state*")), [], "nothing is made")

    def test_outcomes_have_statuses(self) -> None:
        config = self.config()
        self.assertIn("roles: admin, ops", self.login(config, "alice", "secret").output)
        for user, password, status, words in (
            ("alice", "guess-42", 1, "found the password wrong"),
            ("nobody", "guess-42", 1, "no authenticator knows this user"),
            ("alice", "", 1, "shown to no authenticator"),
        ):
            ran = self.login(config, user, password)
            self.assertEqual((ran.status, words in ran.output), (status, True), ran.output)
            self.assertNotIn("guess-42", ran.output)
            found = json.loads(self.login(config, user, password, "--json").output)
            self.assertEqual((found["result"], words in " ".join(found["steps"])), ("fails", True), found)
            self.assertNotIn("guess-42", str(found))
        succeeds = self.login(config, "alice", "secret", "--json")
        self.assertEqual((succeeds.status, json.loads(succeeds.output)["result"]), (0, "succeeds"))

    def test_realms_that_are_not_asked_and_realms_that_do_not_exist(self) -> None:
        config = self.config("[authenticator more]\ntype = realmfile\npath = more.realm\n")
        self.assertIn(
            "more: not asked, its realm is not asked for",
            self.login(config, "nobody", "secret", "--realm", "local").output,
        )
        self.assertIn("there is no realm x; there are: local, more", self.login(config, "alice", "secret", "--realm", "x").output)

    def test_a_password_of_common_words_changes_no_output(self) -> None:
        # masking it would show which of the words is the secret
        config = self.config()
        said = self.login(config, "alice", "guess-42").output
        for password in ("wrong", "password", "alice", "realm", "local"):
            self.assertEqual(self.login(config, "alice", password).output, said, password)

    def test_could_not_tell(self) -> None:
        stack = "[authenticator stack]\ntype = login-modules\nmodules = command required\noption.command = /bin/false\n"
        ran = self.login(self.config(stack), "nobody", "guess-42")
        self.assertEqual(ran.status, 5, ran.output)
        self.assertIn("asking /bin/false", ran.output)
        self.assertIn("could not decide: /bin/false ended with 1", ran.output)

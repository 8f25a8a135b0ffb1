"""`perimeter token` and `perimeter keys` on a site's own keyring."""

from __future__ import annotations

import json
from math import inf
from pathlib import Path

from click.testing import CliRunner, Result
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from perimeter.cli.main import main
from perimeter.cli.site import WallClock
from perimeter.config.site.token import TokenSettings
from perimeter.errors import Unavailable
from perimeter.model import Principal
from perimeter.run import token_operations
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.state.changes import Change
from perimeter.state.sqlite import SqliteStore
from perimeter.tokens.api_token import mint
from perimeter.tokens.issuer import TokenIssuer
from perimeter.tokens.keyring import Keyring
from tests.unit.doubles.sessions import session
from tests.unit.doubles.tokens_site import ALICE, SECRET

SITE = """\
[perimeter]
state_dir = var
[listener plain]
port = 8080
[upstream sample]
servers = sample:
[route all]
path = /
upstream = sample
auth = none
[token]
"""


class CommandCase(TestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.site = self.directory / "site.ini"
        self.site.write_text(SITE)

    def run_command(self, *arguments: str, stdin: str | bytes = "") -> Result:
        group, name, *rest = arguments
        return CliRunner().invoke(main, [group, name, "--config", str(self.site), *rest], input=stdin)

    def output(self, *arguments: str, stdin: str = "") -> str:
        result = self.run_command(*arguments, stdin=stdin)
        self.assertEqual((result.exit_code, result.stderr), (0, ""), result.output)
        return result.stdout

    def fails(self, text: str, *arguments: str, stdin: str | bytes = "") -> str:
        result = self.run_command(*arguments, stdin=stdin)
        self.assertNotEqual(result.exit_code, 0)
        self.assertIsInstance(result.exception, SystemExit)
        self.assertIn(text, result.stderr)
        return result.stderr

    def stored(self, *changes: Change) -> None:
        """Write to the database like a gateway that has stopped since."""
        (self.directory / "var").mkdir(mode=0o700, exist_ok=True)
        store = SqliteStore(self.directory / "var", STATE_KINDS)
        store.write(changes)
        store.close()

    def issue(self, *arguments: str) -> str:
        return self.output("token", "issue", "--user", "alice", "--realm", "local", *arguments).strip()


class TokenCommandTests(CommandCase):
    def test_issue_and_show(self) -> None:
        token = self.issue("--role", "admin", "--role", "a,b", "--lifetime", "1h")
        for stdin in (token, f"{token}\n", f"Bearer {token}\nmore\n"):
            shown = self.output("token", "show", stdin=stdin)
            claims = json.loads(shown)
            self.assertEqual((claims["username"], claims["realm"], claims["roles"]), ("alice", "local", ["admin", "a,b"]))
            self.assertIn(claims["exp"] - claims["iat"], (3600, 3601))
            self.assertNotIn(token.split(".")[2], shown)

    def test_default_lifetime(self) -> None:
        self.site.write_text(f"{SITE}lifetime = 2h\n")
        claims = json.loads(self.output("token", "show", stdin=self.issue()))
        self.assertIn(claims["exp"] - claims["iat"], (7200, 7201))

    def test_hs256(self) -> None:
        self.site.write_text(f"{SITE}algorithm = HS256\nsecret = {SECRET}\n")
        self.assertEqual(json.loads(self.output("token", "show", stdin=self.issue()))["username"], "alice")
        self.assertIn("secret of the configuration", self.output("keys", "list"))
        self.assertNotIn(SECRET, self.fails("change it there", "keys", "rotate"))

    def test_show_refuses(self) -> None:
        token = self.issue()
        for stdin in ("", "garbage", token[:-4], b"\xff\xfe", "x" * 10**5):
            self.fails("The access token is invalid", "token", "show", stdin=stdin)

    def test_show_reports_an_expired_token(self) -> None:
        clock, settings = Clock(), TokenSettings()
        clock.advance(WallClock().seconds() - 7200)
        keyring = Keyring.open(self.directory / "var", settings, clock)
        token = TokenIssuer(keyring, settings, clock).issue(ALICE, 3600).access_token
        self.assertNotIn(token, self.fails("The access token expired", "token", "show", stdin=token))

    def test_revoke_refuses(self) -> None:
        self.issue()
        for name in ("\udcff", "a\nb"):
            self.fails("control characters", "token", "revoke", "--user", name, "--realm", "local")
            self.fails("control characters", "token", "revoke", "--user", "alice", "--realm", name)
        self.fails("one of these is needed", "token", "revoke", "--user", "alice")
        self.fails("there is no API token x", "token", "revoke", "--id", "x")

    def test_list_and_revoke_without_a_gateway(self) -> None:
        token = self.issue()
        text, one = mint("one", ALICE, 1.0, inf)
        kept = [one, *(mint(name, ALICE, 2.0, inf)[1] for name in ("two", "three"))]
        passing = mint("", ALICE, 3.0, inf, passing=True)[1]
        bobs = mint("bob's", Principal("bob", "corp"), 4.0, inf)[1]
        sessions = [session(owner, 3.0, inf, 0.0) for owner in (ALICE, Principal("bob", "corp"))]
        self.stored(*kept, passing, bobs, mint("over", ALICE, 1.0, 2.0)[1], *sessions)

        def listed(*arguments: str) -> list[str]:
            return [json.loads(line)["name"] for line in self.output("token", "list", "--json", *arguments).splitlines()]

        self.assertEqual(listed(), ["one", "two", "three", "bob's"])
        self.assertEqual(listed("--all"), ["one", "two", "three", "", "bob's"])
        self.assertEqual((listed("--user", "bob"), listed("--realm", "local", "--user", "bob")), (["bob's"], []))
        self.patch(token_operations, "PAGE", 2)
        self.assertEqual(listed("--all"), ["one", "two", "three", "", "bob's"], "page by page")

        self.assertEqual(self.output("token", "revoke", "--stdin", stdin=text), "revoked: 1 API token\n")
        self.assertEqual(self.output("token", "revoke", "--stdin", stdin=token), "revoked: 1 access token\n")
        self.fails("The access token is invalid (revoked)", "token", "revoke", "--stdin", stdin=token)
        self.fails("there is no API token x", "token", "revoke", "--id", kept[1].id, "--id", "x")
        self.assertEqual(listed(), ["two", "three", "bob's"])
        twice = self.output("token", "revoke", "--id", kept[1].id, "--id", kept[1].id)
        self.assertEqual((twice, listed()), ("revoked: 1 API token\n", ["three", "bob's"]))
        everything = self.output("token", "revoke", "--user", "alice", "--realm", "local")
        said = "revoked: 2 API tokens, 1 session, every access token that was issued to alice of realm local until now\n"
        self.assertEqual((everything, listed()), (said, ["bob's"]))
        left = [json.loads(line) for line in self.output("session", "list", "--json").splitlines()]
        self.assertEqual([one["id"] for one in left], [sessions[1].id])

    def test_attack_39_revoke_says_that_there_is_no_such_realm(self) -> None:
        self.stored(mint("bob's", Principal("bob", "corp"), 4.0, inf)[1])
        self.fails("there is no realm TYPO; there are: corp", "token", "revoke", "--user", "bob", "--realm", "TYPO")
        said = self.output("token", "revoke", "--user", "nobody", "--realm", "corp")
        self.assertIn("revoked: 0 API tokens, every access token", said)

    def test_list_says_that_there_is_no_such_realm(self) -> None:
        self.stored(mint("bob's", Principal("bob", "corp"), 4.0, inf)[1])
        self.fails("there is no realm TYPO; there are: corp", "token", "list", "--realm", "TYPO")
        self.assertEqual(self.output("token", "list", "--json", "--realm", "corp", "--user", "nobody"), "")

    def test_issue_and_login_say_that_there_is_no_such_realm(self) -> None:
        (self.directory / "users.realm").write_text("alice: {plain}secret\n")
        self.site.write_text(f"{SITE}[authenticator users]\ntype = realmfile\npath = users.realm\nrealm = local\n")
        self.issue()
        self.fails("--realm: there is no realm TYPO; there are: local", "token", "issue", "--user", "alice", "--realm", "TYPO")
        arguments = ("--config", str(self.site), "--user", "alice", "--realm", "local", "--realm", "TYPO", "--stdin")
        result = CliRunner().invoke(main, ["login", *arguments], input="secret\n")
        self.assertEqual((result.exit_code, result.stdout), (2, ""))
        self.assertIn("--realm: there is no realm TYPO; there are: local", result.stderr)

    def test_a_database_that_cannot_be_written(self) -> None:
        kept = mint("one", ALICE, 1.0, inf)[1]
        self.stored(kept)

        def full(store: SqliteStore, changes: object) -> int:
            raise Unavailable("state.db: disk full")

        self.patch(SqliteStore, "write", full)
        for what in (("--id", kept.id), ("--user", "alice", "--realm", "local")):
            self.fails("Error: state.db: disk full", "token", "revoke", *what)

    def test_issue_refuses(self) -> None:
        alice = ("token", "issue", "--user", "alice", "--realm", "local")
        self.fails("extended_lifetime", *alice, "--lifetime", "8d")
        self.fails("expected a duration", *alice, "--lifetime", "soon")
        self.fails("too many roles", *alice, "--role", "r" * 9000)
        self.fails("without control characters", *alice, "--role", "a\nb")
        self.fails("--user: expected a name", "token", "issue", "--user", "", "--realm", "local")

    def test_site_that_cannot_be_used(self) -> None:
        self.site.write_text(f"{SITE}lifetim = 2h\n")
        self.fails("site.ini:12: [token] lifetim", "keys", "list")
        self.site.unlink()
        self.fails("cannot be read", "token", "show")


class KeysCommandTests(CommandCase):
    def test_nothing_to_list(self) -> None:
        self.fails("there is no keyring yet", "keys", "list")
        self.fails("there is no keyring yet", "token", "show", stdin="token")
        self.assertFalse((self.directory / "var").exists())

    def test_rotate(self) -> None:
        token = self.issue()
        head, first, following = self.output("keys", "list").splitlines()
        self.assertEqual(head.split()[:3], ["STATE", "ALGORITHM", "KID"])
        self.assertEqual([first.split()[:2], following.split()[:2]], [["signing", "ES256"], ["next", "ES256"]])
        self.assertEqual(self.output("keys", "rotate"), f"{following.split()[2]} signs now.\n")
        rows = [row.split() for row in self.output("keys", "list").splitlines()[1:]]
        self.assertEqual([row[0] for row in rows], ["signing", "next", "retired"])
        self.assertEqual((rows[0][2], rows[2][2]), (following.split()[2], first.split()[2]))
        self.assertEqual(len(rows[2][5]), len("2026-01-01T00:00:00Z"))
        self.assertIn("alice", self.output("token", "show", stdin=token))

    def test_discard(self) -> None:
        token = self.issue()
        before = self.output("keys", "list")
        self.output("keys", "rotate", "--discard")
        after = [row.split() for row in self.output("keys", "list").splitlines()[1:]]
        self.assertEqual([row[0] for row in after], ["signing", "next"])
        for row in after:
            self.assertNotIn(row[2], before)
        self.fails("The access token is invalid", "token", "show", stdin=token)

    def test_keys_are_not_shown(self) -> None:
        self.issue()
        listed = self.output("keys", "list")
        for key in json.loads((self.directory / "var" / "keyring.json").read_text())["keys"]:
            self.assertIn(key["jwk"]["kid"], listed)
            self.assertNotIn(key["jwk"]["d"], listed)

"""`--json`: one JSON document, or a line of it for each thing that is listed. Without it, a table or sentences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from perimeter.cli import explaining
from perimeter.cli.exits import Exit
from perimeter.cli.main import main
from perimeter.cli.site import WallClock
from perimeter.model import Principal
from perimeter.tokens.api_token import mint
from tests.unit.cli.test_token import CommandCase
from tests.unit.doubles.sessions import session
from tests.unit.doubles.tokens_site import ALICE

AUTHENTICATED = """\
[perimeter]
state_dir = var
[listener plain]
port = 8080
[authenticator local]
type = plain
users = alice: wonderland
[upstream sample]
servers = sample:
[route admin]
path = /admin
upstream = sample
allow = role:admin
[route all]
path = /
upstream = sample
"""


class JsonCase(CommandCase):
    def invoke(self, *arguments: str, stdin: str = "") -> Result:
        name, *rest = arguments
        return CliRunner().invoke(main, [name, "-c", str(self.site), *rest], input=stdin)

    def document(self, status: Exit, *arguments: str, stdin: str = "") -> Any:
        result = self.invoke(*arguments, "--json", stdin=stdin)
        self.assertEqual((result.exit_code, result.stderr), (status, ""), result.output)
        return json.loads(result.stdout)


class CheckTests(JsonCase):
    def test_no_problem(self) -> None:
        found = self.document(Exit.DONE, "check")
        self.assertEqual(found["problems"], [])
        self.assertEqual([(one["host"], one["path"], one["auth"]) for one in found["routes"]], [("*", "/", "none")])
        self.assertEqual(set(found["routes"][0]), {"host", "path", "target", "auth", "rules", "identity"})
        self.assertIsInstance(found["warnings"], list)
        self.assertEqual(found["state"], "")
        self.assertRegex(found["configuration"], "^[0-9a-f]{12}$")

    def test_problems_have_lines(self) -> None:
        self.site.write_text(AUTHENTICATED.replace("path = /admin", "pth = /admin") + "[audt]\n")
        found = self.document(Exit.NO, "check")
        self.assertEqual(
            [(one["line"], one["section"], one["option"]) for one in found["problems"]][-2:],
            [(11, "route admin", "pth"), (17, "audt", "")],
        )
        self.assertEqual(found["problems"][-1]["suggestion"], "[audit]")
        self.assertEqual((found["routes"], found["warnings"]), ([], []))
        self.assertIn("unknown section", self.invoke("check").stdout)


class ExplainTests(JsonCase):
    def setUp(self) -> None:
        super().setUp()
        self.site.write_text(AUTHENTICATED)
        # a reactor does not run twice in one process, and trial needs it
        self.patch(explaining, "_look_up", lambda config, user: ([Principal(user, "local", ())], []))

    def test_admitted_and_refused(self) -> None:
        found = self.document(Exit.DONE, "explain", "GET", "/x", "--user", "alice")
        self.assertEqual((found["admitted"], found["explanations"][0]["user"]), (True, "alice"))
        self.assertIn({"name": "user", "text": "alice of realm local, roles: none"}, found["explanations"][0]["steps"])
        found = self.document(Exit.NO, "explain", "GET", "/admin", "--user", "alice")
        (one,) = found["explanations"]
        self.assertEqual((found["admitted"], one["admitted"], one["status"], one["realm"]), (False, False, 403, "local"))

    def test_no_user(self) -> None:
        found = self.document(Exit.NO, "explain", "GET", "/x")
        self.assertEqual((found["explanations"][0]["user"], found["explanations"][0]["status"]), (None, 401))

    def test_a_fault_is_an_error(self) -> None:
        self.site.write_text("[audt]\n")
        result = self.invoke("explain", "GET", "/x", "--json")
        self.assertEqual((result.exit_code, result.stdout), (Exit.NO, ""))
        self.assertIn("Error: ", result.stderr)


class KeyTests(JsonCase):
    def test_list_and_rotate(self) -> None:
        first = self.document(Exit.DONE, "keys", "rotate")["kid"]
        second = self.document(Exit.DONE, "keys", "rotate")["kid"]
        self.assertNotEqual(first, second)
        keys = self.document(Exit.DONE, "keys", "list")
        self.assertEqual((keys[0]["state"], keys[0]["kid"]), ("signing", second))
        self.assertIn(first, [one["kid"] for one in keys])
        self.assertEqual(set(keys[0]), {"state", "algorithm", "kid", "created", "signs_since", "verifies_until"})
        shown = self.invoke("keys", "list").stdout.splitlines()
        self.assertRegex(shown[0], "^STATE +ALGORITHM +KID +CREATED +SIGNS SINCE +VERIFIES UNTIL$")
        self.assertRegex(shown[1], f"^signing .*{second}")

    def invoke(self, *arguments: str, stdin: str = "") -> Result:
        group, name, *rest = arguments
        return CliRunner().invoke(main, [group, name, "-c", str(self.site), *rest], input=stdin)


class TableTests(JsonCase):
    def invoke(self, *arguments: str, stdin: str = "") -> Result:
        group, name, *rest = arguments
        return CliRunner().invoke(main, [group, name, "-c", str(self.site), *rest], input=stdin)

    def test_tokens(self) -> None:
        now = float(int(WallClock().seconds()))
        _, token = mint("a\x1b[2Jb", ALICE, now, now + 60)
        self.stored(token)
        shown = self.invoke("token", "list").stdout.splitlines()
        self.assertRegex(shown[0], "^ID +USER +REALM +NAME +CREATED +EXPIRES +ONLY FOR$")
        self.assertRegex(shown[1], rf"^{token.id} +alice +{ALICE.realm} +a\\x1b\[2Jb +\S+Z +\S+Z +-$")
        self.assertEqual(self.document(Exit.DONE, "token", "list")["id"], token.id)
        ended = self.document(Exit.DONE, "token", "revoke", "--id", token.id)
        self.assertEqual(ended, {"api_tokens": 1, "access_tokens": 0, "sessions": 0, "user": False})
        left = self.invoke("token", "list")
        self.assertEqual((left.stdout, left.stderr), ("", "there are no tokens\n"))

    def test_sessions(self) -> None:
        now = float(int(WallClock().seconds()))
        one = session(created=now, expires=now + 900, idle=300.0)
        self.stored(one)
        shown = self.invoke("session", "list").stdout.splitlines()
        self.assertRegex(shown[0], "^ID +USER +REALM +SIGNED IN +LAST USED +EXPIRES +ADDRESS$")
        self.assertRegex(shown[1], rf"^{one.id} +alice +\S+ +\S+Z +\S+Z +\S+Z +192\.0\.2\.7$")
        self.assertEqual(self.document(Exit.DONE, "session", "end", "--id", one.id), {"sessions": 1})
        self.assertEqual(self.invoke("session", "list").stderr, "there are no sessions\n")


class ImportTests(JsonCase):
    def test_what_is_left_is_in_the_document(self) -> None:
        source = Path(self.directory) / "htpasswd"
        source.write_text("bob:$apr1$abcdefgh$unknown\n")
        result = CliRunner().invoke(main, ["import", str(source), "--json"])
        self.assertIn(result.exit_code, (Exit.DONE, Exit.PARTLY))
        found = json.loads(result.stdout)
        self.assertEqual(set(found), {"remarks", "not_translated", "closed", "site"})
        self.assertIn("[authenticator", found["site"])
        self.assertEqual(bool(found["not_translated"] or found["closed"]), result.exit_code == Exit.PARTLY)

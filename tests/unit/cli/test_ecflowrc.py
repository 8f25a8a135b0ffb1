"""``perimeter ecflowrc``: the file that ecFlow's client reads."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from perimeter.cli.main import main
from perimeter.tokens.ecflow_file import pattern

SITE = """\
[perimeter]
state_dir = state
announce = https://gw.example.com:10010/token

[listener https]
port = 443
tls = yes

[authenticator local]
type = realmfile
path = users.realm
"""

PASSWORD = "wonder=land"
URL = "https://gw.example.com:443"


class EcflowrcTests(TestCase):
    def setUp(self) -> None:
        self.dir = Path(self.mktemp()).resolve()
        self.dir.mkdir()
        self.site = self.dir / "site.ini"
        self.site.write_text(SITE)
        (self.dir / "users.realm").write_text("alice: xx\n")
        self.rc = self.dir / ".ecflowapirc"

    def run_command(self, *arguments: str, typed: str = PASSWORD + "\n", user: str = "alice") -> Result:
        command = ["ecflowrc", "--config", str(self.site), "--user", user, "-o", str(self.rc), *arguments]
        return CliRunner().invoke(main, command, input=typed)

    def written(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.rc.read_text())
        return document

    def test_a_basic_entry(self) -> None:
        result = self.run_command("--stdin")
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertEqual(
            self.written(),
            {
                "version": 1,
                "tokens": [
                    {
                        "server": r"https://gw\.example\.com:443",
                        "type": "basic",
                        "api": {"username": "alice", "password": PASSWORD},
                    }
                ],
            },
        )

    def test_the_file_is_its_owners_alone_and_the_secret_is_not_printed(self) -> None:
        for arguments in (("--stdin",), ("--stdin", "--merge")):
            result = self.run_command(*arguments)
            self.assertEqual(result.exit_code, 0, result.output)
            self.assertEqual(stat.S_IMODE(self.rc.stat().st_mode), 0o600)
            self.assertNotIn(PASSWORD, result.output)
            self.rc.chmod(0o644)
        self.assertEqual([path.name for path in self.dir.iterdir() if "ecflow" in path.name], [".ecflowapirc"])

    def test_a_bearer_entry_holds_a_token_of_the_gateway(self) -> None:
        result = self.run_command("--type", "bearer", "--role", "admin", "--email", "a@example.com")
        self.assertEqual(result.exit_code, 0, result.output)
        (entry,) = self.written()["tokens"]
        self.assertEqual((entry["type"], entry["api"]["url"], entry["api"]["email"]), ("bearer", URL, "a@example.com"))
        key = entry["api"]["key"]
        self.assertNotIn(key, result.output)
        shown = CliRunner().invoke(main, ["token", "show", "--config", str(self.site)], input=key)
        claims = json.loads(shown.output)
        self.assertEqual((claims["username"], claims["realm"], claims["roles"]), ("alice", "local", ["admin"]))

    def test_a_bearer_entry_with_a_key_from_elsewhere(self) -> None:
        self.assertEqual(self.run_command("--type", "bearer", "--stdin", typed="0123abcd\n").exit_code, 0)
        self.assertEqual(self.written()["tokens"][0]["api"], {"url": URL, "key": "0123abcd", "email": "alice"})

    def test_print_writes_nothing(self) -> None:
        result = self.run_command("--stdin", "--print")
        self.assertEqual(json.loads(result.output)["api"]["password"], PASSWORD)
        self.assertFalse(self.rc.exists())

    def test_an_existing_file_is_left_alone_unless_merge_is_given(self) -> None:
        self.rc.write_text("precious")
        result = self.run_command("--stdin")
        self.assertEqual((result.exit_code, self.rc.read_text()), (1, "precious"))
        self.assertIn("--merge", result.output)

    def test_merge_keeps_the_others_and_goes_before_what_would_win(self) -> None:
        first = {"server": "https://other:443", "type": "basic", "api": {"username": "a", "password": "b"}}
        catch_all = {"server": ".*", "type": "bearer", "api": {"url": "u", "key": "k", "email": "e"}}
        broken = {"server": "(", "type": "basic", "api": {}}
        self.rc.write_text(json.dumps({"version": 1, "tokens": [broken, first, catch_all], "note": "mine"}))
        for _ in range(2):  # the second time it replaces itself
            self.assertEqual(self.run_command("--stdin", "--merge").exit_code, 0)
            document = self.written()
            self.assertEqual(document["note"], "mine")
            self.assertEqual([token["server"] for token in document["tokens"]], ["(", "https://other:443", pattern(URL), ".*"])

    def test_a_pattern_of_ones_own_goes_to_the_end(self) -> None:
        self.rc.write_text('{"version": 1, "tokens": [{"server": "https://a:1", "type": "basic", "api": {}}]}')
        self.assertEqual(self.run_command("--stdin", "--merge", "--server", ".*").exit_code, 0)
        self.assertEqual([token["server"] for token in self.written()["tokens"]], ["https://a:1", ".*"])

    def test_what_cannot_be_merged_is_not_touched(self) -> None:
        for text in (
            "{",
            "[]",
            '{"version": 2}',
            '{"version": 1, "tokens": {}}',
            "[" * 100_000,
            '{"version": 1, "tokens": ["x"]}',
        ):
            self.rc.write_text(text)
            result = self.run_command("--stdin", "--merge")
            self.assertEqual((result.exit_code, self.rc.read_text()), (1, text))

    def test_a_link_goes_on_leading_to_the_file(self) -> None:
        place = self.dir / "dotfiles"
        place.write_text('{"version": 1}')
        self.rc.symlink_to(place)
        self.assertEqual(self.run_command("--stdin", "--merge").exit_code, 0)
        self.assertTrue(self.rc.is_symlink())
        self.assertEqual(len(json.loads(place.read_text())["tokens"]), 1)

    def test_what_is_missing_is_asked_for(self) -> None:
        self.site.write_text(SITE.replace("announce = https://gw.example.com:10010/token\n", ""))
        self.assertIn("--host", self.run_command("--stdin").output)
        self.assertEqual(self.run_command("--stdin", "--host", "::1").exit_code, 0)
        self.assertEqual(self.written()["tokens"][0]["server"], r"https://\[::1\]:443")
        self.rc.unlink()
        self.site.write_text(SITE.replace("tls = yes", ""))
        self.assertIn("--server", self.run_command("--stdin").output)
        self.assertIn("realm", self.run_command("--type", "bearer", "--realm", "nowhere", "--server", ".*").output)
        self.assertIn("colon", self.run_command("--stdin", user="a:b").output)
        self.assertIn("nothing", self.run_command("--stdin", "--server", ".*", typed="").output)
        self.assertFalse(self.rc.exists())

    @given(st.from_regex(r"https://(\[[0-9a-f:]{2,20}\]|[a-z0-9.-]{1,30}):[0-9]{1,5}", fullmatch=True), st.text())
    def test_the_pattern_matches_its_url_alone(self, url: str, other: str) -> None:
        self.assertTrue(re.fullmatch(pattern(url), url))
        self.assertEqual(bool(re.fullmatch(pattern(url), other)), url == other)

"""``perimeter password``: the realm file reads what the command prints."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from perimeter.auth.passwords.users import read_users, realm_line
from perimeter.auth.text import trim, unfit_for_name
from perimeter.cli.main import main
from tests.unit.doubles.auth import CHEAP_ARGON2, CHEAP_BCRYPT

NAMES = st.text(min_size=1).filter(lambda name: ":" not in name and not unfit_for_name(name))
ROLES = st.text(min_size=1).filter(lambda role: "," not in role and role == trim(role) and not unfit_for_name(role))


def run(*arguments: str, typed: str = "") -> Result:
    return CliRunner().invoke(main, ["password", *arguments], input=typed)


class CommandTests(unittest.TestCase):
    def test_a_line_for_a_user(self) -> None:
        result = run("--stdin", "--scheme", "bcrypt", "--user", "José Ä=!", "--roles", "a, b", typed="let me in\nmore\n")
        self.assertEqual(result.exit_code, 0, result.output)
        user = read_users(result.stdout.encode(), "f").by_name["José Ä=!"]
        self.assertEqual((user.roles, user.password.scheme), (("a", "b"), "bcrypt"))
        self.assertTrue(user.password.verify("let me in"))

    def test_the_hash_alone_is_argon2id(self) -> None:
        result = run(typed="x\nx\n")
        self.assertEqual(result.exit_code, 0, result.output)
        hashed = result.stdout.strip()
        self.assertTrue(hashed.startswith("$argon2id$v=19$m=65536,t=3,p=4$"), hashed)
        self.assertNotIn("\n", hashed, "prompts go to the standard error, so that the output can be redirected")

    def test_two_different_passwords_are_asked_for_again(self) -> None:
        result = run("--scheme", "bcrypt", typed="x\ny\n")
        self.assertNotEqual(result.exit_code, 0)
        self.assertNotIn("$2b$", result.output)

    def test_a_line_is_added_to_a_realm_file(self) -> None:
        path = Path(self.mktemp())
        added = ("--stdin", "--scheme", "bcrypt", "--roles", "a", "-o", str(path), "--user")
        for name in ("carol", "dave"):
            result = run(*added, name, typed="x\n")
            self.assertEqual((result.exit_code, result.stdout), (0, ""), result.output)
        self.assertEqual(list(read_users(path.read_bytes(), "f").by_name), ["carol", "dave"])
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        path.chmod(0o640)
        before = path.read_bytes()
        result = run(*added, "carol", typed="x\n")
        self.assertEqual(result.exit_code, 1)
        self.assertIn(f"{path}:1: user 'carol' exists", result.output)
        self.assertEqual(path.read_bytes(), before)
        path.write_bytes(before.rstrip(b"\n"))
        self.assertEqual(run(*added, "eve", typed="x\n").exit_code, 0)
        self.assertEqual(len(read_users(path.read_bytes(), "f").by_name), 3)
        self.assertEqual(path.stat().st_mode & 0o777, 0o640)
        self.assertEqual(sorted(one.name for one in path.parent.glob(f"*{path.name}*")), [path.name])

    def test_nothing_is_written_where_no_password_comes(self) -> None:
        path = Path(self.mktemp())
        for arguments, typed in ((("--stdin",), ""), ((), ""), ((), "x\ny\n"), (("--stdin",), "a\x07b\n")):
            result = run("--user", "carol", "-o", str(path), *arguments, typed=typed)
            self.assertNotEqual(result.exit_code, 0)
            self.assertFalse(path.exists(), arguments)
        path.write_text("alice:\n")
        self.assertEqual(run("--user", "carol", "-o", str(path), "--stdin", typed="x\n").exit_code, 1)
        self.assertEqual(path.read_text(), "alice:\n")

    def test_a_password_is_replaced_and_the_rest_stays(self) -> None:
        path = Path(self.mktemp())
        path.write_text("# users\nalice: letmein,admin,ops\nbob: hunter2\n")
        path.chmod(0o640)
        replace = ("--stdin", "--scheme", "bcrypt", "--replace", "-o", str(path), "--user")
        result = run(*replace, "alice", typed="new\n")
        self.assertEqual((result.exit_code, result.stdout), (0, ""), result.output)
        users = read_users(path.read_bytes(), "f").by_name
        self.assertTrue(users["alice"].password.verify("new"))
        self.assertEqual(users["alice"].roles, ("admin", "ops"))
        self.assertTrue(path.read_text().startswith("# users\nalice: $2b$"))
        self.assertTrue(path.read_text().endswith(",admin,ops\nbob: hunter2\n"))
        self.assertEqual(path.stat().st_mode & 0o777, 0o640)
        for arguments, reason in (
            ((*replace, "carol"), "has no user 'carol'"),
            (("--stdin", "--replace", "--user", "alice"), "--replace goes with"),
            ((*replace, "alice", "--roles", "a"), "--replace goes with"),
        ):
            before = path.read_bytes()
            result = run(*arguments, typed="x\n")
            self.assertNotEqual(result.exit_code, 0)
            self.assertIn(reason, result.output)
            self.assertEqual(path.read_bytes(), before)

    def test_what_cannot_be(self) -> None:
        for arguments, typed in (
            (["--stdin"], ""),
            (["--stdin"], "\n"),
            (["--stdin"], "a\x07b\n"),
            (["--stdin", "--scheme", "bcrypt"], "x" * 73),
            (["--stdin", "--scheme", "md5"], "x\n"),
            (["--stdin", "--roles", "a"], "x\n"),
            (["--stdin", "-o", "never"], "x\n"),
            (["--stdin", "--user", "a:b"], "x\n"),
            (["--stdin", "--user", ""], "x\n"),
            (["--stdin", "--user", "a\nb"], "x\n"),
            (["--stdin", "--user", "a", "--roles", "b\x1b"], "x\n"),
        ):
            result = run(*arguments, typed=typed)
            self.assertNotEqual(result.exit_code, 0, arguments)
            self.assertEqual(result.stdout, "", arguments)
            self.assertIsInstance(result.exception, SystemExit, arguments)

    @given(NAMES, st.lists(ROLES, unique=True), st.sampled_from([CHEAP_ARGON2, CHEAP_BCRYPT]))
    def test_every_line_is_read_back_as_it_was_meant(self, name: str, roles: list[str], hashed: str) -> None:
        line = realm_line(name, hashed, tuple(roles))
        self.assertTrue(line.isascii())
        users = read_users(f"# before\n{line}\n# after\n".encode(), "f")
        self.assertEqual(list(users.by_name), [name])
        self.assertEqual(users.by_name[name].roles, tuple(roles))

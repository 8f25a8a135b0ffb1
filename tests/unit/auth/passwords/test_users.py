"""The lines of a realm file, and the cost of checking a password."""

from __future__ import annotations

import hashlib
import shlex

import argon2.low_level
import bcrypt
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from perimeter.auth.passwords import crypt_schemes
from perimeter.auth.passwords.users import RealmFileError, Users, read_users, with_passwords
from perimeter.errors import StartupError
from tests.unit.doubles.auth import CHEAP_ARGON2, CHEAP_BCRYPT
from tests.unit.doubles.properties import reached, reaches


def users(text: str) -> Users:
    return read_users(text.encode(), "users.realm")


NEARLY = st.permutations(["alice: secret,admin", "bob: {plain}x", r"d\:e: z", "# comment", ""]).flatmap(
    lambda good: st.sampled_from(["", "  ", "carol:y", "alice", ": x", "f: ,", "g: $2y$10$x"]).map(lambda one: [*good[:3], one])
)
"""Lines of a realm file, at most one of them bad."""


class LinesTests(unittest.TestCase):
    def test_reactors_own_forms(self) -> None:
        found = users(
            "# Reactor\n"
            "jetty: MD5:164c88b302622e17050af52c89945d44,user\n"
            "admin: CRYPT:adpexzg3FUZAk,server-administrator,content-administrator,admin\n"
            "other: OBF:1vny1zlo1x8e1vnw1vn61x8g1zlu1vn4\n"
            "plain= plain text , user , user ,, admin \n"
            "user letmein\n"
        )
        self.assertEqual(list(found.by_name), ["jetty", "admin", "other", "plain", "user"])
        self.assertEqual(found.by_name["admin"].roles, ("server-administrator", "content-administrator", "admin"))
        self.assertEqual(found.by_name["plain"].roles, ("user", "admin"))
        self.assertTrue(found.check(found.by_name["admin"], "admin"))
        self.assertTrue(found.check(found.by_name["other"], "storepwd"))
        self.assertTrue(found.check(found.by_name["plain"], "plain text"))
        self.assertTrue(found.check(found.by_name["user"], "letmein"))
        self.assertFalse(found.check(found.by_name["user"], "letmeinn"))

    def test_roles_after_a_hash_with_commas(self) -> None:
        found = users(f"alice: {CHEAP_ARGON2},role1, role2\nbob: {CHEAP_BCRYPT}")
        self.assertEqual((found.by_name["alice"].roles, found.by_name["bob"].roles), (("role1", "role2"), ()))
        self.assertTrue(found.check(found.by_name["alice"], "argon2"))

    def test_names_are_as_written(self) -> None:
        found = users("Alice: a\nalice: b\nJosé: c\n%(bindpw)s: d\n")
        self.assertEqual(list(found.by_name), ["Alice", "alice", "José", "%(bindpw)s"])

    def test_a_broken_line_is_one_clear_error(self) -> None:
        for line, expected in (
            (": secret", "user name is missing"),
            ("alice", "has no password"),
            ("alice:", "has no password"),
            ("alice: ,admin", "has no password"),
            ("alice: MD5:secret", "MD5:"),
            ("alice: $6$secret", "well-formed"),
            ("alice: $P$secret$", "not known"),
            ("alice: {secret}x", "unknown"),
            (r"alice: \u12secret", r"\u without"),
            (r"al\nice: secret", "control characters"),
            (r"alice: secret,ad\u0085min", "control characters"),
            ("bob: secret", "line 1 already"),
        ):
            with self.assertRaises(RealmFileError, msg=line) as caught:
                users(f"bob: xx\n\n{line}\n")
            message = str(caught.exception)
            self.assertIsInstance(caught.exception, StartupError)
            self.assertTrue(message.startswith("users.realm:3: "), message)
            self.assertIn(expected, message)
            self.assertNotIn("secret", message)
            self.assertEqual(len(message.splitlines()), 1)

    def test_warnings_name_the_line_and_the_command_that_mends_it(self) -> None:
        found = users(
            f"a: xx\nb: OBF:1vny1zlo1x8e1vnw1vn61x8g1zlu1vn4\nc: {CHEAP_ARGON2}\nd\\'e: MD5:5ebe2294ecd0e0f08eab7690d2a6ee69"
        )
        self.assertEqual(len(found.warnings), 3)
        for line, scheme, name, warning in zip(
            (1, 2, 4), ("plain text", "OBF", "MD5"), ("a", "b", "d'e"), found.warnings, strict=True
        ):
            self.assertIn(f"users.realm:{line}: the password of user {name!r} is kept as {scheme},", warning)
            self.assertIn(f"`perimeter password --replace --user {shlex.quote(name)} --output users.realm`", warning)
        self.assertEqual(users(f"c: {CHEAP_ARGON2}").warnings, ())
        self.assertIn("no users", users("# nobody").warnings[0])
        self.assertIn("colon", users(rf"a\:b: {CHEAP_ARGON2}").warnings[0])
        self.assertIn("2 different costs", users(f"a: {CHEAP_ARGON2}\nb: {CHEAP_BCRYPT}").warnings[0])

    def test_an_option_has_no_command_that_changes_it(self) -> None:
        (warning,) = read_users(b"a: xx", "users", in_file=False).warnings
        self.assertIn("`perimeter password --user a` makes", warning)
        self.assertNotIn("--replace", warning)

    def test_warnings_are_bounded(self) -> None:
        found = users("\n".join(f"u{number}: xx" for number in range(20)))
        self.assertEqual(len(found.warnings), 20)
        found = users("\n".join(f"u{number}: xx" for number in range(1000)))
        self.assertEqual(len(found.warnings), 21)
        self.assertIn("980 more passwords like these, kept as plain text", found.warnings[-1])

    @reaches(1)
    @given(st.binary() | st.text().map(str.encode) | NEARLY.map("\n".join).map(str.encode))
    def test_any_file_is_read_or_refused(self, data: bytes) -> None:
        try:
            found = read_users(data, "f")
        except RealmFileError:
            return
        if found.by_name:
            reached(self)
        self.assertTrue(all(name for name in found.by_name))


class RewrittenTests(unittest.TestCase):
    def test_several_lines_at_once(self) -> None:
        data = b"a: xx,r\n# c\nb: yy\nc: zz\n"
        after = with_passwords(data, "f", {"c": CHEAP_ARGON2, "a": CHEAP_BCRYPT})
        self.assertEqual(after.decode(), f"a: {CHEAP_BCRYPT},r\n# c\nb: yy\nc: {CHEAP_ARGON2}\n")

    def test_a_file_in_iso_8859_1_stays_one(self) -> None:
        after = with_passwords(b"jos\xe9: xx,r\xf4le\nm\xfc: yy\n", "f", {"josé": CHEAP_BCRYPT})
        self.assertTrue(after.endswith(b"\nm\xfc: yy\n"))
        self.assertEqual(read_users(after, "f").by_name["josé"].roles, ("rôle",))

    def test_what_cannot_be_written(self) -> None:
        for hashes, error in (
            ({"b": CHEAP_BCRYPT}, KeyError),
            ({"a": "x,y"}, RealmFileError),
            ({"c:d": CHEAP_BCRYPT}, ValueError),
        ):
            with self.assertRaises(error):
                with_passwords(b"a: xx\nc\\:d: yy\n", "f", hashes)


class RoundsTests(unittest.TestCase):
    """Hashes of one kind with many different numbers of rounds: an answer costs the highest of them, not all."""

    def setUp(self) -> None:
        self.spent = 0
        derive, compute = hashlib.pbkdf2_hmac, crypt_schemes.crypt

        def counted(function: str, password: bytes, salt: bytes, rounds: int, length: int) -> bytes:
            self.spent += rounds
            return derive(function, password, salt, rounds, length)

        def counted_crypt(key: bytes, stored: bytes, prefix: str) -> bytes:
            self.spent += int(stored.split(b"$")[2].removeprefix(b"rounds="))
            return compute(key, stored, prefix)

        self.patch(hashlib, "pbkdf2_hmac", counted)
        self.patch(crypt_schemes, "crypt", counted_crypt)

    def cost(self, found: Users, name: str, password: str = "wrong") -> int:
        self.spent = 0
        found.check(found.by_name.get(name), password)
        return self.spent

    def test_attack_29_pbkdf2(self) -> None:
        found = users(
            "".join(f"u{rounds}: {{PBKDF2-SHA256}}{rounds}$c2FsdA$" + "A" * 43 + "\n" for rounds in (10, 4000, 3999, 1))
        )
        for name in ("u10", "u4000", "u3999", "u1", "nobody"):
            self.assertIn(self.cost(found, name), (4000, 4001), name)
        self.assertEqual(len({self.cost(found, name) for name in ("u10", "u4000", "u1", "nobody")}), 1)

    def test_attack_29_crypt(self) -> None:
        hashed = "a.jXKL0Z2Pm0VCeRFZkvk.SbyLxBVQ3KHnkgWsPpOT2"
        found = users("".join(f"u{rounds}: $5$rounds={rounds}$salt${hashed[:43]}\n" for rounds in (1000, 4000, 3999)))
        self.assertEqual({self.cost(found, name) for name in ("u1000", "u4000", "u3999", "nobody")}, {5000})

    def test_equal_rounds_cost_no_more(self) -> None:
        found = users("".join(f"{name}: $5$rounds=1234$salt$" + "A" * 43 + "\n" for name in "ab"))
        self.assertEqual({self.cost(found, name) for name in ("a", "b", "nobody")}, {1234})

    def test_attack_29_each_kind_is_paid_for(self) -> None:
        found = users("a: $5$rounds=1234$salt$" + "A" * 43 + "\nb: {PBKDF2}100$c2FsdA$" + "A" * 27 + "\nc: secret")
        self.assertEqual({self.cost(found, name) for name in ("a", "b", "c", "nobody")}, {1334})
        self.assertEqual(self.cost(found, "c", "secret"), 1334)


class CostTests(unittest.TestCase):
    """Counts calls of the hash functions, because wall time would prove little and make the tests unreliable."""

    def setUp(self) -> None:
        self.calls: list[str] = []
        verify, check = argon2.low_level.verify_secret, bcrypt.checkpw

        def counted_verify(encoded: bytes, secret: bytes, kind: argon2.low_level.Type) -> bool:
            self.calls.append(encoded.split(b"$")[3].decode())
            return verify(encoded, secret, kind)

        def counted_check(password: bytes, hashed: bytes) -> bool:
            self.calls.append(hashed.split(b"$")[2].decode())
            return check(password, hashed)

        self.patch(argon2.low_level, "verify_secret", counted_verify)
        self.patch(bcrypt, "checkpw", counted_check)

    def cost(self, found: Users, name: str, password: str) -> list[str]:
        self.calls.clear()
        self.assertFalse(found.check(found.by_name.get(name), password))
        return sorted(self.calls)

    def test_attack_29_an_unknown_user_costs_what_a_wrong_password_costs(self) -> None:
        found = users(f"alice: {CHEAP_ARGON2}\nbob: {CHEAP_ARGON2}")
        self.assertEqual(self.cost(found, "alice", "wrong"), ["m=8,t=1,p=1"])
        self.assertEqual(self.cost(found, "nobody", "wrong"), ["m=8,t=1,p=1"])
        self.assertEqual(self.cost(found, "nobody", "argon2"), ["m=8,t=1,p=1"], "alice's password does not fit nobody")

    def test_attack_29_in_a_file_of_many_kinds_every_refusal_costs_the_same(self) -> None:
        dear = CHEAP_ARGON2.replace("t=1", "t=2")
        found = users(
            f"alice: {CHEAP_ARGON2}\ndora: {dear}\nbob: {CHEAP_BCRYPT}\ncarl: plain\neve: MD5:5ebe2294ecd0e0f08eab7690d2a6ee69"
        )
        for name in ("alice", "bob", "carl", "dora", "eve", "nobody"):
            for password in ("wrong", "x" * 100):
                self.assertEqual(self.cost(found, name, password), ["04", "m=8,t=1,p=1", "m=8,t=2,p=1"], name)

    def test_attack_47_a_right_password_costs_what_a_wrong_one_costs(self) -> None:
        """The client leaves before a wrong password would be computed, so the time before the answer reveals nothing."""
        found = users(f"alice: {CHEAP_ARGON2}\nbob: {CHEAP_BCRYPT}\ncarl: plain")
        for name, password in (("alice", "argon2"), ("bob", "x"), ("carl", "plain")):
            self.calls.clear()
            self.assertTrue(found.check(found.by_name[name], password))
            self.assertEqual(sorted(self.calls), ["04", "m=8,t=1,p=1"], name)

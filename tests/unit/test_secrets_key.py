"""The key of the site: the files that it comes from, and what it opens."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import TestCase

from perimeter.errors import StartupError
from perimeter.secrets_key import MOST_LINES, SecretsKey, Unopened

FIRST = "first line of the secrets, 32 ch"
SECOND = "another line of secrets, 33 chars"


class SecretsKeyTests(TestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.path = self.directory / "secrets.key"

    def test_it_is_made_once(self) -> None:
        sealed = SecretsKey.open(self.directory).seal(b"secret", "p")
        self.assertEqual(SecretsKey.open(self.directory).unseal(sealed, "p"), b"secret")
        self.assertEqual([one.name for one in self.directory.iterdir()], ["secrets.key"])
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.path.stat().st_size, 32)

    def test_a_file_that_cannot_be_trusted(self) -> None:
        SecretsKey.open(self.directory)
        for change, words in (
            (lambda: self.path.chmod(0o640), "others may read or write it (chmod 600"),
            (lambda: self.path.write_bytes(bytes(31)), "damaged (not 32 bytes)"),
            (lambda: self.path.write_bytes(bytes(33)), "damaged (not 32 bytes)"),
            (lambda: (self.path.unlink(), os.mkfifo(self.path, 0o600)), "not a regular file"),
            (lambda: (self.path.unlink(), self.path.symlink_to("/dev/zero")), "cannot be used"),
        ):
            with self.subTest(words):
                change()
                self.assertIn(words, str(self.assertRaises(StartupError, SecretsKey.open, self.directory)))
                self.path.unlink()
                SecretsKey.open(self.directory)

    def test_a_directory_that_cannot_be_written(self) -> None:
        self.assertIn("cannot be used", str(self.assertRaises(StartupError, SecretsKey.open, self.directory / "none")))

    def test_another_key_purpose_or_text_opens_nothing(self) -> None:
        key = SecretsKey(bytes(32))
        sealed = key.seal(b"secret", "p")
        self.assertNotEqual(key.seal(b"secret", "p"), sealed)
        for other, text, purpose in (
            (SecretsKey(bytes(31) + b"1"), sealed, "p"),
            (key, sealed, "q"),
            (key, sealed[:-1] + bytes([sealed[-1] ^ 1]), "p"),
            (key, b"", "p"),
        ):
            self.assertRaises(Unopened, other.unseal, text, purpose)

    def test_what_is_derived(self) -> None:
        key = SecretsKey(bytes(32))
        self.assertEqual(key.derive(b"a", b"b"), key.derive(b"a", b"b"))
        self.assertEqual(len({key.derive(b"a", b"b"), key.derive(b"ab", b""), key.derive(b"ab"), key.derive(b"a", b"c")}), 4)
        self.assertNotEqual(key.derive(b"a"), SecretsKey(bytes(31) + b"1").derive(b"a"))
        self.assertEqual(len(key.derive()), 32)

    def test_a_key_has_32_bytes(self) -> None:
        for wrong in (31, 33):
            self.assertRaises(ValueError, SecretsKey, bytes(wrong))
        self.assertNotIn("\\x00", repr(SecretsKey(bytes(32))))

    def test_the_first_key_seals_and_all_of_them_open(self) -> None:
        old, new = bytes(32), bytes(31) + b"1"
        rotated = SecretsKey(new, old)
        self.assertEqual(rotated.unseal(SecretsKey(old).seal(b"secret", "p"), "p"), b"secret")
        self.assertEqual(SecretsKey(new).unseal(rotated.seal(b"secret", "p"), "p"), b"secret")
        self.assertRaises(Unopened, SecretsKey(old).unseal, rotated.seal(b"secret", "p"), "p")
        self.assertEqual(rotated.derive_all(b"a"), (SecretsKey(new).derive(b"a"), SecretsKey(old).derive(b"a")))
        self.assertEqual(rotated.derive(b"a"), SecretsKey(new).derive(b"a"))


class ClusterSecretTests(TestCase):
    """The key of machines that share one state."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()

    def opened(self, *lines: str) -> SecretsKey:
        return SecretsKey.open(self.directory, "".join(f"{line}\n" for line in lines))

    def test_machines_with_the_same_file_have_the_same_key(self) -> None:
        self.assertEqual(self.opened("# a comment", "", f"  {FIRST}\r").derive(b"a"), self.opened(FIRST).derive(b"a"))
        self.assertNotEqual(self.opened(FIRST).derive(b"a"), self.opened(SECOND).derive(b"a"))
        self.assertEqual(list(self.directory.iterdir()), [])

    def test_the_key_is_that_of_rfc_5869(self) -> None:
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        key = HKDF(SHA256(), 32, b"perimeter site key 1", b"").derive(FIRST.encode("ascii"))
        self.assertEqual(self.opened(FIRST).derive(b"a"), SecretsKey(key).derive(b"a"))

    def test_rotation_in_three_steps(self) -> None:
        old, both = self.opened(FIRST), self.opened(FIRST, SECOND)
        turned, new = self.opened(SECOND, FIRST), self.opened(SECOND)
        for before, after in ((old, both), (both, turned), (turned, new)):
            self.assertEqual(after.unseal(before.seal(b"secret", "p"), "p"), b"secret")
            self.assertEqual(before.unseal(after.seal(b"secret", "p"), "p"), b"secret")
        self.assertRaises(Unopened, new.unseal, both.seal(b"secret", "p"), "p")

    def test_the_key_from_before_a_machine_joined_opens(self) -> None:
        sealed = SecretsKey.open(self.directory).seal(b"secret", "p")
        joined = self.opened(FIRST)
        self.assertEqual(joined.unseal(sealed, "p"), b"secret")
        self.assertEqual(joined.derive(b"a"), self.opened(FIRST).derive(b"a"))
        spelled = (self.directory / "secrets.key").read_bytes().hex()
        (self.directory / "secrets.key").unlink()
        self.assertRaises(Unopened, self.opened(FIRST).unseal, sealed, "p")
        self.assertEqual(self.opened(FIRST, f"secrets.key:{spelled}").unseal(sealed, "p"), b"secret")
        self.assertEqual(self.opened(FIRST, f"secrets.key:{spelled.upper()}").unseal(sealed, "p"), b"secret")

    def test_the_key_of_the_machine_may_be_in_both_files(self) -> None:
        SecretsKey.open(self.directory)
        spelled = (self.directory / "secrets.key").read_bytes().hex()
        self.assertEqual(len(self.opened(FIRST, f"secrets.key:{spelled}").derive_all()), 2)

    def test_a_damaged_key_of_the_machine_is_refused(self) -> None:
        (self.directory / "secrets.key").write_bytes(b"short")
        (self.directory / "secrets.key").chmod(0o600)
        self.assertRaises(StartupError, self.opened, FIRST)

    def test_what_is_refused(self) -> None:
        many = tuple(f"{number:032}" for number in range(MOST_LINES + 1))
        for lines, words in (
            (("# comment", " "), "no line has a secret"),
            ((FIRST, "x" * 31), "line 2 has fewer than 32 characters"),
            (("x" * 31 + "é",), "line 1 is not printable ASCII"),
            (("x" * 31 + "\x07",), "line 1 is not printable ASCII"),
            (("secrets.key:" + "a" * 63,), "line 1 has not 64 hexadecimal digits after secrets.key:"),
            (("secrets.key:" + "a" * 65,), "line 1 has not 64 hexadecimal digits after secrets.key:"),
            (("secrets.key:" + "g" * 64,), "line 1 has not 64 hexadecimal digits after secrets.key:"),
            ((FIRST, SECOND, FIRST), "two lines are the same"),
            (many, "more than 8 lines"),
        ):
            with self.subTest(words):
                refused = str(self.assertRaises(ValueError, self.opened, *lines))
                self.assertIn(words, refused)
                self.assertNotIn("x" * 31, refused)
                self.assertNotIn("aaaa", refused)
        self.assertEqual(len(self.opened(*many[:MOST_LINES]).derive_all()), 8)
        self.opened("x" * 32)

"""The key of the secrets of second factors: its file, and what it opens."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import TestCase

from perimeter.errors import StartupError
from perimeter.factors.secrets_key import SecretsKey, Unopened


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

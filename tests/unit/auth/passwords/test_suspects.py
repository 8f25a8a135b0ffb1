"""Text in the place of a password: hashes of unknown kinds and marks are refused, and no message opens a door."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from perimeter.auth.passwords.formats import PasswordFormatError, take
from perimeter.auth.passwords.users import RealmFileError, read_users

SUSPECTS = (
    *("*", "!", "!!", "x", "X", "*LK*", "NP", "*NP*", "!*", "!locked", "none", "nologin", "locked"),
    *("!$6$abcdefgh$hash", "*$y$j9T$abcdefgh$hash", "!adpexzg3FUZAk", "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19"),
    *("adpexzg3FUZAk", "administrator", "_J9..CCCCXBrJUJV154M", "$P$984478476IagS59wHZvyQMArzfx58u.", "$md5$rounds=904$x$y"),
    *("$sha1$40000$jtNX3nZ2$hBNaIXkt4wBI2o5rsi8KejSjNqIq", "$3$$8846f7eaee8fb117ad06bdd830b7586c", "$bcrypt-sha256$v=2,t=2b$x$y"),
    *(
        "5ebe2294ecd0e0f08eab7690d2a6ee69",
        "md55ebe2294ecd0e0f08eab7690d2a6ee69",
        "0x" + "ab" * 20,
        "E5" * 20,
        "ab" * 32,
        "ab" * 64,
    ),
    *("5en6G6MezRroT3XKqkdPOmY/BfQ=", "ndTkYSaMgDT1yFZOFVxnpg==", "sha1$salt$e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4"),
    *("SCRAM-SHA-256$4096:c2FsdA==$x:y", "pbkdf2:sha256:600000$salt$ab", "scrypt:32768:8:1$salt$ab", "md5$salt$ab", "bcrypt$x"),
    *(
        "{SSHA}",
        "{SSHA}x",
        "{noop}secret",
        "{}secret",
        "{SHA 512}secret",
        "{MD5.hex}ab",
        "{cleartext}secret",
        "{PBKDF2-MD5}1$a$b",
    ),
    *("x:0:0:root:/root:/bin/bash", ":19000:0:99999:7:::", "*:19000:0:99999:7:::", "pw:19000:0:99999:7:::"),
    "1001:aad3b435b51404eeaad3b435b51404ee:8846F7EAEE8FB117AD06BDD830B7586C:::",
    "1001:" + "X" * 32 + ":8846F7EAEE8FB117AD06BDD830B7586C:[U          ]:LCT-5F3C1B2A:",
    "1001:" + "*" * 32 + ":" + "*" * 32,
    "realm:5ebe2294ecd0e0f08eab7690d2a6ee69",
)

PASSWORDS = (
    *(
        "secret",
        "hunter2",
        "correct-horse",
        "pw",
        "xx",
        "x1",
        "a b c",
        "Pa$$w0rd",
        "$ecret",
        "sh-al-la",
        "p:q",
        "10:30",
        "ab" * 17,
    ),
    *("administrators", "Administrator!", "shadow", "md5 is old", "{brace", "brace}", "a!", "a*b", "#hash", "=", "nonesuch"),
)


class SuspectTests(unittest.TestCase):
    def test_attack_69_text_is_never_a_fallback_for_a_hash(self) -> None:
        for text in SUSPECTS:
            for rest in ("", ",admin"):
                with self.assertRaises(PasswordFormatError, msg=text):
                    take(text + rest)

    def test_plain_says_so(self) -> None:
        for text in SUSPECTS:
            found, rest = take(f"{{plain}}{text.replace(',', '')},admin")
            self.assertEqual((found.scheme, rest), ("plain text", ",admin"), text)
            self.assertTrue(found.verify(text.replace(",", "")), text)

    def test_passwords_are_passwords(self) -> None:
        for text in PASSWORDS:
            found, _ = take(text)
            self.assertTrue(found.verify(text), text)

    def test_attack_69_no_advice_opens_a_door(self) -> None:
        """Following the message must not make a hash the password: it names a command, and never {plain}."""
        for text in SUSPECTS:
            with self.assertRaises(RealmFileError, msg=text) as caught:
                read_users(f"bob: {text}".encode(), "users.realm")
            message = str(caught.exception)
            self.assertIn("users.realm:1: the password of user 'bob' is ", message)
            self.assertIn("`perimeter password --user bob`", message)
            self.assertNotIn("plain", message)
            if len(text) > 9:
                self.assertNotIn(text, message)

    @given(st.from_regex(r"[./0-9A-Za-z]{13}|[0-9a-f]{32}|\$[a-z0-9]{1,9}\$[a-zA-Z0-9./]{0,20}\$?[a-z]{0,9}", fullmatch=True))
    def test_attack_69_nothing_that_is_written_like_a_hash_logs_in_as_text(self, text: str) -> None:
        """None of these is long enough for a hash that is known, either."""
        with self.assertRaises(PasswordFormatError):
            take(text)

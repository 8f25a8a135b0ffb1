"""Stored passwords: every form, its limits, and what is refused."""

from __future__ import annotations

import base64
import hashlib

import argon2.low_level
import bcrypt
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from perimeter.auth.passwords import system_crypt
from perimeter.auth.passwords.formats import PasswordFormatError, take
from perimeter.auth.passwords.making import SCHEMES, make
from perimeter.auth.passwords.schemes import Argon2, PasswordHash, Variant
from tests.unit.doubles.auth import CHEAP_ARGON2, CHEAP_BCRYPT
from tests.unit.doubles.properties import reached, reaches

# Published: the passlib documentation, the Spring Security reference, RFC 7914, section 12.
PASSLIB_SCRYPT = "$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E"
SPRING_SCRYPT = (
    "{scrypt}$e0801$8bWJaSu2IKSn9Z9kM+TPXfOc/9bdYSrN1oD9qfVThWEwdRTnO7re7Ei+fUZRJ68k9lTyuTeUp4of4g24hHnazw=="
    "$OAOec05+bXxvuu/1qZ6NUR+xQYvYv7BeL1QxwRpY5Pc="
)
SALT, DIGEST = "c29tZXNhbHQ", "gom2l85O0Z+H2UhBkLpH6/+E5Ht2CiWyYbKwIkSnhUQ"
CHEAP_SCRYPT = f"$scrypt$ln=1,r=1,p=1${SALT}${DIGEST}"


# Made by libpass 1.9.4, OpenSSL 3 (`openssl passwd`), OpenLDAP's slappasswd and Django's hashers, not by this program.
CRYPT_HASHES = (
    "$1$abcdefgh$l/LAqC8oJERu7Cmx6trtY/",
    "$5$rounds=1000$abcdefgh$U4dALHiE1LXMxY5ZpGUfgVnoxC3Y5jRx.egoM/qSTS5",
    "$6$rounds=1000$abcdefgh$C9ePO7xfkdNkmX30TMprFC87F.ZzQcgxBJMpfNuNGhmsUk1PcnwZJ4vKFo6AoKBm/95qIf/K38842MOQlVokz0",
    "$y$j75$abcdefgh$mpO7dY8JzI5OIwjdP.och7DsjLRfi.i7/GYgEFsAM70",
    "{CRYPT}adpexzg3FUZAk",
)
"""Of the password "admin"."""

FOREIGN_HASHES = (
    ("$apr1$1X8/CNxQ$IpaBygJGAQr3DJdr3kSBj1", "$apr1$ (Apache's MD5)", True),
    ("$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/", "$apr1$ (Apache's MD5)", True),
    ("{PBKDF2-SHA256}10$IcR4b41xjtHau/fe.5.Tkg$SxHZp/xt0Qpt7uRNkttYCXbrV008POA02w7Ktmf0BrU", "PBKDF2-SHA256", True),
    ("$pbkdf2$10$ZCwFgDDmvJfy/j/nnDMmZA$shgdDGNMBuEkMu7bn6RbS.zqFpc", "PBKDF2-SHA1", True),
    ("{PBKDF2}10$ZCwFgDDmvJfy/j/nnDMmZA$shgdDGNMBuEkMu7bn6RbS.zqFpc", "PBKDF2-SHA1", True),
    ("pbkdf2_sha256$10$AgvmkIhAHCJm$aj25+BaFVfCohq9TjUB5RXIKJEyL/eDJhE6TZpn8mEI=", "PBKDF2-SHA256", True),
    (
        "$pbkdf2-sha512$10$JQTgXGutlTIGQEjJeY9x7g$ED1KwB2ZPsaktatlzLmu/o1atuC8r4a5UEFHmMlERAsbxLnu9fTIzcOkPavaOGTzZsQBZh2OZJkUcvpPS.PpdA",
        "PBKDF2-SHA512",
        True,
    ),
    ("{SSHA}XBQkbQhW2IuAU6efu7FnwJvyajhDKCUE", "{SSHA}", True),
    ("{ssha}XBQkbQhW2IuAU6efu7FnwJvyajhDKCUE", "{SSHA}", True),
    ("{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "{SHA}", True),
    ("bcrypt$$2b$04$tLHw8GF6vLft2KGK9qSjbe28Gw9gySdwSGBVuoJvkGETCzhSMzDQi", "bcrypt", False),
    ("bcrypt_sha256$$2b$04$NgQmbCpPQe0mc0FycWdGoeB0ck.SZm6h.2PLtS3/Dcp.6a9leuZBS", "bcrypt", False),
    ("$2$04$Shmsiw8JLD1OAurd0fwEKeLvUo8DdNlE91H4q1wIVIfDXBkuAhn92", "bcrypt", True),
)
"""Of the password "secret"."""


EVERY_KIND = (
    *(CHEAP_ARGON2, CHEAP_BCRYPT, CHEAP_SCRYPT, "MD5:5ebe2294ecd0e0f08eab7690d2a6ee69", "CRYPT:adpexzg3FUZAk", "plain"),
    *CRYPT_HASHES,
    *(text for text, _, _ in FOREIGN_HASHES),
)


def stored(text: str) -> PasswordHash:
    found, rest = take(text)
    assert rest == "", rest
    return found


class VectorTests(unittest.TestCase):
    def test_vectors(self) -> None:
        for text, password, scheme, legacy in (
            ("OBF:1vny1zlo1x8e1vnw1vn61x8g1zlu1vn4", "storepwd", "OBF", True),
            ("CRYPT:adpexzg3FUZAk", "admin", "CRYPT", True),
            ("MD5:5ebe2294ecd0e0f08eab7690d2a6ee69", "secret", "MD5", True),
            ("MD5:5EBE2294ECD0E0F08EAB7690D2A6EE69", "secret", "MD5", True),
            ("letmein", "letmein", "plain text", True),
            ("{plain}$6$letmein", "$6$letmein", "plain text", True),
            ("md5:abc", "md5:abc", "plain text", True),  # prefixes are case-sensitive
            (CHEAP_ARGON2, "argon2", "argon2id", False),
            ("{argon2id}" + CHEAP_ARGON2, "argon2", "argon2id", False),
            ("{ARGON2ID}" + CHEAP_ARGON2, "argon2", "argon2id", False),
            (CHEAP_BCRYPT, "x", "bcrypt", False),
            ("{bcrypt}" + CHEAP_BCRYPT, "x", "bcrypt", False),
            (CHEAP_BCRYPT.replace("$2b$", "$2a$"), "x", "bcrypt", False),
            (CHEAP_BCRYPT.replace("$2b$", "$2y$"), "x", "bcrypt", False),
            (PASSLIB_SCRYPT, "password", "scrypt", False),
            (SPRING_SCRYPT, "password", "scrypt", False),
        ):
            found = stored(text)
            self.assertEqual((found.scheme, found.legacy), (scheme, legacy), text)
            self.assertTrue(found.verify(password), text)
            for wrong in (
                (password + "\0",)
                if "ln=16" in text
                else ("", password[:-1], password + "\0", "日" + password, password.swapcase())
            ):
                self.assertFalse(found.verify(wrong), (text, wrong))

    def test_md5_takes_iso_8859_1(self) -> None:
        found = stored("MD5:" + hashlib.md5("pässwörd".encode("iso-8859-1")).hexdigest())
        self.assertTrue(found.verify("pässwörd"))

    def test_what_iso_8859_1_lacks_is_no_question_mark(self) -> None:
        question_marks = stored("MD5:" + hashlib.md5(b"??").hexdigest())
        self.assertFalse(question_marks.verify("日本"), "Java's ? would let any such password in")
        self.assertTrue(stored("pässword日本").verify("pässword日本"))

    def test_obf_with_marked_groups(self) -> None:
        self.assertTrue(stored(f"OBF:{_obfuscate('pässwörd'.encode())}").verify("pässwörd"))
        self.assertTrue(stored(f"OBF:{_obfuscate('pässwörd'.encode('iso-8859-1'))}").verify("pässwörd"))


def _obfuscate(raw: bytes) -> str:
    """Jetty's Password.obfuscate."""

    def base36(number: int) -> str:
        digits = ""
        while number:
            number, rest = divmod(number, 36)
            digits = "0123456789abcdefghijklmnopqrstuvwxyz"[rest] + digits
        return digits

    groups = []
    for one, two in zip(raw, reversed(raw), strict=True):
        if one > 127 or two > 127:
            groups.append("U" + base36(one * 256 + two).rjust(4, "0"))
        else:
            groups.append(base36((127 + one + two) * 256 + 127 + one - two).rjust(4, "0"))
    return "".join(groups)


class ForeignTests(unittest.TestCase):
    """Hashes that other programs made."""

    def test_each_spelling_is_read(self) -> None:
        for text, scheme, legacy in FOREIGN_HASHES:
            found, rest = take(f"{text}, role")
            self.assertEqual((found.scheme, found.legacy, rest), (scheme, legacy, ", role"), text)
            self.assertTrue(found.verify("secret"), text)
            for wrong in ("", "secre", "secrets", "Secret", "secret\0", "\0secret", "日", "x" * 5000):
                self.assertFalse(found.verify(wrong), (text, wrong))

    def test_the_crypt_family(self) -> None:
        for text in CRYPT_HASHES:
            for spelled in (text, text if text.startswith("{") else "{CRYPT}" + text):
                found, rest = take(f"{spelled},role")
                self.assertEqual((found.legacy, rest), ("$y$" not in text, ",role"), text)
                self.assertTrue(found.verify("admin"), text)
                for wrong in ("", "admi", "Admin", "admin\0", "日"):
                    self.assertFalse(found.verify(wrong), (text, wrong))

    def test_bcrypt_in_braces_of_other_programs(self) -> None:
        for word in ("bcrypt", "BCRYPT", "CRYPT", "BLF-CRYPT"):
            self.assertEqual(stored(f"{{{word}}}{CHEAP_BCRYPT}"), stored(CHEAP_BCRYPT))

    def test_bcrypt_without_a_letter_does_not_end_a_password_with_a_nul(self) -> None:
        old = stored("$2$04$JLLdlceLaarZF1/HZJSQh.SGduO/fzYTgsCz0kxfqNsj/mPy.VWTy")
        self.assertTrue(old.verify("ü"))
        self.assertTrue(old.verify("üü"), "the weakness for which $2a$ replaced it")
        self.assertFalse(old.verify("ü" * 37), "74 bytes")

    def test_bcrypt_of_a_digest_has_no_longest_password(self) -> None:
        digest = hashlib.sha256(b"x" * 100).hexdigest().encode()
        hashed = stored("bcrypt_sha256$" + bcrypt.hashpw(digest, bcrypt.gensalt(4)).decode())
        self.assertTrue(hashed.verify("x" * 100))
        self.assertFalse(hashed.verify("x" * 101))

    def test_the_variants_of_argon2(self) -> None:
        for kind, name in ((argon2.low_level.Type.I, "argon2i"), (argon2.low_level.Type.D, "argon2d")):
            text = argon2.low_level.hash_secret(b"x", b"saltsalt", 1, 8, 1, 16, kind).decode()
            for spelled in (text, "{ARGON2}" + text, "argon2" + text):
                found = stored(spelled)
                self.assertEqual((found.scheme, found.legacy), (name, False))
                self.assertTrue(found.verify("x"))
                self.assertFalse(found.verify("y"))
        old = argon2.low_level.hash_secret(b"x", b"saltsalt", 1, 8, 1, 16, argon2.low_level.Type.I, 16).decode()
        self.assertTrue(stored(old.replace("$v=16", "")).verify("x"), "the first version wrote no v=")

    def test_directories_digests_with_and_without_salt(self) -> None:
        for word, function in (
            *(("MD5", "md5"), ("SHA", "sha1"), ("SHA256", "sha256"), ("SHA384", "sha384"), ("SHA512", "sha512")),
            *(("SMD5", "md5"), ("SSHA", "sha1"), ("SSHA256", "sha256"), ("SSHA384", "sha384"), ("SSHA512", "sha512")),
        ):
            salt = b"salt" if word[:2] in ("SM", "SS") else b""
            digest = hashlib.new(function, "pässwörd".encode() + salt).digest() + salt
            found = stored(f"{{{word}}}{base64.b64encode(digest).decode()}")
            self.assertEqual((found.scheme, found.legacy), (f"{{{word}}}", True))
            self.assertTrue(found.verify("pässwörd"))
            self.assertFalse(found.verify("passwörd"))
            for length in (len(digest) - len(salt) - 1, len(digest) + (65 if salt else 1)):
                with self.assertRaises(PasswordFormatError):
                    take(f"{{{word}}}{base64.b64encode(bytes(length)).decode()}")

    def test_scrypt_of_django(self) -> None:
        digest = base64.b64encode(hashlib.scrypt(b"secret", salt=b"saltysalt", n=16, r=8, p=1, dklen=64)).decode()
        found = stored(f"scrypt$16$saltysalt$8$1${digest}")
        self.assertTrue(found.verify("secret"))
        self.assertFalse(found.verify("secret!"))
        with self.assertRaises(PasswordFormatError):
            take(f"scrypt$17$saltysalt$8$1${digest}")

    def test_many_rounds_are_no_weakness(self) -> None:
        hashed = CRYPT_HASHES[2]
        self.assertTrue(stored(hashed.replace("rounds=1000", "rounds=99999")).legacy)
        self.assertFalse(stored(hashed.replace("rounds=1000", "rounds=100000")).legacy)
        self.assertEqual(stored(hashed.replace("rounds=1000$", "")).rounds, 5000)
        pbkdf2 = FOREIGN_HASHES[2][0]
        self.assertTrue(stored(pbkdf2.replace("}10$", "}99999$")).legacy)
        self.assertFalse(stored(pbkdf2.replace("}10$", "}100000$")).legacy)

    def test_rounds_have_bounds(self) -> None:
        for text, good, bad in (
            (CRYPT_HASHES[2], ("rounds=1000$", "rounds=5000000$"), ("rounds=999$", "rounds=5000001$", "rounds=05000$")),
            (CRYPT_HASHES[1], ("rounds=1000$", "rounds=5000000$"), ("rounds=999$", "rounds=5000001$", "rounds=$")),
            (FOREIGN_HASHES[2][0], ("}1$", "}5000000$"), ("}0$", "}5000001$", "}$")),
        ):
            present = "rounds=1000$" if "rounds" in text else "}10$"
            for rounds in good:
                stored(text.replace(present, rounds))
            for rounds in bad:
                with self.assertRaises(PasswordFormatError, msg=rounds):
                    take(text.replace(present, rounds))

    def test_yescrypt_has_a_bound(self) -> None:
        self.assertEqual(stored(CRYPT_HASHES[3].replace("j75", "jDT")).cost, ("crypt", "$y$", "jDT"))
        with self.assertRaises(PasswordFormatError):
            take(CRYPT_HASHES[3].replace("j75", "jET"))

    def test_no_password_of_any_length_fits_the_beginning_of_another(self) -> None:
        hashed = stored(CRYPT_HASHES[2])
        self.assertFalse(hashed.verify("admin" + "x" * 600))
        digest = system_crypt.crypt(b"x" * 511, CRYPT_HASHES[2].encode(), "$6$").decode()
        self.assertTrue(stored(digest).verify("x" * 511))
        self.assertFalse(stored(digest).verify("x" * 512))


class GrammarTests(unittest.TestCase):
    def test_the_commas_of_a_good_hash_are_its_own(self) -> None:
        for text in (CHEAP_ARGON2, CHEAP_BCRYPT, PASSLIB_SCRYPT, SPRING_SCRYPT):
            for rest in (",role1,role2", ", role"):
                found, after = take(text + rest)
                self.assertEqual((found, after), (stored(text), rest))

    def test_the_braces_change_nothing(self) -> None:
        for scheme, text in (("argon2id", CHEAP_ARGON2), ("bcrypt", CHEAP_BCRYPT), ("scrypt", PASSLIB_SCRYPT)):
            self.assertEqual(stored(f"{{{scheme}}}{text}"), stored(text))

    def test_old_forms_are_cut_at_the_first_comma(self) -> None:
        for text in (
            "MD5:5ebe2294ecd0e0f08eab7690d2a6ee69",
            "CRYPT:adpexzg3FUZAk",
            "OBF:1vny1zlo1x8e1vnw1vn61x8g1zlu1vn4",
            "a b",
        ):
            found, after = take(f"{text} ,role,m=1")
            self.assertEqual((found, after), (stored(text), ",role,m=1"))

    def test_what_is_refused(self) -> None:
        big = "A" * 43
        for text in (
            "", "{plain}", ",role",
            "MD5:", "MD5:5ebe", "MD5:zzbe2294ecd0e0f08eab7690d2a6ee69", "CRYPT:", "CRYPT:short", "CRYPT:adpexzg3FUZA!",
            "OBF:", "OBF:1vny1", "OBF:zzzz", "OBF:1VNY",
            "$1$salt$hash", "$6$rounds=5000$salt$hash", "$argon2x$v=19$m=8,t=1,p=1$" + SALT + "$" + DIGEST, "{SSHA}secret",
            CHEAP_BCRYPT + "x", CHEAP_BCRYPT[:-1], CHEAP_BCRYPT.replace("$2b$", "$2x$"), CHEAP_BCRYPT.replace("$04$", "$03$"),
            "$2b$04$21yJHLrEBNPYx4QYD810hz" + "a" * 31,  # the last letter of the salt has unused bits
            CHEAP_ARGON2 + "=", CHEAP_ARGON2 + " role", "{bcrypt}" + CHEAP_ARGON2, "{argon2id}" + CHEAP_BCRYPT, "{scrypt}secret",
            f"$argon2id$v=19$m=08,t=1,p=1${SALT}${DIGEST}",
            f"$argon2id$v=19$m=7,t=1,p=1${SALT}${DIGEST}",
            f"$argon2id$v=18$m=8,t=1,p=1${SALT}${DIGEST}",
            f"$argon2id$v=19$m=8,t=1,p=1$AAAA${DIGEST}",
            f"$argon2id$v=19$m=8,t=1,p=1${SALT}$AAAA",
            f"$argon2id$v=19$m=8,t=1,p=1${SALT}${big[:-1]}B", f"$argon2id$v=19$m=8,t=1,p=1${SALT}AA${DIGEST}",
            f"$scrypt$ln=0,r=8,p=1${SALT}${DIGEST}",
            f"$scrypt$ln=16,r=0,p=1${SALT}${DIGEST}",
            f"$scrypt$ln=16,r=8,p=1$AAAA${DIGEST}",
            f"{{scrypt}}$e0001${SALT}${DIGEST}",
            f"{{scrypt}}$0${SALT}${DIGEST}",
        ):  # fmt: skip
            with self.assertRaises(PasswordFormatError, msg=text) as caught:
                take(text)
            self.assertNotIn("secret", str(caught.exception))

    def test_absurd_costs_are_refused_when_loaded(self) -> None:
        for text in (
            CHEAP_BCRYPT.replace("$04$", "$31$"),
            CHEAP_BCRYPT.replace("$04$", "$16$"),
            f"$argon2id$v=19$m=4194304,t=1,p=1${SALT}${DIGEST}",
            f"$argon2id$v=19$m=65536,t=4000,p=1${SALT}${DIGEST}",
            f"$argon2id$v=19$m=65536,t=1,p=255${SALT}${DIGEST}",
            f"$scrypt$ln=31,r=8,p=1${SALT}${DIGEST}",
            f"$scrypt$ln=9999999999,r=8,p=1${SALT}${DIGEST}",
            f"$scrypt$ln=16,r=8,p=1000000${SALT}${DIGEST}",
            f"$scrypt$ln=16,r=1000000,p=1${SALT}${DIGEST}",
            f"{{scrypt}}$1f0801${SALT}${DIGEST}",
        ):
            with self.assertRaises(PasswordFormatError, msg=text):
                take(text)

    @reaches(5)
    @given(
        st.text()
        | st.builds(
            lambda start, rest: start + rest, st.sampled_from([*EVERY_KIND, "{scrypt}$", "$argon2id$", "OBF:"]), st.text()
        )
    )
    def test_anything_is_read_or_refused(self, text: str) -> None:
        try:
            _, rest = take(text)
        except PasswordFormatError:
            return
        reached(self)
        self.assertTrue(rest == "" or rest.startswith(","))

    def test_no_hash_shows_in_a_repr(self) -> None:
        for text in EVERY_KIND:
            self.assertNotIn(
                text.rsplit("$", 1)[-1].removeprefix("MD5:").removeprefix("CRYPT:"), repr(stored(text)).replace("plain text", "")
            )


class BcryptTests(unittest.TestCase):
    def test_72_bytes_and_not_one_more(self) -> None:
        hashed = stored(bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode())
        self.assertTrue(hashed.verify("x" * 72))
        self.assertFalse(hashed.verify("x" * 73))
        self.assertFalse(hashed.verify("x" * 72 + "\0"))
        with self.assertRaises(PasswordFormatError):
            make("ü" * 37, "bcrypt")

    def test_a_password_over_the_limit_costs_as_much(self) -> None:
        calls: list[bytes] = []
        real = bcrypt.checkpw
        self.patch(bcrypt, "checkpw", lambda password, hashed: calls.append(password) or real(password, hashed))
        stored(CHEAP_BCRYPT).verify("x" * 5000)
        self.assertEqual(calls, [b"x" * 72])


class Argon2Tests(unittest.TestCase):
    def test_a_fault_of_the_library_is_not_a_wrong_password(self) -> None:
        broken = Argon2("$argon2id$v=19$m=8,t=1,p=1$broken", Variant.ID, 8, 1, 1)
        with self.assertRaises(Exception):  # noqa: B017
            broken.verify("argon2")


class DecoyTests(unittest.TestCase):
    def test_attack_29_a_decoy_costs_the_same_and_fits_nothing(self) -> None:
        for text in EVERY_KIND:
            found = stored(text)
            decoy = found.decoy()
            self.assertEqual((type(decoy), decoy.cost, decoy.rounds), (type(found), found.cost, found.rounds))
            self.assertNotEqual(decoy, found)
            if found.rounds:
                self.assertEqual(found.decoy(4321).rounds, 4321)
            for password in ("", "x", "argon2", "secret", "admin", "plain"):
                self.assertFalse(decoy.verify(password), text)

    def test_a_decoy_is_one_that_take_would_accept(self) -> None:
        for text in (CHEAP_ARGON2, CHEAP_BCRYPT):
            decoy = stored(text).decoy()
            self.assertEqual(stored(decoy.encoded), decoy)  # type: ignore[attr-defined]

    def test_costs_differ_with_the_parameters(self) -> None:
        self.assertNotEqual(stored(CHEAP_BCRYPT).cost, stored(CHEAP_BCRYPT.replace("$04$", "$05$")).cost)
        self.assertNotEqual(stored(CHEAP_SCRYPT).cost, stored(CHEAP_SCRYPT.replace("ln=1,", "ln=2,")).cost)
        self.assertNotEqual(stored(CHEAP_ARGON2).cost, stored(CHEAP_ARGON2.replace("t=1", "t=2")).cost)


class MakeTests(unittest.TestCase):
    def test_each_scheme_makes_what_take_reads(self) -> None:
        for scheme in SCHEMES:
            hashed = make("pässword, with a comma", scheme)
            found, rest = take(f"{hashed},role")
            self.assertEqual((found.scheme, rest), (scheme, ",role"))
            self.assertTrue(found.verify("pässword, with a comma"))
            self.assertFalse(found.verify("pässword"))

    def test_what_could_never_log_in_is_refused(self) -> None:
        for password in ("", "a\0b", "a\nb", "\x7f", "\udc80"):
            for scheme in SCHEMES:
                with self.assertRaises(PasswordFormatError):
                    make(password, scheme)
        with self.assertRaises(PasswordFormatError):
            make("x", "md5")


class SystemCryptTests(unittest.TestCase):
    def test_published_vectors(self) -> None:
        self.assertEqual(system_crypt.crypt(b"admin", b"adpexzg3FUZAk", system_crypt.DES), b"adpexzg3FUZAk")
        self.assertEqual(system_crypt.crypt(b"U*U*U*U*", b"CCNf8Sbh3HDfQ", system_crypt.DES), b"CCNf8Sbh3HDfQ")  # Openwall's
        for key in (b"a\0b", b"x" * 512):
            with self.assertRaises(ValueError):
                system_crypt.crypt(key, b"adpexzg3FUZAk", system_crypt.DES)

    def test_a_setting_that_crypt_refuses_is_not_a_wrong_password(self) -> None:
        with self.assertRaises(RuntimeError):
            system_crypt.crypt(b"admin", b"$6$rounds=nonsense$x$y", "$6$")

    def test_without_libcrypt_the_file_is_refused_when_it_is_loaded(self) -> None:
        system_crypt._crypt_r.cache_clear()
        self.addCleanup(system_crypt._crypt_r.cache_clear)
        self.patch(system_crypt, "_LIBRARIES", ("no-such-library.so",))
        for text in ("CRYPT:adpexzg3FUZAk", *(text for text in CRYPT_HASHES if "$apr1$" not in text)):
            with self.assertRaises(PasswordFormatError, msg=text) as caught:
                take(text)
            self.assertIn("libcrypt", str(caught.exception))
        with self.assertRaises(RuntimeError):
            system_crypt.crypt(b"admin", b"adpexzg3FUZAk", system_crypt.DES)

    @settings(max_examples=20, deadline=None)
    @given(st.text())
    def test_no_password_makes_it_raise(self, password: str) -> None:
        for text in ("CRYPT:adpexzg3FUZAk", *CRYPT_HASHES):
            stored(text).verify(password)

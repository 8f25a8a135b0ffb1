"""Java keystores: one made by keytool, and damaged or hostile files."""

from __future__ import annotations

import base64

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_private_key
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from perimeter.net.jks import DamagedKeystore, PrivateKeyEntry, WrongPassword, read_entries
from tests.unit.doubles.der import NULL, element
from tests.unit.doubles.java_keystore import key_entry, keystore, protect, trusted_entry

# keytool -genkeypair -alias gw -keyalg EC -groupname secp256r1 -storetype JKS -storepass storepass -keypass storepass …
OF_KEYTOOL = base64.b64decode(
    "/u3+7QAAAAIAAAABAAAAAQACZ3cAAAGiA1YAOAAAAH8wfTAOBgorBgEEASoCEQEBBQAEawlbJ2M5fLB+9+ImEJQ0z2OExXZImApkXxuLtVd5Ly"
    "fNIKhq9LGr+AStwvPPWJY5c/v5Rm8lyN7AZvs59jgL5uHhRfGa8sF3pIYW3cyYNw/bZ1uVWUtvYEtYEsftilcnR//l/xtEFdh/GyIaAAAAAQAF"
    "WC41MDkAAAFaMIIBVjCB/aADAgECAggOSdN01hV60DAKBggqhkjOPQQDAjAUMRIwEAYDVQQDEwlsb2NhbGhvc3QwIBcNMjYxMTIyMTI1ODE3Wh"
    "gPMjA4MTA4MjUxMjU4MTdaMBQxEjAQBgNVBAMTCWxvY2FsaG9zdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABE8F5WeLrsASA2/xV8S/pVdI"
    "SDdJB9K82etH9yzUud0Hk5mp5SnlJ24v/POPETow24ei3l9OpTcobWmlTN58ZXSjNzA1MB0GA1UdDgQWBBQ39tVo3FGkCdfEdHBz27MlsNWUDD"
    "AUBgNVHREEDTALgglsb2NhbGhvc3QwCgYIKoZIzj0EAwIDSAAwRQIgSxY4yUBlw54//20s1KDTuRqtnXSWiDPGMXRJVuev05oCIQCPSCWVx3Ry"
    "6T+hQrOFgAucqMcX1XxSJqGhxKoJDMa8QsloV+RpQWZo/r/fCl+SuVW51WOt"
)


class KeytoolTests(TestCase):
    def test_key_and_certificate_belong_together(self) -> None:
        (entry,) = read_entries(OF_KEYTOOL, "storepass")
        self.assertEqual(entry.alias, "gw")
        key = load_der_private_key(entry.decrypt("storepass"), None)
        (der,) = entry.chain
        self.assertEqual(key.public_key(), x509.load_der_x509_certificate(der).public_key())

    def test_wrong_password(self) -> None:
        (entry,) = read_entries(OF_KEYTOOL, "storepass")
        for password in ("", "no", "storepass ", "ü"):
            self.assertRaises(WrongPassword, read_entries, OF_KEYTOOL, password)
            self.assertRaises(WrongPassword, entry.decrypt, password)

    def test_cut_short_anywhere(self) -> None:
        for size in range(len(OF_KEYTOOL)):
            self.assertRaises(DamagedKeystore, read_entries, OF_KEYTOOL[:size], "storepass")

    def test_something_after_the_end(self) -> None:
        self.assertRaises(DamagedKeystore, read_entries, OF_KEYTOOL + b"\0", "storepass")

    @given(st.integers(0, len(OF_KEYTOOL) * 8 - 1))
    def test_no_flipped_bit_is_missed(self, bit: int) -> None:
        data = bytearray(OF_KEYTOOL)
        data[bit // 8] ^= 1 << bit % 8
        with self.assertRaises((DamagedKeystore, WrongPassword)):
            read_entries(bytes(data), "storepass")

    def test_no_key_in_its_repr(self) -> None:
        self.assertEqual(repr(read_entries(OF_KEYTOOL, "storepass")), "[PrivateKeyEntry(alias='gw')]")


class FormatTests(TestCase):
    def test_several_entries_in_order(self) -> None:
        entries = [
            key_entry("a", protect(b"key of a", "p"), [b"one", b"two"]),
            trusted_entry("ca", b"trusted"),
            key_entry("b", protect(b"key of b" * 100, "p"), []),
        ]
        a, b = read_entries(keystore(entries, "p"), "p")
        self.assertEqual((a.alias, a.decrypt("p"), a.chain), ("a", b"key of a", (b"one", b"two")))
        self.assertEqual((b.alias, b.decrypt("p"), b.chain), ("b", b"key of b" * 100, ()))

    def test_key_with_a_password_of_its_own(self) -> None:
        (entry,) = read_entries(keystore([key_entry("a", protect(b"key", "own"), [])], "store"), "store")
        self.assertRaises(WrongPassword, entry.decrypt, "store")
        self.assertEqual(entry.decrypt("own"), b"key")

    def test_alias_cannot_forge_a_line(self) -> None:
        (entry,) = read_entries(keystore([key_entry("a\nb", protect(b"key", "p"), [])], "p"), "p")
        self.assertEqual(entry.alias, r"'a\nb'")

    def test_algorithm_without_parameters(self) -> None:
        for parameters in (NULL, b""):
            (entry,) = read_entries(keystore([key_entry("a", protect(b"key", "p", parameters), [])], "p"), "p")
            self.assertEqual(entry.decrypt("p"), b"key")
            self.assertRaises(WrongPassword, entry.decrypt, "no")

    def test_key_protected_in_another_way(self) -> None:
        for protected in (
            protect(b"key", "p", element(0x04, b"salt")),
            protect(b"key", "p", NULL + NULL),
            protect(b"key", "p").replace(bytes.fromhex("02110101"), bytes.fromhex("02110102")),
            b"",
            b"\x30",
            b"\x30\x00",
            b"\x30\x82",
            b"\x04\x01a",
            protect(b"", "p")[:-1],
            b"\x30\x84\xff\xff\xff\xff",
        ):
            self.assertRaises(DamagedKeystore, PrivateKeyEntry("a", protected, ()).decrypt, "p")

    @given(st.binary(max_size=80), st.text(max_size=5))
    def test_nothing_else_is_raised_for_a_key(self, protected: bytes, password: str) -> None:
        with self.assertRaises((DamagedKeystore, WrongPassword)):
            PrivateKeyEntry("a", protected, ()).decrypt(password)

    @given(st.binary(max_size=120), st.text(max_size=5))
    def test_nothing_else_is_raised_for_a_file(self, rest: bytes, password: str) -> None:
        with self.assertRaises((DamagedKeystore, WrongPassword)):
            read_entries(b"\xfe\xed\xfe\xed\0\0\0\2" + rest, password)

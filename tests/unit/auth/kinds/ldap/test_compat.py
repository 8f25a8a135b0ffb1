"""LDAP messages to bytes and back, and what ldaptor lacks."""

from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st
from ldaptor.protocols import pureber, pureldap
from twisted.trial.unittest import TestCase

from perimeter.auth.kinds.ldap import compat
from perimeter.auth.kinds.ldap.compat import Malformed, decode, frame
from perimeter.auth.kinds.ldap.values import (
    And,
    AtLeast,
    AtMost,
    Equal,
    LdapEntry,
    Matching,
    Message,
    Not,
    Or,
    Present,
    Reference,
    Result,
    Similar,
    Substrings,
)
from tests.unit.doubles.properties import reached, reaches

# RFC 4511, section 4.2.2: message 1, a bind response with success
BOUND = bytes.fromhex("300c02010161070a010004000400")


def entry(number: int = 2) -> bytes:
    value = pureldap.LDAPSearchResultEntry(b"cn=Jos\xc3\xa9,dc=x", [(b"CN", [b"Jos\xc3\xa9", b"\xff\r\n"]), (b"uid", [])])
    return bytes(pureldap.LDAPMessage(value, id=number).toWire())


# messages that hold a result: their number, the kind of operation, its code, two texts and what may follow
RESULTS = st.builds(
    lambda number, tag, code, texts, rest: (
        BOUND[2:4] + bytes([number, tag, len(texts) + len(rest) + 3, 10, 1, code]) + texts + rest
    ),
    st.integers(0, 127),
    st.sampled_from([0x61, 0x65, 0x67, 0x78, 0x60]),
    st.integers(0, 127),
    st.sampled_from([b"\x04\x00\x04\x00", b"\x04\x01x\x04\x02\xc3\xa9", b"\x04\x00\x04\x01\xff", b"\x04\x00"]),
    st.sampled_from([b"", b"\x87\x00", b"\x89\x01A"]) | st.binary(max_size=3),
)


class DecodeTests(TestCase):
    def test_results(self) -> None:
        self.assertEqual(decode(BOUND), Message(1, Result(0)))
        refused = pureldap.LDAPBindResponse(resultCode=49, errorMessage=b"data 52e, \xff")
        self.assertEqual(decode(pureldap.LDAPMessage(refused, id=7).toWire()), Message(7, Result(49, "data 52e, \ufffd")))

    def test_entries(self) -> None:
        found = decode(entry())
        self.assertEqual(found, Message(2, LdapEntry("cn=José,dc=x", {"cn": (b"Jos\xc3\xa9", b"\xff\r\n"), "uid": ()})))
        assert isinstance(found.content, LdapEntry)
        self.assertEqual(found.content.values("CN"), (b"Jos\xc3\xa9", b"\xff\r\n"))
        self.assertEqual(found.content.values("mail"), ())

    def test_references(self) -> None:
        # message 3, searchResultReference with one URI
        self.assertEqual(decode(bytes.fromhex("30 0f 02 01 03 73 0a 04 08") + b"ldap://x"), Message(3, Reference()))

    def test_a_referral_with_its_uris(self) -> None:
        # resultCode 10 and [3] { "ldap://x" }: ldaptor has no class for it in a bind response
        for tag in (0x61, 0x65):
            uris = b"\xa3\x0a\x04\x08ldap://x"
            operation = b"\x0a\x01\x0a\x04\x00\x04\x00" + uris
            body = b"\x02\x01\x01" + bytes([tag, len(operation)]) + operation
            self.assertEqual(decode(b"\x30" + bytes([len(body)]) + body), Message(1, Result(10)))

    def test_page_cookies(self) -> None:
        value = pureber.BERSequence([pureber.BERInteger(0), pureber.BEROctetString(b"\x01\x00cookie")]).toWire()
        done = pureldap.LDAPSearchResultDone(resultCode=0)
        message = pureldap.LDAPMessage(done, controls=[(b"1.2.840.113556.1.4.319", False, value), (b"1.2.3", None, None)], id=9)
        self.assertEqual(decode(message.toWire()), Message(9, Result(0, "", b"\x01\x00cookie")))

    def test_unknown_elements_are_dropped_and_printed_nowhere(self) -> None:
        code = (
            "from perimeter.auth.kinds.ldap.compat import decode\n"
            # a bind response with an unknown element [9] at its end
            "print(decode(bytes.fromhex('300f0201016' '10a0a010004000400890141')).content)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        self.assertEqual(done.stdout, "Result(code=0, message='', cookie=b'')\n")

    def test_attack_41_a_message_ends_where_it_says(self) -> None:
        for data in (BOUND + b"\x00", BOUND + BOUND, bytes.fromhex("300c0402010161070a010004000400")):
            with self.assertRaises(Malformed):
                decode(data)

    def test_names_that_are_no_utf8_are_refused(self) -> None:
        value = pureldap.LDAPSearchResultEntry(b"cn=\xff", [])
        with self.assertRaises(Malformed):
            decode(pureldap.LDAPMessage(value, id=1).toWire())

    def test_requests_are_no_answers(self) -> None:
        with self.assertRaises(Malformed):
            decode(compat.bind_request(1, "cn=x", "pw"))

    def test_attack_41_deep_nesting_is_malformed(self) -> None:
        data = b""
        for _ in range(3000):
            data = pureber.BERSequence([]).toWire()[:1] + pureber.int2berlen(len(data)) + data
        with self.assertRaises(Malformed):
            decode(b"\x30" + pureber.int2berlen(len(data) + 3) + b"\x02\x01\x01" + data)

    @reaches(2)
    @given(st.binary(max_size=60) | RESULTS)
    def test_attack_41_garbage_is_malformed_and_nothing_else(self, data: bytes) -> None:
        try:
            found = decode(b"\x30" + bytes([len(data)]) + data)
        except Malformed:
            return
        reached(self)
        self.assertIsInstance(found, Message)

    @given(st.data())
    def test_attack_41_a_changed_byte_is_no_crash(self, data: st.DataObject) -> None:
        octets = bytearray(data.draw(st.sampled_from((BOUND, entry()))))
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
        try:
            length = frame(octets)
            if length == len(octets):
                decode(bytes(octets))
        except Malformed:
            pass


class FrameTests(TestCase):
    def test_every_part_of_a_message(self) -> None:
        for message in (BOUND, entry(), b"\x30\x82\x01\x00" + bytes(256)):
            self.assertEqual(frame(message), len(message))
            self.assertEqual(frame(message + b"\x30"), len(message))
            for size in range(len(message)):
                self.assertIn(frame(message[:size]), (0, len(message)))
        self.assertEqual(frame(b""), 0)

    def test_lengths_of_one_to_four_bytes(self) -> None:
        for head, length in (("308180", 131), ("30820100", 260), ("3083010000", 65541), ("308400010000", 65542)):
            self.assertEqual(frame(bytes.fromhex(head)), length)

    def test_attack_23_the_longest_message_has_eight_mib(self) -> None:
        self.assertEqual(frame(b"\x30\x84" + (2**23 - 6).to_bytes(4, "big")), 2**23)
        with self.assertRaises(Malformed):
            frame(b"\x30\x84" + (2**23 - 5).to_bytes(4, "big"))

    def test_attack_23_lengths_that_cannot_be(self) -> None:
        for start in ("3080", "3085", "30ff", "3084ffffffff", "308400800001", "31", "485454"):
            with self.assertRaises(Malformed):
                frame(bytes.fromhex(start))


class EncodeTests(TestCase):
    def test_a_bind(self) -> None:
        self.assertEqual(compat.bind_request(1, "", ""), bytes.fromhex("300c020101600702010304008000"))
        self.assertIn("cn=José".encode(), compat.bind_request(1, "cn=José", "contraseña"))
        self.assertIn("contraseña".encode(), compat.bind_request(1, "cn=José", "contraseña"))

    def test_attack_31_a_filter_is_its_objects(self) -> None:
        value = "*)(uid=\\2a\0"
        data = compat.search_request(1, "dc=x", 2, And((Equal("cn", value), Or((Equal("a", "b"),)))), ("cn",), 2, 5)
        # [0] and { [3] equalityMatch cn, the value byte by byte, [1] or { … } }
        raw = value.encode()
        equal = b"\xa3" + bytes([len(raw) + 6]) + b"\x04\x02cn\x04" + bytes([len(raw)]) + raw
        self.assertIn(equal + b"\xa1\x08\xa3\x06\x04\x01a\x04\x01b", data)

    def test_a_search_byte_by_byte(self) -> None:
        """RFC 4511, section 4.5.1: the whole subtree, aliases not followed, two entries, five seconds, types and values."""
        expected = (
            "302f 020103 632a 0404 64633d78 0a0102 0a0100 020102 020105 010100a307 0402 636e 0401 61 300a 0402 636e 0404 6d61696c"
        )
        data = compat.search_request(3, "dc=x", 2, Equal("cn", "a"), ("cn", "mail"), 2, 5)
        self.assertEqual(data, bytes.fromhex(expected))

    def test_a_matching_rule(self) -> None:
        data = compat.search_request(1, "dc=x", 2, Matching("member", "1.2.3", "cn=*"), ("cn",), 2, 5)
        self.assertIn(b"\xa9\x15\x81\x051.2.3\x82\x06member\x83\x04cn=*", data)

    def test_attack_31_each_kind_of_filter_byte_by_byte(self) -> None:
        for filter, expected in (
            (AtLeast("a", "7"), b"\xa5\x06\x04\x01a\x04\x017"),
            (AtMost("a", "7"), b"\xa6\x06\x04\x01a\x04\x017"),
            (Similar("a", "*"), b"\xa8\x06\x04\x01a\x04\x01*"),
            (Present("mail"), b"\x87\x04mail"),
            (Not(Present("b")), b"\xa2\x03\x87\x01b"),
            (Substrings("a", ("b*", "c", "", "d")), b"\xa4\x11\x04\x01a\x30\x0c\x80\x02b*\x81\x01c\x81\x00\x82\x01d"),
            (Substrings("a", ("b", "")), b"\xa4\x08\x04\x01a\x30\x03\x80\x01b"),
            (Substrings("a", ("", "b")), b"\xa4\x08\x04\x01a\x30\x03\x82\x01b"),
            (Matching("ou", "", "x", True), b"\xa9\x0a\x82\x02ou\x83\x01x\x84\x01\xff"),
            (Matching("", "2.4", "x"), b"\xa9\x08\x81\x032.4\x83\x01x"),
            (Equal("a", "\udcff"), b"\xa3\x06\x04\x01a\x04\x01\xff"),
        ):
            self.assertIn(expected, compat.search_request(1, "dc=x", 2, filter, ("cn",), 2, 5), filter)

    def test_a_page(self) -> None:
        data = compat.search_request(1, "dc=x", 2, Equal("a", "b"), ("cn",), 0, 5, page=500, cookie=b"next")
        # controlType, criticality FALSE, and the size and cookie of RFC 2696
        control = b"\x30\x29\x04\x161.2.840.113556.1.4.319\x01\x01\x00\x04\x0c\x30\x0a\x02\x02\x01\xf4\x04\x04next"
        self.assertTrue(data.endswith(b"\xa0\x2b" + control), data)

    def test_numbers_are_the_connections_own(self) -> None:
        for number in (1, 127, 128, 255, 256, 32768, 2**31 - 1):
            message, _ = pureber.berDecodeObject(compat._DECODER, compat.unbind_request(number))
            self.assertEqual(message.id, number)


class ImportTests(TestCase):
    def test_neither_a_reactor_nor_old_libraries_come_along(self) -> None:
        code = (
            "import warnings; warnings.simplefilter('error')\n"
            "import sys, perimeter.auth.kinds.ldap.compat\n"
            "print([one for one in ('twisted.internet.reactor', 'pyparsing', 'passlib') if one in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        self.assertEqual(done.stdout, "[]\n")

    def test_the_plug_in_does_not_load_ldaptor(self) -> None:
        code = "import sys, perimeter.auth.kinds.ldap.authenticator; print('ldaptor' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        self.assertEqual(done.stdout, "False\n")

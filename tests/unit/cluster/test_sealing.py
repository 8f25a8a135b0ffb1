"""Values in Redis: only who has a cluster secret can make one, and only for its key."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from perimeter.cluster.sealing import LENGTH, Sealing
from perimeter.cluster.text import decode, encode
from perimeter.errors import StateUnavailable
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.tokens.revocation import Removed, RevokedGrant

OLD, NEW, OTHER = b"o" * 32, b"n" * 32, b"x" * 32


class SealingTests(SynchronousTestCase):
    def test_a_value_is_a_mac_of_16_bytes_and_the_data(self) -> None:
        value = Sealing(NEW).seal("perimeter:a", b"data")
        self.assertEqual((len(value), value[LENGTH:]), (LENGTH + 4, b"data"))
        self.assertEqual(Sealing(NEW).open("perimeter:a", value), b"data")

    def test_a_value_is_good_under_its_own_key_only(self) -> None:
        value = Sealing(NEW).seal("perimeter:a", b"data")
        with self.assertRaises(StateUnavailable):
            Sealing(NEW).open("perimeter:b", value)

    def test_a_part_of_the_name_does_not_count_as_data(self) -> None:
        value = Sealing(NEW).seal("perimeter:a", b"bc")
        with self.assertRaises(StateUnavailable):
            Sealing(NEW).open("perimeter:ab", value[:LENGTH] + b"c")

    def test_each_changed_bit_is_noticed(self) -> None:
        value = Sealing(NEW).seal("perimeter:a", b"data")
        for at in range(len(value)):
            changed = value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :]
            with self.assertRaises(StateUnavailable):
                Sealing(NEW).open("perimeter:a", changed)
        for short in (b"", value[:LENGTH], value[:-1], value + b"\0"):
            with self.assertRaises(StateUnavailable):
                Sealing(NEW).open("perimeter:a", short)

    def test_an_earlier_secret_opens_and_does_not_seal(self) -> None:
        both = Sealing(NEW, OLD)
        self.assertEqual(both.open("a", Sealing(OLD).seal("a", b"data")), b"data")
        self.assertEqual(both.seal("a", b"data"), Sealing(NEW).seal("a", b"data"))
        with self.assertRaises(StateUnavailable):
            both.open("a", Sealing(OTHER).seal("a", b"data"))

    def test_the_secret_is_replaced(self) -> None:
        sealing = Sealing(OLD)
        before = sealing.seal("a", b"data")
        sealing.use(NEW, OLD)
        self.assertEqual(sealing.open("a", before), b"data")
        self.assertEqual(sealing.seal("a", b"data"), Sealing(NEW).seal("a", b"data"))
        sealing.use(NEW)
        with self.assertRaises(StateUnavailable):
            sealing.open("a", before)


class TextTests(SynchronousTestCase):
    def test_changes_come_back(self) -> None:
        changes = [RevokedGrant("jti", 7.0), Removed("id", passing=True)]
        self.assertEqual(decode(STATE_KINDS, encode(STATE_KINDS, changes)), ([], changes))
        self.assertEqual(decode(STATE_KINDS, encode(STATE_KINDS, changes, "a", "b"), 2), (["a", "b"], changes))

    def test_what_has_another_form_is_unavailable(self) -> None:
        good = encode(STATE_KINDS, [Removed("id")], "a")
        for data, before in (
            (good, 0),
            (good, 2),
            (good[:-1], 1),
            (b"", 0),
            (b"\xff", 0),
            (b"7", 0),
            (b"{}", 0),
            (b"[]", 0),
            (b"[7,[]]", 1),
            (b'[[["unknown","[]"]]]', 0),
            (b'[[["api_token_removed","7"]]]', 0),
            (b'[[["api_token_removed"]]]', 0),
            (b"[" * 100_000, 0),
        ):
            with self.assertRaises(StateUnavailable):
                decode(STATE_KINDS, data, before)

    def tearDown(self) -> None:
        self.flushLoggedErrors()

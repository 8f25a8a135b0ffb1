"""Revoked access tokens in sorted arrays: what is found, at every boundary between two arrays and two hours."""

from __future__ import annotations

import random
import sys
from unittest import TestCase

from perimeter.tokens.revoked import MOST, NumberSet, RevokedGrants

LEAST, GREATEST = -(1 << 63), (1 << 63) - 1


class NumberSetTests(TestCase):
    def test_it_has_what_was_added_and_nothing_else(self) -> None:
        chance = random.Random(15)
        for numbers in (
            list(range(0, 10 * MOST, 2)),
            list(range(10 * MOST, 0, -2)),
            chance.sample(range(0, 10 * MOST, 2), 5 * MOST),
            [chance.randrange(LEAST, GREATEST) & ~1 for _ in range(5 * MOST)],
            [LEAST, -2, 0, 2, GREATEST - 1],
        ):
            held = NumberSet()
            for number in numbers:
                held.add(number)
            self.assertEqual(len(held), len(numbers))
            for number in numbers:
                self.assertIn(number, held)
                self.assertNotIn(number + 1, held)

    def test_to_add_a_number_twice_has_no_effect(self) -> None:
        held = NumberSet()
        for number in [*range(3 * MOST), *range(3 * MOST), 0, 3 * MOST - 1]:
            held.add(number)
        self.assertEqual(len(held), 3 * MOST)

    def test_no_array_has_more_than_its_limit(self) -> None:
        held = NumberSet()
        for number in range(MOST):
            held.add(number)
        self.assertEqual([len(part) for part in held._parts], [MOST])
        held.add(MOST)
        self.assertEqual([len(part) for part in held._parts], [MOST // 2, MOST // 2 + 1])
        self.assertEqual(held._firsts, [LEAST, MOST // 2])
        held.add(-1)
        self.assertEqual([len(part) for part in held._parts], [MOST // 2 + 1, MOST // 2 + 1])

    def test_the_arrays_are_in_order(self) -> None:
        held, chance = NumberSet(), random.Random(16)
        numbers = [chance.randrange(LEAST, GREATEST) for _ in range(20 * MOST)]
        for number in numbers:
            held.add(number)
        self.assertEqual([number for part in held._parts for number in part], sorted(numbers))
        self.assertEqual(held._firsts[1:], [part[0] for part in held._parts[1:]])

    def test_a_number_of_more_bits_is_refused(self) -> None:
        held = NumberSet()
        self.assertRaises(OverflowError, held.add, GREATEST + 1)
        self.assertNotIn(GREATEST + 1, held)

    def test_a_number_takes_less_than_10_bytes(self) -> None:
        held, chance = NumberSet(), random.Random(17)
        for _ in range(100_000):
            held.add(chance.randrange(LEAST, GREATEST))
        size = (
            sum(map(sys.getsizeof, held._parts))
            + sys.getsizeof(held._parts)
            + sys.getsizeof(held._firsts)
            + 32 * len(held._firsts)
        )
        self.assertLess(size / len(held), 10.0)


class RevokedGrantsTests(TestCase):
    def test_a_token_is_found_by_its_id_and_the_hour_of_its_end(self) -> None:
        revoked = RevokedGrants()
        revoked.add("one", 3600.0)
        revoked.add("one", 3600.0)
        revoked.add("two", 3599.75)
        self.assertEqual(len(revoked), 2)
        for id, expires, found in (
            ("one", 3600.0, True),
            ("one", 7199.75, True),
            ("one", 7200.0, False),
            ("one", 3599.75, False),
            ("two", 3599.75, True),
            ("two", 3600.0, False),
            ("three", 3600.0, False),
        ):
            self.assertIs(revoked.has(id, expires), found, (id, expires))

    def test_an_hour_is_dropped_when_it_has_ended(self) -> None:
        revoked = RevokedGrants()
        revoked.add("one", 3600.0)
        revoked.add("two", 7200.0)
        revoked.forget(7199.75)
        self.assertEqual((sorted(revoked.hours), len(revoked)), ([1, 2], 2))
        revoked.forget(7200.0)
        self.assertEqual((sorted(revoked.hours), len(revoked)), ([2], 1))
        revoked.forget(10800.0)
        self.assertEqual(revoked.hours, {})

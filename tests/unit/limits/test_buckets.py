"""Token buckets in shared memory."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from perimeter.limits.buckets import Buckets
from perimeter.limits.keys import Key, key_of
from perimeter.limits.tables import BUCKET as CELL
from perimeter.limits.tables import BUCKET_SETS as SETS
from perimeter.limits.tables import BUCKET_WAYS as WAYS
from perimeter.limits.tables import BUCKETS_SIZE as SIZE

SECOND = 1_000_000_000
ANN, BEN = key_of("ann", b"s" * 32), key_of("ben", b"s" * 32)


class BucketsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 1000 * SECOND
        self.words = memoryview(bytearray(SIZE)).cast("Q")
        self.buckets = Buckets(self.words, lambda: self.now)

    def lacking(self, key: Key, cost: int, whole: int) -> int:
        """Take, and return what is missing; 0 if it was taken."""
        return max(0, self.buckets.take(key, cost, whole) - whole)

    def taken(self, key: Key, cost: int, whole: int, most: int = 1000) -> int:
        """How often ``cost`` can be taken now."""
        return next((number for number in range(most) if self.lacking(key, cost, whole)), most)


class TakeTests(BucketsCase):
    def test_a_burst_then_one_each_time_its_cost_has_passed(self) -> None:
        self.assertEqual(self.taken(ANN, SECOND // 5, 4 * SECOND), 20)
        self.now += SECOND // 5 - 1
        self.assertEqual(self.taken(ANN, SECOND // 5, 4 * SECOND), 0)
        self.now += 1
        self.assertEqual(self.taken(ANN, SECOND // 5, 4 * SECOND), 1)
        self.now += SECOND
        self.assertEqual(self.taken(ANN, SECOND // 5, 4 * SECOND), 5)

    def test_a_bucket_is_never_more_than_full(self) -> None:
        self.taken(ANN, SECOND, 3 * SECOND)
        self.now += 1000 * SECOND
        self.assertEqual(self.taken(ANN, SECOND, 3 * SECOND), 3)

    def test_what_is_missing(self) -> None:
        self.assertEqual(self.lacking(ANN, SECOND, 2 * SECOND), 0)
        self.assertEqual(self.lacking(ANN, SECOND, 2 * SECOND), 0)
        self.assertEqual(self.lacking(ANN, SECOND, 2 * SECOND), SECOND)
        self.now += SECOND // 4
        self.assertEqual(self.lacking(ANN, SECOND, 2 * SECOND), 3 * SECOND // 4)

    def test_the_time_until_the_bucket_is_full(self) -> None:
        self.assertEqual(self.buckets.take(ANN, SECOND, 3 * SECOND), SECOND)
        self.assertEqual(self.buckets.take(ANN, SECOND, 3 * SECOND), 2 * SECOND)
        self.now += SECOND // 2
        self.assertEqual(self.buckets.take(ANN, SECOND, 3 * SECOND), 5 * SECOND // 2)
        self.assertEqual(self.buckets.take(ANN, SECOND, 3 * SECOND), 7 * SECOND // 2)

    def test_a_refused_request_takes_nothing(self) -> None:
        self.taken(ANN, SECOND, 2 * SECOND)
        for _ in range(10):
            self.assertEqual(self.lacking(ANN, SECOND, 2 * SECOND), SECOND)

    def test_each_client_has_its_own(self) -> None:
        self.taken(ANN, SECOND, SECOND)
        self.assertEqual(self.lacking(BEN, SECOND, SECOND), 0)

    def test_two_processes_share_the_buckets(self) -> None:
        other = Buckets(self.words, lambda: self.now)
        self.taken(ANN, SECOND, SECOND)
        self.assertEqual(other.take(ANN, SECOND, SECOND), 2 * SECOND)


class SpendTests(BucketsCase):
    def test_a_debt_has_to_be_waited_for(self) -> None:
        self.assertEqual(self.buckets.spend(ANN, SECOND, SECOND), 0)
        self.assertEqual(self.buckets.spend(ANN, 3 * SECOND, SECOND), 3 * SECOND)
        self.assertEqual(self.buckets.spend(ANN, 0, SECOND), 3 * SECOND)
        self.now += 2 * SECOND
        self.assertEqual(self.buckets.spend(ANN, 0, SECOND), SECOND)
        self.now += SECOND
        self.assertEqual(self.buckets.spend(ANN, 0, SECOND), 0)


class FullSetTests(BucketsCase):
    """All clients of these tests have their buckets in one set."""

    def key(self, number: int) -> Key:
        return Key(SETS * number + 7, number + 1)

    def test_a_set_is_one_part_of_the_table(self) -> None:
        self.buckets.take(self.key(0), SECOND, SECOND)
        used = [at for at, word in enumerate(self.words.tolist()) if word]
        self.assertEqual({at // (WAYS * CELL) for at in used}, {7})
        self.assertEqual(len(used), CELL)

    def test_a_full_bucket_makes_room(self) -> None:
        for number in range(WAYS):
            self.buckets.take(self.key(number), SECOND, 2 * SECOND)
        self.now += SECOND - 1
        self.buckets.take(self.key(3), SECOND, 2 * SECOND)
        self.now += 1
        for number in range(WAYS, 2 * WAYS - 1):  # all of the others are full
            self.buckets.take(self.key(number), SECOND, 2 * SECOND)
        self.assertEqual(self.lacking(self.key(3), 2 * SECOND, 2 * SECOND), SECOND)

    def test_the_bucket_that_is_nearest_to_full_is_forgotten(self) -> None:
        for number in range(WAYS):
            self.buckets.take(self.key(number), SECOND if number == 5 else 2 * SECOND, 4 * SECOND)
        self.buckets.take(self.key(WAYS), 3 * SECOND, 4 * SECOND)
        owed = [self.lacking(self.key(number), 4 * SECOND, 4 * SECOND) for number in range(WAYS) if number != 5]
        self.assertEqual(owed, [2 * SECOND] * (WAYS - 1))

    def test_how_full_a_bucket_is_counts_and_not_how_long_it_takes(self) -> None:
        """An hour's limit does not displace a second's limit that is used up, in whichever cell that is."""
        hour = 3600 * SECOND
        for place in range(WAYS):
            self.setUp()
            for number in range(WAYS):
                if number == place:
                    self.taken(self.key(number), SECOND, 4 * SECOND)
                else:
                    self.buckets.take(self.key(number), hour // 100, hour)
            self.buckets.take(self.key(WAYS), hour // 100, hour)
            self.assertEqual(self.lacking(self.key(place), SECOND, 4 * SECOND), SECOND)

    def test_attack_135_many_addresses_do_not_reset_the_limit_of_one(self) -> None:
        self.assertEqual(self.taken(self.key(0), SECOND, 20 * SECOND), 20)
        for number in range(1, 500):
            self.assertEqual(self.lacking(self.key(number), SECOND, 20 * SECOND), 0)
        self.assertEqual(self.lacking(self.key(0), SECOND, 20 * SECOND), SECOND)

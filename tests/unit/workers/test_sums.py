"""Counts of several processes, and their sums."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from perimeter.workers import sums
from perimeter.workers.sums import Counts, Tally, total

_numbers = st.integers(0, 1000)
_labels = st.lists(st.one_of(st.sampled_from(["a", "b"]), st.sampled_from([200, 404]), st.none()), max_size=2).map(tuple)
#: each name has its own number of numbers
_counts = st.fixed_dictionaries(
    {},
    optional={
        name: st.dictionaries(_labels, st.lists(_numbers, min_size=length, max_size=length), max_size=4)
        for name, length in (("one", 1), ("three", 3))
    },
).map(lambda found: {name: [[list(key), numbers] for key, numbers in rows.items()] for name, rows in found.items()})


def _sum(counts: Counts) -> int:
    return sum(sum(numbers) for rows in counts.values() for _, numbers in rows)


class TotalTests(TestCase):
    def test_numbers_of_the_same_labels_are_added_one_by_one(self) -> None:
        found = total([{"x": [[["a"], [1, 2]], [["b"], [3, 4]]]}, {"x": [[["b"], [10, 20]], [["c"], [5, 6]]], "y": [[[], [7]]]}])
        self.assertEqual(found, {"x": [[["a"], [1, 2]], [["b"], [13, 24]], [["c"], [5, 6]]], "y": [[[], [7]]]})

    def test_of_nothing(self) -> None:
        self.assertEqual(total([]), {})
        self.assertEqual(total([{}, {"x": []}]), {"x": []})

    def test_the_last_ones_count_if_the_buckets_are_others(self) -> None:
        self.assertEqual(total([{"x": [[["a"], [1, 2]]]}, {"x": [[["a"], [1, 2, 3]]]}]), {"x": [[["a"], [1, 2, 3]]]})

    def test_what_was_added_stays_as_it_was(self) -> None:
        one, two = {"x": [[["a"], [1]]]}, {"x": [[["a"], [2]]]}
        total([one, two])
        self.assertEqual((one, two), ({"x": [[["a"], [1]]]}, {"x": [[["a"], [2]]]}))

    @given(st.lists(_counts, max_size=5))
    def test_the_order_and_the_way_through_json_change_nothing(self, several: list[Counts]) -> None:
        def shown(counts: Counts) -> dict[str, dict[tuple[object, ...], object]]:
            return {name: {tuple(labels): numbers for labels, numbers in rows} for name, rows in counts.items()}

        whole = total(several)
        self.assertEqual(shown(total(reversed(several))), shown(whole))
        self.assertEqual(json.loads(json.dumps(whole)), whole)
        self.assertEqual(total([total(several[:2]), total(several[2:])]), whole)
        self.assertEqual(_sum(whole), sum(map(_sum, several)))


class TallyTests(TestCase):
    def setUp(self) -> None:
        self.tally = Tally()

    def sum(self) -> object:
        return {labels[0]: numbers[0] for labels, numbers in self.tally.sum().get("x", ())}

    def keep(self, process: str, **counts: int) -> None:
        self.tally.keep(process, {"x": [[[label], [count]] for label, count in counts.items()]})

    def test_the_last_counts_of_each(self) -> None:
        self.keep("p", a=1)
        self.keep("p", a=5, b=1)
        self.keep("q", a=10)
        self.assertEqual(self.sum(), {"a": 15, "b": 1})

    def test_those_of_an_ended_process_stay(self) -> None:
        self.keep("p", a=1)
        self.tally.end("p")
        self.assertEqual(self.sum(), {"a": 1})
        self.keep("q", a=2)
        self.tally.end("q")
        self.tally.end("q")
        self.tally.end("unknown")
        self.assertEqual(self.sum(), {"a": 3})

    def test_a_name_that_is_not_sent_each_time_stays(self) -> None:
        self.tally.keep("p", {"x": [[["a"], [1]]], "cpu": [[[], [3]]]})
        self.tally.keep("p", {"x": [[["a"], [2]]]})
        self.assertEqual(self.tally.sum(), {"x": [[["a"], [2]]], "cpu": [[[], [3]]]})

    def test_what_another_tally_goes_on_with(self) -> None:
        self.keep("gone", a=1)
        self.tally.end("gone")
        self.keep("p", a=10)
        following = Tally()
        following.ended = self.tally.ended
        following.keep("the same process", self.tally.last("p"))
        self.assertEqual(self.tally.last("unknown"), {})
        self.assertEqual(following.sum(), self.tally.sum())

    def test_what_is_kept_is_bounded_and_the_latest(self) -> None:
        self.patch(sums, "MOST_ROWS", 3)
        for number in range(5):
            self.keep("p", a=1, **{f"address{number}": 1})
            self.tally.end("p")
        self.assertEqual(self.sum(), {"a": 5, "address4": 1, "address3": 1})

    @given(st.lists(st.tuples(st.sampled_from("pqrs"), st.integers(0, 5), st.sampled_from(["count", "count", "send", "end"]))))
    def test_the_sum_never_goes_back(self, steps: list[tuple[str, int, str]]) -> None:
        tally, counts, lost, generation, before = Tally(), dict.fromkeys("pqrs", 0), 0, 0, 0
        for name, number, step in steps:
            if step == "count":
                counts[name] += number
            elif step == "send":
                tally.keep((name, generation), {"x": [[[], [counts[name]]]]})
            else:  # all processes end, and others take their places
                for each in counts:
                    tally.end((each, generation))
                lost, counts, generation = lost + sum(counts.values()), dict.fromkeys("pqrs", 0), generation + 1
            found = sum(numbers[0] for _, numbers in tally.sum().get("x", ()))
            self.assertGreaterEqual(found, before)
            self.assertLessEqual(found, lost + sum(counts.values()))
            before = found

"""Counts of several processes as JSON values, and their sums.

Counts are ``{name: [[labels, numbers], ...]}``: ``labels`` is a list of texts and integers that is unique within its name, and
``numbers`` is a list of as many numbers as that name has, such as a sum of seconds and the buckets of a histogram. The sum of
several counts adds the numbers of the same name and labels, one by one. The program of a process may be newer than that of
another one: names are not interpreted.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Final

Counts = Mapping[str, Sequence[Sequence[Any]]]

MOST_ROWS: Final = 100_000
"""The most rows of a name that are kept for ended processes. Some labels are addresses, which change with time."""


def total(several: Iterable[Counts]) -> Counts:
    """The sum. Names and labels are in the order in which they occur first.

    Numbers of different length have different meanings, such as the buckets of an older program: then the last ones count.
    """
    sums: dict[str, dict[tuple[Any, ...], Sequence[float]]] = {}
    for counts in several:
        for name, rows in counts.items():
            found = sums.setdefault(name, {})
            for labels, numbers in rows:
                key = tuple(labels)
                before = found.get(key)
                if before is None or len(before) != len(numbers):
                    found[key] = numbers
                else:
                    found[key] = [one + other for one, other in zip(before, numbers, strict=True)]
    return {name: [[list(key), list(numbers)] for key, numbers in rows.items()] for name, rows in sums.items()}


class Tally:
    """The last counts of each process, and the sum of those that have ended. The sum of everything never goes back.

    Processes are named by any value that is not used again, such as an object that stands for the process.
    """

    def __init__(self, ended: Counts | None = None) -> None:
        self._last: dict[Hashable, Counts] = {}
        #: the sum of those that have ended
        self.ended: Counts = ended or {}

    def keep(self, process: Hashable, counts: Counts) -> None:
        """``counts`` are the latest of ``process``. Names that it does not send each time keep their rows."""
        self._last[process] = {**self._last.get(process, {}), **counts}

    def last(self, process: Hashable) -> Counts:
        """The last counts of ``process``."""
        return self._last.get(process, {})

    def end(self, process: Hashable) -> None:
        """``process`` has ended, and sends no more counts. For each name, the latest `MOST_ROWS` rows are kept."""
        ended = total((self._last.pop(process, {}), self.ended))
        self.ended = {name: rows[:MOST_ROWS] for name, rows in ended.items()}

    def sum(self) -> Counts:
        """The sum of all processes, living or not."""
        return total((self.ended, *self._last.values()))

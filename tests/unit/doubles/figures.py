"""Reads the metrics of a listener with the library's own parser."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families


class Figures:
    """Samples by name and labels. A duplicate sample is a failure."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self.kinds: dict[str, str] = {}
        self.samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for family in families:
            assert family.name not in self.kinds, f"{family.name} is there twice"
            assert family.documentation, f"{family.name} is not explained"
            self.kinds[family.name] = family.type
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                assert key not in self.samples, f"{key} is there twice"
                self.samples[key] = sample.value

    def __call__(self, name: str, **labels: str) -> float | None:
        """The value, or None if there is no such sample."""
        return self.samples.get((name, frozenset(labels.items())))

    def total(self, name: str, **labels: str) -> float:
        """All samples of that name that have these labels, and maybe others."""
        return sum(value for (found, theirs), value in self.samples.items() if found == name and theirs >= labels.items())

    def labels(self, name: str) -> set[str]:
        """Every value of the label ``name``, in all samples."""
        return {value for _, labels in self.samples for key, value in labels if key == name}


def read(text: bytes) -> Figures:
    """Parse ``text`` (in the plain format)."""
    return Figures(text_string_to_metric_families(text.decode()))

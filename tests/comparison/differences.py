"""Where Perimeter answers otherwise than Auth-o-tron, each with its reason: the one list, which the manual is made from."""

from __future__ import annotations

from tests.comparison.judge import Difference

DIFFERENCES: tuple[Difference, ...] = ()

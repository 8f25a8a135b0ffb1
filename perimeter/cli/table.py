"""Tables for terminals. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def columns(rows: Iterable[Sequence[object]]) -> list[str]:
    """The rows as lines, with two spaces between columns. The first row is the heading; columns of numbers are aligned right."""
    texts = [[str(cell) for cell in row] for row in rows]
    numbers = [all(_is_number(cell) for cell in column[1:]) for column in zip(*texts, strict=True)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width) for cell, width, number in zip(row, widths, numbers, strict=True)
        ).rstrip()
        for row in texts
    ]


def _is_number(text: str) -> bool:
    return text in ("", "-") or text.lstrip("-").replace(".", "", 1).isdigit()


def duration(seconds: float) -> str:
    """A duration in its two largest units: ``4 d 3 h``, ``2 min 5 s``."""
    left = int(seconds)
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if left >= length or (unit == "s" and not parts):
            parts.append(f"{left // length} {unit}")
            left %= length
        elif parts:
            break
    return " ".join(parts[:2])

"""What can go wrong in a run."""

from __future__ import annotations


class BenchError(Exception):
    """The run cannot go on, or a figure of it would be a lie. The text says why."""

"""The errors of a run."""

from __future__ import annotations


class BenchError(Exception):
    """The run cannot continue, or a figure would be wrong. The text is the reason."""

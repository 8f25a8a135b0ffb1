"""Why there is no certificate from a CA."""

from __future__ import annotations

from perimeter.errors import PerimeterError


class AcmeFault(PerimeterError):
    """``str()`` is one line for the operator."""

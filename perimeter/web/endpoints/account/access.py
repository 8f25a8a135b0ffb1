"""Where the account page is."""

from __future__ import annotations

from typing import Final

ACCOUNT: Final = "/account"
"""The path of the account page, below the prefix of the pages."""

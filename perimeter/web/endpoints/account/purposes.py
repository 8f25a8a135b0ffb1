"""What the forms of the account page do: their purposes (`perimeter.web.html.forms`), and the events in the audit log."""

from __future__ import annotations

from typing import Final

SESSION_END: Final = "session_end"
SESSIONS_END: Final = "sessions_end"
TOKEN_CREATE: Final = "token_create"  # noqa: S105
TOKEN_END: Final = "token_end"  # noqa: S105
FACTOR_ADD: Final = "factor_add"
FACTOR_CHANGE: Final = "factor_change"
"""Of both forms on the page of a factor, and the event of a new name."""
FACTOR_REMOVE: Final = "factor_remove"
RECOVERY_MAKE: Final = "recovery_make"

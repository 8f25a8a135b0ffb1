"""The exit statuses of all commands. The reference page and the man pages print this table."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Exit(IntEnum):
    """How a command ended."""

    DONE = 0
    NO = 1
    USAGE = 2  # click's own for a wrong command line
    PARTLY = 3
    NO_GATEWAY = 4
    UNDECIDED = 5


MEANINGS: Final = {
    Exit.DONE: "Done, or the answer is yes.",
    Exit.NO: "The answer is no, or something is wrong. The text says what.",
    Exit.USAGE: "The command line is wrong.",
    Exit.PARTLY: "A part is done, or works only for now. The text lists what is left.",
    Exit.NO_GATEWAY: "No gateway is running with this configuration.",
    Exit.UNDECIDED: "An authenticator did not answer, so the result is not known.",
}
"""In words."""

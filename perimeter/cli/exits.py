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
    Exit.DONE: "The command is done, or the answer is yes.",
    Exit.NO: "The answer is no, or the command has failed. The output has the reason.",
    Exit.USAGE: "The command line is wrong.",
    Exit.PARTLY: "A part is not done, or may fail later. The output lists it.",
    Exit.NO_GATEWAY: "No gateway is running with this configuration.",
    Exit.UNDECIDED: "An authenticator did not answer, so the result is unknown.",
}
"""In words."""

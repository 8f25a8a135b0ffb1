"""Sentences about actions of operators, which the next page of the same session shows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from perimeter.recent import Recent

MOST: Final = 100
"""The most sentences that are kept."""

Note = tuple[bool, str]
"""Whether the action has succeeded, and the sentence."""

Elsewhere = Callable[[str], Awaitable[Note | None]]
"""Takes the note for a session from another worker process, if one has it."""


class Notes:
    """The notes by session. If the next page comes from another worker process, that takes the note from ``elsewhere``."""

    def __init__(self, elsewhere: Elsewhere | None = None) -> None:
        self._elsewhere = elsewhere
        self._notes: Recent[str, Note] = Recent(MOST)

    @property
    def shared(self) -> bool:
        """Whether another process may serve the next page."""
        return self._elsewhere is not None

    def keep(self, session: str, note: Note) -> None:
        """Keep a note for the session with this id."""
        self._notes.keep(session, note)

    def pop(self, session: str) -> Note | None:
        """Remove and return the note of this process."""
        return self._notes.pop(session, None)

    async def take(self, session: str, expected: bool) -> Note:
        """The note, (True, "") if there is none. Other processes are only asked if one is ``expected``."""
        found = self.pop(session)
        if found is None and expected and self._elsewhere is not None:
            found = await self._elsewhere(session)
        return found or (True, "")

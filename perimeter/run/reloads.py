"""Reloads, one after the other, and the answers to the requests for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

STOPPING: Final = "the gateway is stopping"


class Reloads:
    """Calls ``reload``, which returns "", or the reason why the configuration is not in force.

    Its argument is whether site.ini is read again, or only the files that the configuration in force names.
    """

    def __init__(self, reload: Callable[[bool], Awaitable[str]]) -> None:
        self._reload = reload
        self._present: Deferred[str] | None = None
        #: the argument of the next reload, None if there is no next one
        self._next: bool | None = None
        self._waiting: list[Deferred[str]] = []
        self._stopped = False

    @property
    def busy(self) -> bool:
        """Whether a reload is under way."""
        return self._present is not None

    def ask(self, whole: bool) -> Deferred[str]:
        """Reload; fires with the result.

        A reload that is requested during another one begins after it, since the files may have changed. Several such requests
        cause one reload.
        """
        if self._stopped:
            return succeed(STOPPING)
        result: Deferred[str] = Deferred()
        self._waiting.append(result)
        if self._present is None:
            self._begin(whole)
        else:
            self._next = whole or bool(self._next)
        return result

    def _begin(self, whole: bool) -> None:
        self._next = None
        waiting, self._waiting = self._waiting, []
        self._present = Deferred()  # a placeholder, as what follows may be over at once
        present = Deferred.fromCoroutine(_awaited(self._reload(whole)))
        if not present.called:
            self._present = present
        present.addBoth(self._ended, waiting)

    def _ended(self, refused: str | Failure, waiting: list[Deferred[str]]) -> None:
        self._present = None
        for one in waiting:
            one.callback(refused if isinstance(refused, str) else STOPPING)
        if self._next is not None and not self._stopped:
            self._begin(self._next)

    def stop(self) -> None:
        """Give up the present reload (`CancelledError` is raised in it), and begin no other one."""
        self._stopped = True
        if self._present is not None:
            self._present.cancel()
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(STOPPING)


async def _awaited(reload: Awaitable[str]) -> str:
    return await reload

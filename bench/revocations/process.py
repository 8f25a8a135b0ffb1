"""A process with only the state of a worker. It reads commands, a JSON object on each line, and answers each on a line.

Run with the directory of the state, the slot, and the descriptors of the page.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from twisted.internet import epollreactor

if __name__ == "__main__":
    epollreactor.install()

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.stdio import StandardIO
from twisted.internet.task import LoopingCall
from twisted.protocols.basic import LineOnlyReceiver

from perimeter.config.site.perimeter import PerimeterSettings
from perimeter.model import Grant, GrantKind, Principal
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.run.state_peers import WorkerPeers
from perimeter.state.state import State
from perimeter.state.stores import States
from perimeter.tokens.api_token import mint
from perimeter.tokens.revocation import Removed, RevokedGrant, RevokedUser
from perimeter.tokens.stored import TOKENS
from perimeter.workers.channel import Channel
from perimeter.workers.page import SharedPage
from perimeter.workers.place import Place

_reactor: Any = installed

NEVER = 4_000_000_000.0


class TimedPeers(WorkerPeers):
    """`WorkerPeers` that measure how long an answer waits for the other workers: ``waited`` is the last time, in seconds."""

    def __init__(self, place: Place, late: list[bool]) -> None:
        super().__init__(place, _reactor, late.append)
        self.waited = 0.0

    def everywhere(self, cursor: int) -> Deferred[None]:
        """See `WorkerPeers`."""
        began = time.perf_counter()

        def over(_: None) -> None:
            self.waited = time.perf_counter() - began

        return super().everywhere(cursor).addCallback(over)


class Questions(LineOnlyReceiver):
    """Answers the questions on standard input. ``late`` has the arguments of all calls of `WorkerPeers`' ``late``."""

    delimiter = b"\n"

    def __init__(self, state: State, peers: TimedPeers, page: SharedPage, late: list[bool]) -> None:
        self._state = state
        self._tokens = state.view(TOKENS)
        self._peers = peers
        self._page = page
        self._late = late

    def lineReceived(self, line: bytes) -> None:
        """Call the method that the question names."""
        question = json.loads(line)
        getattr(self, question.pop("do"))(**question)

    def say(self, answer: Any) -> None:
        """Send an answer."""
        self.sendLine(json.dumps(answer).encode())  # type: ignore[no-untyped-call]

    def add(self, user: str) -> None:
        """Add an API token of ``user``, and answer with its id."""
        kept = mint("ci", Principal(user, "local"), 0.0, NEVER)[1]
        self._tokens.add(kept).addCallback(lambda _: self.say(kept.id))

    def revoke(self, id: str = "", jti: str = "", user: str = "") -> None:
        """Revoke a token or a user. Answers with the last change on the page, and the seconds for all and for the others."""
        self._peers.waited = 0.0
        if jti:
            done = self._state.remove(RevokedGrant(jti, NEVER))
        elif user:
            done = self._state.remove(RevokedUser("local", user, self._state.seconds()))
        else:
            done = self._state.remove(Removed(id))
        began = _reactor.seconds()
        done.addCallback(lambda _: self.say([self._page.committed, _reactor.seconds() - began, self._peers.waited]))

    def good(self, id: str = "", jti: str = "", user: str = "alice") -> None:
        """Answer whether a token is valid."""
        grant = Grant(jti, 0.0, NEVER) if jti else Grant(id, 0.0, NEVER, GrantKind.API_TOKEN)
        self.say(self._tokens.good(Principal(user, "local", grant=grant)))

    def die_after_commit(self) -> None:
        """End after the commit and before the number of the change is on the page."""
        self._peers.wrote = lambda cursor: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
        self.say(None)

    def hang(self, seconds: float) -> None:
        """Block the thread of the store, as a disk that does not answer."""
        self._state._thread.proceed(time.sleep, seconds)
        self.say(None)

    def late(self) -> None:
        """Answer whether and when this worker was behind the others."""
        self.say(self._late)

    def connectionLost(self, reason: Any = None) -> None:
        """End: the parent process has closed the pipe."""
        _reactor.callLater(0, lambda: os._exit(0))


def main() -> None:
    """Run the process."""
    directory, number, *descriptors = sys.argv[1:]
    page = SharedPage(int(descriptors[0]), [int(one) for one in descriptors[1:]])
    late: list[bool] = []
    peers = TimedPeers(Place(int(number), page, Channel({}, _reactor), {}), late)
    states = States(_reactor, STATE_KINDS, peers)
    state = states.adopt(states.open(PerimeterSettings(state_dir=Path(directory))))
    questions = Questions(state, peers, page, late)
    StandardIO(questions)
    LoopingCall(state.follow).start(1.0, now=False)
    questions.say("ready")
    _reactor.run()


if __name__ == "__main__":
    main()

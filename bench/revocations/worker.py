"""A process with only the state of a worker. It reads commands, a JSON object on each line, and answers each on a line.

Run with the directory of the state, the slot, and the descriptors of the page. `StateWorkers` runs several of them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any, cast

from perimeter.workers.page import SharedPage, SlotState

NEVER = 4_000_000_000.0


class StateWorkers:
    """``count`` processes with one state.db in ``directory`` and one page."""

    def __init__(self, directory: Path, count: int) -> None:
        self.directory = directory
        self.page = SharedPage.create()
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        for number in range(count):
            self.start(number)

    def start(self, number: int) -> None:
        """Start the worker of a slot."""
        self.page.clear(number, SlotState.STARTING)
        descriptors = (self.page.descriptor, *self.page.wakers)
        self.processes[number] = subprocess.Popen(
            [sys.executable, "-m", "bench.revocations.worker", str(self.directory), str(number), *map(str, descriptors)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=descriptors,
        )
        assert self.answer(number) == "ready"
        self.page.slots[number].state = SlotState.SERVING

    def send(self, number: int, **question: Any) -> None:
        """Ask a worker."""
        stdin = cast("IO[bytes]", self.processes[number].stdin)
        stdin.write(json.dumps(question).encode() + b"\n")
        stdin.flush()

    def answer(self, number: int) -> Any:
        """The next answer of a worker. EOFError if it has ended."""
        line = cast("IO[bytes]", self.processes[number].stdout).readline()
        if not line:
            raise EOFError
        return json.loads(line)

    def ask(self, number: int, **question: Any) -> Any:
        """Ask, and wait for the answer."""
        self.send(number, **question)
        return self.answer(number)

    def close(self) -> None:
        """End all of them."""
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                cast("IO[bytes]", pipe).close()
        self.page.close()


def main() -> None:
    """Run one of them."""
    from twisted.internet import epollreactor

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
    from perimeter.state.stores import States
    from perimeter.tokens.api_token import mint
    from perimeter.tokens.revocation import Removed, RevokedGrant, RevokedUser
    from perimeter.tokens.stored import TOKENS
    from perimeter.workers.channel import Channel
    from perimeter.workers.place import Place

    reactor: Any = installed
    directory, number, *descriptors = sys.argv[1:]
    page = SharedPage(int(descriptors[0]), [int(one) for one in descriptors[1:]])
    place = Place(int(number), page, Channel({}, reactor), {})
    late: list[bool] = []
    peers = WorkerPeers(place, reactor, late.append)
    states = States(reactor, STATE_KINDS, peers)
    state = states.adopt(states.open(PerimeterSettings(state_dir=Path(directory))))
    tokens = state.view(TOKENS)
    waits: list[float] = []
    everywhere = peers.everywhere

    def timed(cursor: int) -> Deferred[None]:
        began = time.perf_counter()

        def over(_: None) -> None:
            waits[:] = [time.perf_counter() - began]

        return everywhere(cursor).addCallback(over)

    peers.everywhere = timed  # type: ignore[method-assign]

    class Questions(LineOnlyReceiver):
        delimiter = b"\n"

        def lineReceived(self, line: bytes) -> None:
            question = json.loads(line)
            getattr(self, question.pop("do"))(**question)

        def say(self, answer: Any) -> None:
            self.sendLine(json.dumps(answer).encode())  # type: ignore[no-untyped-call]

        def add(self, user: str) -> None:
            kept = mint("ci", Principal(user, "local"), 0.0, NEVER)[1]
            tokens.add(kept).addCallback(lambda _: self.say(kept.id))

        def revoke(self, id: str = "", jti: str = "", user: str = "") -> None:
            if jti:
                done = state.remove(RevokedGrant(jti, NEVER))
            elif user:
                done = state.remove(RevokedUser("local", user, state.seconds()))
            else:
                done = state.remove(Removed(id))
            began = reactor.seconds()
            done.addCallback(lambda _: self.say([page.committed, reactor.seconds() - began, waits.pop() if waits else 0.0]))

        def good(self, id: str = "", jti: str = "", user: str = "alice") -> None:
            grant = Grant(jti, 0.0, NEVER) if jti else Grant(id, 0.0, NEVER, GrantKind.API_TOKEN)
            self.say(tokens.good(Principal(user, "local", grant=grant)))

        def die_after_commit(self) -> None:
            """End after the commit and before the number of the change is on the page."""
            peers.wrote = lambda cursor: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
            self.say(None)

        def hang(self, seconds: float) -> None:
            """The thread of the store hangs, as on a disk that does not answer."""
            state._thread.proceed(time.sleep, seconds)
            self.say(None)

        def late(self) -> None:
            self.say(late)

        def connectionLost(self, reason: Any = None) -> None:
            reactor.callLater(0, lambda: os._exit(0))

    questions = Questions()
    StandardIO(questions)
    following = LoopingCall(state.follow)
    following.start(1.0, now=False)
    questions.say("ready")
    reactor.run()


if __name__ == "__main__":
    main()

"""One run: the shared environment, the peers that can take part, and the measurements in rounds."""

from __future__ import annotations

import http.client
import resource
import ssl
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import attrs

from bench import material, upstream, wrk
from bench.errors import BenchError
from bench.figures import Measurement
from bench.peers.base import Peer, Surroundings
from bench.processes import Cores, cpu_seconds
from bench.programs import not_installed
from bench.tokens import Mint

MICROSECONDS = 1e6
_NEEDED = ("nginx", "wrk", "taskset", "setpriv")
"""Programs that every run needs."""
CPU = "µs of CPU"
_WORTH_COUNTING = 20
"""Minimum number of requests per connection in a load, and the factor by which a load for a slow peer may last longer."""
_LONGEST = 4


@attrs.frozen
class Options:
    """The duration of each load in ``seconds``, and the number of ``rounds``."""

    seconds: float = 2.0
    rounds: int = 5


@attrs.frozen
class Load:
    """Requests that wrk sends: all alike, and all answered with ``status``.

    ``script`` is Lua. If it makes different requests, they repeat after ``turns`` requests. ``statuses`` are for peers that
    always answer with another status.
    """

    path: str
    headers: tuple[str, ...] = ()
    connections: int = 32
    script: str = ""
    method: str = "GET"
    body: int = 0
    turns: int = 1
    status: int = 200
    statuses: Mapping[str, int] = attrs.field(factory=dict)

    def expected(self, peer: Peer) -> int:
        """The expected status of ``peer``'s answers."""
        return self.statuses.get(peer.name, self.status)


class Run:
    """A context manager. On exit it stops everything that was started and removes the run's directory."""

    def __init__(self, options: Options, say: Callable[[str], None] | None = None) -> None:
        self.options = options
        self.say = say or (lambda text: print(text, file=sys.stderr, flush=True))
        self.peers: list[Peer] = []
        self.left_out: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self._temporary = tempfile.TemporaryDirectory(prefix="perimeter-bench-")
        self._upstream: upstream.Upstream | None = None
        self._scripts = 0

    def __enter__(self) -> Run:
        for program in _NEEDED:
            reason = not_installed(program)
            if reason is not None:
                raise BenchError(reason)
        allow_many_files()
        directory = Path(self._temporary.name)
        try:
            cores = Cores.of_this_machine()
            self._upstream = upstream.start(directory, cores)
            self.mint = Mint.open(directory / "state")
            certificate = material.make_certificate(directory)
            (directory / "token.pem").write_bytes(self.mint.public_key())
            self.around = Surroundings(
                directory, cores, certificate, self._upstream.port, self.mint.state, directory / "token.pem"
            )
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self.bearer = f"Authorization: Bearer {self.mint.token()}"
        self.basic = f"Authorization: {material.basic()}"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        for peer in self.peers:
            peer.stop()
        if self._upstream is not None:
            self._upstream.stop()
        self._temporary.cleanup()

    def admit(self, peers: Sequence[Peer]) -> None:
        """Start the peers that can take part, and record why the others cannot."""
        for peer in peers:
            reason = peer.missing()
            if reason is not None:
                self.left_out[peer.name] = reason
                self.say(f"left out: {peer.name}: {reason}")
                continue
            self.start(peer)

    def start(self, peer: Peer) -> None:
        """Start a peer. It is stopped at the end of the run."""
        self.peers.append(peer)
        peer.start(self.around)
        if peer.authenticates:
            self._see_that_it_authenticates(peer)

    def dismiss(self, peer: Peer) -> None:
        """Stop a peer before the end of the run."""
        peer.stop()
        self.peers.remove(peer)

    # -- measuring

    def cpu_per_request(self, scenario: str, load: Load, peers: Sequence[Peer], note: str = "") -> Measurement:
        """Microseconds of CPU per request of ``load``, for each of ``peers``. The first peer is the baseline."""
        seconds: dict[str, float] = {}
        for peer in peers:
            self.check(peer, load)
            seconds[peer.name] = self._long_enough(peer, load)

        def once(peer: Peer) -> float:
            return self.cpu(peer, lambda: self.send(peer, load, seconds[peer.name]).requests)

        return self.in_rounds(scenario, CPU, peers, once, note)

    def cpu(self, peer: Peer, work: Callable[[], int]) -> float:
        """Microseconds of CPU that ``peer`` took for each unit of work that ``work`` counted."""
        before = cpu_seconds(peer.processes)
        count = work()
        return (cpu_seconds(peer.processes) - before) / count * MICROSECONDS

    def in_rounds(
        self,
        scenario: str,
        unit: str,
        peers: Sequence[Peer],
        once: Callable[[Peer], float],
        note: str = "",
        *,
        times: int = 1,
    ) -> Measurement:
        """Take one figure of each peer per round. Every second round goes through the peers in reverse order.

        There are ``times`` as many rounds as usual, for differences that are smaller than the noise of the machine.
        """
        samples: dict[str, list[float]] = {peer.name: [] for peer in peers}
        for number in range(self.options.rounds * times):
            for peer in peers if number % 2 == 0 else reversed(peers):
                samples[peer.name].append(once(peer))
        self.say(f"{scenario}: " + ", ".join(f"{name} {min(values):.1f}" for name, values in samples.items()))
        return Measurement(scenario, unit, samples, peers[0].name, note)

    def _long_enough(self, peer: Peer, load: Load) -> float:
        """Warm up, and find out how long a load must last so that the requests under way at its end do not matter."""
        rate = self.send(peer, load, 1.0, may_be_slow=True).rate
        enough = _WORTH_COUNTING * load.connections / max(rate, 1.0)
        return min(max(self.options.seconds, enough), _LONGEST * self.options.seconds)

    def send(self, peer: Peer, load: Load, seconds: float, *, may_be_slow: bool = False) -> wrk.Outcome:
        """Send ``load`` to a peer. Raises `BenchError` if not every answer is as expected."""
        script = None
        text = _lua(load)
        if text:
            script = self.around.directory / f"load{self._scripts}.lua"
            script.write_text(text)
            self._scripts += 1
        outcome = wrk.run(
            peer.url(load.path),
            core=self.around.cores.load,
            connections=load.connections,
            seconds=seconds,
            headers=load.headers,
            script=script,
        )
        wanted = 0 if load.expected(peer) < 400 else outcome.requests
        unanswered = outcome.errors or not (outcome.requests or may_be_slow)
        if unanswered or abs(outcome.other_statuses - wanted) > load.connections:
            raise BenchError(f"{peer.name} answered {load.path} unexpectedly: {outcome}")
        return outcome

    def check(self, peer: Peer, load: Load) -> None:
        """Check that one request gets the right status before thousands are counted. Raises `BenchError`."""
        status, _ = self._ask(peer, load.method, load.path, load.headers, b"x" * load.body)
        if status != load.expected(peer):
            raise BenchError(f"{peer.name} answered {load.method} {load.path} with {status}")

    def _see_that_it_authenticates(self, peer: Peer) -> None:
        """Check that a peer refuses unauthenticated requests and passes the user's name on: otherwise it would be too cheap."""
        path = f"{upstream.PREFIX}/identity"
        status, _ = self._ask(peer, "GET", path)
        if status != 401:
            raise BenchError(f"{peer.name} answered a request without credentials with {status}")
        for headers in ((self.bearer,), (self.basic,)):
            status, body = self._ask(peer, "GET", path, headers)
            if status != 200 or not body.startswith(f"{material.USER} ".encode()):
                raise BenchError(f"{peer.name} passed on {body!r} with {status} for {material.USER}")

    def _ask(self, peer: Peer, method: str, path: str, headers: Sequence[str] = (), body: bytes = b"") -> tuple[int, bytes]:
        context = ssl.create_default_context(cafile=str(self.around.certificate.chain))
        connection = http.client.HTTPSConnection("127.0.0.1", peer.port, timeout=30, context=context)
        try:
            connection.request(method, path, body=body or None, headers=dict(line.split(": ", 1) for line in headers))
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


def _lua(load: Load) -> str:
    """The Lua script that a load needs."""
    lines = [load.script] if load.script else []
    if load.method != "GET":
        lines.append(f'wrk.method = "{load.method}"')
    if load.body:
        lines.append(f'wrk.body = string.rep("x", {load.body})')
    return "\n".join(lines)


def allow_many_files() -> None:
    """Allow this process and its children to open as many files as the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

"""Measures whether a request costs more with more routes, more users, more tokens in use, or more revoked tokens.

Each size has its own gateway, and the sizes are measured in rounds, like peers.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

from bench.figures import Measurement
from bench.material import PASSWORD, USER, basic
from bench.peers.base import Peer
from bench.peers.perimeter import Perimeter, other_user
from bench.run import CPU, Load, Run
from bench.scenarios.base import Scenario
from bench.scenarios.requests import SMALL
from perimeter.model import Principal
from perimeter.tokens.verdict import Verdict, VerdictCache

_GATEWAYS = (10, 1_000, 10_000)
_TOKENS = (1_000, 10_000, 100_000)
_REVOKED = (0, 1_000, 1_000_000)
_CACHES = (10, 1_000, 10_000, 1_000_000)
_MORE_THAN_REMEMBERED = 40_000
_TOKEN_LENGTH = 420
"""Length of the Authorization value with a small ES256 token, in bytes."""
_LOOKUPS = 200_000
_MARGIN = 1.5
_TIMES = 5
"""More and shorter rounds than usual: three rounds would not show a growth of 5 %."""


def _measured(run: Run, name: str, gateways: dict[str, Perimeter], load: Callable[[str], Load], note: str = "") -> Measurement:
    """CPU per request of ``gateways``, whose keys are their sizes."""
    for gateway in gateways.values():
        run.start(gateway)
    try:
        sizes = {gateway.name: size for size, gateway in gateways.items()}
        for gateway in gateways.values():
            one = load(sizes[gateway.name])
            # long enough that a disturbance of one second does not matter
            rate = run.send(gateway, one, 3.0).rate
            # long enough that every credential has been used
            run.send(gateway, one, one.turns / rate * _MARGIN)

        def once(peer: Peer) -> float:
            one = load(sizes[peer.name])
            return run.cpu(peer, lambda: run.send(peer, one, run.options.seconds / 2).requests)

        found = run.in_rounds(name, CPU, list(gateways.values()), once, times=_TIMES)
    finally:
        for gateway in gateways.values():
            run.dismiss(gateway)
    samples = {sizes[peer]: values for peer, values in found.samples.items()}
    return Measurement(name, CPU, samples, next(iter(gateways)), note, growth=True)


def _size(number: int) -> str:
    return f"{number:,}"


def _routes(run: Run, peers: Sequence[Peer]) -> list[Measurement]:
    gateways = {_size(number): Perimeter(f"routes-{number}", routes=number) for number in _GATEWAYS}
    return [_measured(run, "routes", gateways, lambda _: Load(SMALL, (run.bearer,)))]


def _users(run: Run, peers: Sequence[Peer]) -> list[Measurement]:
    gateways = {_size(number): Perimeter(f"users-{number}", users=number) for number in _GATEWAYS}
    loads = {}
    for number in _GATEWAYS:
        names = [USER, *(other_user(index) for index in range(1, number))]
        loads[_size(number)] = taking_turns(run, f"users-{number}", [basic(name, PASSWORD) for name in names])
    return [_measured(run, "users, all active", gateways, loads.__getitem__)]


def _tokens(run: Run, peers: Sequence[Peer]) -> list[Measurement]:
    # three generations, each with a third of the tokens
    gateways = {_size(number): Perimeter(f"tokens-{number}", remembered=3 * max(_TOKENS) + 3) for number in _TOKENS}
    tokens = [f"Bearer {run.mint.token(other_user(number))}" for number in range(max(_TOKENS))]
    loads = {_size(number): taking_turns(run, f"tokens-{number}", tokens[:number]) for number in _TOKENS}
    look_up = {_size(number): [_look_up(number) for _ in range(run.options.rounds)] for number in _CACHES}
    note = "token look-up is timed within one process"
    return [
        _measured(run, "tokens, all in use", gateways, loads.__getitem__),
        Measurement("token look-up", "µs", look_up, _size(_CACHES[0]), note, growth=True),
    ]


def _revocations(run: Run, peers: Sequence[Peer]) -> list[Measurement]:
    # more than the gateway caches, so that each token is verified, and looked up, again
    tokens = [f"Bearer {run.mint.token(other_user(number))}" for number in range(_MORE_THAN_REMEMBERED)]
    anew = taking_turns(run, "revoked", tokens)
    remembered = Load(SMALL, (run.bearer,))
    return [
        _revoked(run, "revocations, token remembered", remembered),
        _revoked(run, "revocations, token verified anew", anew),
    ]


def _revoked(run: Run, name: str, load: Load) -> Measurement:
    word = name.rpartition(" ")[2]
    gateways = {_size(number): Perimeter(f"revoked-{word}-{number}", revoked=number) for number in _REVOKED}
    return _measured(run, name, gateways, lambda _: load)


def taking_turns(run: Run, name: str, credentials: Sequence[str]) -> Load:
    """Requests that carry ``credentials`` in turn."""
    file = run.around.directory / f"{name}.credentials"
    file.write_text("\n".join(credentials) + "\n")
    return Load(SMALL, (f"Authorization: {credentials[0]}",), script=_TURNS.format(file=file, path=SMALL), turns=len(credentials))


_TURNS = """\
local requests, turn = {{}}, 0
math.randomseed(os.time())
function init(args)
  for line in io.lines("{file}") do
    wrk.headers["Authorization"] = line
    requests[#requests + 1] = wrk.format("GET", "{path}")
  end
  -- a load that is short comes by all of them in the end
  turn = math.random(#requests)
end
function request()
  turn = turn % #requests + 1
  return requests[turn]
end"""


def _look_up(count: int) -> float:
    """Microseconds of CPU to find a verdict among ``count``, by bytes that were just read and never hashed before."""
    generator = random.Random(count)
    keys = [generator.randbytes(_TOKEN_LENGTH) for _ in range(count)]
    # three generations, each with a third of the tokens
    cache = VerdictCache(3 * count + 3)
    principal = Principal(USER, "local", ())
    for key in keys:
        cache.put(key, Verdict(principal, 0.0))
    asked = [bytes(bytearray(generator.choice(keys))) for _ in range(_LOOKUPS)]
    began = time.process_time()
    for key in asked:
        cache.get(key)
    return (time.process_time() - began) / _LOOKUPS * 1e6


SCENARIOS = (
    Scenario("routes", "10, 1,000 and 10,000 routes", ("perimeter",), _routes),
    Scenario("users", "10, 1,000 and 10,000 users with passwords, all of them active", ("perimeter",), _users),
    Scenario("revocations", "none, 1,000 and 1,000,000 access tokens revoked", ("perimeter",), _revocations),
    Scenario("tokens", "1,000, 10,000 and 100,000 tokens in use; look-up among a million", ("perimeter",), _tokens),
)

"""What a machine keeps in memory of many API tokens, and how often it finds there what it needs."""

from __future__ import annotations

import random
import tracemalloc
from math import inf
from typing import Final

import attrs

from perimeter.model import Principal
from perimeter.state.changes import Extent
from perimeter.tokens.api_token import ApiToken
from perimeter.tokens.index import TokenIndex

LARGE: Final = 10**8
_SAMPLE: Final = 20_000


def token(number: int) -> ApiToken:
    """An API token with a user of its own."""
    digest = number.to_bytes(8, "big") * 4
    return ApiToken(digest[:16].hex() + str(number), digest, "bench", Principal(f"user{number}", "local"), 0.0, inf)


def partial_index() -> TokenIndex:
    """The index of a machine whose API tokens are in Redis."""
    index = TokenIndex()
    index.measure(Extent(LARGE, -1))
    return index


def most_kept() -> int:
    """API tokens that a worker keeps at most."""
    return int(partial_index().most_kept)


def bytes_of_token() -> float:
    """The memory of one API token in the index, in bytes, to the nearest 10: dictionaries differ a little from run to run."""
    index = partial_index()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(_SAMPLE):
        index.apply(token(number))
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return round((after - before) / _SAMPLE, -1)


@attrs.frozen
class Hits:
    """The part of the requests, from 0 to 1, whose token was in memory, when so many tokens are in use."""

    active: int
    zipf: float
    uniform: float


def hits(seed: int, active: int, requests: int) -> Hits:
    """Both rates with so many tokens in use."""
    return Hits(active, _rate(seed, active, requests, zipf=True), _rate(seed, active, requests, zipf=False))


def _rate(seed: int, active: int, requests: int, *, zipf: bool) -> float:
    """The rate in the second half of the requests. With ``zipf``, the n-th token is used 1/n times as often as the first one."""
    chance, index, found = random.Random(seed), partial_index(), 0
    for request in range(requests):
        drawn = chance.random()
        number = int(float(active) ** drawn) - 1 if zipf else int(active * drawn)
        kept = index.by_digest.get(number.to_bytes(8, "big") * 4)
        if kept is None:
            index.apply(token(number))
        else:
            index.touch(kept.id)
            found += request >= requests // 2
    return found / (requests - requests // 2)

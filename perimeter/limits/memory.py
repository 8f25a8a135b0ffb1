"""The memory in which limits count."""

from __future__ import annotations

import mmap
import os

import attrs

from perimeter.limits.buckets import Buckets
from perimeter.limits.flights import Flights
from perimeter.limits.tables import BUCKETS_SIZE, FLIGHTS_SIZE


@attrs.frozen(eq=False)
class LimitMemory:
    """Token buckets, requests in flight, and the secret for the keys of both."""

    buckets: Buckets
    flights: Flights
    secret: bytes = attrs.field(repr=False)

    @classmethod
    def private(cls) -> LimitMemory:
        """Memory of this process alone. It takes none before it is used."""
        return cls(Buckets(_words(BUCKETS_SIZE)), Flights(_words(FLIGHTS_SIZE)), os.urandom(32))


def _words(size: int) -> memoryview:
    return memoryview(mmap.mmap(-1, size)).cast("Q")

"""The sizes of the tables in which limits count. The manager knows only these."""

from __future__ import annotations

from typing import Final

_WORD: Final = 8

BUCKET_SETS: Final = 8192
BUCKET_WAYS: Final = 8
"""Token buckets of a set."""
BUCKET: Final = 3
"""Words of a bucket: the mark of its client, the time at which it is full, and the time in which an empty one fills."""
BUCKETS_SIZE: Final = BUCKET_SETS * BUCKET_WAYS * BUCKET * _WORD
"""Bytes of all buckets."""

FLIGHT_SETS: Final = 1024
FLIGHT_WAYS: Final = 16
"""Clients of a set with requests in flight. Each has two words: the mark of the client, and the number of its requests."""
FLIGHTS_SIZE: Final = FLIGHT_SETS * FLIGHT_WAYS * 2 * _WORD
"""Bytes of the requests in flight of one process."""

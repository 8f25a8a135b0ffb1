"""The names of the keys in Redis, which all begin with `PREFIX`, so that an ACL can name them, and of the file beside it."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Final

from perimeter.state.writer import LookupKey

PREFIX: Final = "perimeter:"

DATABASE: Final = "cluster.db"
"""The file of the store of one machine, in ``state_dir``."""

LOG: Final = f"{PREFIX}log"
"""The stream of changes."""

ORIGIN: Final = f"{PREFIX}origin"
"""A random name of the contents, made once: another one, or none, means that the contents were lost or exchanged."""

BASE: Final = f"{PREFIX}base"
"""What there was of all kinds but records, up to a place in the log."""

BASE_LEASE: Final = f"{PREFIX}base:lease"
"""Who makes the next base."""


def base_of(name: str) -> str:
    """The list of the changes of a base."""
    return f"{BASE}:{name}"


def records_of(kind: str) -> str:
    """What the keys of all records of a kind begin with; the digest of the record follows."""
    return f"{PREFIX}record:{kind}:"


def index_of(kind: str, key: LookupKey) -> str:
    """Where the digests of the records with ``key`` are. A hash: names of users have any length and any characters."""
    word, *values = key
    return f"{PREFIX}index:{kind}:{word}:{sha256(json.dumps(values).encode('ascii')).hexdigest()[:32]}"


def claim_of(digest: bytes) -> str:
    """A name that was claimed."""
    return f"{PREFIX}once:{digest.hex()}"


def list_of(kind: str, realm: str, *, passing: bool) -> str:
    """Where the digests of all records of a kind are in the order of their creation; of ``realm`` alone, unless ""."""
    return index_of(kind, ("passing" if passing else "list", realm))


def realms_of(kind: str) -> str:
    """The realms of the owners of records of a kind."""
    return f"{PREFIX}realms:{kind}"

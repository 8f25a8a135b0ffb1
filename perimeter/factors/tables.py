"""How SQLite keeps second factors, and their text in the change log."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from perimeter.factors.factor import (
    EnrollCode,
    Factor,
    FactorKind,
    RecoveryCodes,
    RemovedFactor,
    RenamedFactor,
    ResetFactors,
    UsedFactor,
    UsedRecoveryCode,
)
from perimeter.state.changes import Change
from perimeter.state.kinds import Codec, Execute

_TABLES: Final = """
CREATE TABLE factor (
    id TEXT PRIMARY KEY, realm TEXT NOT NULL, username TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
    sealed BLOB NOT NULL, created REAL NOT NULL, handle BLOB NOT NULL, used REAL NOT NULL, count INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX factor_of ON factor (realm, username);
CREATE TABLE recovery_codes (
    realm TEXT NOT NULL, username TEXT NOT NULL, digests TEXT NOT NULL, created REAL NOT NULL, PRIMARY KEY (realm, username)
) WITHOUT ROWID;
CREATE TABLE enroll_code (
    realm TEXT NOT NULL, username TEXT NOT NULL, digest BLOB NOT NULL, expires REAL NOT NULL, PRIMARY KEY (realm, username)
) WITHOUT ROWID;
"""
_FACTORS: Final = """
SELECT realm, username, kind, id, name, sealed, created, handle, used, count FROM factor ORDER BY realm, username, created
"""
_ADD: Final = """
INSERT OR REPLACE INTO factor (realm, username, kind, id, name, sealed, created, handle, used, count)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_USED: Final = "UPDATE factor SET used = max(used, ?), count = max(count, ?) WHERE id = ?"
_RECOVERY: Final = "SELECT realm, username, digests, created FROM recovery_codes"


class FactorTable:
    """`perimeter.state.kinds.Table` of second factors."""

    migrations: Sequence[str] = (_TABLES,)

    def load(self, execute: Execute) -> Iterator[Change]:
        """Everything."""
        for realm, username, kind, *rest in execute(_FACTORS):
            yield Factor(realm, username, FactorKind(kind), *rest)
        for realm, username, digests, created in execute(_RECOVERY):
            yield RecoveryCodes(realm, username, _digests(digests), created)
        for row in execute("SELECT realm, username, digest, expires FROM enroll_code"):
            yield EnrollCode(*row)

    def write(self, execute: Execute, change: Change) -> None:
        """Apply one change."""
        match change:
            case Factor():
                execute(_ADD, _row(change))
            case UsedFactor():
                execute(_USED, (change.at, change.count, change.id))
            case RenamedFactor():
                execute("UPDATE factor SET name = ? WHERE id = ?", (change.name, change.id))
            case RemovedFactor():
                execute("DELETE FROM factor WHERE id = ?", (change.id,))
            case RecoveryCodes():
                codes = (change.realm, change.username, _text(change.digests), change.created)
                execute("INSERT OR REPLACE INTO recovery_codes VALUES (?, ?, ?, ?)", codes)
            case UsedRecoveryCode():
                _use_recovery(execute, change)
            case EnrollCode():
                row = (change.realm, change.username, change.digest, change.expires)
                execute("INSERT OR REPLACE INTO enroll_code VALUES (?, ?, ?, ?)", row)
            case ResetFactors():
                for table in ("factor", "recovery_codes", "enroll_code"):
                    execute(f"DELETE FROM {table} WHERE realm = ? AND username = ?", (change.realm, change.username))  # noqa: S608

    def forget(self, execute: Execute, now: float) -> None:
        """Delete what ended by ``now``."""
        execute("DELETE FROM enroll_code WHERE expires <= ?", (now,))


def _use_recovery(execute: Execute, change: UsedRecoveryCode) -> None:
    owner = (change.realm, change.username)
    row = execute(f"{_RECOVERY} WHERE realm = ? AND username = ?", owner).fetchone()
    if row is not None:
        rest = tuple(one for one in _digests(row[2]) if one != change.digest)
        execute("UPDATE recovery_codes SET digests = ? WHERE realm = ? AND username = ?", (_text(rest), *owner))


def _row(factor: Factor) -> tuple[Any, ...]:
    who = (factor.realm, factor.username, str(factor.kind), factor.id, factor.name)
    return (*who, factor.sealed, factor.created, factor.handle, factor.used, factor.count)


def _text(digests: Sequence[bytes]) -> str:
    return " ".join(one.hex() for one in digests)


def _digests(text: str) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(one) for one in text.split())


def _encode_factor(factor: Factor) -> str:
    return json.dumps([one.hex() if isinstance(one, bytes) else one for one in _row(factor)])


def _decode_factor(text: str) -> Factor:
    realm, username, kind, id, name, sealed, created, handle, used, count = json.loads(text)
    return Factor(realm, username, FactorKind(kind), id, name, bytes.fromhex(sealed), created, bytes.fromhex(handle), used, count)


CODECS: Final[Mapping[str, Codec[Any]]] = {
    "factor": Codec(Factor, _encode_factor, _decode_factor),
    "factor_used": Codec(
        UsedFactor, lambda use: json.dumps([use.id, use.at, use.count]), lambda text: UsedFactor(*json.loads(text))
    ),
    "factor_renamed": Codec(
        RenamedFactor, lambda one: json.dumps([one.id, one.name]), lambda text: RenamedFactor(*json.loads(text))
    ),
    "factor_removed": Codec(RemovedFactor, lambda one: json.dumps([one.id]), lambda text: RemovedFactor(*json.loads(text))),
    "recovery_codes": Codec(
        RecoveryCodes,
        lambda codes: json.dumps([codes.realm, codes.username, _text(codes.digests), codes.created]),
        lambda text: (lambda realm, name, digests, at: RecoveryCodes(realm, name, _digests(digests), at))(*json.loads(text)),
    ),
    "recovery_used": Codec(
        UsedRecoveryCode,
        lambda use: json.dumps([use.realm, use.username, use.digest.hex()]),
        lambda text: (lambda realm, name, digest: UsedRecoveryCode(realm, name, bytes.fromhex(digest)))(*json.loads(text)),
    ),
    "enroll_code": Codec(
        EnrollCode,
        lambda code: json.dumps([code.realm, code.username, code.digest.hex(), code.expires]),
        lambda text: (lambda realm, name, digest, end: EnrollCode(realm, name, bytes.fromhex(digest), end))(*json.loads(text)),
    ),
    "factors_reset": Codec(
        ResetFactors, lambda who: json.dumps([who.realm, who.username, who.before]), lambda text: ResetFactors(*json.loads(text))
    ),
}
"""By the word in the log. The meaning of a word and its text must never change: processes of two versions may share a log."""

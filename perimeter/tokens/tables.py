"""How SQLite keeps API tokens and revocations, and their text in the change log."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_network
from typing import Any, Final

from perimeter.model import Restriction
from perimeter.state.changes import Change
from perimeter.state.kinds import Codec, Effect, Execute, Listed, Records
from perimeter.state.page import PAGE, Page
from perimeter.state.writer import LookupKey
from perimeter.tokens.api_token import ApiToken
from perimeter.tokens.owners import decode_owner, encode_owner
from perimeter.tokens.revocation import Removed, RevokedGrant, RevokedUser

# IF NOT EXISTS: databases of format 1 have these tables already (`perimeter.state.schema`).
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS api_token (
    id TEXT PRIMARY KEY, digest BLOB NOT NULL UNIQUE, name TEXT NOT NULL, realm TEXT NOT NULL, username TEXT NOT NULL,
    owner TEXT NOT NULL, created REAL NOT NULL, expires REAL NOT NULL, restriction TEXT, passing INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS revoked_grant (id TEXT PRIMARY KEY, expires REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS revoked_user (
    realm TEXT NOT NULL, username TEXT NOT NULL, before REAL NOT NULL, until REAL NOT NULL, PRIMARY KEY (realm, username)
) WITHOUT ROWID;
"""

_SECOND: Final = "ALTER TABLE api_token ADD COLUMN second REAL NOT NULL DEFAULT 0;"

# To look tokens up. Earlier versions had few enough to read all.
_LOOK_UP: Final = """
CREATE INDEX api_token_of ON api_token (realm, username, created);
CREATE INDEX api_token_age ON api_token (created);
CREATE INDEX api_token_end ON api_token (expires);
"""

_SELECT: Final = """
SELECT id, digest, name, realm, username, owner, created, expires, restriction, passing, second FROM api_token
"""
_FIND: Final = {
    "digest": f"{_SELECT} WHERE digest = ?",
    "id": f"{_SELECT} WHERE id = ?",
    "owner": f"{_SELECT} WHERE realm = ? AND username = ? ORDER BY created",
}
# Not a token that was made before all of its owner's were revoked, and is written only now (attack 39).
_ADD: Final = """
INSERT INTO api_token (id, digest, name, realm, username, owner, created, expires, restriction, passing, second)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11
WHERE NOT EXISTS (SELECT 1 FROM revoked_user WHERE realm = ?4 AND username = ?5 AND before >= ?7)
"""
_REVOKE_USER: Final = """
INSERT INTO revoked_user (realm, username, before, until) VALUES (?, ?, ?, ?)
ON CONFLICT (realm, username) DO UPDATE SET before = max(before, excluded.before), until = max(until, excluded.until)
"""


class TokenTable:
    """`perimeter.state.kinds.Table` of API tokens and revocations."""

    migrations: Sequence[str] = (_TABLES, _SECOND, _LOOK_UP)

    def load(self, execute: Execute) -> Iterator[Change]:
        """Everything; revoked users first, since they decide which tokens count."""
        yield from revocations(execute)
        for row in execute(f"{_SELECT} ORDER BY created"):
            yield _token(row)

    def write(self, execute: Execute, change: Change) -> None:
        """Apply one change."""
        if isinstance(change, ApiToken):
            execute(_ADD, _row(change))
        elif isinstance(change, Removed):
            execute("DELETE FROM api_token WHERE id = ?", (change.id,))
        elif isinstance(change, RevokedGrant):
            execute("INSERT OR REPLACE INTO revoked_grant VALUES (?, ?)", (change.id, change.expires))
        elif isinstance(change, RevokedUser):
            gone = (change.realm, change.username, change.before)
            execute("DELETE FROM api_token WHERE realm = ? AND username = ? AND created <= ?", gone)
            execute(_REVOKE_USER, (change.realm, change.username, change.before, change.until))

    def forget(self, execute: Execute, now: float) -> None:
        """Delete what ended by ``now``."""
        execute("DELETE FROM api_token WHERE expires <= ?", (now,))
        execute("DELETE FROM revoked_grant WHERE expires <= ?", (now,))
        execute("DELETE FROM revoked_user WHERE until <= ?", (now,))


def revocations(execute: Execute) -> Iterator[Change]:
    """All that is kept besides API tokens."""
    for row in execute("SELECT realm, username, before, until FROM revoked_user"):
        yield RevokedUser(*row)
    for row in execute("SELECT id, expires FROM revoked_grant"):
        yield RevokedGrant(*row)


def find(execute: Execute, key: LookupKey) -> Iterator[ApiToken]:
    """The API tokens with ``key``: ``digest`` (hexadecimal), ``id``, or ``owner`` (realm and user name), the oldest first; or
    those of a `perimeter.state.page.Page`. Raises KeyError for another key."""
    word, *values = key
    if word == PAGE:
        page = Page.of(key)
        where = "" if page.passing else "AND passing = 0"
        rows = execute(*page.sql(_SELECT, f"expires > ? {where}", (page.now,)))
    elif word == "digest":
        rows = execute(_FIND[word], (bytes.fromhex(*values),))
    else:
        rows = execute(_FIND[word], values)
    return map(_token, rows)


def count(execute: Execute) -> int:
    """How many API tokens there are, with those that have expired a short time ago."""
    return int(execute("SELECT count(*) FROM api_token").fetchone()[0])


def _keys(token: ApiToken) -> Sequence[LookupKey]:
    return ("digest", token.digest.hex()), ("id", token.id), ("owner", token.owner.realm, token.owner.username)


def _effect(change: Change) -> Effect[ApiToken] | None:
    """What ends API tokens."""
    if isinstance(change, Removed):
        return Effect((("id", change.id),), lambda _: None)
    if isinstance(change, RevokedUser):
        user = change
        return Effect((("owner", user.realm, user.username),), lambda token: None if user.covers(token) else token)
    return None


def _listed(token: ApiToken) -> Listed:
    return Listed(token.created, token.owner.realm, token.owner.username, token.passing)


RECORDS: Final = Records(ApiToken, _keys, lambda token: token.expires, _effect, find, count, revocations, _listed)
"""API tokens, which can be looked up one by one."""


def _row(token: ApiToken) -> tuple[Any, ...]:
    owner, limits = token.owner, token.restriction
    restriction = None if limits is None else json.dumps(
        {
            "routes": sorted(limits.routes),
            "methods": sorted(limits.methods),
            "networks": [str(network) for network in limits.networks],
        }
    )  # fmt: skip
    return (
        *(token.id, token.digest, token.name, owner.realm, owner.username, encode_owner(owner)),
        *(token.created, token.expires, restriction, int(token.passing), token.second),
    )


def _token(row: Sequence[Any]) -> ApiToken:
    id, digest, name, realm, username, owner, created, expires, limits, passing, *more = row
    restriction = None
    if limits is not None:
        limit = json.loads(limits)
        restriction = Restriction(
            frozenset(limit["routes"]), frozenset(limit["methods"]), tuple(map(ip_network, limit["networks"]))
        )
    principal = decode_owner(realm, username, owner)
    return ApiToken(
        id, digest, name, principal, created, expires, restriction, bool(passing), *more
    )  # earlier versions wrote no more


def _encode_token(token: ApiToken) -> str:
    id, digest, *rest, second = _row(token)
    return json.dumps([id, digest.hex(), *rest, *([second] if second else [])])  # as earlier versions read it, if possible


def _decode_token(text: str) -> ApiToken:
    id, digest, *rest = json.loads(text)
    return _token([id, bytes.fromhex(digest), *rest])


CODECS: Final[Mapping[str, Codec[Any]]] = {
    "api_token": Codec(ApiToken, _encode_token, _decode_token),
    "api_token_removed": Codec(
        Removed, lambda removed: json.dumps([removed.id, removed.passing]), lambda text: Removed(*json.loads(text))
    ),
    "grant_revoked": Codec(
        RevokedGrant, lambda grant: json.dumps([grant.id, grant.expires]), lambda text: RevokedGrant(*json.loads(text))
    ),
    "user_revoked": Codec(
        RevokedUser,
        lambda user: json.dumps([user.realm, user.username, user.before, user.until]),
        lambda text: RevokedUser(*json.loads(text)),
    ),
}
"""By the word in the log. A word and its text keep their meaning for ever: processes of two versions may share a log."""

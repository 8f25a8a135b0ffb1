"""A directory in memory: entries, passwords, and searches with the filters that the gateway builds."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from perimeter.auth.kinds.ldap.names import same_dn
from perimeter.auth.kinds.ldap.results import SIZE_LIMIT_EXCEEDED
from perimeter.auth.kinds.ldap.roles import IN_CHAIN
from perimeter.auth.kinds.ldap.values import (
    And,
    Equal,
    Filter,
    Found,
    LdapEntry,
    Matching,
    Not,
    Or,
    Present,
    Result,
    Search,
    Substrings,
)
from perimeter.errors import Rejected


def entry(dn: str, **attributes: str | bytes | Iterable[str]) -> LdapEntry:
    """An entry; an attribute is one text, several, or bytes."""
    values: dict[str, tuple[bytes, ...]] = {}
    for name, value in attributes.items():
        if isinstance(value, bytes):
            values[name.lower()] = (value,)
        else:
            values[name.lower()] = tuple(one.encode() for one in ([value] if isinstance(value, str) else value))
    return LdapEntry(dn, values)


class MemoryDirectory:
    """Answers at once, or after ``takes`` seconds of ``clock``. ``asked`` are the searches, ``bound`` the names of the binds."""

    def __init__(self, clock: Clock, *entries: LdapEntry, passwords: dict[str, str] | None = None) -> None:
        self.clock = clock
        self.entries = list(entries)
        self.passwords = passwords or {}
        self.takes = 0.0
        #: the size limit of the server, 0 for none
        self.ends_at = 0
        #: whether it has the attribute entryDN
        self.knows_entry_dn = True
        self.asked: list[Search] = []
        self.bound: list[str] = []
        self.closed = 0

    async def search(self, search: Search) -> Found:
        """See `LdapDirectory.search`."""
        self.asked.append(search)
        await self._wait()
        below = [one for one in self.entries if one.dn.lower().endswith(search.base.lower())]
        found = [one for one in below if self._matches(one, search.filter)]
        if self.ends_at and len(found) > self.ends_at:
            return Found(tuple(found[: self.ends_at]), Result(SIZE_LIMIT_EXCEEDED), more=True)
        return Found(tuple(found[: search.limit]), Result(0), more=len(found) > search.limit)

    async def check_password(self, dn: str, password: str) -> None:
        """See `LdapDirectory.check_password`."""
        self.bound.append(dn)
        await self._wait()
        if not password or self.passwords.get(dn) != password:
            raise Rejected("wrong")

    def close(self) -> None:
        """See `LdapDirectory.close`."""
        self.closed += 1

    async def _wait(self) -> None:
        if self.takes:
            waiting: Deferred[None] = Deferred()
            self.clock.callLater(self.takes, waiting.callback, None)
            await waiting

    def _matches(self, found: LdapEntry, filter: Filter) -> bool:
        if isinstance(filter, And):
            return all(self._matches(found, part) for part in filter.parts)
        if isinstance(filter, Or):
            return any(self._matches(found, part) for part in filter.parts)
        if isinstance(filter, Not):
            return self._defined(filter.part) and not self._matches(found, filter.part)
        if isinstance(filter, Equal) and filter.attribute == "entryDN":
            return self.knows_entry_dn and same_dn(found.dn, filter.value)
        assert isinstance(filter, Equal | Matching | Present | Substrings)
        values = [value.decode("utf-8", "replace") for value in found.values(filter.attribute)]
        if isinstance(filter, Present):
            return bool(values)
        if isinstance(filter, Substrings):
            assert len(filter.parts) == 2
            first, last = filter.parts
            return any(value.startswith(first) and value.endswith(last) for value in values)
        if isinstance(filter, Matching):
            assert filter.rule == IN_CHAIN
            return any(same_dn(value, filter.value) or self._contains(value, filter) for value in values)
        assert isinstance(filter, Equal)
        return any(value.lower() == filter.value.lower() or same_dn(value, filter.value) for value in values)

    def _defined(self, filter: Filter) -> bool:
        """Whether ``filter`` is not Undefined, whose negation is Undefined too (RFC 4511, section 4.5.1.7)."""
        parts = filter.parts if isinstance(filter, Or) else (filter,)
        return self.knows_entry_dn or all(part.attribute != "entryDN" for part in parts if isinstance(part, Equal))

    def _contains(self, dn: str, filter: Matching) -> bool:
        return any(same_dn(one.dn, dn) and self._matches(one, filter) for one in self.entries)

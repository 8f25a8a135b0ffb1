"""A page of a long list of records, as a key that a store looks up."""

from __future__ import annotations

from typing import Any, Final

import attrs

from perimeter.state.writer import LookupKey

PAGE: Final = "page"
"""The first word of such a key."""


@attrs.frozen
class Page:
    """Up to ``most`` records that have not ended by ``now`` (epoch seconds), from number ``first`` on.

    They are in the order of their creation: the oldest first, or with ``latest`` the latest first. ``user`` and ``realm`` select
    those of an owner, unless "". ``passing``: tokens without a name are among them.
    """

    now: float
    most: int
    first: int = 0
    user: str = ""
    realm: str = ""
    passing: bool = False
    latest: bool = False

    @property
    def key(self) -> LookupKey:
        """The page as a key."""
        order = "latest" if self.latest else "oldest"
        return PAGE, repr(self.now), str(self.most), str(self.first), self.user, self.realm, "1" if self.passing else "", order

    @classmethod
    def of(cls, key: LookupKey) -> Page:
        """The page that ``key`` was made of."""
        _, now, most, first, user, realm, passing, order = key
        return cls(float(now), int(most), int(first), user, realm, bool(passing), order == "latest")

    def sql(self, select: str, condition: str, values: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
        """``select`` of rows that satisfy ``condition``, whose placeholders stand for ``values``, and the values of all."""
        for column, value in (("realm", self.realm), ("username", self.user)):
            if value:
                condition, values = f"{column} = ? AND {condition}", (value, *values)
        order = "DESC" if self.latest else "ASC"
        text = f"{select} WHERE {condition} ORDER BY created {order}, rowid {order} LIMIT ? OFFSET ?"
        return text, (*values, self.most, self.first)

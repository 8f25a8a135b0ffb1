"""What an option is, and a kind of section; those that there are stand in `perimeter.config.site.schema`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Generic, TypeVar

import attrs

from perimeter.config.language.datatypes import Datatype

T = TypeVar("T")


@attrs.frozen
class Option(Generic[T]):
    """One option. ``default`` is text as an operator would write it; "" means not set.

    ``empty_message`` is given where ``option =`` without a value could be taken for two opposite things and is refused.
    """

    name: str
    type: Datatype[T]
    doc: str
    default: str = ""
    required: bool = False
    available: bool = True
    empty_message: str = ""

    def default_value(self, base: Path) -> T:
        """The default as a value; paths are relative to ``base``."""
        if not self.default:
            return self.type.empty
        if self.type.item is None:
            return self.type.convert(self.default, base)
        items: Any = tuple(self.type.item.convert(part.strip(), base) for part in self.default.split(","))
        return items  # type: ignore[no-any-return]


@attrs.frozen
class SectionKind:
    """A kind of section; ``named`` ones may occur any number of times, the others once."""

    word: str
    options: type
    named: bool = False
    available: bool = True

    @property
    def declared(self) -> tuple[Option[Any], ...]:
        """Its options in the order of the declaration."""
        return tuple(value for value in vars(self.options).values() if isinstance(value, Option))

    @property
    def doc(self) -> str:
        """What the section is for."""
        return self.options.__doc__ or ""

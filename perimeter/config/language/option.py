"""How an option is declared, and what a kind of section is. The kinds that exist are in `perimeter.config.site.kinds`."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final, Generic, TypeVar, cast

import attrs

from perimeter.config.language.datatypes import Datatype

T = TypeVar("T")

REQUIRED: Final = "\0"
"""The default of an option that has none: the section must set it. No text in a file can be this one."""

_KEY: Final = "perimeter.option"


@attrs.frozen
class Option(Generic[T]):
    """One option. ``default`` is text, as an operator would write it; "" means "not set".

    ``doc`` is its line on the reference page (Markdown). ``empty_message`` is set where ``option =`` without a value could mean
    two opposite things: that is an error, and this is its message. ``renewed`` marks a file that other programs replace while
    the gateway runs, such as a certificate: when it changes, the gateway reads the files of its configuration again.
    """

    name: str
    type: Datatype[T]
    doc: str
    default: str = ""
    required: bool = False
    empty_message: str = ""
    renewed: bool = False

    def default_value(self, base: Path) -> T:
        """The default as a value; paths are relative to ``base``."""
        if not self.default:
            return self.type.empty
        if self.type.item is None:
            return self.type.convert(self.default, base)
        items: Any = tuple(self.type.item.convert(part.strip(), base) for part in self.default.split(","))
        return cast(T, self.type.whole(items))


def option(
    datatype: Datatype[T],
    doc: str,
    *,
    default: str = REQUIRED,
    name: str = "",
    empty_message: str = "",
    renewed: bool = False,
) -> T:
    """The field of a `perimeter.config.language.settings.Settings` class that holds an option: its one and only declaration.

    The option has the field's name unless ``name`` is given. ``default`` is text, as an operator would write it; ``default=""``
    means that the option may be left out and is then "not set" (the empty value of ``datatype``); without a ``default`` the
    section must set it. For the other arguments see `Option`. The words of secrets stay out of the ``repr``.

    ::

        class Flavour(StrEnum):
            GENERIC = "generic"
            ACTIVE_DIRECTORY = "active-directory"

        @attrs.frozen
        class LdapSettings(Settings):
            hostname: tuple[str, ...] = option(list_of(HOST_NAME), "LDAP servers, in the order of preference")
            flavour: Flavour = option(one_of(Flavour), "the kind of directory", default="generic")
            timeout: float = option(duration(), "longest time for one login", default="5s")
            ca_certificate: Path | None = option(optional(file_path("file")), "PEM file of trusted CAs", default="")
            bind_password: str = option(SECRET, "password of `bind_dn`", default="")

    Name the unit in ``doc`` where the datatype does not (durations and sizes are written with theirs).
    """
    required = default == REQUIRED
    declared = Option(name, datatype, doc, "" if required else default, required, empty_message, renewed)
    made: Any = attrs.field(
        default=attrs.NOTHING if required else declared.default_value(Path()),
        converter=datatype.words,
        repr=not datatype.secret,
        metadata={_KEY: declared},
    )
    return made  # type: ignore[no-any-return]


def declared(attribute: attrs.Attribute[Any]) -> Option[Any] | None:
    """The option that a field of a settings class holds, with its name; None for a field that is no option."""
    found: Option[Any] | None = attribute.metadata.get(_KEY)
    return None if found is None else attrs.evolve(found, name=found.name or attribute.name)


@cache
def options_of(settings: type[attrs.AttrsInstance]) -> tuple[Option[Any], ...]:
    """The options of a settings class in the order of their declaration, those that it inherits last."""
    fields = sorted(attrs.fields(settings), key=lambda field: field.inherited)
    return tuple(found for found in map(declared, fields) if found is not None)


def name_of(option: str | attrs.Attribute[Any]) -> str:
    """The name of an option that is given by its field, such as ``attrs.fields(RouteSettings).rewrite``, or by its name.

    A field is better: a type checker finds one that does not exist. Raises `TypeError` for a field that is no option.
    """
    if isinstance(option, str):
        return option
    found = declared(option)
    if found is None:
        raise TypeError(f"{option.name} is no option")
    return found.name


@attrs.frozen
class SectionKind:
    """A kind of section, ``[word]``.

    ``settings`` declares its options. ``doc`` and ``example`` (the lines below the header) are for the reference page. A kind
    with an ``example_name`` has named sections, ``[word NAME]``, any number of them; one without occurs at most once.
    """

    word: str
    settings: type[attrs.AttrsInstance]
    doc: str
    example: str
    example_name: str = ""

    @property
    def named(self) -> bool:
        """Whether its sections have names."""
        return bool(self.example_name)

    @property
    def declared(self) -> tuple[Option[Any], ...]:
        """Its options in the order of the declaration."""
        return options_of(self.settings)

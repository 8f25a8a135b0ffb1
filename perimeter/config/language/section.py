"""One section of a site.ini as a factory reads it: typed getters that report faults instead of raising at the first.

`Section` is what third-party authenticator factories get, so this is part of the plug-in interface. A getter never raises:
what is missing or wrong becomes a problem of the file, and the getter returns the default or an empty value of its type,
which nobody will use, because the start is off. An option that nothing has read by the end is reported as unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs

from perimeter.config.language import datatypes
from perimeter.config.language.datatypes import BadValue, Datatype, closest
from perimeter.config.language.option import Option
from perimeter.config.language.references import References, Resolved
from perimeter.config.language.scanner import ScannedOption, ScannedSection
from perimeter.errors import Problem

T = TypeVar("T")
D = TypeVar("D")

NOT_YET = "not available yet"
REQUIRED: Final[Any] = object()
"""The default of an option that must be given."""

_MISSING: Final[Any] = object()
_ASSIGNMENT = re.compile(r"(.*?(?:=|\s:|:\s))", re.DOTALL)
_USER_INFORMATION = re.compile(r"//.*@", re.DOTALL)


class Section:
    """``[kind name]`` of ``file``; ``name`` is "" where there is only one of a kind, ``line`` is where the section begins."""

    def __init__(
        self,
        scanned: ScannedSection,
        file: str,
        base: Path,
        references: References,
        problems: list[Problem],
    ) -> None:
        self.header = scanned.header
        self.kind, _, self.name = scanned.header.partition(" ")
        self.file = file
        self.line = scanned.line
        self._base = base
        self._references = references
        self._problems = problems
        self._options = {option.name: option for option in scanned.options}
        self._origins: dict[str, str] = {}
        self._read: set[str] = set()
        self._faulty: set[str] = set()

    def __repr__(self) -> str:
        return f"<Section [{self.header}] of {self.file}>"

    # -- what a factory asks for

    def text(self, option: str, default: D = REQUIRED) -> str | D:
        """Text as it stands."""
        return self._get(datatypes.TEXT, option, default)

    def secret(self, option: str, default: D = REQUIRED) -> str | D:
        """Text that no message repeats."""
        return self._get(datatypes.SECRET, option, default)

    def boolean(self, option: str, default: D = REQUIRED) -> bool | D:
        """``yes`` or ``no``."""
        return self._get(datatypes.BOOLEAN, option, default)

    def integer(self, option: str, default: D = REQUIRED, *, lowest: int = 0, highest: int = 2**31 - 1) -> int | D:
        """A whole number, its bounds included."""
        return self._get(datatypes.integer(lowest, highest), option, default)

    def duration(self, option: str, default: D = REQUIRED, *, zero: bool = False) -> float | D:
        """Seconds, greater than zero unless ``zero``."""
        return self._get(datatypes.duration(zero=zero), option, default)

    def size(self, option: str, default: D = REQUIRED) -> int | D:
        """Octets, at least one."""
        return self._get(datatypes.SIZE, option, default)

    def choice(self, option: str, legal: Sequence[str], default: D = REQUIRED) -> str | D:
        """One of the words ``legal``."""
        return self._get(datatypes.choice(*legal), option, default)

    def path(self, option: str, default: D = REQUIRED, *, must_be: str = "file") -> Path | D:
        """An absolute path. ``must_be`` is "file" or "directory" that exists, or "" where it may yet be made."""
        return self._get(datatypes.file_path(must_be), option, default)

    def list(self, option: str, default: D = REQUIRED) -> tuple[str, ...] | D:
        """Texts, separated by commas or newlines."""
        return self._get(datatypes.list_of(datatypes.TEXT), option, default)

    def prefixed(self, prefix: str) -> dict[str, str]:
        """Every option whose name begins with ``prefix``, without it. Names are in lower case."""
        names = [name for name in self._options if name.startswith(prefix) and name != prefix]
        return {name.removeprefix(prefix): self.text(name, "") for name in names}

    def given(self, option: str) -> bool:
        """Whether the option stands there with a value, usable or not."""
        return option in self._options and bool(self._options[option].value)

    def was_read(self, option: str) -> bool:
        """Whether something has read the option, given or not."""
        return option in self._read

    def faulty(self, option: str) -> bool:
        """Whether a problem of this option was reported: what else is wrong with it may only follow from that."""
        return option in self._faulty

    def problem(self, option: str, message: str, suggestion: str = "", *, line: int = 0) -> None:
        """Report a fault of an option (or of the section, where ``option`` is ""). No secret may stand in the words."""
        self._faulty.add(option)
        scanned = self._options.get(option)
        place = line or (scanned.line if scanned else self.line)
        found = Problem(self.file, place, self.header, option, message, suggestion)
        if found not in self._problems:  # an option may be read twice, as ``timeout`` of an authenticator is
            self._problems.append(found)

    def refuse(self, options: Iterable[str], message: str) -> None:
        """Report each of ``options`` that is given: it has no meaning here, and nothing is ignored."""
        for option in options:
            if self.given(option) and not self.faulty(option):
                self.problem(option, message)

    def needs(self, option: str, other: str) -> None:
        """Report ``option`` where it is given without ``other``, which it goes with."""
        if self.given(option) and not self.given(other):
            self.problem(option, f"needs {other} too")

    def quote(self, option: str, value: str) -> str:
        """``value`` of ``option`` for a message: where it came by reference, the reference is named instead."""
        origin = self._origins.get(option)
        return f"what {origin} stands for" if origin else repr(value)

    def value(self, option: Option[T]) -> T:
        """What the section says of a declared option."""
        if not option.available:
            self._note(option.name)
            if option.name in self._options:
                self.problem(option.name, NOT_YET)
            return option.type.empty
        if option.required:
            return self._get(option.type, option.name, REQUIRED)
        fallback = option.default_value(self._base)
        if self._is_empty(option.name) and (option.default or option.empty_message):
            self._note(option.name)
            self.problem(option.name, option.empty_message or "expected a value")
            return fallback
        return self._get(option.type, option.name, fallback)

    def under(self, prefix: str) -> Section:
        """The options whose names begin with ``prefix``, as a section in which they have lost it.

        What is read there counts as read here. Any number of readers may be given one each, and share the options.
        """
        return _Under(self, prefix)

    def finish(self, legal: Iterable[str] = ()) -> None:
        """Report every option that nothing has read, with the nearest of ``legal`` and of those that were."""
        names = sorted({*legal, *self._read})
        for name in self._options:
            if name not in self._read and name not in self._faulty:
                self.problem(name, "unknown option", closest(name, names))

    # -- how values come about

    def _note(self, name: str) -> None:
        """The option has a reader."""
        self._read.add(name)

    def _is_empty(self, name: str) -> bool:
        return name in self._options and not self._options[name].value

    def _get(self, kind: Datatype[T], name: str, default: D) -> T | D:
        name = name.lower()
        self._note(name)
        scanned = self._options.get(name)
        if scanned is None or not scanned.value:
            if default is not REQUIRED:
                return default
            self.problem(name, f"is required ({kind.label})")
            return kind.empty
        found = self._many(scanned, kind) if kind.item is not None else self._one(scanned, kind)
        if found is not _MISSING:
            return found  # type: ignore[no-any-return]
        return kind.empty if default is REQUIRED else default

    def _one(self, scanned: ScannedOption, kind: Datatype[Any]) -> Any:
        if "\n" in scanned.value and not kind.secret:
            following = next(line for line, text in scanned.rows[1:] if text)
            self.problem(scanned.name, "expected one line; an indented line continues the value above it", line=following)
            return _MISSING
        return self._converted(scanned, kind, scanned.line, self._resolved(scanned, scanned.value, scanned.line))

    def _many(self, scanned: ScannedOption, kind: Datatype[Any]) -> Any:
        assert kind.item is not None
        values = []
        for line, row in scanned.rows:
            for text in _split(row, kind.separators):
                resolved = self._resolved(scanned, text, line)
                parts = [resolved]
                if resolved is not None and resolved.origin:
                    parts = [attrs.evolve(resolved, text=part) for part in _split(resolved.text, kind.separators)]
                values += [self._converted(scanned, kind.item, line, part) for part in parts]
        if not values:
            self.problem(scanned.name, "expected at least one value")
            return _MISSING
        if _MISSING in values:
            return _MISSING
        try:
            return kind.whole(tuple(values))
        except BadValue as bad:
            self.problem(scanned.name, bad.message, bad.suggestion)
            return _MISSING

    def _resolved(self, scanned: ScannedOption, text: str, line: int) -> Resolved | None:
        try:
            resolved = self._references.resolve(text)
        except BadValue as bad:
            self.problem(scanned.name, bad.message, line=line)
            return None
        if resolved.origin:
            self._origins[scanned.name] = resolved.origin
        return resolved

    def _converted(self, scanned: ScannedOption, kind: Datatype[Any], line: int, resolved: Resolved | None) -> Any:
        if resolved is None:
            return _MISSING
        try:
            return kind.convert(resolved.text, self._base)
        except BadValue as bad:
            if resolved.origin:
                expected = f"expected {kind.label}" if bad.complete else bad.message
                self.problem(scanned.name, f"{expected}, not what {resolved.origin} stands for", line=line)
            elif bad.complete:
                self.problem(scanned.name, bad.message, bad.suggestion, line=line)
            else:
                self.problem(scanned.name, f"{bad.message}, not {_shown(resolved.text)}", bad.suggestion, line=line)
            return _MISSING


class _Under(Section):
    """A view of the options of ``outer`` that begin with ``prefix``; its faults are told with their full names."""

    def __init__(self, outer: Section, prefix: str) -> None:
        inner = [
            attrs.evolve(option, name=name.removeprefix(prefix))
            for name, option in outer._options.items()
            if name.startswith(prefix) and name != prefix
        ]
        scanned = ScannedSection(outer.header, outer.line, tuple(inner))
        super().__init__(scanned, outer.file, outer._base, outer._references, outer._problems)
        self._outer = outer
        self._prefix = prefix

    def problem(self, option: str, message: str, suggestion: str = "", *, line: int = 0) -> None:
        self._faulty.add(option)
        self._outer.problem(self._prefix + option if option else "", message, suggestion, line=line)

    def _note(self, name: str) -> None:
        super()._note(name)
        self._outer._note(self._prefix + name)


def _split(text: str, separators: str) -> list[str]:
    for separator in separators[1:]:
        text = text.replace(separator, separators[0])
    return [part.strip() for part in text.split(separators[0]) if part.strip()]


def _shown(text: str) -> str:
    """``text`` for a message, without what may be a secret.

    That is whatever an indented line that was meant to be another option sets, and the user and password of a URL.
    """
    assignment = _ASSIGNMENT.match(text)
    if assignment:
        return repr(f"{assignment[1]}…")
    return repr(_USER_INFORMATION.sub("//…@", text[:200]))

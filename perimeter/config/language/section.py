"""One section of a site.ini, as text with line numbers, and the place where its faults are reported.

Sections are read by `perimeter.config.language.settings.read`. `Section` is what a plug-in's ``parse`` gets, so it is part of
the plug-in interface. Nothing here raises for the contents of a file: a missing or wrong value becomes a problem, and the
program does not start. An option that nothing has read by the end is reported as unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar, cast

import attrs

from perimeter.config.language.datatypes import BadValue, Datatype, NotHere, closest
from perimeter.config.language.option import Option, name_of
from perimeter.config.language.references import References, Resolved
from perimeter.config.language.scanner import ScannedOption, ScannedSection
from perimeter.errors import Problem

T = TypeVar("T")

Named: TypeAlias = "str | attrs.Attribute[Any]"
"""An option by its name, or by the field of the settings class that declares it (`perimeter.config.language.option.name_of`)."""

_MISSING: Final[Any] = object()
_QUOTES = "\"'\u201c\u2018`"
_ASSIGNMENT = re.compile(r"(.*?(?:=|\s:|:\s))", re.DOTALL)
_USER_INFORMATION = re.compile(r"//.*@", re.DOTALL)


@attrs.frozen
class Setting:
    """One option as it is in force, for the operator.

    ``text`` is its value as the file has it, or its default; `SECRET_TEXT` for a secret. ``line`` is 0 for a default.
    """

    name: str
    text: str
    line: int


@attrs.frozen
class Secret:
    """The secret ``text`` of an option: from ``origin``, a reference ("" for a secret in site.ini itself), or from ``file``."""

    header: str
    option: str
    text: str = attrs.field(repr=False)
    origin: str = ""
    file: Path | None = None


SECRET_TEXT: Final = "(secret)"  # noqa: S105  # stands for a secret
"""What is shown instead of a secret."""


class Section:
    """``[kind name]`` of ``file``; ``name`` is "" for a kind that occurs once, ``line`` is the line of the header."""

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
        #: the options that were read by their declarations
        self._declared: dict[str, Option[Any]] = {}
        self._faulty: set[str] = set()

    def __repr__(self) -> str:
        return f"<Section [{self.header}] of {self.file}>"

    def given(self, option: Named) -> bool:
        """Whether the section sets the option to something, usable or not."""
        name = name_of(option)
        return name in self._options and bool(self._options[name].value)

    def was_read(self, option: Named) -> bool:
        """Whether something has read the option, set or not."""
        return name_of(option) in self._read

    @property
    def unread(self) -> tuple[str, ...]:
        """The options that the section has and nothing has read, in the order of the file."""
        return tuple(name for name in self._options if name not in self._read)

    def faulty(self, option: Named) -> bool:
        """Whether a problem of this option was reported. Another one may only be a consequence of it."""
        return name_of(option) in self._faulty

    def problem(self, option: Named, message: str, suggestion: str = "", *, line: int = 0, part: str = "") -> None:
        """Report a fault of an option, or of the section if ``option`` is "". The message must contain no secret.

        ``part`` is the text within the value that the fault is about: its line and column are reported. The same fault is
        reported once, even if an option is read twice, as ``timeout`` of an authenticator may be.
        """
        name = name_of(option)
        self._faulty.add(name)
        scanned = self._options.get(name)
        found_part = re.search(rf"(?<![^\s(,]){re.escape(part)}(?![^\s),])", scanned.value) if scanned and part else None
        if scanned is not None and found_part is not None:
            line, column = scanned.place(found_part.start())
            message = f"column {column}: {message}"
        place = line or (scanned.line if scanned else self.line)
        found = Problem(self.file, place, self.header, name, message, suggestion)
        if found not in self._problems:
            self._problems.append(found)

    def elsewhere(self, problem: Problem) -> None:
        """Report a problem of another file, which this section names."""
        if problem not in self._problems:
            self._problems.append(problem)

    def refuse(self, options: Iterable[Named], message: str) -> None:
        """Report each of ``options`` that is set: it has no effect here, and no option is ignored."""
        for option in options:
            if self.given(option) and not self.faulty(option):
                self.problem(option, message)

    def needs(self, option: Named, other: Named) -> None:
        """Report ``option`` if it is set without ``other``."""
        if self.given(option) and not self.given(other):
            self.problem(option, f"also needs {name_of(other)}")

    def quote(self, option: Named, value: str) -> str:
        """``value`` of ``option`` for a message. A value that came by reference is not shown; its reference is."""
        origin = self._origins.get(name_of(option))
        return f"the value of {origin}" if origin else repr(value)

    def bare(self, option: Named, value: str) -> str:
        """Like `quote`, without quotation marks: for the name of a section within a message."""
        origin = self._origins.get(name_of(option))
        return f"the value of {origin}" if origin else value

    def value(self, option: Option[T]) -> T:
        """The value of a declared option. `perimeter.config.language.settings.read` calls this for each option of a class.

        Never raises: a faulty or missing value is reported, and the default or an empty value is returned instead.
        """
        self._note(option.name, option)
        scanned = self._options.get(option.name)
        fallback = option.type.empty if option.required else option.default_value(self._base)
        if scanned is None or not scanned.value:
            if option.required:
                self.problem(option.name, f"is required ({option.type.label})")
            elif scanned is not None and (option.default or option.empty_message):
                self.problem(option.name, option.empty_message or "expected a value")
            return fallback
        kind = option.type
        found = self._many(scanned, kind) if kind.item is not None else self._one(scanned, kind)
        return fallback if found is _MISSING else cast(T, found)

    def under(self, prefix: str) -> Section:
        """The options whose names begin with ``prefix``, as a section with that prefix removed from their names.

        An option that is read there counts as read here. Several readers may each have such a section of the same options.
        """
        return _Under(self, prefix)

    def finish(self) -> None:
        """Report every option that was not read as unknown, with the most similar one that was read."""
        names = sorted(self._read)
        for name in self.unread:
            if name not in self._faulty:
                self.problem(name, "unknown option", closest(name, names))

    def settings(self) -> tuple[Setting, ...]:
        """What the section sets, in the order of the file, then the defaults of what it does not set.

        A value is a secret if its option says so, and if no option is known that says that it is none. References are shown as
        they are written, and a URL without user and password.
        """
        given = [Setting(name, self._text(name), scanned.line) for name, scanned in self._options.items()]
        unset = [one for name, one in self._declared.items() if name not in self._options]
        return (*given, *(Setting(one.name, one.default, 0) for one in unset))

    def _text(self, name: str) -> str:
        option = self._declared.get(name)
        if option is None or option.type.secret:
            return SECRET_TEXT
        scanned = self._options[name]
        parts = [text for _, text in scanned.rows]
        if option.type.split is not None:
            parts = [" ".join(text.split()) for _, text in option.type.split(scanned.value)]
        return _without_user(", ".join(filter(None, parts)))

    def secrets(self) -> Iterator[Secret]:
        """The secrets that the section sets, except unreadable and unusable ones."""
        for name, option in self._declared.items():
            scanned = self._options.get(name)
            if scanned is None or not scanned.value or name in self._faulty:
                continue
            for text in _secret_texts(scanned, option.type):
                try:
                    resolved = self._references.resolve(text)
                    if option.type.in_file and not resolved.origin:
                        path = self._base / text
                        yield Secret(self.header, name, option.type.convert(text, self._base), f"file:{text}", path)
                        continue
                except BadValue:
                    continue
                yield Secret(self.header, name, resolved.text, resolved.origin, self._references.file_of(resolved.origin))

    # -- how values are made

    def _note(self, name: str, option: Option[Any] | None = None) -> None:
        self._read.add(name)
        if option is not None:
            self._declared[name] = option

    def _one(self, scanned: ScannedOption, kind: Datatype[Any]) -> Any:
        if "\n" in scanned.value and not kind.secret:
            following = next(line for line, text in scanned.rows[1:] if text)
            self.problem(scanned.name, "expected one line; an indented line continues the value above it", line=following)
            return _MISSING
        resolved = self._resolved(scanned, scanned.value, scanned.line, kind)
        if kind.secret and not kind.in_file and scanned.cut and resolved is not None and not resolved.origin:
            message = "a comment cannot follow a secret, of which it may be a part: put it, or the secret, somewhere else"
            self.problem(scanned.name, message, line=min(scanned.cut))
            return _MISSING
        return self._converted(scanned, kind, scanned.line, resolved)

    def _many(self, scanned: ScannedOption, kind: Datatype[Any]) -> Any:
        assert kind.item is not None
        values = []
        for offset, text in _split_text(scanned.value, kind):
            line, column = scanned.place(offset)
            resolved = self._resolved(scanned, text, line, kind)
            if resolved is not None and resolved.origin:
                parts = [attrs.evolve(resolved, text=part) for _, part in _split_text(resolved.text, kind)]
                values += [self._converted(scanned, kind.item, line, part) for part in parts]
            else:
                values.append(self._converted(scanned, kind.item, line, resolved, offset if column else None))
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

    def _resolved(self, scanned: ScannedOption, text: str, line: int, kind: Datatype[Any]) -> Resolved | None:
        match = None if kind.before_reference is None else kind.before_reference.match(text)
        before = "" if match is None else match[0]
        try:
            resolved = self._references.resolve(text[len(before) :])
        except BadValue as bad:
            if isinstance(bad, NotHere) and not self._references.here:
                self._faulty.add(scanned.name)  # its value is not known: checks must not take it for missing
            else:
                self.problem(scanned.name, bad.message, line=line)
            return None
        if resolved.origin:
            self._origins[scanned.name] = resolved.origin
        return attrs.evolve(resolved, text=before + resolved.text) if before else resolved

    def _quoted(self, scanned: ScannedOption, kind: Datatype[Any], line: int, resolved: Resolved) -> bool:
        """Whether a value is refused for its quotes: they are not removed, and do not keep a comment from being removed."""
        text = resolved.text
        if resolved.origin:
            return False
        if line in scanned.cut and (text[:1] in _QUOTES or text.count('"') % 2):
            message = (
                "a quote does not end before ; or #, which begins a comment: keep such a value in a file, and write file:PATH"
            )
            self.problem(scanned.name, message, line=line)
            return True
        if kind.quotes or text[0] not in _QUOTES:
            return False
        bare = text[1:-1] if len(text) > 2 and text[-1] == text[0] and not kind.secret else ""
        message = "expected a value without quotes around it; one that begins with a quote is kept in a file: file:PATH"
        self.problem(scanned.name, message, bare, line=line)
        return True

    def _converted(
        self, scanned: ScannedOption, kind: Datatype[Any], line: int, resolved: Resolved | None, offset: int | None = None
    ) -> Any:
        """The value of ``resolved``, which begins at ``offset`` of the option's text if that is known; `_MISSING` for a fault."""
        if resolved is None or self._quoted(scanned, kind, line, resolved):
            return _MISSING
        try:
            convert = kind.referred if resolved.origin and kind.referred is not None else kind.convert
            return convert(resolved.text, self._base)
        except BadValue as bad:
            if isinstance(bad, NotHere) and not self._references.here:
                return bad.value
            if resolved.origin:
                expected = f"expected {kind.label}" if bad.complete else bad.message
                self.problem(scanned.name, f"{expected}, not the value of {resolved.origin}", line=line)
            elif bad.at is not None and offset is not None:
                line, column = scanned.place(offset + bad.at)
                self.problem(scanned.name, f"column {column}: {bad.message}", bad.suggestion, line=line)
            elif bad.complete:
                self.problem(scanned.name, bad.message, bad.suggestion, line=line)
            else:
                self.problem(scanned.name, f"{bad.message}, not {_shown(resolved.text)}", bad.suggestion, line=line)
            return _MISSING


class _Under(Section):
    """A view of the options of ``outer`` that begin with ``prefix``; its faults are reported with their full names."""

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

    def problem(self, option: Named, message: str, suggestion: str = "", *, line: int = 0, part: str = "") -> None:
        name = name_of(option)
        self._faulty.add(name)
        self._outer.problem(self._prefix + name if name else "", message, suggestion, line=line, part=part)

    def _note(self, name: str, option: Option[Any] | None = None) -> None:
        super()._note(name, option)
        self._outer._note(self._prefix + name, None if option is None else attrs.evolve(option, name=self._prefix + name))


def _split_text(text: str, kind: Datatype[Any]) -> list[tuple[int, str]]:
    """The parts of a list's ``text`` that are not empty, and their offsets."""
    if kind.split is not None:
        return kind.split(text)
    found = []
    for part in re.finditer(f"[^\n{re.escape(kind.separators)}]+", text):
        bare = part[0].strip()
        if bare:
            found.append((part.start() + part[0].index(bare), bare))
    return found


def _secret_texts(scanned: ScannedOption, kind: Datatype[Any]) -> Iterator[str]:
    """What an option says that is a secret, or the reference to one. A word, such as `drop`, is none."""
    before = kind.before_reference
    rows = [row for _, row in scanned.rows] if before is not None else []
    for text in [scanned.value] if kind.secret else rows:
        match = None if before is None else before.match(text)
        if before is None or match is not None:
            yield text[match.end() :] if match is not None else text


def _shown(text: str) -> str:
    """``text`` for a message, without parts that may be a secret.

    These are the value in an indented line that was meant to be another option, and the user and password of a URL.
    """
    assignment = _ASSIGNMENT.match(text)
    if assignment:
        return repr(f"{assignment[1]}…")
    return repr(_without_user(text[:200]))


def _without_user(text: str) -> str:
    return _USER_INFORMATION.sub("//…@", text)

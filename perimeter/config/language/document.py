"""A configuration file as sections by kind, with every problem that was found in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import attrs

from perimeter.config.language.datatypes import closest
from perimeter.config.language.option import SectionKind
from perimeter.config.language.references import References
from perimeter.config.language.scanner import ScannedSection, scan
from perimeter.config.language.section import Section, Setting
from perimeter.descriptors import system_reason
from perimeter.errors import ConfigError, Problem

# Names appear in the audit log and in headers, so they are plain.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@attrs.frozen
class SectionInForce:
    """A section as it is in force: the text between its brackets, its line (0 if the file does not have it), its options."""

    header: str
    line: int
    settings: tuple[Setting, ...]


class Document:
    """The sections of the file ``path``, of the ``kinds`` that exist; ``problems`` are those found so far, in no order.

    ``environ`` is where references look up variables; ``here`` is that of `References`. ``data`` is the content of the file
    if it has been read already. Raises `perimeter.errors.ConfigError` if the file is not readable text.
    """

    def __init__(
        self,
        path: Path,
        kinds: Iterable[SectionKind],
        environ: Mapping[str, str],
        *,
        here: bool = True,
        data: bytes | None = None,
    ) -> None:
        scanned, faults = scan(_text(path, file_bytes(path) if data is None else data))
        self.problems = [Problem(str(path), fault.line, fault.section, fault.option, fault.message) for fault in faults]
        self._file = str(path)
        # Links are resolved for the directory, so that `..` in a relative path means the same as to the operating system.
        self._base = path.parent.resolve()
        self._references = References(environ, self._base, here)
        self._kinds = {kind.word: kind for kind in kinds}
        self._sections: dict[str, list[Section]] = {word: [] for word in self._kinds}
        #: by their kind, the sections that were asked for and that the file does not have
        self._absent: dict[str, Section] = {}
        for one in scanned:
            self._add(self._section(one))

    @property
    def path(self) -> Path:
        """The file, in its directory behind links."""
        return self._base / Path(self._file).name

    def one(self, word: str) -> Section:
        """The section of a kind that occurs once; an empty section if the file has none."""
        found = self._sections[word]
        return found[0] if found else self._absent.setdefault(word, self._section(ScannedSection(word, 0, ())))

    def many(self, word: str) -> list[Section]:
        """The sections of a kind that have names, in the order of the file."""
        return self._sections[word]

    def in_force(self) -> tuple[SectionInForce, ...]:
        """All sections, with the options that were read of them: in the order of the file, then those that it does not have."""
        there = sorted((one for several in self._sections.values() for one in several), key=lambda section: section.line)
        return tuple(SectionInForce(one.header, one.line, one.settings()) for one in (*there, *self._absent.values()))

    def problem(self, message: str) -> None:
        """Report a fault of the file as a whole."""
        self.problems.append(Problem(self._file, 0, "", "", message))

    def raise_problems(self) -> None:
        """Raise `perimeter.errors.ConfigError` with every problem, in the order of their lines, if there are any."""
        if self.problems:
            raise ConfigError(sorted(self.problems, key=lambda problem: problem.line or 2**31))

    def _section(self, scanned: ScannedSection) -> Section:
        return Section(scanned, self._file, self._base, self._references, self.problems)

    def _add(self, section: Section) -> None:
        kind = self._kinds.get(section.kind)
        if kind is None:
            section.problem("", "unknown section", self._meant(section))
        elif kind.named and not _NAME.fullmatch(section.name):
            section.problem("", f"expected [{kind.word} NAME], with a name of letters, digits and _ . -")
        elif not kind.named and section.name:
            section.problem("", f"expected [{kind.word}], without a name", f"[{kind.word}]")
        else:
            self._sections[kind.word].append(section)

    def _meant(self, section: Section) -> str:
        word = closest(section.kind, tuple(self._kinds))
        if not word:
            return ""
        return f"[{word} {section.name or 'NAME'}]" if self._kinds[word].named else f"[{word}]"


def file_bytes(path: Path) -> bytes:
    """The content of a file. Raises `perimeter.errors.ConfigError`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError([Problem(str(path), 0, "", "", f"cannot be read: {system_reason(error)}")]) from error


def _text(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError([Problem(str(path), line, "", "", "is not UTF-8 text")]) from None

"""Reads a site.ini: every fault at once, or a `SiteConfig`. Pure but for reading files: binds nothing, makes nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import attrs

from perimeter.config.language.datatypes import closest
from perimeter.config.language.option import SectionKind
from perimeter.config.language.references import References
from perimeter.config.language.scanner import Fault, ScannedSection, scan
from perimeter.config.language.section import NOT_YET, Section
from perimeter.config.site import build, build_route, crosscheck
from perimeter.config.site.schema import KINDS
from perimeter.config.site.values import SiteConfig
from perimeter.errors import ConfigError, Problem
from perimeter.plugin.kinds import PluginKinds

T = TypeVar("T")

_KINDS = {kind.word: kind for kind in KINDS}
# Names end up in the audit log and in headers, so they are plain.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def load_site(path: Path, *, environ: Mapping[str, str] | None = None, kinds: PluginKinds) -> SiteConfig:
    """The configuration in the file ``path``.

    ``environ`` is what ``env:NAME`` and ``credential:NAME`` look into (default: that of the process); ``kinds`` are the kinds of
    authenticators and augmenters that it may use. Raises `perimeter.errors.ConfigError` with every problem in the file's order.
    """
    text = _read(path)
    # Links are followed for the directory, so that `..` in a relative path means what it means to the system.
    base = path.parent.resolve()
    references = References(os.environ if environ is None else environ, base)
    sections, faults = scan(text)
    document = _Document(str(path), base, references, sections, faults)
    config = document.config(base / path.name, kinds)
    if document.problems:
        raise ConfigError(sorted(document.problems, key=lambda problem: problem.line or 2**31))
    return attrs.evolve(config, warnings=crosscheck.warnings(config))


def _read(path: Path) -> str:
    try:
        octets = path.read_bytes()
    except OSError as error:
        raise ConfigError([Problem(str(path), 0, "", "", f"cannot be read: {error.strerror}")]) from error
    try:
        return octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = octets[: error.start].count(b"\n") + 1
        raise ConfigError([Problem(str(path), line, "", "", "is not UTF-8 text")]) from None


class _Document:
    """The sections of a file by kind, and the problems found so far."""

    def __init__(self, file: str, base: Path, references: References, scanned: list[ScannedSection], faults: list[Fault]) -> None:
        self.file = file
        self.problems = [Problem(file, fault.line, fault.section, fault.option, fault.message) for fault in faults]
        self._base = base
        self._references = references
        self._sections: dict[str, list[Section]] = {word: [] for word in _KINDS}
        for one in scanned:
            self._file(Section(one, file, base, references, self.problems))

    def _file(self, section: Section) -> None:
        """Put a section where its kind belongs, if there is such a kind."""
        kind = _KINDS.get(section.kind)
        if kind is None:
            section.problem("", "unknown section", _meant(section))
        elif not kind.available:
            section.problem("", NOT_YET)
        elif kind.named and not _NAME.fullmatch(section.name):
            section.problem("", f"expected [{kind.word} NAME], the name of letters, digits and _ . -")
        elif not kind.named and section.name:
            section.problem("", f"expected [{kind.word}], without a name", f"[{kind.word}]")
        else:
            self._sections[kind.word].append(section)

    def config(self, path: Path, kinds: PluginKinds) -> SiteConfig:
        """Everything that the file says; worth something only where there are no problems."""
        authentication = self._single("authentication")
        errors = self._single("errors")
        found = self._many("authenticator", lambda section: build.authenticator(section, kinds.authenticators))
        settings = self._done(authentication, build.authentication)
        if not authentication.given("order"):
            settings = attrs.evolve(settings, order=tuple(authenticator.name for authenticator in found))
        config = SiteConfig(
            file=path,
            perimeter=self._one("perimeter", build.perimeter),
            limits=self._one("limits", build.limits),
            listeners=self._many("listener", build.listener),
            authenticators=found,
            authentication=settings,
            augmenters=self._many("augmenter", lambda section: build.augmenter(section, kinds.augmenters)),
            token=self._one("token", build.token),
            upstreams=self._many("upstream", build.upstream),
            routes=self._many("route", build_route.route),
            audit=self._one("audit", build.audit),
            logging=self._one("logging", build.logging),
            metrics=self._one("metrics", build.metrics),
            error_pages=self._done(errors, build.errors),
        )
        if not self._sections["listener"]:
            self.problems.append(Problem(self.file, 0, "", "", "there is no [listener NAME] section, so nobody could connect"))
        crosscheck.check(
            config,
            crosscheck.Sections(
                self._sections["listener"], self._sections["route"], authentication, errors, self._sections["augmenter"]
            ),
        )
        return config

    def _single(self, word: str) -> Section:
        """The one section of a kind; an empty one where the file has none, so that every default has one source."""
        found = self._sections[word]
        return found[0] if found else Section(ScannedSection(word, 0, ()), self.file, self._base, self._references, self.problems)

    def _one(self, word: str, make: Callable[[Section], T]) -> T:
        return self._done(self._single(word), make)

    def _many(self, word: str, make: Callable[[Section], T]) -> tuple[T, ...]:
        return tuple(self._done(section, make) for section in self._sections[word])

    def _done(self, section: Section, make: Callable[[Section], T]) -> T:
        """Read a section, then report options that nothing has read. Sections with a factory have reported theirs already."""
        made = make(section)
        kind = _KINDS[section.kind]
        if kind.word not in ("authenticator", "augmenter"):
            section.finish(option.name for option in kind.declared)
        return made


def _meant(section: Section) -> str:
    word = closest(section.kind, tuple(_KINDS))
    if not word:
        return ""
    kind: SectionKind = _KINDS[word]
    return f"[{word} {section.name or 'NAME'}]" if kind.named else f"[{word}]"

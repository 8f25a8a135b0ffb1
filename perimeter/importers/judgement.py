"""Whether the gateway accepts what an importer has written, by the declarations of the options themselves. Pure.

An importer asks before it writes, so that what it writes starts, and what cannot be written is named with the line of its source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from perimeter.config.language.references import References
from perimeter.config.language.scanner import ScannedOption, ScannedSection
from perimeter.config.language.section import Section
from perimeter.config.site.augmenter import read_augmenter
from perimeter.config.site.authenticator import read_authenticator
from perimeter.config.site.kinds import KINDS
from perimeter.errors import Problem
from perimeter.importers.draft import DraftSection
from perimeter.plugin.kinds import PluginKinds

Judge = Callable[[DraftSection], str]
"""Why the gateway would not accept an authenticator or augmenter, or ""."""

_DECLARED = {kind.word: {option.name: option for option in kind.declared} for kind in KINDS}
_SECRET = "a secret in a file of its own that is long enough"  # noqa: S105 - stands for one while the section is judged


def accept(section: DraftSection) -> str:
    """A `Judge` that accepts every section, for a gateway whose kinds are not known."""
    return ""


def judge_by(kinds: PluginKinds) -> Judge:
    """A `Judge` that asks the factory of the section's ``type``. Files that the section names need not exist."""

    def judge(draft: DraftSection) -> str:
        given = {name: setting.value for name, setting in draft.options.items()}
        section, problems = _section(draft.header, given)
        if section.kind == "augmenter":
            read_augmenter(section, kinds.augmenters)
        else:
            read_authenticator(section, kinds.authenticators)
        absent = {name for name, setting in draft.options.items() if setting.needs}
        return next((_words(problem) for problem in problems if problem.option not in absent), "")

    return judge


def unfit_value(header: str, option: str, text: str) -> str:
    """Why ``option`` of ``[header]`` does not take ``text``, or "". Secrets, and options of plug-ins, are not judged."""
    declared = _DECLARED[header.partition(" ")[0]].get(option)
    if declared is None or declared.type.secret:
        return ""
    section, problems = _section(header, {option: text})
    section.value(declared)
    return problems[0].message if problems else ""


def _section(header: str, given: Mapping[str, str]) -> tuple[Section, list[Problem]]:
    problems: list[Problem] = []
    options = tuple(ScannedOption(name, 1, _rows(text)) for name, text in given.items())
    return Section(ScannedSection(header, 1, options), "", Path("/"), References({}, Path("/")), problems), problems


def _rows(text: str) -> tuple[tuple[int, str], ...]:
    return tuple((1, _SECRET if row.startswith("file:") else row) for row in text.split("\n    "))


def _words(problem: Problem) -> str:
    return f"{problem.option}: {problem.message}" if problem.option else problem.message

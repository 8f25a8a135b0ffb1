"""The grammar of nginx's configuration: directives with their lines. Pure.

The parser of nginx's own house for Python (crossplane) was given up in 2022 and follows ``include``; the grammar is small.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import attrs

from perimeter.importers.draft import ImportFault

MAX_SIZE = 4 << 20
MAX_DEPTH = 20
_TOKEN = re.compile(
    r"""(?P<blank>[ \t\r\n]+)|(?P<comment>\#[^\n]*)|(?P<mark>[;{}])
    |"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^'\\]|\\.)*)'|(?P<word>(?:[^\s;{}"'\\$]|\\.|\$\{[^}\n]*\}|\$|(?<=\S)["'])+)""",
    re.VERBOSE | re.DOTALL,
)
_USER_INFORMATION = re.compile(r"//[^/]*@")
_ESCAPE = re.compile(r"""\\(["'\\])""")


@attrs.define
class Directive:
    """A name and its arguments; ``block`` is None where it ends with a semicolon."""

    name: str
    args: tuple[str, ...]
    line: int
    block: list[Directive] | None = None

    def all(self, name: str) -> list[Directive]:
        """The directives of that name inside of its block."""
        return [one for one in self.block or () if one.name == name]

    @property
    def text(self) -> str:
        """For messages: the name and the first argument, since the others may be secrets; a location's path in any case."""
        shown = self.args if self.name == "location" else self.args[:1]
        return " ".join((self.name, *(_USER_INFORMATION.sub("//…@", one) for one in shown)))


def _tokens(text: str, file: str) -> Iterator[tuple[int, str, str]]:
    """Line, kind (``mark`` or ``word``) and value of each token."""
    at, line = 0, 1
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ImportFault(file, line, "not nginx: a quote without an end, or a stray backslash")
        kind = match.lastgroup or ""
        value = match[kind]
        if kind in ("mark", "word"):
            yield line, kind, value
        elif kind in ("double", "single"):
            yield line, "word", _ESCAPE.sub(r"\1", value)
        line += match[0].count("\n")
        at = match.end()


def read(text: str, file: str) -> list[Directive]:
    """The directives of the outermost level. Raises `ImportFault`."""
    if len(text) > MAX_SIZE:
        raise ImportFault(file, 0, f"larger than {MAX_SIZE >> 20} MiB")
    top: list[Directive] = []
    stack = [top]
    words: list[str] = []
    start = 0
    line = 0
    for line, kind, value in _tokens(text, file):
        if kind == "word":
            start = start if words else line
            words.append(value)
        elif value == "}":
            if words or len(stack) == 1:
                raise ImportFault(file, line, "not nginx: an unexpected }")
            stack.pop()
        elif not words:
            raise ImportFault(file, line, f"not nginx: an unexpected {value}")
        else:
            directive = Directive(words[0], tuple(words[1:]), start, [] if value == "{" else None)
            stack[-1].append(directive)
            words = []
            if directive.block is not None:
                stack.append(directive.block)
                if len(stack) > MAX_DEPTH:
                    raise ImportFault(file, line, f"more than {MAX_DEPTH} levels deep")
    if words or len(stack) > 1:
        raise ImportFault(file, line, "not nginx: it ends in the middle of a directive")
    return top

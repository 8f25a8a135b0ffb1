"""The grammar of nginx's configuration: directives with their files and lines. Pure: a caller finds the files of ``include``.

nginx's own parser for Python (crossplane) was given up in 2022, and opens files by itself; the grammar is small.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

import attrs

from perimeter.importers.draft import ImportFault

MAX_SIZE = 4 << 20
MAX_DEPTH = 20
MAX_INCLUDES = 1000
"""Files that one configuration may include; a limit against files that include each other."""

Find = Callable[[str], Sequence[tuple[str, str]] | None]
"""From the argument of ``include`` to the text and the name of each file that it fits; None if there is no such file."""

_TOKEN = re.compile(
    r"""(?P<blank>[ \t\r\n]+)|(?P<comment>\#[^\n]*)|(?P<mark>[;{}])
    |"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^'\\]|\\.)*)'|(?P<word>(?:[^\s;{}"'\\$]|\\.|\$\{[^}\n]*\}|\$|(?<=\S)["'])+)""",
    re.VERBOSE | re.DOTALL,
)
_USER_INFORMATION = re.compile(r"//[^/]*@")
_ESCAPE = re.compile(r"""\\(["'\\])""")
_LUA = re.compile(
    r"""--\[(?P<a>=*)\[.*?\](?P=a)\]|--[^\n]*|\[(?P<b>=*)\[.*?\](?P=b)\]
    |"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|(?P<brace>[{}])|.""",
    re.VERBOSE | re.DOTALL,
)


@attrs.define
class Directive:
    """A name and its arguments; ``block`` is None if it ends with a semicolon. ``line`` counts from 1 in ``file``."""

    name: str
    args: tuple[str, ...]
    line: int
    block: list[Directive] | None = None
    file: str = ""

    def all(self, name: str) -> list[Directive]:
        """The directives of that name directly inside its block."""
        return [one for one in self.block or () if one.name == name]

    @property
    def text(self) -> str:
        """For messages: the name and the first argument, because the others may be secrets; a location's path in any case."""
        shown = self.args if self.name == "location" else self.args[:1]
        return " ".join((self.name, *(_USER_INFORMATION.sub("//…@", one) for one in shown)))


def _tokens(text: str, file: str) -> Iterator[tuple[int, str, str]]:
    """Line, kind (``mark`` or ``word``) and value of each token. The body of a Lua block is left out."""
    at, line = 0, 1
    first = ""
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ImportFault(file, line, "not nginx: a quote without an end, or a stray backslash")
        kind = match.lastgroup or ""
        value = match[kind]
        if kind in ("double", "single"):
            kind, value = "word", _ESCAPE.sub(r"\1", value)
        if kind in ("mark", "word"):
            yield line, kind, value
        line += match[0].count("\n")
        at = match.end()
        if kind == "mark" and value == "{" and first.endswith("_by_lua_block"):
            end = _lua_end(text, at, file, line)
            line += text.count("\n", at, end)
            at = end
        if kind == "mark":
            first = ""
        elif kind == "word":
            first = first or value


def _lua_end(text: str, at: int, file: str, line: int) -> int:
    """Where the brace is that ends a Lua block, whose body begins at ``at``. Its quotes and braces are Lua's."""
    depth = 1
    for match in _LUA.finditer(text, at):
        if match["brace"]:
            depth += 1 if match["brace"] == "{" else -1
            if not depth:
                return match.start()
    raise ImportFault(file, line, "not nginx: a Lua block without an end")


def read(text: str, file: str, find: Find | None = None) -> list[Directive]:
    """The directives of the outermost level. Raises `ImportFault`.

    ``find`` opens the files of ``include``, whose directives stand in its place. An ``include`` whose file it does not find
    stays as a directive: what is in that file is not known.
    """
    top = _parsed(text, file)
    if find is not None:
        _included(top, find, [MAX_INCLUDES], 0)
    return top


def _included(block: list[Directive], find: Find, left: list[int], depth: int) -> None:
    """Replace each ``include`` of ``block`` by what it includes; ``left`` holds how many more files may be read."""
    if depth > MAX_DEPTH:
        raise ImportFault(block[0].file, block[0].line, f"more than {MAX_DEPTH} levels deep")
    found: list[Directive] = []
    for one in block:
        texts = find(one.args[0]) if one.name == "include" and len(one.args) == 1 and one.block is None else None
        if texts is None:
            if one.block:
                _included(one.block, find, left, depth + 1)
            found.append(one)
            continue
        for text, file in texts:
            left[0] -= 1
            if left[0] < 0:
                raise ImportFault(one.file, one.line, f"more than {MAX_INCLUDES} files are included")
            inner = _parsed(text, file)
            if inner:
                _included(inner, find, left, depth + 1)
            found += inner
    block[:] = found


def _parsed(text: str, file: str) -> list[Directive]:
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
            directive = Directive(words[0], tuple(words[1:]), start, [] if value == "{" else None, file)
            stack[-1].append(directive)
            words = []
            if directive.block is not None:
                stack.append(directive.block)
                if len(stack) > MAX_DEPTH:
                    raise ImportFault(file, line, f"more than {MAX_DEPTH} levels deep")
    if words or len(stack) > 1:
        raise ImportFault(file, line, "not nginx: it ends in the middle of a directive")
    return top

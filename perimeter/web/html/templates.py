"""The templates of pages: Jinja2, read at the start. Text is escaped, and a name that does not exist is an error.

A site may replace templates by its own ones of the same names. They are compiled and tried when the configuration is read, so
``perimeter check``, a start or a reload reports a broken template, before a user sees it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import CodeType, TracebackType
from typing import Final

from jinja2 import BytecodeCache, Environment, FunctionLoader, StrictUndefined, TemplateError, TemplateSyntaxError, meta
from jinja2.bccache import Bucket

from perimeter.config.language.datatypes import closest
from perimeter.descriptors import system_reason
from perimeter.errors import StartupError
from perimeter.recent import Memo

MAX_TEMPLATE: Final = 256 * 1024
"""Bytes of the largest template of a site."""

Sources = Mapping[str, tuple[str, str]]
"""The name of each template, its source, and the file that it is from."""

_MOST_COMPILED: Final = 200


class Compiled(BytecodeCache):
    """Keeps templates compiled, by name, file and source: a reload compiles those that have changed, and no others.

    For environments with the same options, since these change what a template is compiled to.
    """

    def __init__(self) -> None:
        self._codes: Memo[tuple[str, str], CodeType] = Memo(_MOST_COMPILED)

    def load_bytecode(self, bucket: Bucket) -> None:
        """Fill in the code, if it is there."""
        bucket.code = self._codes.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep the code."""
        if bucket.code is not None:
            self._codes.keep((bucket.key, bucket.checksum), bucket.code)


_COMPILED: Final = Compiled()


def environment(sources: Sources) -> Environment:
    """The environment of the templates in ``sources``: nothing is read from a disk later."""

    def load(name: str) -> tuple[str, str, None] | None:
        found = sources.get(name)
        return None if found is None else (*found, None)

    return Environment(
        loader=FunctionLoader(load),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        bytecode_cache=_COMPILED,
        cache_size=-1,  # without a limit: there are no other names than those in sources
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def site_sources(directory: Path, built_in: Sources) -> dict[str, tuple[str, str]]:
    """The templates in a site's ``directory``: those of ``built_in`` that they replace, and those that they use.

    Blocks. Raises `StartupError`, also for a template that would never be used: its name is misspelt.
    """
    found: dict[str, tuple[str, str]] = {}
    try:
        for path in sorted(directory.glob("*.html")):
            with path.open("rb") as opened:
                content = opened.read(MAX_TEMPLATE + 1)
            if len(content) > MAX_TEMPLATE:
                raise StartupError(f"{path} is larger than {MAX_TEMPLATE // 1024} KiB")
            found[path.name] = content.decode("utf-8"), str(path)
    except UnicodeDecodeError:
        raise StartupError(f"{path} is not UTF-8") from None
    except OSError as error:
        raise StartupError(f"{error.filename or directory}: {system_reason(error)}") from error
    used = {name for source, file in found.values() for name in _referenced(source, file)}
    for name, (_, file) in found.items():
        if name not in built_in and name not in used:
            near = closest(name, tuple(built_in))
            raise StartupError(f"{file} replaces no template, and none uses it" + (f": did you mean {near}?" if near else ""))
    return found


def _referenced(source: str, file: str) -> set[str]:
    try:
        return {name for name in meta.find_referenced_templates(Environment(autoescape=True).parse(source)) if name}
    except TemplateSyntaxError as error:
        raise StartupError(f"{file}:{error.lineno}: {error.message}") from None


def try_templates(pages: Environment, sources: Sources, samples: Mapping[str, Mapping[str, object]]) -> None:
    """Compile all ``sources``, and render those in ``samples`` with the values there.

    Raises `StartupError` with file and line.
    """
    try:
        for name in sources:
            pages.get_template(name)
        for name, values in samples.items():
            pages.get_template(name).render(values)
    except TemplateSyntaxError as error:
        raise StartupError(f"{error.filename or error.name}:{error.lineno}: {error.message}") from None
    except Exception as error:  # a template of the site may do anything
        raise StartupError(f"{_place(error.__traceback__)}{_words(error)}") from None


def _words(error: Exception) -> str:
    text = str(error) if isinstance(error, TemplateError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())


def _place(traceback: TracebackType | None) -> str:
    """File and line of the template in which an exception was raised, as Jinja2 puts them into the traceback."""
    place = ""
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if file.endswith(".html"):
            place = f"{file}:{traceback.tb_lineno}: "
        traceback = traceback.tb_next
    return place

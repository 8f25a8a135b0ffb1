"""The reference page of site.ini, made from the schema: ``python -m perimeter.cli.reference [FILE]``.

Writes docs/reference/configuration.md, or prints it where no FILE is given. A test holds the page against this module, so
that no option can be added, changed or dropped without its words.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs

from perimeter.config.language.option import Option, SectionKind
from perimeter.config.site.schema import KINDS
from perimeter.plugin.kinds import PluginKinds
from perimeter.plugin.login_module import ILoginModuleFactory

F = TypeVar("F")

_INTRODUCTION = """\
# site.ini

<!-- Made by `python -m perimeter.cli.reference docs/reference/configuration.md` from perimeter/config/site/schema.py. -->

One INI file holds the whole configuration. A section is `[kind]` or `[kind name]`. Comments begin with `;` or `#`, on a line of
their own or after white space. An indented line continues the value above it.

Nothing is ignored: an unknown section, option or value stops the start, and all faults of a file are told at once. See what
`perimeter check site.ini` says before you reload.

| a value of the kind | is written |
|---|---|
| duration | `500ms`, `30s`, `10m`, `24h`, `7d`; a bare number is seconds |
| size | `512`, `8KiB`, `10MiB` (powers of 1024), `8KB`, `10MB` (powers of 1000) |
| boolean | `yes`, `no`, `true`, `false`, `on`, `off` |
| list | values separated by commas or newlines |
| file, directory, path | relative to the directory of site.ini |
| secret | text; better kept elsewhere |

In place of any value may stand `env:NAME` (an environment variable), `file:PATH` (the contents of a file) or `credential:NAME`
(a systemd credential). What they stand for is never printed.

An option without a value (`networks =`) is as good as left out where nothing is its default, and a fault elsewhere.
"""


def page(kinds: PluginKinds, login_modules: Mapping[str, ILoginModuleFactory]) -> str:
    """The whole page in Markdown, with the options of each kind of authenticator, login module and augmenter."""
    parts = [_INTRODUCTION]
    for kind in KINDS:
        parts.append(_section(kind))
        if kind.word == "authenticator":
            parts += [f"### type = {word}\n\n{_table(one.options)}" for word, one in sorted(kinds.authenticators.items())]
            parts += [_login_module(word, one) for word, one in sorted(login_modules.items())]
        elif kind.word == "augmenter":
            parts += [f"### type = {word}\n\n{_table(one.options)}" for word, one in sorted(kinds.augmenters.items())]
    return "\n".join(parts)


def _section(kind: SectionKind) -> str:
    heading = f"## [{kind.word}{' NAME' if kind.named else ''}]\n\n{kind.doc.strip()}"
    if not kind.available:
        return f"{heading} Not available yet.\n"
    return f"{heading}\n\n{_table(kind.declared)}"


def _login_module(word: str, factory: ILoginModuleFactory) -> str:
    prefixed = [attrs.evolve(option, name=f"option.{option.name}") for option in factory.options]
    return f"### type = login-modules, module {word}\n\n{_table(prefixed)}"


def _table(options: Iterable[Option[Any]]) -> str:
    rows = [_row(option) for option in options]
    if not rows:
        return "No options of its own.\n"
    return "\n".join(["| option | value | default | meaning |", "|---|---|---|---|", *rows, ""])


def _row(option: Option[Any]) -> str:
    default = "required" if option.required else f"`{option.default}`" if option.default else ""
    doc = option.doc if option.available else f"{option.doc}. Not available yet."
    return f"| `{option.name}` | {option.type.label} | {default} | {doc} |"


def own_page() -> str:
    """The page for the kinds that come with Perimeter."""
    from perimeter.auth.registry import augmenter_factories, authenticator_factories, login_module_factories

    return page(PluginKinds(_own(authenticator_factories()), _own(augmenter_factories())), _own(login_module_factories()))


def _own(factories: Mapping[str, F]) -> dict[str, F]:
    return {word: one for word, one in factories.items() if type(one).__module__.startswith("perimeter.")}


def main(arguments: list[str]) -> None:
    """Write the page for the kinds that come with Perimeter."""
    text = own_page()
    if arguments:
        Path(arguments[0]).write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main(sys.argv[1:])

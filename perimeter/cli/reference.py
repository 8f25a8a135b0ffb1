"""The reference page of site.ini, made from the declared options: ``python -m perimeter.cli.reference [FILE]``.

Writes docs/reference/configuration.md, or prints it without a FILE. A test compares the page with the output of this module, so
every change of an option changes the page.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs

from perimeter.config.language.option import Option, SectionKind
from perimeter.config.site import augmenter, authenticator, provider
from perimeter.config.site.kinds import KINDS
from perimeter.plugin.authenticator import IAuthenticatorFactory
from perimeter.plugin.kinds import PluginKinds
from perimeter.plugin.login_module import ILoginModuleFactory

F = TypeVar("F")

_INTRODUCTION = """\
# site.ini

<!-- Made by `python -m perimeter.cli.reference docs/reference/configuration.md` from perimeter/config/site/. -->

One INI file contains the whole configuration. A section is `[kind]` or `[kind name]`. A comment begins with `;` or `#`, on a line
of its own or after white space. An indented line continues the value above it.

Nothing is ignored: an unknown section, option or value is an error, and the gateway does not start. All errors of a file are
reported at once, each with its line. Run `perimeter check -c site.ini` before you reload.

| type of value | how to write it |
|---|---|
| duration | `500ms`, `30s`, `10m`, `24h`, `7d`; a bare number is in seconds |
| size | `512`, `8KiB`, `10MiB` (powers of 1024), `8KB`, `10MB` (powers of 1000); a bare number is in bytes |
| boolean | `yes`, `no`, `true`, `false`, `on`, `off` |
| list | values separated by commas or newlines |
| file, directory, path | relative to the directory of site.ini |
| secret | text that no message shows; better kept outside of the file, see below |

Instead of any value you can write `env:NAME` (an environment variable), `file:PATH` (the contents of a file) or
`credential:NAME` (a systemd credential). Such a value is never printed.

Values are written without quotes, which are refused; only names of users and roles may be in double quotes. A value that begins
with a quote, and a secret that contains ` ;` or ` #`, is kept in a file. No comment may follow a secret in its line.

`networks =` without a value means *not set* if the option has no default; otherwise it is an error.
"""


def page(kinds: PluginKinds, login_modules: Mapping[str, ILoginModuleFactory]) -> str:
    """The whole page in Markdown, with the options of each kind of authenticator, login module, augmenter and provider."""
    parts = [_INTRODUCTION]
    for kind in KINDS:
        parts.append(_section(kind))
        if kind is authenticator.KIND:
            parts += [f"### type = {word}\n\n{_table(one.options)}" for word, one in sorted(kinds.authenticators.items())]
            parts += [_login_module(word, one, kinds.authenticators) for word, one in sorted(login_modules.items())]
        elif kind is augmenter.KIND:
            parts += [f"### type = {word}\n\n{_table(one.options)}" for word, one in sorted(kinds.augmenters.items())]
        elif kind is provider.KIND:
            parts += [f"### type = {word}\n\n{_table(one.options)}" for word, one in sorted(kinds.providers.items())]
    return "\n".join(parts)


def _section(kind: SectionKind) -> str:
    header = f"[{kind.word}{' NAME' if kind.named else ''}]"
    return f"## {header}\n\n{kind.doc}\n\n{_table(kind.declared)}\n{example(kind)}"


def example(kind: SectionKind) -> str:
    """The example of a section as a block of Markdown."""
    header = f"[{kind.word}{' ' + kind.example_name if kind.named else ''}]"
    return f"```ini\n{header}\n{kind.example}```\n"


def _login_module(word: str, factory: ILoginModuleFactory, authenticators: Mapping[str, IAuthenticatorFactory]) -> str:
    heading = f"### type = login-modules, module {word}\n\n"
    if word in authenticators and tuple(authenticators[word].options) == tuple(factory.options):
        return f"{heading}The options of `type = {word}`, each with `option.` before its name.\n"
    prefixed = [attrs.evolve(option, name=f"option.{option.name}") for option in factory.options]
    return f"{heading}{_table(prefixed)}"


def _table(options: Iterable[Option[Any]]) -> str:
    rows = [_row(option) for option in options]
    if not rows:
        return "No options of its own.\n"
    return "\n".join(["| option | type | default | meaning |", "|---|---|---|---|", *rows, ""])


def _row(option: Option[Any]) -> str:
    default = "required" if option.required else f"`{option.default}`" if option.default else ""
    return f"| `{option.name}` | {option.type.label} | {default} | {option.doc} |"


def own_page() -> str:
    """The page, with the kinds that are part of Perimeter."""
    from perimeter.auth.registry import installed_kinds, login_module_factories

    kinds = installed_kinds()
    own = PluginKinds(_own(kinds.authenticators), _own(kinds.augmenters), _own(kinds.providers))
    return page(own, _own(login_module_factories()))


def _own(factories: Mapping[str, F]) -> dict[str, F]:
    return {word: one for word, one in factories.items() if type(one).__module__.startswith("perimeter.")}


def main(arguments: list[str]) -> None:
    """Write or print the page."""
    text = own_page()
    if arguments:
        Path(arguments[0]).write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main(sys.argv[1:])

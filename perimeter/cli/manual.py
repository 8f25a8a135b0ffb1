"""The reference page of all commands, made from their help: ``python -m perimeter.cli.manual docs/reference/command-line.md``.

A test compares the page with the output of this module.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from perimeter.cli.described import Described, every_command
from perimeter.cli.examples import EXAMPLES
from perimeter.cli.exits import MEANINGS
from perimeter.cli.main import main
from perimeter.cli.site import DEFAULT, VARIABLE

_INTRODUCTION = f"""\
# Commands

<!-- Made by `python -m perimeter.cli.manual docs/reference/command-line.md` from the help of the commands in perimeter/cli/. -->

`perimeter --help` lists the commands, and `perimeter COMMAND --help` shows the options of one. `perimeter completion` completes
them with the Tab key. Each command has a man page: `man perimeter`, `man perimeter-status`, …

## The configuration

Every command finds the configuration in the same way:

1. `-c FILE` (or `--config FILE`);
2. else the environment variable `{VARIABLE}`;
3. else `{DEFAULT}`.

Commands that ask the running gateway read only `state_dir` from it, so they also work while the file has a fault elsewhere. If
`state_dir` cannot be read either, name the directory: `--state-dir DIR`. In that directory is `control`, the socket on which the
gateway answers. Only the gateway's own user and root may use it.

## Output and exit status

`--json` prints one JSON document; commands that print a list print one JSON object per line instead. Errors go to standard error.
Only commands that create a secret print it.

"""

_TWISTD = """\
## twistd perimeter

```
twistd --nodaemon perimeter --config site.ini
```

This does the same as `perimeter run -c site.ini`. Without `--nodaemon` the gateway runs in the background and logs to
`twistd.log`: the command returns with status 0 when the gateway serves, or prints the reason and returns with status 1.

| option | |
|---|---|
| `--config FILE`, `-c FILE` | the configuration |
| `--check` | check the configuration, print the routes or all errors, and exit |

These options of twistd come before the word `perimeter`:

| option | |
|---|---|
| `--nodaemon`, `-n` | stay in the foreground and log to standard output |
| `--logfile FILE` | log to this file |
| `--pidfile FILE` | write the number of the process to this file; there is no such file unless you name one |
| `--uid USER`, `--gid GROUP` | as root: open the ports and read the files, then go on as this user |

With `--uid`, all files that the gateway writes belong to that user. If the user may not write one of them, the gateway does not
start, and prints which. A reload reads the files again, as that user.

## Signals

| signal | |
|---|---|
| SIGHUP | as `perimeter reload`: load the configuration; a file with a fault changes nothing |
| SIGUSR1 | reopen the audit logs, after you have moved the files yourself |
| SIGUSR2 | as `perimeter upgrade` |
| SIGTERM, SIGINT | as `perimeter stop`: close the ports, finish open requests, and exit. A second signal cuts them off |
"""

_MORE: Final = {
    "run": "To run it as a service, see [systemd](../how-to/systemd.md).",
    "reload": "What happens in each case: [operate](../how-to/operate.md).",
    "upgrade": "What happens in each case: [operate](../how-to/operate.md).",
    "explain": "The [operator page](../how-to/operator-page.md) answers the same question for the running gateway.",
    "doctor": "All findings: [doctor](../how-to/doctor.md).",
    "audit": "The columns: [audit log](audit-log.md).",
    "unban": "How wrong passwords are counted: [wrong passwords](../how-to/wrong-passwords.md).",
    "token": "How tokens are used: [API tokens](../how-to/api-tokens.md).",
    "password": "The file: [realm file](../how-to/realm-file.md).",
    "ecflowrc": "How the client uses it: [ecFlow](../how-to/ecflow.md).",
    "import": "The supported programs, and the steps after an import: [migrate](../how-to/migrate.md).",
    "emit": "What to do with it: [forward-auth](../how-to/forward-auth.md).",
}
"""Links of the page, by the name of the command."""

_TRANSCRIPT = """\
```
$ perimeter explain GET https://gw.example/admin/x --user alice -c site.ini
GET https://gw.example/admin/x
path: /admin/x
route: [route admin] (site.ini:11), host *, path /admin
    [route app] (site.ini:8), host *, path / matches too, and comes later: its path is shorter
authentication: auth = required
user: alice of realm local, roles: admin
rules: allow = role:admin matches
header: X-Auth-Username: alice
header: X-Auth-Realm: local
header: X-Auth-Roles: admin
result: admitted, forwarded to upstream app (http://127.0.0.1:8888) as /admin/x
```
"""


_STATUS = """\
The members of the JSON object:

| member | |
|---|---|
| `version`, `pid`, `config`, `drain_timeout` | the program; the process to be signalled; the file; seconds |
| `uptime`, `sessions` | seconds since the start; sessions of browsers |
| `problems` | `subject`, `name`, `message`, `severity` (0: all requests fail, 1: some requests fail, 2: no requests fail yet) |
| `workers` | `slot`, `pid`, `state`, `connections`, `since` (epoch seconds), `restarts`, `generation`, `slow` |
| `upgrading`, `upgrade_fault` | with several workers: whether an upgrade is under way, and why new workers do not start |
| `last_reload` | `at`, and `refused`: the reason, or empty; null if there was no reload |
| `requests`, `received`, `sent` | since the start, if they are counted: requests by the class of their status, bytes of bodies |
| `listeners` | `name`, `port`, `connections` |
| `upstreams` | `name`, `balance`, `waiting` (requests), `servers`: `url`, `state`, `fault`, `busy` and `idle` connections, … |
| `authenticators` | `name`, `type`, `realm`, `down`, `next_try` (seconds), `fault` |
| `certificates` | `listener`, `subject`, `until`, `days` that are left, `source` |
| `orders` | certificates from the CA: `listeners`, `names`, `renew` (when, or empty if it is still to be ordered), `fault` |
| `limited` | what limits of routes have refused since the start: `route`, `limit`, `refused` |
| `waiting` | who has to wait after wrong passwords: `kind`, `value`, `realm`, `wrong_passwords`, `seconds` |
"""


def page() -> str:
    """The whole page in Markdown."""
    parts = [_INTRODUCTION, "| exit status | |\n|---|---|\n"]
    parts += [f"| {int(status)} | {meaning} |\n" for status, meaning in MEANINGS.items()]
    for heading, commands in every_command(main):
        parts.append(f"\n## {heading}\n")
        for entry, command in commands:
            parts += _command(command)
            if entry.name == "explain":
                parts.append(f"\n{_TRANSCRIPT}")
            elif entry.name in EXAMPLES:
                parts += ["\n```\n", *(f"{line}\n" for line in EXAMPLES[entry.name]), "```\n"]
            if entry.name == "status":
                parts.append(f"\n{_STATUS}")
            if entry.name in _MORE:
                parts.append(f"\n{_MORE[entry.name]}\n")
    return "".join([*parts, "\n", _TWISTD])


def _command(command: Described) -> Iterator[str]:
    yield f"\n### {command.name}\n\n`{command.name} {command.usage}`\n"
    yield from _paragraphs(command.paragraphs)
    yield from _table(command.options)
    for below in command.commands:
        yield f"\n**`{below.name} {below.usage}`**\n"
        yield from _paragraphs(below.paragraphs)
        yield from _table(below.options)


def _paragraphs(paragraphs: Iterable[str]) -> Iterator[str]:
    return (f"\n{_plain(one)}\n" for one in paragraphs)


def _table(options: Iterable[tuple[str, str]]) -> Iterator[str]:
    rows = [f"| `{spelling.replace('|', chr(92) + '|')}` | {_plain(meaning)} |\n" for spelling, meaning in options]
    if rows:
        yield "\n| option | |\n|---|---|\n"
        yield from rows


def _plain(text: str) -> str:
    """``text`` with no character that is markup."""
    for character in "\\`*_<>[]|":
        text = text.replace(character, f"\\{character}")
    return text


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")

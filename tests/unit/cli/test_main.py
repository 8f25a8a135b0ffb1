"""The table of commands, how they find the configuration, and what their start costs."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from click.testing import CliRunner, Result
from twisted.trial.unittest import TestCase

import perimeter
from perimeter.cli import site
from perimeter.cli.commands import COMMANDS, find
from perimeter.cli.exits import MEANINGS, Exit
from perimeter.cli.main import main
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.state.sqlite import SqliteStore

ROOT = Path(perimeter.__file__).parents[1]

MOST_CPU = 0.3
"""Seconds of CPU for the start of a command."""

SITE_CPU = 0.5
"""Seconds of CPU for a command that reads a configuration: 0.25 on an idle machine. The number of modules does not vary."""

MOST_MODULES = 560
"""Modules that such a command imports, with those of Python and of libraries. The doctor, which asks services, imports 760."""

READERS = {
    "check": (),
    "check --no-files": (),
    "explain GET /public": (),
    "emit nginx": ("perimeter.auth.kinds.trusted_header",),
    "audit report": (),
    "keys list": ("cryptography",),
    "token list": ("perimeter.state", "sqlite3"),
    "session list": ("perimeter.state", "sqlite3"),
}
"""Commands that read a configuration, and what each of them needs of `HEAVY`, or of kinds that the site does not name."""

HEAVY = (
    "OpenSSL",
    "cryptography",
    "jinja2",
    "ldaptor",
    "perimeter.manager",
    "perimeter.metrics",
    "perimeter.net",
    "perimeter.proxy",
    "perimeter.run.build.assembly",
    "perimeter.run.build.runtime",
    "perimeter.state",
    "perimeter.web.bridge",
    "perimeter.web.html",
    "service_identity",
    "sqlite3",
    "treq",
    "twisted.internet.reactor",
    "twisted.web.server",
)
"""What takes long to import, and what a command that reads a configuration has no use for."""

IMPORTED = """
import json, sys
sys.argv[0] = "perimeter"
from perimeter.cli.main import main
status = 0
try:
    main()
except SystemExit as end:
    status = end.code
print(json.dumps([status, [name for name, module in sys.modules.items() if module is not None]]), file=sys.stderr)
"""


def every_command() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All commands with their names: ``token``, ``token list``, …"""

    def below(group: click.Command, names: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
        yield names, group
        if isinstance(group, click.Group):
            context = click.Context(group)
            for name in group.list_commands(context):
                command = group.get_command(context, name)
                assert command is not None, name
                yield from below(command, (*names, name))

    yield from below(main, ())


COMMAND = "import sys; sys.argv[0] = 'perimeter'; from perimeter.cli.main import main; main()"
YARDSTICK = "import twisted.internet.defer"
YARDSTICK_CPU = 0.1
"""Seconds of CPU that the imports of `YARDSTICK` take on an idle machine, where the limits of this module were measured."""


def spent(program: str, *arguments: str) -> float:
    """Seconds of CPU of one run of a Python program, which must end well."""
    # without the measurement of coverage, which the command does not have either
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode in (Exit.DONE, Exit.NO_GATEWAY), (arguments, done.stderr)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def cpu(*arguments: str, most: float = MOST_CPU) -> float:
    """Seconds of CPU of a command, the least of three runs, or the first below ``most``.

    On a machine that is slower at this moment than the one of `YARDSTICK_CPU`, which the same imports show between the runs, they
    are as many as it would take there.
    """
    found, pace = [], []
    for _ in range(3):
        found.append(spent(COMMAND, *arguments))
        if min(found) < most:
            return min(found)
        pace.append(spent(YARDSTICK))
    return min(found) * min(1.0, YARDSTICK_CPU / min(pace))


class TableTests(TestCase):
    def test_every_entry_is_a_command_of_that_name(self) -> None:
        for entries in COMMANDS.values():
            for entry in entries:
                command = main.get_command(click.Context(main), entry.name)
                assert command is not None
                self.assertEqual(command.name, entry.name)
                self.assertEqual(find(entry.name), entry)
        self.assertIsNone(main.get_command(click.Context(main), "nothing"))

    def test_the_help_lists_them_all(self) -> None:
        text = CliRunner().invoke(main, ["--help"]).output
        for heading, entries in COMMANDS.items():
            self.assertIn(f"\n{heading}:\n", text)
            for entry in entries:
                self.assertRegex(text, rf"\n  {entry.name} +{entry.help}")

    def test_the_list_needs_no_command(self) -> None:
        """Neither the help nor the completion of names imports a subcommand."""
        program = (
            "import sys, click; from perimeter.cli.main import main;"
            "context = click.Context(main); main.get_help(context); main.shell_complete(context, '');"
            "from perimeter.cli.commands import COMMANDS;"
            "sys.exit(any(f'perimeter.cli.{one.module}' in sys.modules for several in COMMANDS.values() for one in several))"
        )
        self.assertEqual(subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": str(ROOT)}).returncode, 0)

    def test_an_unknown_command(self) -> None:
        result = CliRunner().invoke(main, ["stats"])
        self.assertEqual(result.exit_code, Exit.USAGE)
        self.assertIn("There is no command 'stats': did you mean status?", result.stderr)
        self.assertIn("There is no command 'xyz': perimeter --help lists", CliRunner().invoke(main, ["xyz"]).stderr)
        self.assertIn("No such option", CliRunner().invoke(main, ["--xyz"]).stderr)

    def test_completion_of_names(self) -> None:
        found = main.shell_complete(click.Context(main), "re")
        self.assertEqual([one.value for one in found], ["reload", "revoke"])
        self.assertEqual(found[0].help, "Load the configuration into the running gateway.")

    def test_every_status_is_explained(self) -> None:
        self.assertEqual(list(MEANINGS), list(Exit))
        self.assertEqual([int(one) for one in Exit], [0, 1, 2, 3, 4, 5])


class StartTests(TestCase):
    def test_every_help_costs_little(self) -> None:
        slow = {}
        for names, _ in every_command():
            seconds = cpu(*names, "--help")
            if seconds >= MOST_CPU:
                slow[" ".join(names)] = seconds
        self.assertEqual(slow, {})

    def test_a_question_costs_little(self) -> None:
        """What asks the running gateway reads no more than state_dir: no plug-ins, no Twisted."""
        place = Path(self.mktemp())
        place.mkdir()
        file = place / "site.ini"
        file.write_text("[perimeter]\nstate_dir = var\n[listener http]\nport = 8080\n")
        for names in (("status",), ("reload",), ("stop",), ("upgrade",), ("unban", "alice")):
            self.assertLess(cpu(*names, "-c", str(file)), MOST_CPU, names)

    def test_what_reads_a_site_imports_what_the_site_uses(self) -> None:
        config = ("-c", str(self.example()))
        environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
        environ["PYTHONPATH"] = str(ROOT)
        for words, needed in READERS.items():
            program = [sys.executable, "-c", IMPORTED, *words.split(), *config]
            done = subprocess.run(program, env=environ, capture_output=True, text=True, timeout=60)
            status, loaded = json.loads(done.stderr.splitlines()[-1])
            self.assertIn(status, (None, Exit.DONE), (words, done.stderr[:2000]))
            self.assertEqual([name for name in HEAVY if name in loaded and name not in needed], [], words)
            kinds = {name for name in loaded if name.startswith("perimeter.auth.kinds.")}
            self.assertEqual(kinds - {*needed}, {"perimeter.auth.kinds.realm_file", "perimeter.auth.kinds.listed"}, words)
            self.assertLess(len(loaded), MOST_MODULES, words)

    def test_what_reads_a_site_costs_little(self) -> None:
        config = ("-c", str(self.example()))
        for words in READERS:
            self.assertLess(cpu(*words.split(), *config, most=SITE_CPU), SITE_CPU, words)

    def example(self) -> Path:
        """A copy of etc/site.ini, with a state, keys and an audit log."""
        place = Path(self.mktemp()).absolute()
        shutil.copytree(ROOT / "etc", place / "etc")
        state_dir = place / "var"
        state_dir.mkdir(mode=0o700)
        (state_dir / "access.log").touch()
        SqliteStore(state_dir, STATE_KINDS).close()
        file = place / "etc" / "site.ini"
        self.assertEqual(CliRunner().invoke(main, ["keys", "rotate", "-c", str(file)]).exit_code, Exit.DONE)
        return file

    def test_the_measurement_notices_what_is_slow(self) -> None:
        self.assertGreater(cpu("check", "-c", str(ROOT / "etc" / "site.ini"), "--no-files"), cpu("check", "--help") * 2)


class ConfigurationTests(TestCase):
    """One way to name the configuration: -c FILE, PERIMETER_CONFIG, /etc/perimeter/site.ini."""

    def setUp(self) -> None:
        self.place = Path(self.mktemp()).absolute()
        self.place.mkdir()
        self.file = self.site("site")

    def site(self, name: str) -> Path:
        """A configuration whose state_dir has a name of its own."""
        file = self.place / f"{name}.ini"
        file.write_text(f"[perimeter]\nstate_dir = {name}.state\n[listener http]\nport = 8080\n")
        return file

    def status(self, *arguments: str, **environ: str) -> Result:
        return CliRunner(env={site.VARIABLE: None, **environ}).invoke(main, ["status", *arguments])

    def test_every_command_that_needs_one_takes_it_alike(self) -> None:
        found = 0
        for names, command in every_command():
            options = {param.name: param for param in command.params}
            if "file" in options:
                found += 1
                option = options["file"]
                self.assertEqual((option.opts, option.default), (["-c", "--config"], site.DEFAULT), names)
                self.assertEqual(option.envvar, "PERIMETER_CONFIG", names)
        self.assertGreater(found, 15)

    def test_the_option_comes_first(self) -> None:
        other = self.site("other")
        for option in ("-c", "--config"):
            result = self.status(option, str(self.file), PERIMETER_CONFIG=str(other))
            self.assertEqual(result.exit_code, Exit.NO_GATEWAY)
            self.assertIn(f"no gateway is running with state_dir {self.place}/site.state", result.stderr)

    def test_then_the_environment(self) -> None:
        result = self.status(PERIMETER_CONFIG=str(self.file))
        self.assertIn(f"no gateway is running with state_dir {self.place}/site.state", result.stderr)

    def test_then_the_usual_place(self) -> None:
        missing = self.place / "missing.ini"
        self.patch(site, "DEFAULT", missing)
        for arguments in (["status"], ["check"], ["explain", "GET", "/"], ["keys", "list"], ["run"]):
            result = CliRunner(env={site.VARIABLE: str(missing)}).invoke(main, arguments)
            self.assertEqual(result.exit_code, Exit.NO, arguments)
            self.assertIn(
                f"there is no {missing}: name the configuration with -c FILE, or with PERIMETER_CONFIG in", result.stderr
            )

    def test_a_state_dir_instead(self) -> None:
        state_dir = str(self.place / "elsewhere")
        for environ in ({}, {"PERIMETER_CONFIG": str(self.file)}):
            result = self.status("--state-dir", state_dir, **environ)
            self.assertEqual(result.exit_code, Exit.NO_GATEWAY)
            self.assertIn(f"no gateway is running with state_dir {state_dir}", result.stderr)
        both = self.status("--state-dir", state_dir, "-c", str(self.file))
        self.assertEqual(both.exit_code, Exit.USAGE)
        self.assertIn("-c FILE and --state-dir DIR name the same thing: use one of them", both.stderr)

    def test_the_old_spelling_of_check(self) -> None:
        file = str(ROOT / "etc" / "site.ini")
        results = [CliRunner().invoke(main, ["check", *one]) for one in ((file,), ("-c", file), ("--config", file))]
        self.assertEqual({(one.exit_code, one.output) for one in results}, {(0, results[0].output)})
        self.assertNotIn("FILE]", CliRunner().invoke(main, ["check", "--help"]).output)
        twice = CliRunner().invoke(main, ["check", file, "-c", file])
        self.assertEqual((twice.exit_code, "named twice" in twice.stderr), (Exit.USAGE, True), twice.output)

    def test_attack_93_no_configuration_of_the_current_directory(self) -> None:
        """An operator runs a command in a directory that others may write to."""
        (self.place / "site.ini").write_text("[planted]\n")
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.place)
        planted = CliRunner().invoke(main, ["check", "-c", "site.ini"])
        self.assertIn("[planted]", planted.output, "it would be noticed")
        needed = {
            ("explain",): ["GET", "/"],
            ("login",): ["--user", "x"],
            ("emit",): ["nginx"],
            ("unban",): ["x"],
            ("revoke",): ["--id", "x"],
            ("token", "revoke"): ["--id", "x"],
            ("session", "end"): ["--id", "x"],
        }
        found, usual = 0, site.DEFAULT
        self.assertTrue(usual.is_absolute())
        self.patch(site, "DEFAULT", self.place / "missing.ini")  # the machine may have one at the usual place
        for names, command in every_command():
            option = next((param for param in command.params if param.name == "file"), None)
            if option is None:
                continue
            self.assertIn(option.default, (usual, site.DEFAULT), names)  # revoke and token revoke are one command
            self.patch(option, "default", site.DEFAULT)
            others = [param.opts[0] for param in command.params if param.required and param.opts[0].startswith("-")]
            required = [word for name in others for word in (name, "x")]
            result = CliRunner(env={site.VARIABLE: None}).invoke(main, [*names, *required, *needed.get(names, [])], input="x\n")
            self.assertNotIn("planted", result.output, names)
            self.assertNotEqual(result.exit_code, Exit.DONE, names)
            self.assertIn("missing.ini", result.output, names)
            found += 1
        self.assertGreater(found, 15)

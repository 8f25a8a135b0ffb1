"""``perimeter completion`` in real shells, as a user installs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.integration.harness import SOURCE, GatewayCase


class CompletionTests(GatewayCase):
    """Each shell completes ``perimeter re``, and knows ``--config`` of a subcommand."""

    def setUp(self) -> None:
        super().setUp()
        self.home = Path(self.mktemp()).absolute()
        bin = self.home / "bin"
        bin.mkdir(parents=True)
        program = bin / "perimeter"
        program.write_text(
            f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(SOURCE)!r})\nsys.argv[0] = 'perimeter'\n"
            "from perimeter.cli.main import main\nmain()\n"
        )
        program.chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
        self.environ = {**kept, "HOME": str(self.home), "PATH": f"{bin}{os.pathsep}{os.environ['PATH']}"}

    def run_it(self, *command: str, **environ: str) -> str:
        done = subprocess.run(command, env={**self.environ, **environ}, capture_output=True, text=True, timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        return done.stdout

    def install(self, *arguments: str, **environ: str) -> Path:
        wrote, _, rest = self.run_it("perimeter", "completion", *arguments, **environ).partition("\n")
        self.assertIn("To use it, ", rest)
        return Path(wrote.removeprefix("wrote "))

    def test_bash(self) -> None:
        file = self.install("bash")
        self.assertEqual(file, self.home / ".local/share/bash-completion/completions/perimeter")
        for words, expected in (
            ("perimeter re", {"reload", "revoke"}),
            ("perimeter token l", {"list"}),
            ("perimeter reload --c", {"--config"}),
        ):
            program = (
                f"source {file}; COMP_WORDS=({words}); COMP_CWORD={len(words.split()) - 1};"
                ' _perimeter_completion perimeter; printf "%s\\n" "${COMPREPLY[@]}"'
            )
            self.assertEqual(set(self.run_it("bash", "--norc", "-c", program).split()), expected)

    def test_fish(self) -> None:
        self.need("fish")
        file = self.install("fish")
        self.assertEqual(file, self.home / ".config/fish/completions/perimeter.fish")
        found = self.run_it("fish", "-c", 'complete -C "perimeter re"').splitlines()
        self.assertEqual([line.split("\t")[0] for line in found], ["reload", "revoke"])
        self.assertIn("--config", self.run_it("fish", "-c", 'complete -C "perimeter reload --c"'))

    def test_zsh(self) -> None:
        self.need("zsh")
        file = self.install("zsh")
        self.assertEqual(file, self.home / ".local/share/zsh/site-functions/_perimeter")
        program = (
            f"fpath=({file.parent} $fpath); autoload -Uz compinit; compinit -u -D;"
            " print -r -- ${_comps[perimeter]};"
            " compadd() { print -r -- $* }; _describe() { shift 2; print -r -- ${(P)1} };"
            " words=(perimeter re); CURRENT=2; _perimeter"
        )
        found = self.run_it("zsh", "-f", "-c", program)
        self.assertTrue(found.startswith("_perimeter"), found)
        self.assertIn("reload:Load the configuration", found)
        self.assertIn("revoke:", found)
        self.assertNotIn("status", found)

    def test_the_shell_of_the_user(self) -> None:
        self.assertEqual(self.install(SHELL="/usr/bin/fish").name, "perimeter.fish")
        self.assertEqual(
            self.install("zsh", SHELL="/bin/sh", XDG_DATA_HOME=str(self.home / "data")).parents[2], self.home / "data"
        )
        done = subprocess.run(
            ["perimeter", "completion"], env={**self.environ, "SHELL": "/bin/sh"}, capture_output=True, text=True
        )
        self.assertEqual((done.returncode, "name the shell: bash, zsh, fish" in done.stderr), (2, True), done.stderr)

    def test_the_script_alone(self) -> None:
        self.assertIn("complete -o nosort", self.run_it("perimeter", "completion", "bash", "--print"))
        self.assertFalse((self.home / ".local").exists())

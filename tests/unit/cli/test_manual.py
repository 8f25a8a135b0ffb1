"""The reference page of commands and the man pages are those of the help. Their examples can be run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
from twisted.trial.unittest import TestCase

import perimeter
from perimeter.cli import man
from perimeter.cli.commands import COMMANDS
from perimeter.cli.described import Described, described, every_command
from perimeter.cli.examples import EXAMPLES
from perimeter.cli.exits import MEANINGS
from perimeter.cli.main import main
from perimeter.cli.manual import page

DOCS = Path(perimeter.__file__).parents[1] / "docs"
MOST_COLUMNS = 80


@click.command()
@click.option("--what", metavar="A|B", help="Which one: 1 * 2_3.\n\n More.", default="x", show_default=True)
@click.option("--secret", hidden=True)
@click.argument("files", nargs=-1)
def sample(what: str, secret: str, files: tuple[str, ...]) -> None:
    """Do it.

    .never a request: 'tis C:\\dir and
    --option.
    """


class PageTests(TestCase):
    def test_the_page_is_current(self) -> None:
        kept = (DOCS / "reference" / "command-line.md").read_text()
        self.assertEqual(page(), kept, "run: python -m perimeter.cli.manual docs/reference/command-line.md")

    def test_the_man_pages_are_current(self) -> None:
        kept = {path.name: path.read_text() for path in (DOCS / "man").glob("*.1")}
        self.assertEqual(man.pages(), kept, "run: python -m perimeter.cli.man docs/man")

    def test_every_command_has_its_place(self) -> None:
        text = page()
        for entries in COMMANDS.values():
            for entry in entries:
                self.assertIn(f"\n### perimeter {entry.name}\n", text)
                self.assertIn(f"perimeter-{entry.name}.1", man.pages())
        for status, meaning in MEANINGS.items():
            self.assertIn(f"\n| {int(status)} | {meaning} |\n", text)

    def test_links_lead_to_pages(self) -> None:
        links = re.findall(r"\]\(([^)]+\.md)\)", page())
        self.assertGreater(len(links), 8)
        self.assertEqual([link for link in links if not (DOCS / "reference" / link).exists()], [])


class TextTests(TestCase):
    """Every help text is short and complete sentences."""

    def all(self) -> list[Described]:
        found = [command for _, commands in every_command(main) for _, command in commands]
        return [*found, *(below for command in found for below in command.commands)]

    def test_every_command_and_option_has_a_sentence(self) -> None:
        for command in self.all():
            for paragraph in command.paragraphs:
                self.assertRegex(paragraph, r"[.:]$", command.name)
            for spelling, meaning in command.options:
                self.assertRegex(meaning, r"[.\]]$", f"{command.name} {spelling}")

    def test_the_list_of_commands_is_one_line_each(self) -> None:
        for entries in COMMANDS.values():
            for entry in entries:
                self.assertLessEqual(len(f"  {max(COMMANDS)[:10]:10}  {entry.help}"), MOST_COLUMNS, entry.name)
                self.assertRegex(entry.help, r"^[A-Z].*\.$")

    def test_words(self) -> None:
        """Texts are plain: what is told is reported, and the reader's words are used."""
        for command in self.all():
            text = " ".join([*command.paragraphs, *(meaning for _, meaning in command.options)])
            self.assertNotRegex(text, r"\b(tells?|told|octets?|nobody|whoever)\b", command.name)


class ExampleTests(TestCase):
    def test_they_can_be_parsed(self) -> None:
        for name, lines in EXAMPLES.items():
            for line in lines:
                words = shlex.split(line.partition(" < ")[0])
                self.assertEqual(words[:2], ["perimeter", name])
                command, rest = main.get_command(click.Context(main), name), words[2:]
                assert command is not None
                while isinstance(command, click.Group):
                    command, rest = command.get_command(click.Context(command), rest[0]), rest[1:]
                    assert command is not None, line
                existing = [word for word in rest if word.startswith("/etc/nginx")]
                try:
                    command.make_context(name, rest)
                except click.BadParameter as error:
                    self.assertTrue(existing and "does not exist" in str(error), line)


class RenderingTests(TestCase):
    def setUp(self) -> None:
        self.described = described(sample, "perimeter sample")

    def test_described(self) -> None:
        self.assertEqual(self.described.usage, "[OPTIONS] [FILES]...")
        self.assertEqual(self.described.paragraphs, ("Do it.", ".never a request: 'tis C:\\dir and --option."))
        self.assertEqual(self.described.options, (("--what A|B", "Which one: 1 * 2_3. More. [default: x]"),))

    def test_no_text_is_an_instruction_to_roff(self) -> None:
        self.assertEqual(man._text(".x"), "\\&.x")
        self.assertEqual(man._text("'x"), "\\&'x")
        self.assertEqual(man._text("a\\b --c … d"), "a\\eb \\-\\-c ... d")
        for text in man.pages().values():
            for line in text.splitlines():
                self.assertRegex(line, r"^(\.(TH|SH|SS|TP|PP|EX|EE)( |$)|\.\\\" |[^.'])", line)

"""The line scanner, compared with configparser."""

from __future__ import annotations

import configparser
import io
import re

from hypothesis import assume, given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from perimeter.config.language.scanner import scan
from tests.unit.doubles.properties import reached, reaches

# Python before 3.14 overlooks a comment when the other prefix begins one further right and this one stood inside a word.
_DISPUTED = re.compile(r"\S[;#].*\s[;#].*\s[;#]")


def reference(text: str) -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), default_section="\0none")
    parser.read_file(io.StringIO(text, newline=None))
    return {" ".join(name.split()): dict(parser[name]) for name in parser.sections()}


def ours(text: str) -> dict[str, dict[str, str]]:
    sections, _ = scan(text)
    return {section.header: {option.name: option.value for option in section.options} for section in sections}


WORD = st.text(alphabet="abcXYZ09.:/=-_;#[]%$é", min_size=1, max_size=8).filter(lambda word: word[0] not in ";#")
VALUE = st.lists(WORD, max_size=3).map(" ".join)
NAME = st.text(alphabet="abcABC_.9", min_size=1, max_size=6)
COMMENT = st.text(alphabet="abc=:[]", max_size=5).flatmap(lambda text: st.sampled_from([f"; {text}", f"#{text}"]))
END = st.one_of(st.just(""), COMMENT.map(lambda text: f"   {text}"))


@st.composite
def options(draw: st.DrawFn, name: str) -> str:
    indent = draw(st.integers(0, 3))
    lines = [" " * indent + name + draw(st.sampled_from([" = ", "=", ": ", "\t:\t"])) + draw(VALUE) + draw(END)]
    for _ in range(draw(st.integers(0, 3))):
        more = draw(st.one_of(VALUE.map(lambda text: f"{text}"), st.just(""), COMMENT))
        lines.append((" " * (indent + draw(st.integers(1, 3))) + more + draw(END)) if more else "")
    return "\n".join(lines)


@st.composite
def files(draw: st.DrawFn) -> str:
    parts = [draw(st.sampled_from(["", "; first\n", "\n"]))]
    for header in draw(st.lists(NAME, min_size=1, max_size=3, unique=True)):
        parts.append(f"[{header}]{draw(END)}\n")
        names = draw(st.lists(NAME, max_size=4, unique_by=str.lower))
        parts += [draw(options(name)) + "\n" for name in names]
    return draw(st.sampled_from(["\n", "\r\n"])).join("".join(parts).split("\n"))


# a section, its lines in any order, and text that may make one of them invalid
NEARLY = st.builds(
    lambda lines, text, place: "\n".join(["[a]", *lines[:place], text, *lines[place:4]]),
    st.permutations(["a = x", "a2=[x]", "b: x y", "c =", "d = x ; y", "; comment", "  # comment", "", "  more"]),
    st.text(alphabet="[]e=:;# \t\\é", max_size=8),
    st.integers(0, 4),
)


class GrammarTests(TestCase):
    @reaches(12)
    @given(files())
    def test_reads_valid_files_as_configparser_does(self, text: str) -> None:
        assume(not any(_DISPUTED.search(line) for line in text.splitlines()))
        _, faults = scan(text)
        try:
            expected = reference(text)
        except configparser.Error:
            self.assertTrue(faults)
            return
        reached(self)
        self.assertEqual((ours(text), faults), (expected, []))

    @reaches(2)
    @given(NEARLY | st.text(alphabet="[]a=:;# \t\n\\é", max_size=60))
    def test_whatever_it_accepts_it_reads_as_configparser_does(self, text: str) -> None:
        assume(not any(_DISPUTED.search(line) for line in text.splitlines()))
        _, faults = scan(text)
        if not faults:
            if any(ours(text).values()):
                reached(self)
            self.assertEqual(ours(text), reference(text))

    @given(st.text(max_size=200))
    def test_nothing_crashes_it(self, text: str) -> None:
        scan(text)

    def test_lines_of_sections_options_and_rows(self) -> None:
        sections, faults = scan("; one\n[a  b]\n\nx = 1\n  ; between\n  2\ny: 3 # end\n")
        self.assertEqual(faults, [])
        (section,) = sections
        self.assertEqual((section.header, section.line), ("a b", 2))
        x, y = section.options
        self.assertEqual((x.line, x.rows, x.value), (4, ((4, "1"), (6, "2")), "1\n2"))
        self.assertEqual((y.line, y.value), (7, "3"))

    def test_a_comment_needs_white_space_before_it(self) -> None:
        self.assertEqual(ours("[a]\nx = p;q#r ; gone # gone"), {"a": {"x": "p;q#r"}})


class FaultTests(TestCase):
    def faults(self, text: str) -> list[tuple[int, str, str, str]]:
        return [(fault.line, fault.section, fault.option, fault.message) for fault in scan(text)[1]]

    def test_every_fault_is_reported(self) -> None:
        text = "x = 1\n[a]\nx = 1\nX = 2\nnonsense\n[a]\n[b\n= 3\n[]\n[c] d\n"
        self.assertEqual(
            self.faults(text),
            [
                (1, "", "", "the file must begin with a [section]"),
                (4, "a", "x", "this option is already set in line 3"),
                (5, "a", "", "this line is neither a [section] nor an option = value"),
                (6, "a", "", "this section already begins in line 2"),
                (7, "", "", "a section is written [kind] or [kind name], alone on its line"),
                (8, "", "", "this line is neither a [section] nor an option = value"),
                (9, "", "", "a section is written [kind] or [kind name], alone on its line"),
                (10, "", "", "a section is written [kind] or [kind name], alone on its line"),
            ],
        )

    def test_the_same_section_in_other_spacing(self) -> None:
        self.assertEqual(self.faults("[route a]\n[route   a]")[0][3], "this section already begins in line 1")

    def test_the_first_of_two_values_stays(self) -> None:
        self.assertEqual(ours("[a]\nx = 1\nx = 2\n  3\n"), {"a": {"x": "1"}})

    def test_no_fault_repeats_the_text_of_its_line(self) -> None:
        for text in ("hunter2\n", "[a]\nhunter2\n", "[hunter2\n", "[a]\nx = 1\nx = hunter2\n", "[a]\nx = hunter2\0\n"):
            faults = self.faults(text)
            self.assertEqual(len(faults), 1, text)
            self.assertNotIn("hunter2", repr(faults))

    def test_control_characters_are_refused(self) -> None:
        for character in "\0\x1b\x7f\x85\u2028":
            self.assertEqual(self.faults(f"[a]\nx = a{character}b")[0][:3], (2, "a", ""), repr(character))

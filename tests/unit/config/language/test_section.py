"""The values of a section, references to values that are stored elsewhere, and secrets, which no message contains."""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path
from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from perimeter.config.language.datatypes import (
    BOOLEAN,
    SIZE,
    TEXT,
    BadValue,
    Datatype,
    duration,
    file_path,
    integer,
    list_of,
    optional,
)
from perimeter.config.language.datatypes import SECRET as SECRET_TYPE
from perimeter.config.language.net_types import NETWORK
from perimeter.config.language.option import Option
from perimeter.config.language.references import References
from perimeter.config.language.scanner import scan
from perimeter.config.language.section import Section, Setting
from perimeter.config.site.kinds import KINDS
from perimeter.errors import Problem

T = TypeVar("T")

# Only the datatype text accepts this value, and repr does not change it.
SECRET = "hunter2 /%^ battery"


class SectionCase(TestCase):
    def setUp(self) -> None:
        self.base = Path(self.mktemp()).absolute()
        self.base.mkdir()
        self.environ: dict[str, str] = {}
        self.found: list[Problem] = []

    def section(self, body: str) -> Section:
        self.found = []
        (scanned,), _ = scan(f"[authenticator x]\n{body}")
        return Section(scanned, "site.ini", self.base, References(self.environ, self.base), self.found)

    def told(self) -> list[str]:
        return [str(problem).removeprefix("site.ini:") for problem in self.found]


def _option(name: str, kind: Datatype[T], default: str = "", *, required: bool = False) -> Option[T]:
    return Option(name, kind, "", default, required)


class ValueTests(SectionCase):
    def test_every_type(self) -> None:
        (self.base / "users").write_text("")
        section = self.section("t = some text\nb = yes\np = users\nl = a, b\n  c\nOption.Service = login\n")
        self.assertEqual((section.kind, section.name, section.file, section.line), ("authenticator", "x", "site.ini", 1))
        self.assertEqual(section.value(_option("t", TEXT)), "some text")
        self.assertIs(section.value(_option("b", BOOLEAN)), True)
        self.assertEqual(section.value(_option("p", file_path("file"))), self.base / "users")
        self.assertEqual(section.value(_option("l", list_of(TEXT))), ("a", "b", "c"))
        self.assertEqual(section.under("option.").value(_option("service", TEXT)), "login")
        section.finish()
        self.assertEqual(self.told(), [])

    def test_defaults_stand_for_what_is_not_set(self) -> None:
        section = self.section("t =\n")
        self.assertEqual(section.value(_option("t", TEXT)), "")
        self.assertEqual(section.value(_option("u", TEXT, "d")), "d")
        self.assertIsNone(section.value(_option("p", optional(file_path()))))
        self.assertEqual(self.told(), [])

    def test_what_is_required_and_missing_is_reported_at_the_section(self) -> None:
        section = self.section("path =\n")
        self.assertEqual(section.value(_option("timeout", duration(), required=True)), 0.0)
        section.value(_option("path", file_path("file"), required=True))
        self.assertEqual(
            self.told(),
            ["1: [authenticator x] timeout: is required (duration)", "2: [authenticator x] path: is required (file)"],
        )

    def test_a_bad_value_becomes_a_problem_and_the_default(self) -> None:
        section = self.section("\ntimeout = soon\n")
        self.assertEqual(section.value(_option("timeout", duration(), "5s")), 5.0)
        self.assertTrue(section.faulty("timeout"))
        self.assertEqual(
            self.told(),
            ["3: [authenticator x] timeout: expected a duration such as 500ms, 30s, 10m, 24h or 7d, not 'soon'"],
        )

    def test_unread_options_are_unknown(self) -> None:
        section = self.section("pth = users\nelephant = 1\npath = \n")
        section.value(_option("path", optional(file_path())))
        section.finish()
        self.assertEqual(
            self.told(),
            [
                "2: [authenticator x] pth: unknown option, did you mean path?",
                "3: [authenticator x] elephant: unknown option",
            ],
        )

    def test_each_bad_value_of_a_list_is_reported_in_its_line(self) -> None:
        section = self.section("nets = 10.0.0.0/8, x\n  ; fine\n  y\n  192.0.2.0/24\n")
        self.assertEqual(section.value(Option("nets", list_of(NETWORK), "")), ())
        self.assertEqual([(problem.line, problem.message[-3:]) for problem in self.found], [(2, "'x'"), (4, "'y'")])

    def test_a_list_of_nothing(self) -> None:
        self.section("nets = ,\n").value(Option("nets", list_of(NETWORK), ""))
        self.assertEqual(self.told(), ["2: [authenticator x] nets: expected at least one value"])

    def test_an_indented_option_is_not_taken_for_a_value(self) -> None:
        self.section(f"port = 80\n  password = {SECRET}\n").value(_option("port", integer(1, 65535)))
        self.assertEqual(
            self.told(), ["3: [authenticator x] port: expected one line; an indented line continues the value above it"]
        )


class ReferenceTests(SectionCase):
    def test_environment_file_and_credential(self) -> None:
        (self.base / "pw").write_text("from file\n")
        credentials = self.base / "credentials"
        credentials.mkdir()
        (credentials / "pw").write_text("from systemd")
        self.environ = {"PW": "from environment", "CREDENTIALS_DIRECTORY": str(credentials)}
        section = self.section("a = env:PW\nb = file:pw\nc = credential:pw\n")
        self.assertEqual(
            [section.value(_option(name, SECRET_TYPE)) for name in "abc"], ["from environment", "from file", "from systemd"]
        )

    def test_anywhere_a_value_stands(self) -> None:
        self.environ = {"PORT": "8443", "NET": "10.0.0.0/8, 192.0.2.0/24", "ON": "yes"}
        section = self.section("port = env:PORT\nnets = fd00::/8, env:NET\non = env:ON\n")
        self.assertEqual(section.value(_option("port", integer(1, 65535))), 8443)
        networks = [ip_network(text) for text in ("fd00::/8", "10.0.0.0/8", "192.0.2.0/24")]
        self.assertEqual(section.value(Option("nets", list_of(NETWORK), "")), tuple(networks))
        self.assertTrue(section.value(_option("on", BOOLEAN)))

    def test_what_it_stands_for_is_not_followed_again(self) -> None:
        self.environ = {"A": "env:B", "B": SECRET}
        self.assertEqual(self.section("a = env:A\n").value(_option("a", TEXT)), "env:B")

    def test_missing_ones_are_problems(self) -> None:
        (self.base / "empty").write_text("\n")
        (self.base / "binary").write_bytes(b"\xff\xfe")
        (self.base / "large").write_bytes(b"x" * 65537)
        self.environ = {"EMPTY": ""}
        table = {
            "env:NONE": "the environment variable NONE is not set",
            "env:EMPTY": "env:EMPTY is empty",
            "env:A B": "env: needs the name of an environment variable",
            "env:": "env: needs the name of an environment variable",
            "file:none": "file:none cannot be read: No such file or directory",
            "file:empty": "file:empty is empty",
            "file:binary": "file:binary is not UTF-8 text",
            "file:large": "file:large is larger than 64 KiB",
            "file:": "file: needs the path of a file",
            "credential:pw": "credential:pw needs $CREDENTIALS_DIRECTORY, which systemd sets",
            "credential:../pw": "credential: needs the name of a systemd credential",
        }
        for reference, message in table.items():
            self.section(f"s = {reference}\n").value(_option("s", SECRET_TYPE))
            self.assertEqual(self.told(), [f"2: [authenticator x] s: {message}"])

    def test_a_credential_that_systemd_did_not_give(self) -> None:
        self.environ = {"CREDENTIALS_DIRECTORY": str(self.base)}
        self.section("s = credential:pw\n").value(_option("s", SECRET_TYPE))
        self.assertEqual(self.told(), ["2: [authenticator x] s: credential:pw cannot be read: No such file or directory"])


class SilenceTests(SectionCase):
    """No message repeats a secret."""

    def assertSilent(self, section: Section) -> None:
        self.assertTrue(self.found)
        self.assertNotIn(SECRET, " ".join(self.told()) + repr(self.found) + repr(section))

    def test_a_referenced_value_is_never_repeated(self) -> None:
        self.environ = {"S": SECRET, "L": f"{SECRET}, {SECRET}"}
        for kind in KINDS:
            for option in kind.declared:
                if option.type.label in ("text", "secret", "list of texts", "path"):
                    continue
                for name in ("S", "L"):
                    section = self.section(f"{option.name} = env:{name}\n")
                    section.value(option)
                    self.assertSilent(section)
                    self.assertIn(f"env:{name}", self.told()[0], option.name)

    def test_a_secret_under_a_misspelt_name(self) -> None:
        section = self.section(f"keystore_pasword = {SECRET}\n")
        section.value(_option("keystore_password", SECRET_TYPE))
        section.finish()
        self.assertSilent(section)

    def test_a_secret_in_an_indented_line(self) -> None:
        for line in (f"password = {SECRET}", f"password={SECRET}", f"password: {SECRET}", f"password :{SECRET}"):
            section = self.section(f"nets = 10.0.0.0/8\n  {line}\n")
            section.value(Option("nets", list_of(NETWORK), ""))
            self.assertSilent(section)

    def test_a_password_in_a_url(self) -> None:
        option = next(option for kind in KINDS if kind.word == "upstream" for option in kind.declared if option.name == "servers")
        for url in (f"http://user:{SECRET}@app/", f"http://{SECRET}@app:80", f"ftp://user:p@{SECRET}@app"):
            section = self.section(f"servers = {url}\n")
            section.value(option)
            self.assertSilent(section)

    def test_quoting(self) -> None:
        self.environ = {"S": SECRET}
        section = self.section("a = env:S\nb = plain\n")
        self.assertEqual(section.quote("a", section.value(_option("a", TEXT))), "the value of env:S")
        self.assertEqual(section.quote("b", section.value(_option("b", TEXT))), "'plain'")

    @given(st.text(alphabet="ab ,=\n:/", max_size=20))
    def test_no_value_raises(self, text: str) -> None:
        (scanned,), _ = scan("[authenticator x]\no = " + text.replace("\n", "\n  "))
        section = Section(scanned, "site.ini", self.base, References({}, self.base), [])
        for kind in (TEXT, SECRET_TYPE, BOOLEAN, integer(0, 9), duration(), SIZE, file_path(), list_of(TEXT)):
            section.value(_option("o", kind))
        section.finish()


class SettingsTests(SectionCase):
    """What the operator sees of a section."""

    def test_what_is_given_then_the_defaults(self) -> None:
        section = self.section("b = 2\na = 1\n  2\n")
        for name, kind in (("a", list_of(TEXT)), ("b", TEXT), ("c", TEXT)):
            section.value(_option(name, kind, "x" if name == "c" else ""))
        self.assertEqual(section.settings(), (Setting("b", "2", 2), Setting("a", "1, 2", 3), Setting("c", "x", 0)))

    def test_secrets(self) -> None:
        (self.base / "file").write_text(SECRET)
        section = self.section(f"a = {SECRET}\nb = file:file\nopt.c = {SECRET}\nopt.d = 1\nunknown = {SECRET}\n")
        for name in ("a", "b"):
            section.value(_option(name, SECRET_TYPE))
        section.under("opt.").value(_option("c", optional(SECRET_TYPE)))
        section.under("opt.").value(_option("d", TEXT))
        texts = {one.name: one.text for one in section.settings()}
        self.assertEqual(texts, {"a": "(secret)", "b": "(secret)", "opt.c": "(secret)", "opt.d": "1", "unknown": "(secret)"})

    def test_secrets_within_the_lines_of_a_list(self) -> None:
        """What a reference in a line leads to is converted apart, and found with the other secrets."""
        (self.base / "file").write_text("a: b\n")
        item = Datatype(
            "word",
            lambda text, base: text,
            "",
            before_reference=re.compile(r"key\s+(?=file:)"),
            referred=lambda text, base: f"<{text}>",
        )
        option = _option("a", list_of(item, "\n"))
        section = self.section("a = plain\n  key file:file\n  key plain\n")
        self.assertEqual(section.value(option), ("plain", "<key a: b>", "key plain"))
        self.assertEqual([(one.option, one.text, one.origin) for one in section.secrets()], [("a", "a: b", "file:file")])
        self.assertEqual(section.settings(), (Setting("a", "plain, key file:file, key plain", 2),))
        missing = self.section("a = key file:none\n")
        missing.value(option)
        self.assertEqual(list(missing.secrets()), [])

    def test_a_secret_whose_value_is_the_path_of_its_file(self) -> None:
        """The secret is what the file has, and the path is none. A comment may follow."""
        (self.base / "file").write_text(SECRET)

        def read(text: str, base: Path) -> str:
            try:
                return (base / text).read_text()
            except OSError:
                raise BadValue("no file") from None

        kind = Datatype("secret", read, "", secret=True, referred=lambda text, base: f"<{text}>", in_file=True)
        for text, value, origin in (
            ("file", SECRET, "file:file"),
            ("file  ; a comment", SECRET, "file:file"),
            ("file:file", f"<{SECRET}>", "file:file"),
        ):
            section = self.section(f"a = {text}\n")
            self.assertEqual(section.value(_option("a", kind)), value)
            (found,) = section.secrets()
            self.assertEqual((found.text, found.origin, found.file), (SECRET, origin, self.base / "file"))
        (self.base / "file").unlink()
        self.assertEqual(list(section.secrets()), [])

    def test_references_are_shown_as_they_are_written(self) -> None:
        self.environ["NAME"] = SECRET
        section = self.section("a = env:NAME\n")
        self.assertEqual(section.value(_option("a", TEXT)), SECRET)
        self.assertEqual(section.settings(), (Setting("a", "env:NAME", 2),))

    def test_the_user_of_a_url_is_not_shown(self) -> None:
        section = self.section(f"uri = https://svc:{SECRET.replace(' ', '')}@sso.example/me\n")
        section.value(_option("uri", TEXT))
        self.assertEqual(section.settings(), (Setting("uri", "https://…@sso.example/me", 2),))

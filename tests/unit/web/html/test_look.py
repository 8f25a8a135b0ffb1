"""Titles, logos, messages and templates of a site, and what is wrong with them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import attrs
from jinja2 import Environment, FunctionLoader
from twisted.trial.unittest import TestCase

import perimeter
from perimeter.config.site.login import LoginSettings
from perimeter.errors import StartupError
from perimeter.web.html import templates
from perimeter.web.html.assets import MAX_LOGO, asset_of, assets_of, read_logo
from perimeter.web.html.files import ASSETS, TEMPLATES
from perimeter.web.html.look import Look, read_look
from perimeter.web.html.message import MAX_MESSAGE, read_message
from perimeter.web.html.samples import SAMPLES
from perimeter.web.html.templates import MAX_TEMPLATE, Compiled

PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 20
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


class FileCase(TestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()

    def file(self, name: str, content: bytes | str) -> Path:
        path = self.directory / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def look(self, **settings: Any) -> Look:
        return read_look(attrs.evolve(LoginSettings(), **settings), "a realm")

    def fault(self, **settings: Any) -> str:
        error = self.assertRaises(StartupError, self.look, **settings)
        return str(error).replace(f"{self.directory}/", "")

    def sign_in(self, look: Look) -> str:
        return look.render("login.html", SAMPLES["login.html"]).decode()


class AssetTests(FileCase):
    def test_the_name_changes_with_the_content(self) -> None:
        one, other = asset_of("vendor/x.min.js", b"1"), asset_of("vendor/x.min.js", b"2")
        self.assertRegex(one.name, r"^x\.min\.[0-9a-f]{16}\.js$")
        self.assertNotEqual(one.name, other.name)
        self.assertEqual(one.content_type, "text/javascript; charset=utf-8")

    def test_notes_and_licences_are_not_served(self) -> None:
        self.assertEqual(list(assets_of({"vendor/LICENSE": b"", "vendor/README.md": b"", "a.css": b""})), ["a.css"])

    def test_every_asset_has_a_name_of_its_own(self) -> None:
        names = [asset.name for asset in assets_of(ASSETS).values()]
        self.assertEqual(len(names), len(set(names)))

    def test_logos(self) -> None:
        self.assertEqual(read_logo(self.file("a.svg", b'<?xml version="1.0"?>\n' + SVG)).content_type, "image/svg+xml")
        png = read_logo(self.file("b.svg", PNG))
        self.assertEqual(png.content_type, "image/png")
        self.assertTrue(png.name.startswith("logo."))
        read_logo(self.file("c.png", PNG + b"x" * (MAX_LOGO - len(PNG))))

    def test_what_is_no_logo(self) -> None:
        bomb = b'<!DOCTYPE x [<!ENTITY a "b">]><svg xmlns="http://www.w3.org/2000/svg">&a;</svg>'
        for content in (b"", b"GIF89a", b"<svg/>", b"<html/>", b"<svg", bomb, b'<?xml version="1.0" encoding="nonsense"?><svg/>'):
            self.assertEqual(self.fault(logo=self.file("x", content)), "x is not an SVG or PNG picture", content)
        self.assertEqual(self.fault(logo=self.file("x", PNG + b"x" * MAX_LOGO)), "x is larger than 256 KiB")
        self.assertEqual(self.fault(logo=self.directory / "none"), "none: No such file or directory")

    def test_attack_26_a_logo_with_a_script_is_a_picture_alone(self) -> None:
        """The headers of all assets, and that it is in an img, see to that: `test_logout.StaticTests`."""
        look = self.look(logo=self.file("logo.svg", SVG))
        (name,) = (name for name in look.assets if name.startswith("logo."))
        self.assertIn(f'<img src="/.perimeter/static/{name}" alt="">', self.sign_in(look))


class MessageTests(FileCase):
    def message(self, **settings: Any) -> tuple[str, ...]:
        return read_message(attrs.evolve(LoginSettings(), **settings))

    def test_paragraphs(self) -> None:
        self.assertEqual(self.message(message="one  two"), ("one two",))
        self.assertEqual(self.message(), ())
        path = self.file("m", "\ufeffone\r\ntwo\r\n\r\n\r\nthree\n")
        self.assertEqual(self.message(message_file=path), ("one two", "three"))

    def test_what_is_no_message(self) -> None:
        self.assertEqual(self.fault(message_file=self.file("m", b"\xff")), "m is not UTF-8")
        self.assertEqual(self.fault(message_file=self.file("m", b"x" * (MAX_MESSAGE + 1))), "m is larger than 16 KiB")
        self.look(message_file=self.file("m", b"x" * MAX_MESSAGE))
        self.assertEqual(self.fault(message_file=self.directory / "none"), "none: No such file or directory")


class TemplateTests(FileCase):
    def test_every_page_can_be_rendered(self) -> None:
        look = self.look(title="<u>")
        bases = ("card.html", "account_base.html", "operator.html")
        pages = {name for name, source in TEMPLATES.items() if any(f'extends "{base}"' in source for base in bases)}
        pages -= set(bases)
        self.assertTrue(pages <= set(SAMPLES), pages - set(SAMPLES))
        for name, values in SAMPLES.items():
            page = look.render(name, values).decode()
            self.assertIn("&lt;u&gt;", page, name)
            self.assertNotIn("<u>", page)
            self.assertTrue(page.endswith("</html>\n"), name)
            for word in ("http:", "https:", " style=", "javascript:", "onclick"):
                self.assertNotIn(word, page, name)

    def test_a_site_replaces_a_template(self) -> None:
        self.file("card.html", '{% extends "layout.html" %}{% block body %}<body>ours {{ site }}{% endblock %}')
        look = self.look(templates=self.directory)
        self.assertIn("<body>ours a realm", self.sign_in(look))

    def test_a_site_adds_to_a_template(self) -> None:
        self.file("signed_out.html", '{% extends "card.html" %}{% block main %}{% include "footer.html" %}{% endblock %}')
        self.file("footer.html", "<p>{{ prefix }}</p>")
        self.file("notes.txt", "{{")
        page = self.look(templates=self.directory).render("signed_out.html", SAMPLES["signed_out.html"]).decode()
        self.assertIn("<p>/.perimeter</p>", page)

    def test_the_template_in_the_manual(self) -> None:
        manual = Path(perimeter.__file__).parents[1] / "docs" / "how-to" / "sign-in.md"
        (example,) = re.findall(r"```html\n<!-- templates/card\.html: [^\n]*\n(.*?)```", manual.read_text(), re.DOTALL)
        self.file("card.html", example)
        page = self.sign_in(self.look(templates=self.directory, message="whom to ask"))
        for part in ("Example Weather Service", "whom to ask", '<form method="post"', "<script nonce="):
            self.assertIn(part, page)

    def test_faults_are_found_with_file_and_line(self) -> None:
        for source, words in (
            ("\n{% if %}", "login.html:2: Expected an expression, got 'end of statement block'"),
            ("\n\n{{ no_such_name }}", "login.html:3: 'no_such_name' is undefined"),
            ("{{ username.nothing }}", "login.html:1: 'str object' has no attribute 'nothing'"),
            ("\n{{ asset('x.css') }}", "login.html:2: KeyError: 'x.css'"),
            ("\n{{ 1 / 0 }}", "login.html:2: ZeroDivisionError: division by zero"),
            ("\n{% include 'none.html' %}", "login.html:2: none.html"),
            ("{% block a %}", "login.html:1: "),
        ):
            self.file("login.html", source)
            self.assertIn(words, self.fault(templates=self.directory), source)

    def test_templates_of_the_account_and_the_operator_are_tried(self) -> None:
        for name in ("account.html", "operator_overview.html"):
            self.file(name, "\n{{ no_such_name }}")
            self.assertIn(f"{name}:2: 'no_such_name' is undefined", self.fault(templates=self.directory))
            (self.directory / name).unlink()

    def test_a_template_that_replaces_none(self) -> None:
        self.file("lgoin.html", "x")
        self.assertEqual(
            self.fault(templates=self.directory), "lgoin.html replaces no template, and none uses it: did you mean login.html?"
        )
        (self.directory / "lgoin.html").rename(self.directory / "0123456789.html")
        self.assertEqual(self.fault(templates=self.directory), "0123456789.html replaces no template, and none uses it")

    def test_files_that_are_no_templates(self) -> None:
        self.file("login.html", b"\xff")
        self.assertEqual(self.fault(templates=self.directory), "login.html is not UTF-8")
        self.file("login.html", b"x" * (MAX_TEMPLATE + 1))
        self.assertEqual(self.fault(templates=self.directory), "login.html is larger than 256 KiB")
        self.file("login.html", b"x" * MAX_TEMPLATE)
        self.look(templates=self.directory)
        (self.directory / "login.html").unlink()
        (self.directory / "login.html").mkdir()
        self.assertEqual(self.fault(templates=self.directory), "login.html: Is a directory")

    def test_attack_26_the_text_of_a_site_is_escaped_in_its_own_templates_too(self) -> None:
        self.file("message.html", "{{ text }}")
        look = self.look(templates=self.directory)
        self.assertEqual(look.render("message.html", {"text": "<svg>"}), b"&lt;svg&gt;")


class CompiledTests(TestCase):
    def environment(self, compiled: Compiled, source: str, file: str = "a.html") -> Environment:
        def load(name: str) -> tuple[str, str, None]:
            return source, file, None

        return Environment(loader=FunctionLoader(load), bytecode_cache=compiled)

    def test_a_template_is_compiled_again_if_its_source_or_its_file_has_changed(self) -> None:
        compiled, made = Compiled(), list[str]()
        compile_template = Environment.compile

        def counted(self: Environment, source: str, *more: Any) -> Any:
            made.append(source)
            return compile_template(self, source, *more)

        self.patch(Environment, "compile", counted)
        for source, file, count in (
            ("1", "a.html", 1), ("1", "a.html", 1), ("2", "a.html", 2), ("1", "b.html", 3), ("2", "a.html", 3),
        ):  # fmt: skip
            self.assertEqual(self.environment(compiled, source, file).get_template("a").render(), source)
            self.assertEqual(len(made), count)

    def test_a_look_that_is_read_again_compiles_nothing(self) -> None:
        first = read_look(LoginSettings(), "one")
        first.render("login.html", SAMPLES["login.html"])
        self.patch(Environment, "compile", None)
        second = read_look(LoginSettings(title="other"), "two")
        for look, title in ((first, "one"), (second, "other")):
            page = look.render("login.html", SAMPLES["login.html"]).decode()
            self.assertIn(title, page)

    def test_a_built_in_template_is_compiled_when_its_page_is_asked_for(self) -> None:
        self.patch(Environment, "compile", None)  # an exception if it is called
        self.patch(templates, "_COMPILED", Compiled())
        look = read_look(LoginSettings(), "a realm")
        with self.assertRaises(TypeError):
            look.render("login.html", SAMPLES["login.html"])

    def test_all_built_in_templates_can_be_compiled_and_rendered(self) -> None:
        look = read_look(LoginSettings(), "a realm")
        for name in TEMPLATES:
            look._environment.get_template(name)
        for name, values in SAMPLES.items():
            self.assertTrue(look.render(name, values).strip(), name)

    def test_at_most_so_many_are_kept(self) -> None:
        compiled = Compiled()
        self.assertEqual(compiled._codes.limit, 200)
        for number in range(201):
            self.environment(compiled, str(number)).get_template("a")
        self.assertEqual(len(compiled._codes), 1)

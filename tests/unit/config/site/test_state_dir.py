"""The state_dir of a file, whatever else is wrong with it."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import TestCase

from perimeter.config.site.state_dir import state_dir_of
from perimeter.errors import ConfigError


class StateDirTests(TestCase):
    def setUp(self) -> None:
        self.place = Path(self.mktemp()).resolve()
        self.place.mkdir()

    def found(self, text: str) -> Path:
        file = self.place / "site.ini"
        file.write_text(text)
        return state_dir_of(file)

    def fault(self, text: str) -> str:
        with self.assertRaises(ConfigError) as caught:
            self.found(text)
        return str(caught.exception)

    def test_it_is_relative_to_the_file(self) -> None:
        self.assertEqual(self.found("[perimeter]\nstate_dir = var\n"), self.place / "var")
        self.assertEqual(self.found("[perimeter]\nstate_dir = /srv/x\n"), Path("/srv/x"))

    def test_the_default(self) -> None:
        for text in ("", "[perimeter]\nrealm = x\n", "[listener a]\nport = 1\n"):
            self.assertEqual(self.found(text), self.place.parent / "var", text)

    def test_faults_elsewhere_do_not_matter(self) -> None:
        for text in ("[audt]\nx = 1\n", "no option\n", "[listener http]\nport = x\n", "[upstream]\n"):
            self.assertEqual(self.found(f'[perimeter]\nstate_dir = var\nrealm = "\n{text}'), self.place / "var", text)

    def test_a_state_dir_that_cannot_be_read(self) -> None:
        self.assertIn("site.ini:2: [perimeter] state_dir", self.fault("[perimeter]\nstate_dir = file:/nothing\n"))
        self.assertIn("did you mean state_dir?", self.fault("[perimeter]\nstat_dir = var\n"))
        self.assertIn("did you mean [perimeter]?", self.fault("[perimetr]\nstate_dir = var\n[listener x]\nport = 1\n"))

    def test_a_file_that_cannot_be_read(self) -> None:
        with self.assertRaises(ConfigError) as caught:
            state_dir_of(self.place / "nothing.ini")
        self.assertIn("cannot be read", str(caught.exception))

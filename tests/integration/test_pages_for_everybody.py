"""Each of the gateway's own pages can be used by everybody: axe-core, both colour schemes, desktop and phone, errors shown."""

from __future__ import annotations

from typing import ClassVar

from tests.integration.axe import barriers
from tests.integration.browser import BrowserCase
from tests.integration.scenes import CONFIG, FILES, SCENES, Scene, enter


class PagesForEverybodyTests(BrowserCase):
    CONFIG = CONFIG
    FILES: ClassVar = FILES

    def look(self, scene: Scene) -> None:
        page = self.page()
        enter(page, scene)
        self.assertEqual(barriers(page), [])


def _test(scene: Scene) -> None:
    def test(self: PagesForEverybodyTests) -> None:
        self.look(scene)

    name = f"test_{scene.name.replace('-', '_')}"
    test.__name__ = name
    test.__qualname__ = f"PagesForEverybodyTests.{name}"
    setattr(PagesForEverybodyTests, name, test)


for _scene in SCENES:
    _test(_scene)

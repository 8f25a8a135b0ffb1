"""Each of the gateway's own pages can be used by everybody: axe-core, both colour schemes, desktop and phone, errors shown."""

from __future__ import annotations

from typing import ClassVar

from tests.integration.axe import violations
from tests.integration.browser import BrowserCase
from tests.integration.scenes import CONFIG, FILES, SCENES, Scene, enter, views


class PagesForEverybodyTests(BrowserCase):
    CONFIG = CONFIG
    FILES: ClassVar = FILES

    def look(self, scene: Scene) -> None:
        page = self.page()
        enter(page, scene)
        for view in views(page):
            self.assertEqual(violations(page), [], (scene.name, view))
            wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            self.assertLessEqual(wide, 0, f"{scene.name} is too wide at {view}")


def _test(scene: Scene) -> None:
    def test(self: PagesForEverybodyTests) -> None:
        self.look(scene)

    name = f"test_{scene.name.replace('-', '_')}"
    test.__name__ = name
    test.__qualname__ = f"PagesForEverybodyTests.{name}"
    setattr(PagesForEverybodyTests, name, test)


for _scene in SCENES:
    _test(_scene)

"""axe-core finds no barriers on the gateway's own pages: both colour schemes, desktop and phone, errors shown."""

from __future__ import annotations

from typing import ClassVar

from tests.integration.axe import barriers
from tests.integration.browser import BrowserCase
from tests.integration.scenes import CONFIG, FILES, SCENES, Scene, enter


class AccessiblePagesTests(BrowserCase):
    CONFIG = CONFIG
    FILES: ClassVar = FILES

    def look(self, scene: Scene) -> None:
        page = self.page()
        enter(page, scene)
        self.assertEqual(barriers(page), [])


def _test(scene: Scene) -> None:
    def test(self: AccessiblePagesTests) -> None:
        self.look(scene)

    name = f"test_{scene.name.replace('-', '_')}"
    test.__name__ = name
    test.__qualname__ = f"AccessiblePagesTests.{name}"
    setattr(AccessiblePagesTests, name, test)


for _scene in SCENES:
    _test(_scene)

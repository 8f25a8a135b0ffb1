"""Photographs the gateway's own pages: ``python -m tests.integration.screenshots DIRECTORY [SCENE...]``.

Each scene (`tests.integration.scenes`) at 1280 and 360 pixels, light and dark. The gateway and its service are started for it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import urlsplit

from tests.integration.browser import BrowserStage, Watch, chromium
from tests.integration.scenes import CONFIG, FILES, SCENES, enter, views


def main() -> int:
    """Photograph, and print the files."""
    if len(sys.argv) < 2:
        print(__doc__)
        return 2
    directory, wanted = Path(sys.argv[1]), sys.argv[2:]
    directory.mkdir(parents=True, exist_ok=True)
    stage = BrowserStage(CONFIG, FILES)
    faults = []
    for scene in SCENES:
        if wanted and scene.name not in wanted:
            continue
        context = chromium().context(base_url=stage.origin)
        watch = Watch(context, {urlsplit(stage.origin).netloc})
        page = context.new_page()
        enter(page, scene)
        for view in views(page):
            file = directory / f"{scene.name}-{view}.png"
            page.screenshot(path=file, full_page=True)
            print(file)
        context.close()
        faults += watch.faults
    print("\n".join(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

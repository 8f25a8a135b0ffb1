"""How Sphinx builds the manual: ``scripts/docs``."""

import perimeter

project = "Perimeter"
author = "The Perimeter developers"
release = version = perimeter.__version__
extensions = ["myst_parser"]
exclude_patterns = ["_build", "examples"]
myst_heading_anchors = 3
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["manual.css"]
html_title = f"Perimeter {release}"
html_show_copyright = False

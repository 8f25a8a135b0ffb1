"""The part of the packaging that ``pyproject.toml`` cannot say well: modules for a directory that belongs to Twisted.

``twisted/plugins`` is a directory that every plug-in shares, so it holds no ``__init__.py`` here, and its modules are named one
by one. Naming it as a package would make this distribution the owner of a package of Twisted's.
"""

from pathlib import Path

from setuptools import find_packages, setup

PLUGINS = Path(__file__).parent / "twisted" / "plugins"

setup(
    # said aloud so that an editable install puts this directory on the path, where twisted.plugin looks, not an import hook
    package_dir={"": "."},
    packages=find_packages(include=["perimeter", "perimeter.*"]),
    py_modules=[f"twisted.plugins.{module.stem}" for module in sorted(PLUGINS.glob("perimeter_*.py"))],
    package_data={"perimeter": ["py.typed", "web/templates/*", "web/pages/*", "web/assets/*"]},
    zip_safe=False,
)

"""The part of the packaging that ``pyproject.toml`` cannot express: modules for a directory that belongs to Twisted.

All plug-ins share ``twisted/plugins``, so it has no ``__init__.py`` here and its modules are listed one by one. As a package it
would make this distribution own a package of Twisted.
"""

from pathlib import Path

from setuptools import find_packages, setup

PLUGINS = Path(__file__).parent / "twisted" / "plugins"

setup(
    # explicit, so that an editable installation extends the path, which twisted.plugin reads, instead of adding an import hook
    package_dir={"": "."},
    packages=find_packages(include=["perimeter", "perimeter.*"]),
    py_modules=[f"twisted.plugins.{module.stem}" for module in sorted(PLUGINS.glob("perimeter_*.py"))],
    package_data={"perimeter": ["py.typed", "web/assets/**", "web/templates/*.html"]},
    zip_safe=False,
)

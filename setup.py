"""The part of the packaging that ``pyproject.toml`` cannot express: modules for a directory that belongs to Twisted.

All plug-ins share ``twisted/plugins``, so it has no ``__init__.py`` here and its modules are listed one by one. As a package it
would make this distribution own a package of Twisted.
"""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
PLUGINS = ROOT / "twisted" / "plugins"


def shared() -> list[tuple[str, list[str]]]:
    """What is installed beside the code: examples, the systemd units and the manual pages, by their directory in the prefix."""
    examples = sorted({file.parent for file in (ROOT / "etc").rglob("*") if file.is_file()})
    places = [(f"share/perimeter/{place.relative_to(ROOT / 'etc').as_posix()}".rstrip("/."), place, "*") for place in examples]
    places.append(("share/man/man1", ROOT / "docs" / "man", "*.1"))
    found = [
        (where, [file.relative_to(ROOT).as_posix() for file in sorted(place.glob(names)) if file.is_file()])
        for where, place, names in places
    ]
    return [(where, files) for where, files in found if files]


setup(
    # explicit, so that an editable installation extends the path, which twisted.plugin reads, instead of adding an import hook
    package_dir={"": "."},
    packages=find_packages(include=["perimeter", "perimeter.*"]),
    py_modules=[f"twisted.plugins.{module.stem}" for module in sorted(PLUGINS.glob("perimeter_*.py"))],
    package_data={"perimeter": ["py.typed", "web/assets/**", "web/templates/*.html"]},
    data_files=shared(),
    zip_safe=False,
)

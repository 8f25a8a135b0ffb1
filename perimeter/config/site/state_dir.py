"""The ``state_dir`` of a site.ini, for commands that only ask the running gateway: they need no other option.

It is read even if other parts of the file have faults, and without a search for plug-ins.
"""

from __future__ import annotations

import os
from pathlib import Path

import attrs

from perimeter.config.language.document import Document
from perimeter.config.language.settings import read
from perimeter.config.site.perimeter import KIND, PerimeterSettings
from perimeter.errors import ConfigError


def state_dir_of(path: Path) -> Path:
    """The ``state_dir`` that a file names, or the default. Raises `ConfigError` if that cannot be read.

    A fault in another section does not matter. If the file has no ``state_dir``, a fault of ``[perimeter]`` matters: it may be
    the misspelt option.
    """
    document = Document(path, (KIND,), os.environ)
    section = document.one(KIND.word)
    directory = read(section, PerimeterSettings).state_dir
    option = attrs.fields(PerimeterSettings).state_dir
    if section.faulty(option) or not section.given(option):
        section.finish()
        faults = [one for one in document.problems if one.section in ("", section.header) or one.suggestion == f"[{KIND.word}]"]
        if faults:
            raise ConfigError(faults)
    return directory

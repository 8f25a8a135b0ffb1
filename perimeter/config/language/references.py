"""Values that are stored elsewhere: ``env:NAME``, ``file:PATH`` and ``credential:NAME`` (systemd credentials).

Such a value is treated as a secret: no message of this package shows it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import attrs

from perimeter.config.language.datatypes import BadValue, NotHere
from perimeter.descriptors import system_reason

_REFERENCE = re.compile(r"(env|file|credential):(.*)", re.DOTALL)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LARGEST = 64 * 1024


@attrs.frozen
class Resolved:
    """A value, and the reference that it came from ("" if it was in the file itself)."""

    text: str = attrs.field(repr=False)
    origin: str = ""


@attrs.frozen
class References:
    """Follows references, with paths relative to ``base``.

    Without ``here``, a section does not report files, variables and credentials that do not exist on this machine
    (`perimeter.config.language.datatypes.NotHere`).
    """

    environ: Mapping[str, str] = attrs.field(repr=False)
    base: Path
    here: bool = True

    def resolve(self, text: str) -> Resolved:
        """``text`` itself, or the value that it refers to. Raises `BadValue` if that is missing, empty or not text."""
        match = _REFERENCE.fullmatch(text)
        if match is None:
            return Resolved(text)
        kind, name = match[1], match[2].strip()
        if kind == "env":
            found = self._variable(name)
        elif kind == "file":
            if not name:
                raise BadValue("file: needs the path of a file", complete=True)
            found = self._file(self.base / name, f"file:{name}")
        else:
            found = self._credential(name)
        found = found.rstrip("\r\n")
        if not found:
            raise BadValue(f"{kind}:{name} is empty", complete=True)
        return Resolved(found, f"{kind}:{name}")

    def file_of(self, origin: str) -> Path | None:
        """The file that the reference ``origin`` names; None for another reference."""
        kind, _, name = origin.partition(":")
        return self.base / name if kind == "file" else None

    def _variable(self, name: str) -> str:
        if not _VARIABLE.fullmatch(name):
            raise BadValue("env: needs the name of an environment variable", complete=True)
        if name not in self.environ:
            raise NotHere(f"the environment variable {name} is not set")
        return self.environ[name]

    def _credential(self, name: str) -> str:
        if not name or "/" in name or name in (".", ".."):
            raise BadValue("credential: needs the name of a systemd credential", complete=True)
        directory = self.environ.get("CREDENTIALS_DIRECTORY", "")
        if not directory:
            raise NotHere(f"credential:{name} needs $CREDENTIALS_DIRECTORY, which systemd sets")
        return self._file(Path(directory) / name, f"credential:{name}")

    def _file(self, path: Path, reference: str) -> str:
        try:
            with path.open("rb") as stream:
                data = stream.read(_LARGEST + 1)
        except OSError as error:
            raise NotHere(f"{reference} cannot be read: {system_reason(error)}") from error
        except ValueError as error:  # a NUL in the name
            raise BadValue(f"{reference} is not the path of a file", complete=True) from error
        if len(data) > _LARGEST:
            raise BadValue(f"{reference} is larger than 64 KiB", complete=True)
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise BadValue(f"{reference} is not UTF-8 text", complete=True) from None

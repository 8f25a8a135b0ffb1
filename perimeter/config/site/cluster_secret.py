"""The secret that the machines share: the path of its file, or a reference such as ``file:PATH``."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from perimeter.config.language.datatypes import BadValue, Datatype, NotHere
from perimeter.descriptors import system_reason
from perimeter.secrets_key import cluster_keys

_LARGEST: Final = 64 * 1024


def _read(text: str, base: Path) -> str:
    path = base / text
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            data = stream.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = system_reason(error) if isinstance(error, OSError) else "not a path"
        raise NotHere(f"expected the path of a file that can be read ({reason})", "") from None
    if not stat.S_ISREG(mode) or mode & 0o037:
        raise BadValue(f"others may read or write {path}: chmod 600 {path}", complete=True)
    if len(data) > _LARGEST or not data.isascii():
        raise BadValue(f"{path} is not a secret: expected lines of ASCII text", complete=True)
    return _given(data.decode("ascii"), base)


def _given(text: str, base: Path) -> str:
    try:
        cluster_keys(text)
    except ValueError as error:
        raise BadValue(f"not a secret of the site: {error}", complete=True) from None
    return text


CLUSTER_SECRET: Final[Datatype[str]] = Datatype("secret", _read, "", secret=True, referred=_given, in_file=True)

"""The name of this machine among those that share one state."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Final

from perimeter.config.language.datatypes import BadValue, Datatype

NODE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""The names of nodes."""


def _node(text: str, base: Path) -> str:
    if text and not NODE_NAME.fullmatch(text):
        raise BadValue("expected a name of letters, digits and _ . -, at most 64 characters")
    return text


NODE: Final[Datatype[str]] = Datatype("name", _node, "")


def own_name() -> str:
    """The name of a node that has none in its configuration: its host name, with hyphens for what no name may have."""
    spelled = re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname()).lstrip("_.-")[:64]
    return spelled or "node"

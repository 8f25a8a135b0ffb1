"""The variables of Hadoop's configuration: ``${name}`` in a value stands for another property. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

MOST = 20
"""Replacements in one value, as in Hadoop."""

LONGEST = 64 * 1024
"""Characters that a value may have once its variables are replaced."""

_VARIABLE = re.compile(r"\$\{([^}$ ]+)\}")
_OF_JAVA = re.compile(r"(?:env|file|java|line|os|path|sun|user)\.")

_DEFAULTS = {
    "root.namespace": "cdap",
    "local.data.dir": "data",
    "security.auth.server.bind.port": "10009",
    "security.auth.server.ssl.bind.port": "10010",
    "router.ssl.bind.port": "10443",
}
"""Properties of cdap-default.xml that others refer to. Those that decide about security are not here: they have to be known."""


def replaced(value: str, look_up: Callable[[str], str | None]) -> str | None:
    """``value`` with its variables replaced, or None if one of them is not known.

    ``look_up`` gives the raw value of a property, None if it is not set. Java's system properties come before properties in
    Hadoop, so the value of a name like theirs is not known here.
    """
    for _ in range(MOST):
        match = _VARIABLE.search(value)
        if match is None:
            return None if "${" in value else value
        name = match[1]
        found = None if _OF_JAVA.match(name) else look_up(name)
        if found is None:
            found = _DEFAULTS.get(name)
        if found is None or len(value) + len(found) > LONGEST:
            return None
        value = value[: match.start()] + found + value[match.end() :]
    return None

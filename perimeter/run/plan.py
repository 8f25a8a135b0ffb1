"""``python -m perimeter.run.plan FILE``: the plan of a site.ini, for the manager of several workers.

Descriptor 3 is an empty file in memory for the text of FILE. The result is one JSON object on standard output: ``plan``, or
``fault``, the sentences that a start or a reload reports.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

import attrs

from perimeter.auth.registry import installed_kinds
from perimeter.config.language.document import file_bytes
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.load import load_site
from perimeter.errors import StartupError
from perimeter.workers.plan import Address, Plan, seal

TEXT: Final = 3
"""Descriptor for the text of the file."""


def read_site(file: Path) -> tuple[SiteConfig, bytes]:
    """A configuration, and the bytes that it was read from. Raises `StartupError`."""
    data = file_bytes(file)
    return load_site(file, kinds=installed_kinds(), data=data), data


def addresses_of(config: SiteConfig) -> tuple[Address, ...]:
    """The addresses of the listeners."""
    return tuple(one.address for one in config.listeners)


def plan_of(config: SiteConfig) -> Plan:
    """The plan of a configuration."""
    site = config.perimeter
    return Plan(
        workers=site.workers,
        pin=site.pin,
        listeners=addresses_of(config),
        state_dir=str(site.state_dir),
        drain_timeout=site.drain_timeout,
        level=config.logging.level.value,
        format=config.logging.format.value,
        redact=tuple(config.audit.redact),
        warnings=tuple(config.warnings),
    )


def main(file: Path) -> dict[str, object]:
    """The object to print."""
    try:
        config, data = read_site(file)
    except StartupError as error:
        return {"fault": str(error)}
    seal(TEXT, data)
    return {"plan": attrs.asdict(plan_of(config))}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))

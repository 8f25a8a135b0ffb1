"""The hash of a configuration: two nodes with the same hash have the same settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Final

from perimeter.config.language.document import SectionInForce

LENGTH: Final = 12
"""Characters of a hash."""

OWN_OPTIONS: Final = {
    "perimeter": frozenset({"node", "state_dir", "workers", "pin", "redis_ca", "cluster_secret"}),
    "listener": frozenset({"interface"}),
}
"""By the kind of their section, the options that say something about one machine: they may differ, and are not hashed."""


def configuration_hash(sections: Iterable[SectionInForce]) -> str:
    """The hash of what a site.ini sets (`perimeter.config.site.config.SiteConfig.sections`), in hexadecimal digits.

    It covers the names and values of the options that the file has, without comments, white space and `OWN_OPTIONS`. A secret
    counts as set, not with its value, so that the hash of a weak secret is not published. Defaults do not count: another version
    of Perimeter may have other options.
    """
    said = []
    for one in sections:
        own = OWN_OPTIONS.get(one.header.partition(" ")[0], frozenset())
        settings = [(setting.name, setting.text) for setting in one.settings if setting.line and setting.name not in own]
        if settings:
            said.append((one.header, settings))
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:LENGTH]

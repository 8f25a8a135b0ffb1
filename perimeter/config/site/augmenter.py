"""``[augmenter NAME]``: adds roles and attributes to users. Its kind, a plug-in, reads the options that only that kind has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from perimeter.config.language.datatypes import TEXT
from perimeter.config.language.option import SectionKind, option
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings, read
from perimeter.config.site.plugged import read_kind
from perimeter.plugin.augmenter import IAugmenterFactory


@attrs.frozen
class AugmenterSettings(Settings):
    """``[augmenter NAME]``. ``settings`` is what the factory of its kind parsed: only that factory knows its class."""

    name: str
    kind: str = option(TEXT, "kind of augmenter; each has more options, below", name="type")
    realm: str = option(TEXT, "realm of the users that it adds to")
    settings: Any = None
    file: str = ""
    line: int = 0


def read_augmenter(section: Section, factories: Mapping[str, IAugmenterFactory]) -> AugmenterSettings:
    """The settings of an augmenter. ``factories`` are the factories of all kinds by the word in ``type = …``."""
    common = read(section, AugmenterSettings)
    settings = read_kind(section, attrs.fields(AugmenterSettings).kind, common.kind, factories)
    return attrs.evolve(common, settings=settings)


KIND = SectionKind(
    "augmenter",
    AugmenterSettings,
    "Adds roles and attributes to the users of one realm after authentication. An augmenter never removes any. Each `type` has "
    "more options, listed below. Augmenters that read roles (`match`) run last, and see the roles that the others added.",
    "type = match\nrealm = example\nusername = alice, bob\nadd_roles = admin\n",
    example_name="admins",
)

"""``[operator]``: the page for the operator of the gateway."""

from __future__ import annotations

import attrs

from perimeter.config.language.datatypes import TEXT
from perimeter.config.language.option import SectionKind, option
from perimeter.config.language.settings import Settings


@attrs.frozen
class OperatorSettings(Settings):
    """``[operator]``. ``role`` is "" without an operator page."""

    role: str = option(
        TEXT, "role of the users who may open the operator page; not set: the gateway has no operator page", default=""
    )


KIND = SectionKind(
    "operator",
    OperatorSettings,
    "The operator page at `/.perimeter/operator`: it shows problems and live figures, and can end sessions and tokens. Users "
    "need the role to open it. While the section is set, the gateway counts requests.",
    "role = admin\n",
)

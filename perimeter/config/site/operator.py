"""``[operator]``: the page for the operator of the gateway."""

from __future__ import annotations

import attrs

from perimeter.config.language.name_types import NAME
from perimeter.config.language.option import SectionKind, option
from perimeter.config.language.settings import Settings


@attrs.frozen
class OperatorSettings(Settings):
    """``[operator]``. ``role`` is "" without an operator page."""

    role: str = option(NAME, "role of the users who may use the operator page", default="", available=False)


KIND = SectionKind(
    "operator",
    OperatorSettings,
    "The page for the operator of the gateway. It is not available yet.",
    "; no option of this section can be set yet\n",
)

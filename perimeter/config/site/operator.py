"""``[operator]``: the page for the operator of the gateway."""

from __future__ import annotations

import attrs

from perimeter.config.language.datatypes import TEXT
from perimeter.config.language.option import SectionKind, option
from perimeter.config.language.settings import Settings


@attrs.frozen
class OperatorSettings(Settings):
    """``[operator]``. ``role`` is "" without an operator page."""

    role: str = option(TEXT, "role of the users who may open the operator page; not set: there is none", default="")


KIND = SectionKind(
    "operator",
    OperatorSettings,
    "The page for the operator of the gateway: what is wrong, what happens now, and what may be ended. It is at "
    "`/.perimeter/operator`, and users who sign in there need the role. While the section is set, requests are counted.",
    "role = admin\n",
)

"""``[logging]``: the gateway's own log."""

from __future__ import annotations

from enum import StrEnum

import attrs

from perimeter.config.language.datatypes import one_of
from perimeter.config.language.option import SectionKind, option
from perimeter.config.language.settings import Settings


class LogLevel(StrEnum):
    """How important an event is, lowest first."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


class LogFormat(StrEnum):
    """The format of a line."""

    CONSOLE = "console"
    JSON = "json"


@attrs.frozen
class LoggingSettings(Settings):
    """``[logging]``."""

    level: LogLevel = option(one_of(LogLevel), "minimum level of the events that are logged", default="info")
    format: LogFormat = option(one_of(LogFormat), "format of a line: text, or a JSON object", default="console")


KIND = SectionKind("logging", LoggingSettings, "The gateway's own log, on its standard error.", "level = warn\nformat = json\n")

"""The configuration in force, with file and line, and without secrets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from perimeter.audit.escaping import redact
from perimeter.web.endpoints.operator.section import Asked, Section, moment


async def _configuration(asked: Asked) -> Mapping[str, Any]:
    config = asked.gateway.assembly.config
    figures = await asked.gateway.figures()
    reload = asked.gateway.last_reload
    return {
        "file": str(config.file),
        "sections_in_force": [
            {
                "header": section.header,
                "line": section.line,
                "given": [_setting(one.name, one.text, one.line) for one in section.settings if one.line],
                "defaults": [_setting(one.name, one.text, 0) for one in section.settings if not one.line],
            }
            for section in config.sections
        ],
        "warnings": config.warnings,
        "reloaded": moment(reload.at),
        "started": moment(asked.gateway.seconds() - figures.uptime),
        "refused_reload": reload.refused,
    }


def _setting(name: str, text: str, line: int) -> tuple[str, str, int]:
    """The text without queries of URLs, because a query may have a secret in every option."""
    shown = redact(text.encode("utf-8")).decode("utf-8", "replace") if "://" in text else text
    return name, shown, line


CONFIGURATION: Final = Section("configuration", "Configuration", "operator_configuration.html", _configuration)

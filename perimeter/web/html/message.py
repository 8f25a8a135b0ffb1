"""The message on the sign-in page."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from perimeter.config.site.login import LoginSettings
from perimeter.descriptors import system_reason
from perimeter.errors import StartupError

MAX_MESSAGE: Final = 16 * 1024
"""Bytes of the largest message on the sign-in page."""


def read_message(settings: LoginSettings) -> tuple[str, ...]:
    """The paragraphs of the message on the sign-in page. Blocks. Raises `StartupError`."""
    text = settings.message if settings.message_file is None else _text(settings.message_file)
    paragraphs = (" ".join(part.split()) for part in text.replace("\r\n", "\n").split("\n\n"))
    return tuple(part for part in paragraphs if part)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as opened:
            content = opened.read(MAX_MESSAGE + 1)
        if len(content) > MAX_MESSAGE:
            raise StartupError(f"{path} is larger than {MAX_MESSAGE // 1024} KiB")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise StartupError(f"{path} is not UTF-8") from None
    except OSError as error:
        raise StartupError(f"{path}: {system_reason(error)}") from error

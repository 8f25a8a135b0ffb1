"""The datatypes of options: text, numbers, durations, sizes, words, paths, and lists of any of these.

A datatype has its name for the reference page (``label``) and raises `BadValue` with what was expected. Which option has the
value, and in which line, is left to `perimeter.config.language.section`. Datatypes of networks and hosts are in
`perimeter.config.language.net_types`.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any, Generic, TypeVar

import attrs

from perimeter.descriptors import system_reason

T = TypeVar("T")
W = TypeVar("W", bound=StrEnum)

DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# the first letters of what people write for a unit -> the unit
_UNIT_WORDS = {"mil": "ms", "mse": "ms", "sec": "s", "min": "m", "hou": "h", "hrs": "h", "hr": "h", "day": "d"}
SIZE_UNITS = {
    "": 1,
    "b": 1,
    "bytes": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
    "tib": 1024**4,
}
BOOLEANS = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}
# A century. A longer duration is a typing error, and timers and token expiries would overflow.
_LONGEST = 36525 * 86400.0
_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)", re.ASCII)
_INTEGER = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_NO_PATH = Path()


class BadValue(Exception):
    """A text is not what its datatype expects.

    ``complete`` marks a ``message`` that explains the value already; otherwise the section adds "not" and the value. ``at`` is
    the offset of the fault in the text, for a text that has parts; None for the text as a whole.
    """

    def __init__(self, message: str, suggestion: str = "", *, complete: bool = False, at: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.suggestion = suggestion
        self.complete = complete
        self.at = at


class NotHere(BadValue):
    """A text names something that does not exist on this machine: a file, a variable, a credential. ``value`` stands for it."""

    def __init__(self, message: str, value: Any = None) -> None:
        super().__init__(message, complete=True)
        self.value = value


def _unchanged(values: Any) -> Any:
    return values


@attrs.frozen
class Datatype(Generic[T]):
    """``convert(text, base)`` makes a value of text that is not empty; ``base`` is the directory that paths are relative to.

    ``empty`` stands for "not set". For a list, ``item`` is set: the section splits the text at ``separators`` and converts each
    part, and ``whole`` makes the value of the tuple of them. ``words`` is the enumeration of a datatype that is a closed set of
    words. ``split`` replaces ``separators`` where a list has a grammar of its own: it makes of the whole text, whose lines are
    separated by newlines, its parts and their offsets. ``convert`` and ``whole`` raise `BadValue`. What follows
    ``before_reference`` in the text may be a reference to a value that is stored elsewhere; without it only the whole text may be
    one. ``referred`` converts in the place of ``convert`` if there was a reference: then nothing in the value has a meaning of
    its own. With ``quotes`` a value may be in quotes, which ``convert`` deals with; the section refuses them in values of all
    other datatypes. ``in_file``: what is no reference is the path of a file that has the secret.
    """

    label: str
    convert: Callable[[str, Path], T]
    empty: T
    secret: bool = False
    item: Datatype[Any] | None = None
    separators: str = ""
    words: type[StrEnum] | None = None
    whole: Callable[[Any], Any] = _unchanged
    before_reference: re.Pattern[str] | None = None
    referred: Callable[[str, Path], T] | None = None
    quotes: bool = False
    split: Callable[[str], list[tuple[int, str]]] | None = None
    in_file: bool = False


def closest(word: str, legal: Sequence[str]) -> str:
    """The one of ``legal`` that ``word`` was probably meant to be, or ""."""
    found = get_close_matches(word.lower(), legal, n=1, cutoff=0.6)
    return found[0] if found else ""


def optional(kind: Datatype[T]) -> Datatype[T | None]:
    """``kind``, or None if the option is not set."""
    return Datatype(kind.label, kind.convert, None, kind.secret, kind.item, kind.separators, whole=kind.whole, split=kind.split)


def list_of(
    item: Datatype[T],
    separators: str = ",\n",
    label: str = "",
    whole: Callable[[tuple[T, ...]], tuple[T, ...]] = _unchanged,
    split: Callable[[str], list[tuple[int, str]]] | None = None,
) -> Datatype[tuple[T, ...]]:
    """A tuple of ``item`` values, separated by commas or newlines; empty parts do not count.

    ``whole`` may check the tuple (and raise `BadValue`) or replace it. ``split`` replaces ``separators`` (`Datatype`).
    """

    def one(text: str, base: Path) -> tuple[T, ...]:
        return (item.convert(text, base),)

    plural = item.label if "|" in item.label else f"{item.label}s"
    before = item.before_reference
    return Datatype(
        label or f"list of {plural}", one, (), item.secret, item, separators, whole=whole, before_reference=before, split=split
    )


def _text(text: str, base: Path) -> str:
    return text


def _boolean(text: str, base: Path) -> bool:
    try:
        return BOOLEANS[text.lower()]
    except KeyError:
        hint = {"1": "yes", "y": "yes", "enabled": "yes", "0": "no", "n": "no", "disabled": "no"}.get(text.lower(), "")
        raise BadValue("expected yes or no", hint or closest(text, tuple(BOOLEANS))) from None


TEXT: Datatype[str] = Datatype("text", _text, "")
SECRET: Datatype[str] = Datatype("secret", _text, "", secret=True)
BOOLEAN: Datatype[bool] = Datatype("boolean", _boolean, False)


def integer(lowest: int, highest: int, label: str = "integer") -> Datatype[int]:
    """A whole number from ``lowest`` to ``highest``, both included."""

    def convert(text: str, base: Path) -> int:
        if not _INTEGER.fullmatch(text) or not lowest <= int(text) <= highest:
            raise BadValue(f"expected a whole number from {lowest} to {highest}")
        return int(text)

    return Datatype(label, convert, 0)


PORT = integer(1, 65535, "port")


def duration(*, zero: bool = False) -> Datatype[float]:
    """Seconds, written ``500ms 30s 10m 24h 7d`` or as a bare number of seconds. 0 is an error unless ``zero``."""

    def convert(text: str, base: Path) -> float:
        match = _NUMBER.fullmatch(text)
        unit = (match[2] or "s") if match else ""
        if match is None or unit not in DURATION_UNITS:
            near = _UNIT_WORDS.get(unit.lower()[:3], "")
            hint = f"{match[1]}{near}" if match and near else ""
            raise BadValue("expected a duration such as 500ms, 30s, 10m, 24h or 7d", hint)
        seconds = float(match[1]) * DURATION_UNITS[unit]
        if not math.isfinite(seconds) or seconds > _LONGEST:
            raise BadValue("expected a duration of at most 36525d")
        if seconds == 0 and not zero:
            raise BadValue("expected a duration greater than zero")
        return seconds

    return Datatype("duration", convert, 0.0)


def _size(text: str, base: Path) -> int:
    match = _NUMBER.fullmatch(text)
    factor = SIZE_UNITS.get(match[2].lower()) if match else None
    if match is None or factor is None:
        unit = match[2].upper() if match else ""
        hint = f"{match[1]}{unit}iB" if match and unit in ("K", "M", "G", "T") else ""
        raise BadValue("expected a size such as 512, 8KiB or 10MiB", hint)
    whole, _, fraction = match[1].partition(".")
    size = int(whole[:18]) * factor + (int(fraction[:9]) * factor // 10 ** len(fraction[:9]) if fraction else 0)
    if len(whole) > 18 or not 0 < size < 2**63:
        raise BadValue("expected a size from 1 byte to 8388607TiB")
    return size


SIZE: Datatype[int] = Datatype("size", _size, 0)
"""Bytes, at least 1."""


def one_of(words: type[W]) -> Datatype[W]:
    """A member of an enumeration, by its value.

    Its empty value is the first member. That is never used: an option without a default is reported when it is missing.
    """
    legal = tuple(word.value for word in words)

    def convert(text: str, base: Path) -> W:
        if text in legal:
            return words(text)
        expected = legal[0] if len(legal) == 1 else f"{', '.join(legal[:-1])} or {legal[-1]}"
        raise BadValue(f"expected {expected}", closest(text, legal))

    return Datatype(" \\| ".join(legal), convert, next(iter(words)), words=words)


def _absolute(text: str, base: Path) -> Path:
    # Joined and normalised as text: a link that is replaced later (certificates, mounted secrets) must stay a link here.
    return Path(os.path.normpath(base / text))


def file_path(what: str = "") -> Datatype[Path]:
    """An absolute path; a relative one is relative to the directory of the file.

    ``what`` is "file" or "directory" if one must exist, "" if it need not exist yet.
    """

    def convert(text: str, base: Path) -> Path:
        found = _absolute(text, base)
        try:
            good = not what or (found.is_dir() if what == "directory" else found.exists() and not found.is_dir())
        except OSError as error:
            raise NotHere(f"{found} cannot be accessed: {system_reason(error)}", found) from error
        if not good:
            raise NotHere(f"there is no {what} {found}", found)
        return found

    return Datatype(what or "path", convert, _NO_PATH)


def _file_name(text: str, base: Path) -> str:
    if PurePosixPath(text).name != text or text == "..":
        raise BadValue("expected the name of a file, without a directory")
    return text


FILE_NAME: Datatype[str] = Datatype("file name", _file_name, "")


def _pair(text: str, base: Path) -> tuple[str, str]:
    name, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not name or not value or not (name + value).isprintable():
        raise BadValue("expected NAME=VALUE")
    return name, value


def _mode(text: str, base: Path) -> int:
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise BadValue("expected the permissions of a file in octal, such as 0660")
    return int(text, 8)


FILE_MODE: Datatype[int] = Datatype("octal permissions", _mode, 0)

PAIR: Datatype[tuple[str, str]] = Datatype("NAME=VALUE", _pair, ("", ""))

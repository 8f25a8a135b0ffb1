"""Java's .properties format (`java.util.Properties.load`), the format of realm files. Pure.

Unlike in Java, each property has its line number, repeated keys are all returned, and a broken escape is an error with its line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import attrs

from perimeter.auth.text import decode_either
from perimeter.errors import PerimeterError

_BLANK = " \t\f"
_LINE_ENDS = re.compile(rb"(\r\n|\r|\n)")
_NATURAL_LINES = re.compile(r"\r\n|\r|\n")
_NAMED = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_WRITTEN = {value: f"\\{name}" for name, value in _NAMED.items()}


class PropertiesError(PerimeterError):
    """A line that Java would not read either. ``line`` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@attrs.frozen
class Property:
    """A key with its value, escapes undone. It starts in ``line`` and ends in ``last_line``."""

    line: int
    last_line: int
    key: str
    value: str


def decode(data: bytes) -> str:
    """The text of a file: UTF-8 (without its byte order mark), or ISO-8859-1, the original encoding of the format."""
    return decode_either(data).removeprefix("\ufeff")


def parse(text: str) -> Iterator[Property]:
    """The entries in their order, including repeated keys. Raises `PropertiesError`."""
    for line, last_line, logical in _logical_lines(text):
        end = _key_end(logical)
        rest = logical[end:].lstrip(_BLANK)
        if rest[:1] in ("=", ":") and rest:
            rest = rest[1:].lstrip(_BLANK)
        yield Property(line, last_line, _unescape(logical[:end], line), _unescape(rest, line))


def _logical_lines(text: str) -> Iterator[tuple[int, int, str]]:
    """Logical lines, without comments and blank lines, each with the numbers of its first and its last natural line."""
    number, start, parts = 0, 0, ""
    continued = False
    for number, natural in enumerate(_NATURAL_LINES.split(text), 1):
        piece = natural.lstrip(_BLANK)
        if not continued:
            if not piece or piece[0] in "#!":
                continue
            start, parts = number, ""
        continued = (len(piece) - len(piece.rstrip("\\"))) % 2 == 1
        parts += piece[:-1] if continued else piece
        if not continued and parts:
            yield start, number, parts
    if continued and parts:
        yield start, number, parts


def _key_end(logical: str) -> int:
    """The position of the first separator that is not escaped, where the key ends."""
    index = 0
    while index < len(logical):
        if logical[index] == "\\":
            index += 2
        elif logical[index] in "=:" + _BLANK:
            return index
        else:
            index += 1
    return len(logical)


def _unescape(text: str, line: int) -> str:
    if "\\" not in text:
        return text
    out: list[str] = []
    index = 0
    while index < len(text):
        if text[index] != "\\":
            out.append(text[index])
            index += 1
            continue
        letter = text[index + 1 : index + 2]
        if letter == "u":
            digits = text[index + 2 : index + 6]
            if re.fullmatch(r"[0-9A-Fa-f]{4}", digits) is None:
                raise PropertiesError(line, r"\u without four hexadecimal digits")
            out.append(chr(int(digits, 16)))
            index += 6
        else:
            out.append(_NAMED.get(letter, letter))
            index += 2
    try:
        # Java's characters are UTF-16 units: two escapes may be one character.
        return "".join(out).encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        raise PropertiesError(line, r"\u with half of a surrogate pair") from None


def replace_lines(data: bytes, first: int, last: int, text: str) -> bytes:
    """The contents ``data`` of a file with ``text`` in place of its lines ``first`` to ``last``, counted from 1.

    All other bytes, the byte order mark and the last line's end stay as they are.
    """
    parts = _LINE_ENDS.split(data)  # lines and their ends take turns
    mark = b"\xef\xbb\xbf" if first == 1 and data.startswith(b"\xef\xbb\xbf") else b""
    return b"".join((*parts[: 2 * first - 2], mark, text.encode("ascii"), *parts[2 * last - 1 :]))


def escape_key(key: str) -> str:
    """``key`` as `parse` and Java read it back, in ASCII."""
    return "".join(f"\\{letter}" if letter in " =:#!\\" else _ascii(letter) for letter in key)


def escape_value(value: str) -> str:
    """``value`` as `parse` and Java read it back, in ASCII."""
    bare = value.lstrip(" ")
    blanks = "\\ " * (len(value) - len(bare))
    return blanks + "".join("\\\\" if letter == "\\" else _ascii(letter) for letter in bare)


def _ascii(letter: str) -> str:
    if " " <= letter <= "~":
        return letter
    if letter in _WRITTEN:
        return _WRITTEN[letter]
    units = letter.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[index : index + 4]}" for index in range(0, len(units), 4))

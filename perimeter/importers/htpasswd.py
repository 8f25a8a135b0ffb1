"""An htpasswd file (Apache's, nginx's) as a realm file. Pure.

Every hash that a realm file can hold is taken over. The gateway warns of those from which a reader finds the password.
"""

from __future__ import annotations

import re

from perimeter.auth.passwords.formats import PasswordFormatError, take
from perimeter.auth.passwords.schemes import Plain
from perimeter.auth.text import unfit_for_name
from perimeter.importers.draft import Draft, Note, RealmUser

_DES = re.compile(r"[./A-Za-z0-9]{13}")
_ADVICE = "run htpasswd -B, or perimeter password --user"

AUTHENTICATOR = "htpasswd"


def convert(text: str, file: str, draft: Draft) -> str:
    """Add the users of an htpasswd file to ``draft``. Returns the name of their authenticator, which is their realm."""
    users: list[RealmUser] = []
    seen: set[str] = set()
    first = 0
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        name, colon, hashed = line.partition(":")
        hashed = hashed.partition(":")[0]  # nginx lets a comment follow
        note = Note(file, number, f"user {name!r}" if colon else "a line without a colon")
        first = first or number
        if not colon or not name or unfit_for_name(name):
            draft.left(note)
        elif name in seen:
            draft.left(note, f"user {name!r} is there twice: the first line counts")
        elif not (stored := _stored(hashed)):
            seen.add(name)
            draft.left(note, f"user {name!r}: a password that is not a known hash is not taken over; {_ADVICE}")
        else:
            seen.add(name)
            users.append(RealmUser(name, hashed=stored))
    origin = Note(file, first, "the users")
    name = draft.free_name("authenticator", AUTHENTICATOR)
    section = draft.section("authenticator", name)
    draft.put(section, "type", "realmfile", origin)
    draft.put(section, "path", f"{name}.realm", origin)
    draft.realms[f"{name}.realm"] = users
    return name


def _stored(hashed: str) -> str:
    """``hashed`` as a realm file spells it; "" for plain text and for what a realm file cannot hold."""
    spelled = f"{{CRYPT}}{hashed}" if _DES.fullmatch(hashed) else hashed
    try:
        stored, rest = take(spelled)
    except PasswordFormatError:
        return ""
    return "" if rest or isinstance(stored, Plain) else spelled


def looks_like(text: str) -> bool:
    """Whether every line that counts is ``name:hash``."""
    lines = [line.strip() for line in text.split("\n") if line.strip() and not line.strip().startswith("#")]
    return bool(lines) and all(re.fullmatch(r"[^:\s{};<]+:[^\s;]{8,}", line) for line in lines)

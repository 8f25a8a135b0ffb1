"""Text in the place of a password that is probably something else: a hash of a kind that is not known, or a mark. Pure.

Taken as plain text, the hash itself would be the password, and whoever read it somewhere could log in with it. So such text is
refused unless ``{plain}`` stands before it. Messages do not recommend ``{plain}``: before a hash it would do that very thing.
"""

from __future__ import annotations

import re

_SUSPECTS = tuple(
    (re.compile(pattern, re.ASCII | re.DOTALL), meaning)
    for pattern, meaning in (
        (r"\$.*\$.*", "written like a hash of a kind that is not known"),
        (r"\{[^{}]*\}.*", "in a {scheme} that is not known"),
        (r"[!*].*", "the mark of an account without a password, as in passwd and shadow files"),
        (
            r"(?i:x|np|lk|locked|disabled|none|null|nologin)",
            "the mark of a password that is kept elsewhere, or of a locked account",
        ),
        (r":.*", "missing, as in a line of a shadow file"),
        (r"[^:]*:[0-9]*:.*", "followed by more fields, as in a line of a passwd or shadow file"),
        (r"[0-9]+:[0-9A-Fa-f*X]{32}:.*", "followed by more fields, as in a line of an smbpasswd file"),
        (r"[^:]*:[0-9A-Fa-f]{32}", "a hash of htdigest, for HTTP Digest"),
        (r"[./0-9A-Za-z]{13}", "written like a hash of DES crypt (write CRYPT: before a hash)"),
        (r"_[./0-9A-Za-z]{19}", "written like a hash of BSDi's crypt"),
        (r"(?:0x|md5|sha1|sha256|sha512)?[:$]?(?:[0-9A-Fa-f]{32}|[0-9A-Fa-f]{40}|[0-9A-Fa-f]{48})", "written like a bare hash"),
        (
            r"(?:0x|sha256|sha512)?[:$]?(?:[0-9A-Fa-f]{56}|[0-9A-Fa-f]{64}|[0-9A-Fa-f]{96}|[0-9A-Fa-f]{128})",
            "written like a bare hash",
        ),
        (r"[+/0-9A-Za-z]{22}==|[+/0-9A-Za-z]{27}=|[+/0-9A-Za-z]{43}=|[+/0-9A-Za-z]{86}==", "written like a bare hash"),
        (
            r"(?i:argon2|bcrypt|scrypt|pbkdf2|grub\.|scram-|sha|md5|unsalted_|crypt|ssha|smd5|phpass|hex_)[\w.:+-]*[$].*",
            "written like a hash of a kind that is not known",
        ),
    )
)


def suspect(text: str) -> str:
    """What ``text`` probably is, in words that follow "the password is"; "" for what may be a password."""
    return next((meaning for pattern, meaning in _SUSPECTS if pattern.fullmatch(text)), "")

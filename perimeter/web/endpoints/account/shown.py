"""A new API token as its user needs it: for scripts, for curl, for ecFlow's client. Pure."""

from __future__ import annotations

from shlex import quote
from urllib.parse import urlsplit

import attrs

from perimeter.tokens.ecflow_file import bearer_entry, document, pattern


@attrs.frozen
class Shown:
    """A token, and what a user puts into a script, a shell, and the file ``.ecflowapirc``."""

    token: str = attrs.field(repr=False)
    header: str = attrs.field(repr=False)
    curl: str = attrs.field(repr=False)
    ecflow: str = attrs.field(repr=False)


def as_shown(token: str, origin: str, email: str) -> Shown:
    """The ways to use ``token`` at the gateway at ``origin`` (``https://gw.example``). ``email`` is the user's, or their name."""
    header = f"Authorization: Bearer {token}"
    url = origin if urlsplit(origin).port else f"{origin}:443"
    return Shown(
        token,
        header,
        f"curl -H {quote(header)} {quote(origin + '/whoami')}",
        document(bearer_entry(pattern(url), url, token, email)),
    )

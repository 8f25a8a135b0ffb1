"""What a new API token is to be: one set of rules for ``POST /tokens`` and for the form on the account page. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any, Final

import attrs

from perimeter.auth.text import unfit_for_name
from perimeter.model import Restriction

LONGEST_NAME: Final = 100
"""Characters of a token's name."""

MEMBERS: Final = frozenset(("name", "expires_in", "routes", "methods", "networks"))
"""What a request may have."""

_MOST_TERMS: Final = 100
_METHOD: Final = re.compile(r"[A-Z]{1,20}(?:-[A-Z]{1,20}){0,3}")


class Unfit(ValueError):
    """``member`` of a request is wrong. The text says what is needed, and does not quote the client's text."""

    def __init__(self, member: str, needed: str) -> None:
        super().__init__(f"{member}: {needed}")
        self.member = member
        self.needed = needed


@attrs.frozen
class TokenRequest:
    """A token that may be made. ``lifetime`` is in seconds: None for the usual one, 0 for no end."""

    name: str
    lifetime: int | None
    restriction: Restriction | None


def token_request(members: Mapping[str, Any], routes: frozenset[str]) -> TokenRequest:
    """The token that ``members`` describe; ``routes`` are the existing names. Raises `Unfit` if a member is wrong."""
    name = members.get("name")
    if not isinstance(name, str) or not 0 < len(name.strip()) <= LONGEST_NAME or unfit_for_name(name):
        raise Unfit("name", f"up to {LONGEST_NAME} characters are needed, no control characters")
    lifetime = members.get("expires_in")
    if lifetime is not None and (isinstance(lifetime, bool) or not isinstance(lifetime, int) or not 0 <= lifetime < 2**32):
        raise Unfit("expires_in", "a number of seconds is needed, or 0 for a token that does not expire")
    restriction = Restriction(
        frozenset(_terms(members, "routes")),
        frozenset(term.upper() for term in _terms(members, "methods")),
        tuple(_network(term) for term in _terms(members, "networks")),
    )
    if not restriction.routes <= routes:
        raise Unfit("routes", "there is no route of this name")
    if not all(map(_METHOD.fullmatch, restriction.methods)):
        raise Unfit("methods", "names of HTTP methods are needed")
    return TokenRequest(name.strip(), lifetime, None if restriction == Restriction() else restriction)


def members_of(fields: Mapping[str, list[str]]) -> dict[str, Any]:
    """The members that the fields of a form stand for: each may come several times, and lists are separated by blanks or commas.

    A field without text is left out. Text without a term is an empty list, which `token_request` refuses.
    """
    members: dict[str, Any] = {"name": fields.get("name", [""])[-1]}
    expires = fields.get("expires_in", [""])[-1]
    if expires:
        members["expires_in"] = int(expires) if re.fullmatch("[0-9]{1,10}", expires) else expires
    routes = [text for text in fields.get("routes", []) if text]
    if routes:  # a route's name may have blanks
        members["routes"] = routes
    for member in ("methods", "networks"):
        texts = [text for text in fields.get(member, []) if text.strip()]
        if texts:
            members[member] = [term for text in texts for term in text.replace(",", " ").split()]
    return members


def _terms(members: Mapping[str, Any], member: str) -> list[str]:
    """A list that restricts. An empty list is refused: it could mean everything or nothing."""
    if member not in members:
        return []
    terms = members[member]
    if not isinstance(terms, list) or not 0 < len(terms) <= _MOST_TERMS or not all(isinstance(term, str) for term in terms):
        raise Unfit(member, f"a list of 1 to {_MOST_TERMS} strings is needed; leave it out for any")
    return terms


def _network(term: str) -> Any:
    try:
        if "%" in term:  # the text behind it would be an interface of this machine, and can be any text
            raise ValueError
        return ip_network(term)
    except ValueError:
        raise Unfit("networks", "addresses or networks such as 192.0.2.0/24 are needed") from None

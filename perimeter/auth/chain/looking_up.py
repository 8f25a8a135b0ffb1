"""Looks a user up by name, for the operator: without a password, as the owner of an API token is looked up."""

from __future__ import annotations

from perimeter.auth.chain.chain import AuthenticatorChain
from perimeter.errors import InvalidToken, Refusal
from perimeter.model import AuthenticationRequest, Principal
from perimeter.plugin.authenticator import Scheme


async def look_up(chain: AuthenticatorChain, username: str, realm: str = "") -> tuple[list[Principal], list[str]]:
    """The user with the exact name ``username`` at each authenticator that knows them, and remarks.

    ``realm`` excludes other realms, unless it is "". A remark names an authenticator that cannot answer, and why. Never raises a
    `perimeter.errors.Refusal`.
    """
    found: list[Principal] = []
    notes: list[str] = []
    for one in chain.guarded:
        if realm not in ("", one.realm):
            continue
        if Scheme.RECALL not in one.schemes:
            notes.append(f"{one.name}: cannot look up a user without a credential")
            continue
        try:
            owner = Principal(username, one.realm, authenticator=one.name)
            known = chain.recall(owner, AuthenticationRequest(""))
            found.append(known if isinstance(known, Principal) else await known)
        except InvalidToken:
            continue
        except Refusal as error:
            notes.append(f"{one.name}: {error.detail or error.phrase}")
    return found, notes

"""Logins of users in a list with their passwords, wherever the list is kept."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from perimeter.auth.passwords.users import User, Users
from perimeter.errors import Rejected
from perimeter.model import AuthenticationRequest, BasicCredentials, Credentials, Principal, Recollection
from perimeter.offload import Offload
from perimeter.plugin.authenticator import IAuthenticator, Scheme

SCHEMES = (Scheme.BASIC, Scheme.RECALL)
"""The credentials that `authenticate` handles."""


async def authenticate(
    users: Users,
    authenticator: IAuthenticator,
    credentials: Credentials,
    request: AuthenticationRequest,
    offload: Offload,
    place: Callable[[User | None], str],
    logged_in: Callable[[User, str], None] = lambda user, password: None,
) -> Principal | None:
    """The user with this name and password; None for a name that is not in the list; see `IAuthenticator`.

    ``place`` returns where a user is kept, or for None where the list is, for `AuthenticationRequest.explain`. ``logged_in`` is
    called with the user and the password after a good login.
    """
    if isinstance(credentials, Recollection):
        return users.recall(credentials.username, authenticator.realm, authenticator.name)
    if not isinstance(credentials, BasicCredentials):
        return None
    if not credentials.password:
        raise Rejected("an empty password")
    user = users.by_name.get(credentials.username)
    matched = await offload.run(users.check, user, credentials.password)
    if user is None:
        request.explain(f"{place(None)} has no such user")
        return None
    request.explain(f"{place(user)} keeps the password as {user.password.scheme}")
    if not matched:
        raise Rejected(f"wrong password for a user of realm {authenticator.realm}")
    logged_in(user, credentials.password)
    return Principal(user.name, authenticator.realm, user.roles, authenticator.name)


async def decoy(users: Users, offload: Offload) -> None:
    """Cost as much as `authenticate` does; see `perimeter.plugin.authenticator.IDecoyLogin`."""
    await offload.run(users.check, None, secrets.token_urlsafe(12))

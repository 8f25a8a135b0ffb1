"""``type = ecmwf-api`` and ``type = efas-api``: a service is asked who holds a token, and says it in JSON.

The token goes in the query, as these services want it, and is escaped. Four answers: a user; "not mine" (401 or 403); everything
else is "could not tell". Neither service says of a token that it is its own and wrong, so the next authenticator is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
from twisted.plugin import IPlugin
from zope.interface import implementer

from perimeter.auth.kinds.remote import names
from perimeter.auth.kinds.remote.authenticator import Tell, TokenAuthenticator
from perimeter.auth.kinds.remote.memory import Vouched
from perimeter.auth.kinds.remote.settings import CA_CERTIFICATE, RemoteSettings, cache, remote, url
from perimeter.errors import Undecided
from perimeter.model import Principal
from perimeter.plugin.authenticator import IBuildsInThread
from perimeter.plugin.services import AuthServices

if TYPE_CHECKING:
    from perimeter.config.language.section import Section
    from perimeter.web_client.client import RemoteClient

Read = Callable[[dict[str, Any], str], Principal]
"""From the members of an answer and a realm to a principal; raises `names.Unfit`."""


def ecmwf_user(members: dict[str, Any], realm: str) -> Principal:
    """``{"uid", "email"}``. The token itself is no attribute: those are passed on."""
    email = _email(members)
    attributes = {} if email is None else {"ecmwf-email": email}
    return Principal(names.username(members.get("uid"), "uid"), realm, attributes=attributes)


def efas_user(members: dict[str, Any], realm: str) -> Principal:
    """``{"username", "roles", "email"}``; all but the name may be missing."""
    email = _email(members)
    attributes = {} if email is None else {"email": email}
    name = names.username(members.get("username"), "username")
    return Principal(name, realm, names.roles(members.get("roles"), "roles"), attributes=attributes)


def _email(members: dict[str, Any]) -> str | None:
    email = members.get("email")
    if email is not None and not isinstance(email, str):
        raise names.Unfit("email is no text")
    return None if email is None else names.attribute(email)


class WhoAmI:
    """Asks ``url`` (without the token) who holds a token; ``read`` makes a principal of ``realm`` of the answer."""

    def __init__(self, client: RemoteClient, url: str, realm: str, read: Read) -> None:
        self._client = client
        self._url = url
        self._realm = realm
        self._read = read

    async def vouch(self, token: str, tell: Tell) -> Vouched | None:
        """See `perimeter.auth.kinds.remote.authenticator.TokenService`."""
        from perimeter.web_client.client import with_query

        answer = await self._client.get(with_query(self._url, "token", token))
        tell(f"{self._client.service} answers with status {answer.status}")
        if answer.status in (401, 403):
            return None
        if answer.status != 200:
            raise answer.unexpected()
        try:
            return Vouched(self._read(answer.members(), self._realm))
        except names.Unfit as error:
            # One strange account, whose owner must not be able to shut out everybody else.
            raise Undecided(f"{self._client.service}: {error}") from None


@attrs.frozen
class WhoAmISettings:
    """``uri`` is where the service is, ``remember`` is in seconds."""

    uri: str
    remember: float
    remote: RemoteSettings


_CACHE = cache("60s", "how long a user that the service knows is not asked for again")


@implementer(IPlugin, IBuildsInThread)
class WhoAmIFactory:
    """One of the two kinds. ``path`` is what their question adds to ``uri``."""

    def __init__(self, kind: str, path: str, read: Read) -> None:
        self.kind = kind
        self._path = path
        self._read = read
        self._uri = url("uri", f"of the service, which is asked at `URI{path}?token=…`", required=True)
        self.options = (self._uri, _CACHE, CA_CERTIFICATE)

    def parse(self, section: Section) -> WhoAmISettings:
        """``uri`` is all that is needed."""
        uri = section.value(self._uri)
        return WhoAmISettings(uri, section.value(_CACHE), remote(section, uri))

    def build(self, name: str, realm: str, settings: WhoAmISettings, services: AuthServices) -> TokenAuthenticator:
        """Asks nobody yet. Raises `StartupError` where the CA certificates cannot be used."""
        client = settings.remote.client(f"the service of {name}", services)
        address = settings.uri.rstrip("/") + self._path if self._path else settings.uri
        whoami = WhoAmI(client, address, realm, self._read)
        return TokenAuthenticator(name, realm, whoami, settings.remember, services.reactor)


def ecmwf_api() -> WhoAmIFactory:
    """``type = ecmwf-api``."""
    return WhoAmIFactory("ecmwf-api", "/who-am-i", ecmwf_user)


def efas_api() -> WhoAmIFactory:
    """``type = efas-api``."""
    return WhoAmIFactory("efas-api", "", efas_user)

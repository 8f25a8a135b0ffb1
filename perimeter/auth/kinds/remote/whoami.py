"""``type = ecmwf-api`` and ``type = efas-api``: a service answers in JSON who holds a token.

The token is sent in the query, escaped, as these services require. 401 and 403 mean "not mine"; every other answer without a user
means "could not decide". Neither service can say that a token is its own and wrong, so the next authenticator is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import attrs
from twisted.plugin import IPlugin
from zope.interface import implementer

from perimeter.auth.kinds.remote import names
from perimeter.auth.kinds.remote.authenticator import Explain, TokenAuthenticator
from perimeter.auth.kinds.remote.memory import Vouched
from perimeter.auth.kinds.remote.settings import RemoteSettings, cache
from perimeter.config.language.net_types import URL
from perimeter.config.language.option import option, options_of
from perimeter.config.language.section import Section
from perimeter.config.language.settings import read
from perimeter.errors import Undecided
from perimeter.model import Principal
from perimeter.plugin.authenticator import IAuthenticatorFactory
from perimeter.plugin.services import AuthServices, IBuildsInThread

if TYPE_CHECKING:
    from perimeter.web_client.client import RemoteClient

Read = Callable[[dict[str, Any], str], Principal]
"""Makes a principal of the members of an answer and a realm; raises `names.Unfit`."""


def ecmwf_user(members: dict[str, Any], realm: str) -> Principal:
    """``{"uid", "email"}``. The token does not become an attribute, because services see the attributes."""
    email = _email(members)
    attributes = {} if email is None else {"ecmwf-email": email}
    return Principal(names.username(members.get("uid"), "uid"), realm, attributes=attributes)


def efas_user(members: dict[str, Any], realm: str) -> Principal:
    """``{"username", "roles", "email"}``; roles and email may be missing."""
    email = _email(members)
    attributes = {} if email is None else {"email": email}
    name = names.username(members.get("username"), "username")
    return Principal(name, realm, names.roles(members.get("roles"), "roles"), attributes=attributes)


def _email(members: dict[str, Any]) -> str | None:
    email = members.get("email")
    if email is not None and not isinstance(email, str):
        raise names.Unfit("email is not a text")
    return None if email is None else names.attribute(email)


class UserService:
    """The service at ``url``, to which the token is added; ``read`` makes a principal of ``realm`` of its answer."""

    def __init__(self, client: RemoteClient, url: str, realm: str, read: Read) -> None:
        self._client = client
        self._url = url
        self._realm = realm
        self._read = read

    async def vouch(self, token: str, explain: Explain) -> Vouched | None:
        """See `perimeter.auth.kinds.remote.authenticator.TokenService`."""
        from perimeter.web_client.client import with_query

        answer = await self._client.get(with_query(self._url, "token", token))
        explain(f"{self._client.service} answers with status {answer.status}")
        if answer.status in (401, 403):
            return None
        if answer.status != 200:
            raise answer.unexpected()
        try:
            return Vouched(self._read(answer.members(), self._realm))
        except names.Unfit as error:
            # This says nothing about other users: the owner of one strange account must not be able to shut them out.
            raise Undecided(f"{self._client.service}: {error}") from None


@attrs.frozen(kw_only=True)
class UserServiceSettings(RemoteSettings):
    """``cache`` is in seconds."""

    uri: str
    cache: float = cache("how long a user that the service knows is remembered")

    def urls(self) -> Iterable[str]:
        """See `RemoteSettings.urls`."""
        return (self.uri,)


@attrs.frozen(kw_only=True)
class EcmwfApiSettings(UserServiceSettings):
    """``type = ecmwf-api``."""

    uri: str = option(URL, "URL of the service; a request for a token goes to `URI/who-am-i?token=…`")


@attrs.frozen(kw_only=True)
class EfasApiSettings(UserServiceSettings):
    """``type = efas-api``."""

    uri: str = option(URL, "URL of the service; a request for a token goes to `URI?token=…`")


@implementer(IPlugin, IAuthenticatorFactory, IBuildsInThread)
class UserServiceFactory:
    """One of the two kinds. Its question adds ``path`` to ``uri``."""

    def __init__(self, kind: str, path: str, read: Read, settings: type[EcmwfApiSettings] | type[EfasApiSettings]) -> None:
        self.kind = kind
        self.options = options_of(settings)
        self._path = path
        self._read = read
        self._settings = settings

    def parse(self, section: Section) -> UserServiceSettings:
        """See `IAuthenticatorFactory`."""
        return read(section, self._settings)

    def build(self, name: str, realm: str, settings: UserServiceSettings, services: AuthServices) -> TokenAuthenticator:
        """Asks no service yet. Raises `StartupError` if the CA certificates cannot be used."""
        client = settings.client(f"the service of {name}", services)
        address = settings.uri.rstrip("/") + self._path if self._path else settings.uri
        return TokenAuthenticator(name, realm, UserService(client, address, realm, self._read), settings.cache, services)


def ecmwf_api() -> UserServiceFactory:
    """``type = ecmwf-api``."""
    return UserServiceFactory("ecmwf-api", "/who-am-i", ecmwf_user, EcmwfApiSettings)


def efas_api() -> UserServiceFactory:
    """``type = efas-api``."""
    return UserServiceFactory("efas-api", "", efas_user, EfasApiSettings)

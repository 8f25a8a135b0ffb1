"""Options of the kinds that judge JWTs of another issuer, and the judge that is made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import attrs
from twisted.internet.interfaces import IReactorTime

from perimeter.auth.kinds.remote.settings import RemoteSettings
from perimeter.config.language.datatypes import TEXT, BadValue, Datatype, duration, list_of
from perimeter.config.language.name_types import WORD
from perimeter.config.language.net_types import URL
from perimeter.config.language.option import option

if TYPE_CHECKING:
    from perimeter.auth.kinds.remote.authenticator import Explain
    from perimeter.auth.kinds.remote.judge import Expectations
    from perimeter.auth.kinds.remote.keys import RemoteKeys
    from perimeter.auth.kinds.remote.memory import Vouched
    from perimeter.web_client.client import RemoteClient


def _all_alone(values: tuple[str, ...]) -> tuple[str, ...]:
    if "*" in values and len(values) > 1:
        raise BadValue("* cannot be combined with others: it includes them", complete=True)
    return values


NAMES_OR_ALL: Datatype[tuple[str, ...]] = list_of(WORD, whole=_all_alone)

KEY_CACHE = "how long the keys are used; they are renewed at half of it"


@attrs.frozen(kw_only=True)
class ClaimSettings(RemoteSettings):
    """How the claims of another issuer become a user. ``*`` in a list of issuers or audiences stands for all."""

    issuer: tuple[str, ...] = option(NAMES_OR_ALL, "accepted values of `iss`; `*`: any", default="*")
    audience: tuple[str, ...] = option(NAMES_OR_ALL, "accepted values of `aud`; `*`: tokens for any audience", default="*")
    username_claim: tuple[str, ...] = option(
        list_of(TEXT), "claims that may name the user; the first one present counts", default="preferred_username, sub"
    )
    domain: str = option(
        TEXT, "for names of the form `user@domain`: the domain, which is removed; users of other domains are refused", default=""
    )
    roles_claim: tuple[str, ...] = option(
        list_of(TEXT),
        "claims that hold roles: paths with dots, `*` for every member",
        default="realm_access.roles, entitlements, resource_access.*.roles",
    )
    scope_claim: str = option(TEXT, "claim that holds scopes", default="scope")
    attributes: tuple[str, ...] = option(list_of(TEXT), "claims that become attributes; `*`: all others", default="*")

    def expected(self, name: str, realm: str) -> Expectations:
        """The requirements for claims. ``name`` is the authenticator's, whose users are of ``realm``."""
        from perimeter.auth.kinds.remote.judge import Expectations

        return Expectations(
            realm=realm,
            service=name,
            issuers=frozenset(self.issuer),
            audiences=frozenset(self.audience),
            username_claims=self.username_claim,
            roles_claims=self.roles_claim,
            scope_claim=self.scope_claim,
            attribute_claims=self.attributes,
            domain=self.domain,
        )


@attrs.frozen(kw_only=True)
class JwtSettings(ClaimSettings):
    """How the JWTs of another issuer are judged. Times are seconds."""

    cert_uri: str = option(URL, "where the issuer publishes its keys (a JWK set)")
    issuer: tuple[str, ...] = option(NAMES_OR_ALL, "accepted values of `iss`; `*`: any that these keys sign", default="*")
    key_cache: float = option(duration(), KEY_CACHE, default="10m")
    cooldown: float = option(duration(), "shortest time between two fetches of the keys, whatever tokens come", default="30s")

    def urls(self) -> Iterable[str]:
        """See `RemoteSettings.urls`."""
        return (self.cert_uri,)


class JwtJudge:
    """Finds the key of a token and judges it."""

    def __init__(self, name: str, realm: str, settings: JwtSettings, client: RemoteClient, clock: IReactorTime) -> None:
        from perimeter.auth.kinds.remote.keys import RemoteKeys

        self._expected = settings.expected(name, realm)
        self._keys: RemoteKeys = RemoteKeys(
            client, settings.cert_uri, settings.key_cache, min(settings.cooldown, settings.key_cache), clock
        )
        self._seconds = clock.seconds

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` when the issuer changes its keys."""
        self._keys.changed = changed

    async def probe(self) -> None:
        """See `perimeter.plugin.authenticator.IProbe`."""
        await self._keys.probe()

    async def vouch(self, token: str, explain: Explain) -> Vouched | None:
        """See `perimeter.auth.kinds.remote.authenticator.TokenService`."""
        from perimeter.auth.kinds.remote.judge import ANY, judge, read_header

        header = read_header(token)
        if header is None:
            explain("the token is not a signed JWT")
            return None
        issuers = self._expected.issuers
        if ANY not in issuers and header.issuer not in issuers:
            explain("the token names another issuer")
            return None
        keys = await self._keys.find(header.kid, header.algorithm)
        if not keys:
            explain("the issuer has no key that fits kid and alg of the token")
            return None
        vouched = judge(header, keys, self._expected, self._seconds())
        if vouched is None:
            explain("the token is for another audience or issuer")
        return vouched

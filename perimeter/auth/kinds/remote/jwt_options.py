"""Options of the kinds that end with a JWT of somebody else's, and how they become what a token is judged by."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.interfaces import IReactorTime

from perimeter.auth.kinds.remote.settings import url
from perimeter.config.language.datatypes import TEXT, duration, list_of
from perimeter.config.language.option import Option

if TYPE_CHECKING:
    from perimeter.auth.kinds.remote.authenticator import Tell
    from perimeter.auth.kinds.remote.keys import RemoteKeys
    from perimeter.auth.kinds.remote.memory import Vouched
    from perimeter.config.language.section import Section
    from perimeter.web_client.client import RemoteClient

_KEYS = "how long the keys are used; they are renewed at half of it"


@attrs.frozen
class JwtSettings:
    """``values`` are those of `perimeter.auth.kinds.remote.judge.Expectations` but for realm and service; times are seconds."""

    cert_uri: str
    key_cache: float
    cooldown: float
    values: dict[str, Any]


class JwtOptions:
    """The options. With ``strict`` issuer and audience must be given, if only as ``*``; ``keys`` names the keys' cache."""

    def __init__(self, *, strict: bool, keys: str) -> None:
        anything = "" if strict else "*"
        self.cert_uri = url("cert_uri", "where the issuer's keys are (a JWK set)", required=True)
        self.issuer = Option(
            "issuer", list_of(TEXT), "what `iss` must be, one of these; `*`: anything that these keys sign", anything, strict
        )
        self.audience = Option(
            "audience", list_of(TEXT), "what `aud` must hold, one of these; `*`: tokens for anybody are taken", anything, strict
        )
        self.key_cache = Option(keys, duration(), _KEYS, "10m")
        self.cooldown = Option("cooldown", duration(), "between two fetches of the keys, whatever tokens come", "30s")
        self.username_claim = Option(
            "username_claim", list_of(TEXT), "the claim that names the user, the first that is there", "preferred_username, sub"
        )
        self.domain = Option(
            "domain", TEXT, "where that is `user@domain`: the domain, which is taken off; nobody of another one is let in"
        )
        self.roles_claim = Option(
            "roles_claim",
            list_of(TEXT),
            "claims that hold roles: paths with dots, `*` for every member",
            "realm_access.roles, entitlements, resource_access.*.roles",
        )
        self.scope_claim = Option("scope_claim", TEXT, "the claim that holds scopes", "scope")
        self.attributes = Option("attributes", list_of(TEXT), "claims that become attributes; `*`: all others", "*")

    @property
    def all(self) -> tuple[Option[Any], ...]:
        """For the reference page."""
        return tuple(value for value in vars(self).values() if isinstance(value, Option))

    def read(self, section: Section) -> JwtSettings:
        """What ``section`` says."""
        issuers, audiences = section.value(self.issuer), section.value(self.audience)
        for option, listed in (("issuer", issuers), ("audience", audiences)):
            if "*" in listed and len(listed) > 1:
                section.problem(option, "* stands alone, because it is all of them")
        cache, cooldown = section.value(self.key_cache), section.value(self.cooldown)
        return JwtSettings(
            section.value(self.cert_uri),
            cache,
            min(cooldown, cache),
            {
                "issuers": frozenset(issuers),
                "audiences": frozenset(audiences),
                "username_claims": section.value(self.username_claim),
                "roles_claims": section.value(self.roles_claim),
                "scope_claim": section.value(self.scope_claim),
                "attribute_claims": section.value(self.attributes),
                "domain": section.value(self.domain),
            },
        )


class JwtJudge:
    """Finds the key of a token and judges it."""

    def __init__(self, name: str, realm: str, settings: JwtSettings, client: RemoteClient, clock: IReactorTime) -> None:
        from perimeter.auth.kinds.remote.judge import Expectations
        from perimeter.auth.kinds.remote.keys import RemoteKeys

        self._expected = Expectations(realm=realm, service=name, **settings.values)
        self._keys: RemoteKeys = RemoteKeys(client, settings.cert_uri, settings.key_cache, settings.cooldown, clock)
        self._seconds = clock.seconds

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` when the issuer has other keys."""
        self._keys.changed = changed

    async def vouch(self, token: str, tell: Tell) -> Vouched | None:
        """See `perimeter.auth.kinds.remote.authenticator.TokenService`."""
        from perimeter.auth.kinds.remote.judge import ANY, judge, read_header

        header = read_header(token)
        if header is None:
            tell("the token is no JWT with the name of a key")
            return None
        issuers = self._expected.issuers
        if ANY not in issuers and header.issuer not in issuers:
            tell("the token says that it is of another issuer")
            return None
        key = await self._keys.find(header.kid)
        if key is None:
            tell("the issuer has no key of the name that the token gives")
            return None
        return judge(token, header, key, self._expected, self._seconds())

"""``[augmenter NAME]`` with ``type = plain``: roles, each with the users who have it."""

from __future__ import annotations

from pathlib import Path

import attrs
from twisted.plugin import IPlugin
from zope.interface import implementer

from perimeter.auth.augment.added import added
from perimeter.config.language.datatypes import BadValue, Datatype, list_of
from perimeter.config.language.name_types import checked_name
from perimeter.config.language.option import option, options_of
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings, read
from perimeter.model import AuthenticationRequest, Principal
from perimeter.plugin.augmenter import IAugmenter, IAugmenterFactory
from perimeter.plugin.services import AuthServices


def _role_and_users(text: str, base: Path) -> tuple[str, tuple[str, ...]]:
    role, colon, rest = (part.strip() for part in text.partition(":"))
    users = tuple(user.strip() for user in rest.split(",") if user.strip())
    if not colon or not role or not users:
        raise BadValue("expected a role, a colon, and user names")
    return checked_name(role), tuple(map(checked_name, users))


_ROLE_AND_USERS: Datatype[tuple[str, tuple[str, ...]]] = Datatype("role: user, user", _role_and_users, ("", ()), quotes=True)


@attrs.frozen
class PlainAugmenterSettings(Settings):
    """``type = plain``. ``roles`` are pairs of a role and its users."""

    roles: tuple[tuple[str, tuple[str, ...]], ...] = option(
        list_of(_ROLE_AND_USERS, "\n", "lines of role: user, user"), "a line for each role, `role: user, user …`"
    )


@implementer(IAugmenter)
class PlainAugmenter:
    """Gives each user the roles that name the user."""

    def __init__(self, name: str, realm: str, settings: PlainAugmenterSettings) -> None:
        self.name = name
        self.realm = realm
        self._roles: dict[str, list[str]] = {}
        for role, users in settings.roles:
            for user in users:
                self._roles.setdefault(user, []).append(role)

    async def augment(self, principal: Principal, request: AuthenticationRequest) -> Principal:
        """See `IAugmenter`."""
        roles = self._roles.get(principal.username)
        if roles is None:
            return principal
        request.explain(f"augmenter {self.name} adds {len(roles)} roles")
        return added(principal, roles)

    def stop(self) -> None:
        """There is nothing to stop."""


@implementer(IPlugin, IAugmenterFactory)
class PlainAugmenterFactory:
    """``type = plain``."""

    kind = "plain"
    options = options_of(PlainAugmenterSettings)
    by_roles = False

    def parse(self, section: Section) -> PlainAugmenterSettings:
        """See `IAugmenterFactory`."""
        return read(section, PlainAugmenterSettings)

    def build(self, name: str, realm: str, settings: PlainAugmenterSettings, services: AuthServices) -> PlainAugmenter:
        """See `IAugmenterFactory`."""
        return PlainAugmenter(name, realm, settings)

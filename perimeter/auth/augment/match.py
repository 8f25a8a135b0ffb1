"""``[augmenter NAME]`` with ``type = match``: roles and attributes for users with certain names or roles."""

from __future__ import annotations

import attrs
from twisted.plugin import IPlugin
from zope.interface import implementer

from perimeter.auth.augment.added import added
from perimeter.auth.roles import has_role
from perimeter.config.language.datatypes import PAIR, list_of
from perimeter.config.language.name_types import NAME
from perimeter.config.language.option import option, options_of
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings, read
from perimeter.model import AuthenticationRequest, Principal
from perimeter.plugin.augmenter import IAugmenter, IAugmenterFactory
from perimeter.plugin.services import AuthServices


@attrs.frozen
class MatchAugmenterSettings(Settings):
    """``type = match``."""

    username: tuple[str, ...] = option(list_of(NAME), "users with one of these names match", default="")
    role: tuple[str, ...] = option(list_of(NAME), "users with one of these roles match", default="")
    add_roles: tuple[str, ...] = option(list_of(NAME), "roles that users who match get", default="")
    add_attributes: tuple[tuple[str, str], ...] = option(
        list_of(PAIR, label="list of NAME=VALUE"),
        "attributes that they get; they replace attributes of the same name",
        default="",
    )

    def check(self, section: Section) -> None:
        """See `Settings.check`."""
        if not section.given("username") and not section.given("role"):
            section.problem("", "matches no user: username or role is required")
        if not section.given("add_roles") and not section.given("add_attributes"):
            section.problem("", "adds nothing: add_roles or add_attributes is required")


@implementer(IAugmenter)
class MatchAugmenter:
    """Auth-o-tron's ``plain_advanced``: users with one of these names, or one of these roles, get roles and attributes."""

    def __init__(self, name: str, realm: str, settings: MatchAugmenterSettings, *, any_case: bool = False) -> None:
        self.name = name
        self.realm = realm
        self._settings = settings
        self._names = frozenset(settings.username)
        self._any_case = any_case

    async def augment(self, principal: Principal, request: AuthenticationRequest) -> Principal:
        """See `IAugmenter`."""
        if principal.username not in self._names and not has_role(principal.roles, self._settings.role, any_case=self._any_case):
            return principal
        request.explain(f"augmenter {self.name}: the user matches")
        return added(principal, self._settings.add_roles, self._settings.add_attributes)

    def stop(self) -> None:
        """There is nothing to stop."""


@implementer(IPlugin, IAugmenterFactory)
class MatchAugmenterFactory:
    """``type = match``."""

    kind = "match"
    options = options_of(MatchAugmenterSettings)
    by_roles = True

    def parse(self, section: Section) -> MatchAugmenterSettings:
        """See `IAugmenterFactory`."""
        return read(section, MatchAugmenterSettings)

    def build(self, name: str, realm: str, settings: MatchAugmenterSettings, services: AuthServices) -> MatchAugmenter:
        """See `IAugmenterFactory`."""
        return MatchAugmenter(name, realm, settings, any_case=realm in services.directory_realms)

"""What an augmenter and its factory provide: the interfaces of a plug-in that adds roles and attributes to a user."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from zope.interface import Attribute, Interface

from perimeter.config.language.option import Option
from perimeter.config.language.section import Section
from perimeter.model import AuthenticationRequest, Principal
from perimeter.plugin.services import AuthServices

# zope interfaces describe what a caller sees, so their methods name no self.


class IAugmenter(Interface):
    """Adds roles and attributes to the users of one realm after an authenticator has vouched for them."""

    name: str = Attribute("The configured name.")
    realm: str = Attribute("The realm whose users it augments.")

    def augment(principal: Principal, request: AuthenticationRequest) -> Awaitable[Principal]:
        """``principal`` with roles and attributes added, none taken away, and with the same name and realm.

        Raises `perimeter.errors.Unavailable` if it could not find out: the request is then refused with 503.
        """

    def stop() -> None:
        """Close what is kept open. It may be called several times. Calls of `augment` under way are still answered."""


class IAugmenterFactory(Interface):
    """One kind of augmenter, found by ``twisted.plugin``; third parties add theirs (with ``IPlugin``)."""

    kind: str = Attribute("The word in ``type = …``.")
    options: tuple[Option[Any], ...] = Attribute(
        "The options of the kind's own: for the reference page, and to suggest the right one where one is misspelt."
    )
    by_roles: bool = Attribute(
        "Whether augmenters of this kind read roles. They work after the others, and see what those added."
    )

    def parse(section: Section) -> Any:
        """Frozen settings from a section. Report faults on the section, so that all faults of the file are shown at once.

        Called in a thread of its own at a reload, so it may read files, and must not use the reactor.
        """

    def build(name: str, realm: str, settings: Any, services: AuthServices) -> IAugmenter:
        """The augmenter. Raises `perimeter.errors.StartupError` if the settings cannot work.

        Called on the reactor thread while requests are served, so it must not block; see
        `perimeter.plugin.services.IBuildsInThread` for a factory that reads files here.
        """

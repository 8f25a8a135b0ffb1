"""What a login module and its factory provide: one check of a stack, in two phases, as in JAAS."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
from zope.interface import Attribute, Interface

from perimeter.config.language.option import Option
from perimeter.config.language.section import Section
from perimeter.errors import Rejected
from perimeter.model import AuthenticationRequest, BasicCredentials
from perimeter.plugin.services import AuthServices


class UnknownUser(Rejected):
    """The login module does not know the user name. If no module knows it, the next authenticator is asked."""

    def __init__(self, detail: str = "no module knows this user", *, retry_after: int | None = None) -> None:
        super().__init__(detail, retry_after=retry_after)


@attrs.define
class Subject:
    """What the modules found out about the user. ``username`` is "" until one of them has set it."""

    username: str = ""
    roles: list[str] = attrs.field(factory=list)
    attributes: dict[str, str] = attrs.field(factory=dict)


@attrs.define
class LoginAttempt:
    """One login. Modules may pass values to each other in ``shared``."""

    credentials: BasicCredentials
    request: AuthenticationRequest
    subject: Subject = attrs.field(factory=Subject)
    shared: dict[str, Any] = attrs.field(factory=dict, repr=False)


# zope interfaces describe what a caller sees, so their methods name no self.


class ILogin(Interface):
    """One login module's part in one login, in two phases: `login` finds out, and only `commit` counts."""

    def login() -> Awaitable[bool]:
        """Whether the credentials are good: True, or False for "not responsible".

        Raises `perimeter.errors.Rejected` (wrong), `UnknownUser` (no such user) or `perimeter.errors.Unavailable` (could not
        decide).
        """

    def commit() -> Awaitable[bool]:
        """The login as a whole has succeeded: add what this module knows about the user to ``attempt.subject``.

        False where its own `login` did not succeed. Raises the same as `login`, and the whole login fails.
        """

    def abort() -> Awaitable[bool]:
        """The login as a whole has failed: undo what `login` or `commit` did."""


class ILoginModule(Interface):
    """A configured login module, JAAS's LoginModule; it takes part in many logins."""

    def begin(attempt: LoginAttempt) -> ILogin:
        """Its part in a login."""


class IRunningLoginModule(ILoginModule):
    """A login module with something to do between logins."""

    def start(changed: Callable[[], None]) -> None:
        """See `IRunningAuthenticator.start`."""

    def stop() -> None:
        """End what `start` began."""


class ILoginModuleFactory(Interface):
    """One kind of login module, found by ``twisted.plugin``; third parties add theirs (with ``IPlugin``)."""

    kind: str = Attribute("The word in ``modules = …``.")
    options: tuple[Option[Any], ...] = Attribute("The options of the kind, without ``option.``: for the reference page.")

    def parse(options: Section) -> Any:
        """Frozen settings from the section's ``option.*``, here without that prefix. Report faults on ``options``."""

    def build(name: str, realm: str, settings: Any, services: AuthServices) -> ILoginModule:
        """The module, for the authenticator ``name``. Raises `perimeter.errors.StartupError` if the settings cannot work."""

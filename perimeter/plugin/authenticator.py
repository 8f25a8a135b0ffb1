"""The interfaces of a plug-in that authenticates users: the authenticator and the factory of its kind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any

from zope.interface import Attribute, Interface

from perimeter.config.language.option import Option
from perimeter.config.language.section import Section
from perimeter.model import AuthenticationRequest, Credentials, Principal
from perimeter.plugin.services import AuthServices

# zope interfaces describe what a caller sees, so their methods name no self.


class IAuthenticator(Interface):
    """Identifies the user to whom some credentials belong."""

    name: str = Attribute("The configured name, shown in the audit log.")
    realm: str = Attribute("The realm whose users this authenticator knows.")

    def authenticate(credentials: Credentials, request: AuthenticationRequest) -> Awaitable[Principal | None]:
        """The principal, or None if the user is unknown here: the next authenticator is asked.

        Raises `perimeter.errors.Rejected` (wrong credentials: 401, no other authenticator is asked) or
        `perimeter.errors.Unavailable` (could not decide: 503, no other authenticator is asked).
        """


class IRunningAuthenticator(IAuthenticator):
    """An authenticator with something to do between logins: a file to watch, connections to keep."""

    def start(changed: Callable[[], None]) -> None:
        """Begin. Call ``changed`` whenever users, passwords or roles have changed: remembered verdicts end.

        Called on the reactor thread, at a reload before the new configuration is in force. An exception refuses the start or the
        reload; the authenticator must have begun nothing then.
        """

    def stop() -> None:
        """End what `start` began. Logins under way are still answered. An exception is logged and changes nothing else."""


class Scheme(StrEnum):
    """The kinds of credential that an authenticator can ask for."""

    BASIC = "basic"
    #: a token that the gateway has not issued
    BEARER = "bearer"
    #: a token of SPNEGO or Kerberos (`perimeter.model.NegotiateCredentials`)
    NEGOTIATE = "negotiate"
    #: a client certificate (`perimeter.model.ConnectionCredentials`)
    CERTIFICATE = "certificate"
    #: a header that a trusted peer sets (`perimeter.model.ConnectionCredentials`)
    HEADER = "header"
    #: what is known now of a user whose API token was used (`perimeter.model.Recollection`)
    RECALL = "recall"


class ISchemes(Interface):
    """What else an authenticator may provide: which credentials it wants to see. Without it: `Scheme.BASIC` alone."""

    schemes: tuple[str, ...] = Attribute(
        "Members of `Scheme`, or their words. With ``recall``, an API token ends when its owner is removed, and loses the roles "
        "that its owner loses; without it, the token keeps the roles that its owner had when it was made."
    )


class ICanonicalNames(Interface):
    """What else an authenticator may provide: which spellings of a name are one user to its directory."""

    def canonical_name(username: str) -> str:
        """The one spelling by which wrong passwords are counted: ``john`` for ``JOHN``, ``john@corp`` and ``CORP\\john``, say.

        Must be quick: it is asked before each login. Without it letter case does not count, and neither does the authenticator's
        own realm, before a backslash or after an ``@``.
        """


class IDecoyLogin(Interface):
    """What else an authenticator may provide: work that costs as much as the refusal of a user that it does not know.

    It is asked for when an authenticator before this one has decided on a password, so that the time of an answer shows neither
    which of them knows the name nor whether the password was right.
    """

    def decoy(request: AuthenticationRequest) -> Awaitable[None]:
        """Spend the time of a refusal. Whatever it raises changes no answer; `perimeter.errors.Unavailable` counts as usual."""


class IDirectoryRoles(Interface):
    """What a factory of authenticators, augmenters or login modules may provide, too: where its roles come from."""

    def any_case(settings: Any) -> bool:
        """Whether roles are names of a directory, which compares them without case. All roles of the realm then compare so."""


class IProbe(Interface):
    """What else an authenticator may provide: a look at its backend, for ``perimeter status``."""

    def probe() -> Awaitable[None]:
        """Return if a login could be decided now. Raises `perimeter.errors.Unavailable` with the reason if not.

        It has a few seconds, and is asked at most as often as an operator asks for the status.
        """


class IReadsFields(Interface):
    """What else an authenticator may provide: headers that it believes, and that therefore reach no upstream."""

    fields: tuple[bytes, ...] = Attribute("Names of headers, in lower case.")


class IAuthenticatorFactory(Interface):
    """One kind of authenticator, found by ``twisted.plugin``; third parties add theirs (with ``IPlugin``)."""

    kind: str = Attribute("The word in ``type = …``.")
    options: tuple[Option[Any], ...] = Attribute(
        "The options of the kind's own: for the reference page, and to suggest the right one where one is misspelt."
    )

    def parse(section: Section) -> Any:
        """Frozen settings from a section. Report faults on the section, so that all faults of the file are shown at once.

        Called in a thread of its own at a reload, so it may read files, and must not use the reactor.
        """

    def build(name: str, realm: str, settings: Any, services: AuthServices) -> IAuthenticator:
        """The authenticator. Raises `perimeter.errors.StartupError` if the settings cannot work.

        Called on the reactor thread while requests are served, so it must not block; see
        `perimeter.plugin.services.IBuildsInThread` for a factory that reads files here.
        """

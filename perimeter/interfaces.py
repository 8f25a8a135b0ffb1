"""Where plug-ins and packages meet: zope interfaces, checked with ``verifyObject`` when the gateway is put together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from perimeter.auth.modules.attempt import LoginAttempt
    from perimeter.auth.services import AuthServices
    from perimeter.config.section import Section
    from perimeter.http.exchange import Exchange
    from perimeter.model import AccessRecord, AuthenticationRequest, Credentials, Field, Principal
    from perimeter.state.changes import Change, Held

# zope interfaces describe what a caller sees, so their methods name no self.


class IAuthenticator(Interface):
    """Finds out who holds some credentials."""

    name: str = Attribute("The configured name, shown in the audit log.")
    realm: str = Attribute("The realm whose users this authenticator knows.")

    def authenticate(credentials: Credentials, request: AuthenticationRequest) -> Awaitable[Principal | None]:
        """The principal, or None: "not mine, ask the next".

        Raises `perimeter.errors.Rejected` (mine, and wrong: 401, nobody else is asked) or
        `perimeter.errors.Unavailable` (could not tell: 503, never falls through).
        """


class IRunningAuthenticator(IAuthenticator):
    """An authenticator with something to do between logins: a file to watch, connections to keep."""

    def start(changed: Callable[[], None]) -> None:
        """Begin. Call ``changed`` whenever users, passwords or roles are no longer what they were: remembered verdicts end."""

    def stop() -> None:
        """End what `start` began. Logins under way are still answered."""


class ISchemes(Interface):
    """What else an authenticator may provide: which credentials it wants to see. Without it: ``basic`` alone."""

    schemes: tuple[str, ...] = Attribute(
        "Some of ``basic``, ``bearer`` (a token that is none of the gateway's own), ``certificate`` (a client certificate), "
        "``header`` (a field set by a trusted peer; these two come as `perimeter.model.ConnectionCredentials`) and ``recall``: "
        "what is known now of a user whose API token was shown (`perimeter.model.Recollection`), so that a role that is taken "
        "away, and a user who is gone, end there too. Without it a token keeps the roles that its owner had when he made it."
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


class IReadsFields(Interface):
    """What else an authenticator may provide: header fields that it believes, and that therefore reach no upstream."""

    fields: tuple[bytes, ...] = Attribute("Names of header fields, in lower case.")


class IAugmenter(Interface):
    """Adds to what is known of the users of one realm, after somebody has vouched for them."""

    name: str = Attribute("The configured name.")
    realm: str = Attribute("The realm whose users it knows more of.")

    def augment(principal: Principal, request: AuthenticationRequest) -> Awaitable[Principal]:
        """``principal`` with roles and attributes added, never with any taken away, and with the same name and realm.

        Raises `perimeter.errors.Unavailable` where it could not tell.
        """

    def stop() -> None:
        """Keep no connections. What is under way is still answered."""


class IAuthenticatorFactory(Interface):
    """One kind of authenticator, found by ``twisted.plugin``; third parties add theirs (with ``IPlugin``)."""

    kind: str = Attribute("The word in ``type = …``.")

    def parse(section: Section) -> Any:
        """Frozen settings from a section. Faults are reported on the section, so that all of them are told at once."""

    def build(name: str, realm: str, settings: Any, services: AuthServices) -> IAuthenticator:
        """The authenticator. Raises `perimeter.errors.StartupError` where the settings cannot work."""


class ILogin(Interface):
    """One login module's part in one login, in two phases: `login` finds out, and only `commit` counts."""

    def login() -> Awaitable[bool]:
        """Whether the credentials are good: True, or False for "this is none of my business".

        Raises `perimeter.errors.Rejected` (wrong), `perimeter.auth.modules.attempt.UnknownUser` (I know nobody of this name) or
        `perimeter.errors.Unavailable` (could not tell).
        """

    def commit() -> Awaitable[bool]:
        """The login as a whole has succeeded: say what this module knows of the user, in ``attempt.subject``.

        False where its own `login` did not succeed. Raises the same as `login`, and the whole login fails.
        """

    def abort() -> Awaitable[bool]:
        """The login as a whole has failed: undo what `login` or `commit` did."""


class ILoginModule(Interface):
    """A login module as it is configured, JAAS's LoginModule; asked once for each login."""

    def begin(attempt: LoginAttempt) -> ILogin:
        """Its part in a login."""


class IRunningLoginModule(ILoginModule):
    """A login module with something to do between logins."""

    def start(changed: Callable[[], None]) -> None:
        """See `IRunningAuthenticator.start`."""

    def stop() -> None:
        """End what `start` began."""


class ILoginModuleKind(Interface):
    """One kind of login module, found by ``twisted.plugin``; third parties add theirs (with ``IPlugin``)."""

    kind: str = Attribute("The word in ``modules = …``.")

    def parse(options: Section) -> Any:
        """Frozen settings from the section's ``option.*``, here without that prefix. Faults are reported on ``options``."""

    def build(name: str, realm: str, settings: Any, services: AuthServices) -> ILoginModule:
        """The module, for the authenticator ``name``. Raises `perimeter.errors.StartupError` where the settings cannot work."""


class IStateStore(Interface):
    """Where what must outlive a process is kept. May block: it is called by one thread at a time, and not by the reactor's.

    Methods raise `perimeter.errors.Unavailable` where they cannot do what they are asked to, but for `load`.
    """

    def load() -> Held:
        """All that is kept. Raises `perimeter.errors.StartupError` where it cannot be read whole."""

    def changed() -> bool:
        """Whether somebody else has written since the last `load`."""

    def write(changes: Sequence[Change]) -> None:
        """Make all of these changes, in their order, or none of them. They are safe when it returns."""

    def forget(now: float) -> None:
        """Drop what had ended by ``now`` (epoch seconds)."""

    def close() -> None:
        """Let go."""


class IAuditSink(Interface):
    """Takes the one record that each request ends with."""

    def record(access_record: AccessRecord) -> bool:
        """Write a record. Never blocks on anything but the file, never raises.

        True where the record is on the file (or the log is not strict), else False: the caller then lets no more of the
        response out.
        """

    def healthy() -> bool:
        """False while a strict log cannot be written: nothing new is served until it can."""


class ITarget(Interface):
    """What a route leads to: an upstream, a directory, the built-in resources, a redirect."""

    name: str = Attribute("Shown in the audit log as the upstream.")

    def handle(exchange: Exchange) -> None:
        """Take over an admitted exchange and see to it that it is answered or aborted."""


class IBodySink(Interface):
    """Takes the body of a request, as `perimeter.http.exchange.Exchange.receive` delivers it."""

    def body_data(data: bytes) -> None:
        """Some octets of the body, never none."""

    def body_end(trailers: Sequence[Field]) -> None:
        """The body is complete; ``trailers`` is mostly empty."""


class IResponder(Interface):
    """Whoever is answering an exchange: told when the client falls behind, catches up, or leaves."""

    def pause() -> None:
        """The client reads more slowly than the response comes: stop producing until `resume`."""

    def resume() -> None:
        """The client has caught up."""

    def client_gone() -> None:
        """The exchange is over before its response was: nothing written from here on will arrive."""

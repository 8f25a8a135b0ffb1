"""Authenticators as login modules (``realmfile`` and ``ldap``), with the same options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.plugin import IPlugin
from zope.interface import implementer

from perimeter.auth.chain.asking import plain_name
from perimeter.config.language.section import Section
from perimeter.model import AuthenticationRequest
from perimeter.plugin.authenticator import (
    IAuthenticator,
    IAuthenticatorFactory,
    ICanonicalNames,
    IDecoyLogin,
    IDirectoryRoles,
    IRunningAuthenticator,
)
from perimeter.plugin.login_module import ILoginModuleFactory, IRunningLoginModule, LoginAttempt, UnknownUser
from perimeter.plugin.services import AuthServices
from perimeter.plugin.verified_login import Known, VerifiedLogin


@implementer(IRunningLoginModule, ICanonicalNames, IDecoyLogin)
class AuthenticatorModule:
    """Asks an authenticator. Its "not mine" is a failure, because a required module has to succeed."""

    def __init__(self, authenticator: IAuthenticator) -> None:
        self._authenticator = authenticator

    def start(self, changed: Callable[[], None]) -> None:
        """Start the authenticator."""
        if IRunningAuthenticator.providedBy(self._authenticator):
            self._authenticator.start(changed)

    def stop(self) -> None:
        """Stop it."""
        if IRunningAuthenticator.providedBy(self._authenticator):
            self._authenticator.stop()

    def canonical_name(self, username: str) -> str:
        """As the authenticator compares names."""
        if ICanonicalNames.providedBy(self._authenticator):
            return self._authenticator.canonical_name(username)
        return plain_name(username, self._authenticator.realm)

    async def decoy(self, request: AuthenticationRequest) -> None:
        """See `IDecoyLogin`: the decoy of the authenticator, if it has one."""
        if IDecoyLogin.providedBy(self._authenticator):
            await self._authenticator.decoy(request)

    def begin(self, attempt: LoginAttempt) -> VerifiedLogin:
        """Its part in a login."""
        return VerifiedLogin(attempt, self._verify)

    async def _verify(self, attempt: LoginAttempt) -> Known:
        principal = await self._authenticator.authenticate(attempt.credentials, attempt.request)
        if principal is None:
            raise UnknownUser
        return Known(principal.username, principal.roles, principal.attributes)


@implementer(IPlugin, ILoginModuleFactory, IDirectoryRoles)
class AuthenticatorModuleFactory:
    """The authenticators of ``factory`` as login modules, with the same kind and the same options."""

    def __init__(self, factory: IAuthenticatorFactory) -> None:
        self.kind = factory.kind
        self.options = factory.options
        self._factory = factory

    def any_case(self, settings: Any) -> bool:
        """See `IDirectoryRoles`: as the authenticators of the factory."""
        return IDirectoryRoles.providedBy(self._factory) and self._factory.any_case(settings)

    def parse(self, options: Section) -> Any:
        """The authenticator's settings."""
        return self._factory.parse(options)

    def build(self, name: str, realm: str, settings: Any, services: AuthServices) -> AuthenticatorModule:
        """Raises what the authenticator's factory raises."""
        return AuthenticatorModule(self._factory.build(name, realm, settings, services))


def ldap() -> AuthenticatorModuleFactory:
    """The login module ``ldap``."""
    from perimeter.auth.kinds.ldap.authenticator import LdapFactory

    return AuthenticatorModuleFactory(LdapFactory())


def realm_file() -> AuthenticatorModuleFactory:
    """The login module ``realmfile``."""
    from perimeter.auth.kinds.realm_file import RealmFileFactory

    return AuthenticatorModuleFactory(RealmFileFactory())

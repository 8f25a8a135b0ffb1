"""``type = login-modules``: a stack of login modules as one authenticator (Reactor's JASPI)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
from twisted.plugin import IPlugin
from zope.interface import implementer

from perimeter.auth.chain.asking import plain_name
from perimeter.auth.kinds.login_modules.stack import Flag, StackedModule, log_in, spend
from perimeter.auth.registry import login_module_factories
from perimeter.config.language.datatypes import TEXT, closest, list_of
from perimeter.config.language.option import Option, option, options_of
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings, read
from perimeter.model import AuthenticationRequest, BasicCredentials, Credentials, Principal
from perimeter.plugin.authenticator import (
    IAuthenticatorFactory,
    ICanonicalNames,
    IDecoyLogin,
    IDirectoryRoles,
    IRunningAuthenticator,
)
from perimeter.plugin.login_module import (
    ILoginModule,
    ILoginModuleFactory,
    IRunningLoginModule,
    LoginAttempt,
    UnknownUser,
)
from perimeter.plugin.services import AuthServices

_FLAGS = tuple(flag.value for flag in Flag)
_PREFIX = "option."


@attrs.frozen
class StackOptions(Settings):
    """The option of the stack itself."""

    modules: tuple[str, ...] = option(list_of(TEXT), "the stack, in its order: `pam required, ldap sufficient`")


@attrs.frozen
class ModuleSettings:
    """One item of ``modules``; ``settings`` is what its factory parsed."""

    kind: str
    flag: Flag
    settings: Any


@attrs.frozen
class LoginModulesSettings:
    """The stack, in its order."""

    modules: tuple[ModuleSettings, ...]


@implementer(IRunningAuthenticator, ICanonicalNames, IDecoyLogin)
class LoginModulesAuthenticator:
    """Asks a stack of login modules."""

    def __init__(self, name: str, realm: str, stack: tuple[StackedModule, ...]) -> None:
        self.name = name
        self.realm = realm
        self._stack = stack

    def start(self, changed: Callable[[], None]) -> None:
        """Start the modules that have something to do between logins."""
        for entry in self._stack:
            if IRunningLoginModule.providedBy(entry.module):
                entry.module.start(changed)

    def stop(self) -> None:
        """Stop them."""
        for entry in self._stack:
            if IRunningLoginModule.providedBy(entry.module):
                entry.module.stop()

    def canonical_name(self, username: str) -> str:
        """As the modules that provide `ICanonicalNames` compare names; without any, as most directories do."""
        asked = [entry.module for entry in self._stack if ICanonicalNames.providedBy(entry.module)]
        if not asked:
            return plain_name(username, self.realm)
        for module in asked:
            username = module.canonical_name(username)
        return username

    async def decoy(self, request: AuthenticationRequest) -> None:
        """See `IDecoyLogin`: the decoys of all modules that have one."""
        await spend(self._stack, request)

    async def authenticate(self, credentials: Credentials, request: AuthenticationRequest) -> Principal | None:
        """The user, with the roles and attributes of all modules that succeeded; None if none of them knows the name."""
        if not isinstance(credentials, BasicCredentials):
            return None
        attempt = LoginAttempt(credentials, request)
        try:
            await log_in(self._stack, attempt)
        except UnknownUser:
            return None
        subject = attempt.subject
        username = subject.username or credentials.username
        return Principal(username, self.realm, tuple(dict.fromkeys(subject.roles)), self.name, dict(subject.attributes))


@implementer(IPlugin, IAuthenticatorFactory, IDirectoryRoles)
class LoginModulesFactory:
    """``type = login-modules``. ``factories`` replaces the installed modules."""

    kind = "login-modules"
    options = (
        *options_of(StackOptions),
        Option("option.*", TEXT, "every `option.NAME` is given to the modules as `NAME`; each reads the options that it knows"),
    )

    def __init__(self, factories: Callable[[], Mapping[str, ILoginModuleFactory]] = login_module_factories) -> None:
        self._factories = factories

    def parse(self, section: Section) -> LoginModulesSettings:
        """The stack, and the settings of each module, all from the same options."""
        factories = self._factories()
        modules = [self._module(section, item, factories) for item in read(section, StackOptions).modules]
        return LoginModulesSettings(tuple(module for module in modules if module is not None))

    def any_case(self, settings: LoginModulesSettings) -> bool:
        """See `IDirectoryRoles`: if one of the modules takes its roles from a directory."""
        factories = self._factories()
        asked = [(factories[one.kind], one.settings) for one in settings.modules]
        return any(factory.any_case(own) for factory, own in asked if IDirectoryRoles.providedBy(factory))

    def _module(self, section: Section, item: str, factories: Mapping[str, ILoginModuleFactory]) -> ModuleSettings | None:
        kind, *words = item.split()
        flag = words[0].lower() if words else ""
        if len(words) != 1 or flag not in _FLAGS:
            hint = f"{kind} {closest(flag, _FLAGS) or Flag.REQUIRED.value}"
            section.problem("modules", f"expected a module and one of {', '.join(_FLAGS)}, not {item!r}", hint)
            return None
        if kind not in factories:
            section.problem("modules", f"there is no login module {kind!r}", closest(kind, tuple(factories)))
            return None
        return ModuleSettings(kind, Flag(flag), factories[kind].parse(section.under(_PREFIX)))

    def build(self, name: str, realm: str, settings: LoginModulesSettings, services: AuthServices) -> LoginModulesAuthenticator:
        """The authenticator. Raises `StartupError`."""
        factories = self._factories()
        stack = []
        for one in settings.modules:
            module: ILoginModule = factories[one.kind].build(name, realm, one.settings, services)
            stack.append(StackedModule(one.kind, one.flag, module))
        return LoginModulesAuthenticator(name, realm, tuple(stack))

"""``type = login-modules``: a stack of login modules as one authenticator (Reactor's JASPI), and the kinds that are installed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import attrs
from twisted.plugin import IPlugin, getPlugins
from zope.interface import implementer
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from perimeter.auth.chain.asking import plain_name
from perimeter.auth.kinds.login_modules.stack import Entry, Flag, log_in, spend
from perimeter.config.language.datatypes import TEXT, closest, list_of
from perimeter.config.language.option import Option
from perimeter.errors import StartupError
from perimeter.model import AuthenticationRequest, BasicCredentials, Credentials, Principal
from perimeter.plugin.authenticator import IAuthenticatorFactory, ICanonicalNames, IDecoyLogin, IRunningAuthenticator
from perimeter.plugin.login_module import ILoginModule, ILoginModuleKind, IRunningLoginModule, LoginAttempt, UnknownUser
from perimeter.plugin.services import AuthServices

if TYPE_CHECKING:
    from perimeter.config.language.section import Section

_FLAGS = tuple(flag.value for flag in Flag)
_PREFIX = "option."


def module_kinds(plugins: Iterable[object] | None = None) -> dict[str, ILoginModuleKind]:
    """The login modules that are installed, by their word. ``plugins`` stands in for them.

    Raises `StartupError` for one that does not fulfil its interface, and for two of one kind.
    """
    kinds: dict[str, ILoginModuleKind] = {}
    for plugin in getPlugins(ILoginModuleKind) if plugins is None else plugins:
        origin = f"{type(plugin).__module__}.{type(plugin).__qualname__}"
        try:
            verifyObject(ILoginModuleKind, plugin)
        except Invalid as error:
            raise StartupError(f"the login module {origin} cannot be used: {' '.join(str(error).split())}") from None
        assert ILoginModuleKind.providedBy(plugin)
        if plugin.kind in kinds:
            raise StartupError(f"two login modules are of the kind {plugin.kind!r}, one of them {origin}")
        kinds[plugin.kind] = plugin
    return kinds


@attrs.frozen
class ModuleSettings:
    """One item of ``modules``; ``settings`` is what the kind parsed."""

    kind: str
    flag: Flag
    settings: Any


@attrs.frozen
class LoginModulesSettings:
    """The stack, from the first module to the last."""

    modules: tuple[ModuleSettings, ...]


@implementer(IRunningAuthenticator, ICanonicalNames, IDecoyLogin)
class LoginModulesAuthenticator:
    """Asks a stack of login modules."""

    def __init__(self, name: str, realm: str, stack: tuple[Entry, ...]) -> None:
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
        """As the modules compare names, those of them that say so; else as most directories do."""
        asked = [entry.module for entry in self._stack if ICanonicalNames.providedBy(entry.module)]
        if not asked:
            return plain_name(username, self.realm)
        for module in asked:
            username = module.canonical_name(username)
        return username

    async def decoy(self, request: AuthenticationRequest) -> None:
        """See `IDecoyLogin`: what the modules cost that can tell."""
        await spend(self._stack, request)

    async def authenticate(self, credentials: Credentials, request: AuthenticationRequest) -> Principal | None:
        """The user, with what all modules that succeeded say; None where none of them knows the name."""
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


_MODULES = Option("modules", list_of(TEXT), "the stack, in its order: `pam required, ldap sufficient`", required=True)


@implementer(IPlugin, IAuthenticatorFactory)
class LoginModulesFactory:
    """``type = login-modules``. ``kinds`` stands in for the modules that are installed."""

    kind = "login-modules"
    options = (
        _MODULES,
        Option("option.*", TEXT, "every `option.NAME` is handed to the modules as `NAME`; each takes those that it knows"),
    )

    def __init__(self, kinds: Callable[[], dict[str, ILoginModuleKind]] = module_kinds) -> None:
        self._kinds = kinds

    def parse(self, section: Section) -> LoginModulesSettings:
        """The stack, and each module's own settings from the same options."""
        kinds = self._kinds()
        modules = [self._module(section, item, kinds) for item in section.value(_MODULES)]
        return LoginModulesSettings(tuple(module for module in modules if module is not None))

    def _module(self, section: Section, item: str, kinds: dict[str, ILoginModuleKind]) -> ModuleSettings | None:
        kind, *words = item.split()
        flag = words[0].lower() if words else ""
        if len(words) != 1 or flag not in _FLAGS:
            hint = f"{kind} {closest(flag, _FLAGS) or Flag.REQUIRED.value}"
            section.problem("modules", f"expected a module and one of {', '.join(_FLAGS)}, not {item!r}", hint)
            return None
        if kind not in kinds:
            section.problem("modules", f"there is no login module {kind!r}", closest(kind, tuple(kinds)))
            return None
        return ModuleSettings(kind, Flag(flag), kinds[kind].parse(section.under(_PREFIX)))

    def build(self, name: str, realm: str, settings: LoginModulesSettings, services: AuthServices) -> LoginModulesAuthenticator:
        """The authenticator. Raises `StartupError`."""
        kinds = self._kinds()
        stack = []
        for one in settings.modules:
            module: ILoginModule = kinds[one.kind].build(name, realm, one.settings, services)
            stack.append(Entry(one.kind, one.flag, module))
        return LoginModulesAuthenticator(name, realm, tuple(stack))

"""The kinds of authenticator, augmenter, login module and provider that are installed, found by ``twisted.plugin``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from twisted.plugin import getPlugins
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from perimeter.config.language.option import Option
from perimeter.config.site.config import SiteConfig
from perimeter.errors import StartupError
from perimeter.plugin.augmenter import IAugmenterFactory
from perimeter.plugin.authenticator import IAuthenticatorFactory, IDirectoryRoles
from perimeter.plugin.kinds import PluginKinds
from perimeter.plugin.login_module import ILoginModuleFactory
from perimeter.plugin.named import NamedFactory
from perimeter.plugin.redirect import IProviderFactory

F = TypeVar("F")


class Factories(Mapping[str, F]):
    """Factories by their kinds. Taking a `NamedFactory` imports and verifies it, and raises `StartupError` if it is faulty."""

    def __init__(self, interface: Any, what: str, found: Mapping[str, Any]) -> None:
        self._interface = interface
        self._what = what
        self._found = found

    def __getitem__(self, kind: str) -> F:
        found = self._found[kind]
        factory: F = _loaded(self._interface, self._what, found) if isinstance(found, NamedFactory) else found
        return factory

    def __contains__(self, kind: object) -> bool:
        return kind in self._found

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def installed_kinds() -> PluginKinds:
    """The installed authenticators, augmenters and providers. Raises `StartupError`."""
    return PluginKinds(authenticator_factories(), augmenter_factories(), provider_factories())


def authenticator_factories(plugins: Iterable[object] | None = None) -> Factories[IAuthenticatorFactory]:
    """The authenticators' factories by their kinds; ``plugins`` replaces the installed ones. Raises `StartupError`."""
    return _factories(IAuthenticatorFactory, "authenticator", plugins)


def augmenter_factories(plugins: Iterable[object] | None = None) -> Factories[IAugmenterFactory]:
    """The augmenters' factories by their kinds; ``plugins`` replaces the installed ones. Raises `StartupError`."""
    return _factories(IAugmenterFactory, "augmenter", plugins)


def login_module_factories(plugins: Iterable[object] | None = None) -> Factories[ILoginModuleFactory]:
    """The login modules' factories by their kinds; ``plugins`` replaces the installed ones. Raises `StartupError`."""
    return _factories(ILoginModuleFactory, "login module", plugins)


def provider_factories(plugins: Iterable[object] | None = None) -> Factories[IProviderFactory]:
    """The providers' factories by their kinds; ``plugins`` replaces the installed ones. Raises `StartupError`."""
    return _factories(IProviderFactory, "provider", plugins)


def directory_realms(config: SiteConfig, kinds: PluginKinds) -> frozenset[str]:
    """The realms of which an authenticator or an augmenter takes roles from a directory (`IDirectoryRoles`)."""
    used = [
        *((one.realm, kinds.authenticators[one.kind], one.settings) for one in config.authenticators),
        *((one.realm, kinds.augmenters[one.kind], one.settings) for one in config.augmenters),
    ]
    return frozenset(
        realm for realm, factory, settings in used if IDirectoryRoles.providedBy(factory) and factory.any_case(settings)
    )


def _factories(interface: Any, what: str, plugins: Iterable[object] | None) -> Factories[Any]:
    """By their kinds; ``what`` names them in messages.

    Raises `StartupError` for a plug-in that does not provide ``interface``, and for two of one kind: the order of files in a
    directory must not decide which of them lets users in.
    """
    found: dict[str, Any] = {}
    for plugin in getPlugins(interface) if plugins is None else plugins:
        one: Any = plugin if isinstance(plugin, NamedFactory) else _verified(interface, what, plugin)
        if one.kind in found:
            both = f"{_origin(found[one.kind])} and {_origin(one)}"
            raise StartupError(f"two {what} plug-ins are of the kind {one.kind!r}: {both}")
        found[one.kind] = one
    return Factories(interface, what, found)


def _verified(interface: Any, what: str, plugin: Any) -> Any:
    fault = ""
    try:
        verifyObject(interface, plugin)
    except Invalid as error:
        fault = " ".join(str(error).split())
    else:
        if not isinstance(plugin.kind, str) or not plugin.kind:
            fault = "its kind is not a text"
        elif not all(isinstance(option, Option) for option in plugin.options):
            fault = "its options are not a tuple of Option"
    if fault:
        raise StartupError(f"the {what} plug-in {_origin(plugin)} cannot be used: {fault}")
    return plugin


def _loaded(interface: Any, what: str, named: NamedFactory) -> Any:
    try:
        factory = named.factory
    except Exception as error:
        fault = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise StartupError(f"the {what} plug-in {named.maker} cannot be used: {fault}") from error
    if _verified(interface, what, factory).kind != named.kind:
        fault = f"it is of the kind {factory.kind!r}, not {named.kind!r}"
        raise StartupError(f"the {what} plug-in {named.maker} cannot be used: {fault}")
    return factory


def _origin(plugin: object) -> str:
    return plugin.maker if isinstance(plugin, NamedFactory) else f"{type(plugin).__module__}.{type(plugin).__qualname__}"

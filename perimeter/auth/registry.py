"""The kinds of authenticator, augmenter and login module that are installed, found by ``twisted.plugin``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.plugin import getPlugins
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from perimeter.config.language.option import Option
from perimeter.errors import StartupError
from perimeter.plugin.augmenter import IAugmenterFactory
from perimeter.plugin.authenticator import IAuthenticatorFactory
from perimeter.plugin.kinds import PluginKinds
from perimeter.plugin.login_module import ILoginModuleFactory


def installed_kinds() -> PluginKinds:
    """The installed authenticators and augmenters. Raises `StartupError`."""
    return PluginKinds(authenticator_factories(), augmenter_factories())


def authenticator_factories(plugins: Iterable[object] | None = None) -> dict[str, IAuthenticatorFactory]:
    """The authenticators' factories by their kinds; ``plugins`` replaces the installed ones. Raises `StartupError`."""
    return _factories(IAuthenticatorFactory, "authenticator", plugins)


def augmenter_factories(plugins: Iterable[object] | None = None) -> dict[str, IAugmenterFactory]:
    """The augmenters' factories by their kinds; ``plugins`` replaces the installed ones. Raises `StartupError`."""
    return _factories(IAugmenterFactory, "augmenter", plugins)


def login_module_factories(plugins: Iterable[object] | None = None) -> dict[str, ILoginModuleFactory]:
    """The login modules' factories by their kinds; ``plugins`` replaces the installed ones. Raises `StartupError`."""
    return _factories(ILoginModuleFactory, "login module", plugins)


def _factories(interface: Any, what: str, plugins: Iterable[object] | None) -> dict[str, Any]:
    """By their kinds; ``what`` names them in messages.

    Raises `StartupError` for a plug-in that does not provide ``interface``, and for two of one kind: the order of files in a
    directory must not decide which of them lets users in.
    """
    factories: dict[str, Any] = {}
    for plugin in getPlugins(interface) if plugins is None else plugins:
        factory = _verified(interface, what, plugin)
        if factory.kind in factories:
            both = f"{_origin(factories[factory.kind])} and {_origin(plugin)}"
            raise StartupError(f"two {what} plug-ins are of the kind {factory.kind!r}: {both}")
        factories[factory.kind] = factory
    return factories


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


def _origin(plugin: object) -> str:
    return f"{type(plugin).__module__}.{type(plugin).__qualname__}"
